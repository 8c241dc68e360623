/* core/dma.c - devices reading and writing guest memory. */
#include "core/dma.h"
#include "core/priv.h"
#include <sys/uio.h>

enum { BOUNCE_MAX = 1 << 20 };

static AddrSpace *space_of(Dev *d) { return d->dma ? d->dma : d->obj.vm->mem; }
static MemAttrs attrs_of(const Dev *d) { return (MemAttrs){ .requester = d->requester }; }
static bool refused(const Dev *d) { return d->may_dma && !d->may_dma(d); }

bool dma_read(Dev *d, uint64_t addr, void *buf, uint64_t len)
{
    if (refused(d)) {
        memset(buf, 0xff, len);
        return false;
    }
    return as_read(space_of(d), addr, buf, len, attrs_of(d)) == MEM_OK;
}

bool dma_write(Dev *d, uint64_t addr, const void *buf, uint64_t len)
{
    return !refused(d) && as_write(space_of(d), addr, buf, len, attrs_of(d)) == MEM_OK;
}

/* RAM that is contiguous from addr, at most len, or NULL. */
static uint8_t *map_ram(AddrSpace *as, uint64_t addr, uint64_t *len, DmaDir dir, RamBlock **b, uint64_t *off)
{
    const FlatRange *f;
    uint8_t *host = NULL;

    rcu_lock();
    f = core__view_find(__atomic_load_n(&as->view, __ATOMIC_ACQUIRE), addr);
    if (f && f->region->ram && (f->region->kind != REGION_ROMD || f->romd) &&
        !(dir == DMA_TO_RAM && (f->readonly || f->region->kind != REGION_RAM))) {
        *len = MIN(*len, f->len - (addr - f->at));
        *b = f->region->ram;
        *off = f->region->ram_off + f->offset + (addr - f->at);
        host = (*b)->host + *off;
        g_atomic_int_inc(&(*b)->pins);
    }
    rcu_unlock();
    return host;
}

bool dma_map(Dev *d, uint64_t addr, uint64_t *len, DmaDir dir, DmaMap *out)
{
    VmPriv *p = d->obj.vm->priv;

    *out = (DmaMap){ .addr = addr, .dir = (uint8_t)dir };
    if (!*len || refused(d))
        return false;
    out->host = map_ram(space_of(d), addr, len, dir, &out->block, &out->off);
    if (!out->host) {
        uint64_t n = MIN(*len, 4096);

        if (__atomic_fetch_add(&p->bounce_used, n, __ATOMIC_RELAXED) + n > BOUNCE_MAX) {
            __atomic_fetch_sub(&p->bounce_used, n, __ATOMIC_RELAXED);
            return false;
        }
        out->host = g_malloc0(n);
        out->bounce = true;
        *len = n;
        if (dir == DMA_FROM_RAM)
            dma_read(d, addr, out->host, n);
    }
    out->len = *len;
    return true;
}

void dma_unmap(Dev *d, DmaMap *m, uint64_t done)
{
    if (!m->host)
        return;
    done = MIN(done, m->len);
    if (m->bounce) {
        if (m->dir == DMA_TO_RAM && done)
            dma_write(d, m->addr, m->host, done);
        g_free(m->host);
        __atomic_fetch_sub(&d->obj.vm->priv->bounce_used, m->len, __ATOMIC_RELAXED);
    } else {
        if (m->dir == DMA_TO_RAM && done)
            ram_mark_dirty(m->block, m->off, done);
        g_atomic_int_add(&m->block->pins, -1);
    }
    m->host = NULL;
}

void dma_sg_init(DmaSg *s)
{
    s->maps = g_array_new(FALSE, FALSE, sizeof(DmaMap));
    s->iov = g_array_new(FALSE, FALSE, sizeof(struct iovec));
    s->len = 0;
}

bool dma_sg_add(Dev *d, DmaSg *s, uint64_t addr, uint64_t len, DmaDir dir)
{
    while (len) { /* each turn maps at least a byte; callers bound len */
        uint64_t n = len;
        DmaMap m;
        struct iovec v;

        if (!dma_map(d, addr, &n, dir, &m))
            return false;
        v = (struct iovec){ m.host, n };
        g_array_append_val(s->maps, m);
        g_array_append_val(s->iov, v);
        s->len += n;
        addr += n;
        len -= n;
    }
    return true;
}

void dma_sg_free(Dev *d, DmaSg *s, uint64_t done)
{
    for (guint i = 0; i < s->maps->len; i++) {
        DmaMap *m = &g_array_index(s->maps, DmaMap, i);
        uint64_t n = MIN(done, m->len);

        done -= n;
        dma_unmap(d, m, n);
    }
    g_array_free(s->maps, TRUE);
    g_array_free(s->iov, TRUE);
    s->maps = s->iov = NULL;
}

static void copy(const DmaSg *s, uint8_t *buf, uint64_t len, bool out)
{
    const struct iovec *v = (const struct iovec *)(void *)s->iov->data;

    for (guint i = 0; i < s->iov->len && len; i++) {
        size_t n = MIN(len, v[i].iov_len);

        if (out)
            memcpy(v[i].iov_base, buf, n);
        else
            memcpy(buf, v[i].iov_base, n);
        buf += n;
        len -= n;
    }
}

void dma_sg_put(const DmaSg *s, const void *buf, uint64_t len) { copy(s, (uint8_t *)(uintptr_t)buf, len, true); }
void dma_sg_get(const DmaSg *s, void *buf, uint64_t len) { copy(s, buf, len, false); }
