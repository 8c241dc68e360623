/*
 * core/mem.c - accesses through an address space. RAM is touched directly inside an RCU section; an
 * I/O region's callbacks run under its lock, after the range was looked up again under that lock.
 */
#include "core/priv.h"
#include "util/shared.h"
#include <unistd.h>

static void as_destroy(void *p)
{
    AddrSpace *as = p;

    core__view_free(as->view);
    g_ptr_array_free(as->listeners, TRUE);
    g_free(as->name);
    g_free(as);
}

static void as_release(void *p)
{
    AddrSpace *as = p;

    g_ptr_array_remove(as->vm->priv->spaces, as);
    rcu_retire(as, as_destroy);
}

AddrSpace *as_new(Obj *owner, const char *name, Region *root)
{
    AddrSpace *as = g_new0(AddrSpace, 1);

    as->name = g_strdup(name);
    as->vm = owner->vm;
    as->root = root;
    as->listeners = g_ptr_array_new();
    g_ptr_array_add(as->vm->priv->spaces, as);
    core__as_update(as);
    return own(owner, as, as_release);
}

Region *as_root(AddrSpace *as) { return as->root; }

static const FlatView *view_of(const AddrSpace *as) { return __atomic_load_n(&as->view, __ATOMIC_ACQUIRE); }

/* Not MAX: a macro would make the access twice. */
static MemResult worse(MemResult a, MemResult b) { return a > b ? a : b; }

/* How the guest may use the region: the piece of an access it takes at once. */
static unsigned piece(const RegionOps *ops, uint64_t off, uint64_t len)
{
    unsigned max = ops->takes.max ? ops->takes.max : 8, n = 8;

    while (n > 1 && (n > max || n > len || (!ops->takes.unaligned && off & (n - 1))))
        n >>= 1;
    return n;
}

static uint64_t swap(uint64_t v, unsigned size, const RegionOps *ops)
{
    return ops->endian == BIG ? GUINT64_SWAP_LE_BE(v) >> (64 - 8 * size) : v;
}

/* The callbacks take [does.min, does.max]: wider accesses are split, narrower ones widened. */
static MemResult io_read(Region *r, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    const RegionOps *ops = r->ops;
    unsigned min = ops->does.min ? ops->does.min : 1, max = ops->does.max ? ops->does.max : 8;
    MemResult worst = MEM_OK;

    if (at.peek)
        return ops->peek ? ops->peek(r->opaque, off, size, val) : MEM_NOBODY;
    if (size < (ops->takes.min ? ops->takes.min : 1) || !ops->read)
        return MEM_REFUSED;
    if (size < min) {
        uint64_t base = off & ~(uint64_t)(min - 1), v = 0;

        worst = ops->read(r->opaque, base, min, &v, at);
        *val = swap(v, min, ops) >> (8 * (off - base)) & bytes_mask(size);
        return worst;
    }
    *val = 0;
    for (unsigned i = 0, n = MIN(size, max); i < size; i += n) {
        uint64_t v = bytes_mask(n);
        MemResult x = ops->read(r->opaque, off + i, n, &v, at);

        *val |= swap(v & bytes_mask(n), n, ops) << (8 * i);
        worst = worse(worst, x);
    }
    return worst;
}

static MemResult io_write(Region *r, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    const RegionOps *ops = r->ops;
    unsigned min = ops->does.min ? ops->does.min : 1, max = ops->does.max ? ops->does.max : 8;
    MemResult worst = MEM_OK;

    if (size < (ops->takes.min ? ops->takes.min : 1) || !ops->write)
        return MEM_REFUSED;
    if (size < min) {
        uint64_t base = off & ~(uint64_t)(min - 1);

        return ops->write(r->opaque, base, min, swap(val << (8 * (off - base)), min, ops), at);
    }
    for (unsigned i = 0, n = MIN(size, max); i < size; i += n)
        worst = worse(worst, ops->write(r->opaque, off + i, n, swap(val >> (8 * i) & bytes_mask(n), n, ops), at));
    return worst;
}

static bool is_ram(const FlatRange *f, bool write)
{
    return f->region->kind == REGION_RAM || f->region->kind == REGION_ROM || (f->romd && !write);
}

static Lock *lock_of(const FlatRange *f)
{
    const RegionOps *ops = f->region->ops;

    if (ops->flags & REGION_NO_LOCK)
        return NULL;
    return ops->lock ? ops->lock(f->region->opaque) : &f->region->vm->lock;
}

static bool event_hit(const FlatView *v, uint64_t addr, unsigned size, uint64_t val)
{
    for (unsigned i = 0; i < v->nev; i++) {
        const EventFd *e = &v->ev[i].e;
        uint64_t one = 1;

        if (v->ev[i].at != addr || (e->size && e->size != size) || (e->match && e->val != val))
            continue;
        if (write(e->fd, &one, sizeof(one)) < 0)
            return true; /* EAGAIN: the counter is full, the event is pending anyway */
        return true;
    }
    return false;
}

/* One piece of I/O at addr. *size shrinks to what the region takes. RCU held by the caller. */
static MemResult io_access(AddrSpace *as, uint64_t addr, unsigned *size, uint64_t *val, bool write, MemAttrs at)
{
    const FlatRange *f = core__view_find(view_of(as), addr);
    Lock *l = f && !is_ram(f, write) ? lock_of(f) : NULL;
    MemResult r = MEM_NOBODY;
    uint64_t off;

    if (l)
        lock_take(l);
    f = core__view_find(view_of(as), addr); /* the view may have changed while we waited */
    if (f && !is_ram(f, write) && (!l || lock_of(f) == l)) {
        off = f->offset + (addr - f->at);
        *size = MIN(*size, piece(f->region->ops, off, MIN(*size, f->len - (addr - f->at))));
        if (write && view_of(as)->nev && event_hit(view_of(as), addr, *size, *val & bytes_mask(*size)))
            r = MEM_OK;
        else if (write)
            r = at.peek ? MEM_REFUSED : io_write(f->region, off, *size, *val & bytes_mask(*size), at);
        else
            r = io_read(f->region, off, *size, val, at);
    } else if (!f) {
        *size = 1;
    }
    if (l)
        lock_drop(l);
    return r;
}

static uint8_t *ram_at(const FlatRange *f, uint64_t addr)
{
    return f->region->ram->host + f->region->ram_off + f->offset + (addr - f->at);
}

static MemResult read_some(AddrSpace *as, uint64_t addr, uint8_t *p, size_t *n, MemAttrs at)
{
    const FlatRange *f = core__view_find(view_of(as), addr);
    uint64_t v = ~0ull;
    unsigned size = (unsigned)MIN(*n, 8);
    MemResult r;

    if (f && is_ram(f, false)) {
        *n = (size_t)MIN(*n, f->len - (addr - f->at));
        shared_copy(p, ram_at(f, addr), *n);
        return MEM_OK;
    }
    while (size & (size - 1))
        size &= size - 1; /* a power of two */
    r = io_access(as, addr, &size, &v, false, at);
    if (r != MEM_OK)
        v = ~0ull; /* nobody drives the bus */
    le_store(p, size, v);
    *n = size;
    return r;
}

MemResult as_read(AddrSpace *as, uint64_t addr, void *buf, size_t len, MemAttrs at)
{
    uint8_t *p = buf;
    MemResult worst = MEM_OK;

    rcu_lock();
    while (len) {
        size_t n = len;

        worst = worse(worst, read_some(as, addr, p, &n, at));
        p += n;
        addr += n;
        len -= n;
    }
    rcu_unlock();
    return worst;
}

static MemResult write_some(AddrSpace *as, uint64_t addr, const uint8_t *p, size_t *n, MemAttrs at)
{
    const FlatRange *f = core__view_find(view_of(as), addr);
    unsigned size = (unsigned)MIN(*n, 8);
    uint64_t v;
    MemResult r;

    if (f && is_ram(f, true)) {
        *n = (size_t)MIN(*n, f->len - (addr - f->at));
        if (f->readonly)
            return MEM_REFUSED;
        shared_copy(ram_at(f, addr), p, *n);
        ram_mark_dirty(f->region->ram, f->region->ram_off + f->offset + (addr - f->at), *n);
        return MEM_OK;
    }
    while (size & (size - 1))
        size &= size - 1;
    v = le_load(p, size);
    r = io_access(as, addr, &size, &v, true, at);
    *n = size;
    return r;
}

MemResult as_write(AddrSpace *as, uint64_t addr, const void *buf, size_t len, MemAttrs at)
{
    const uint8_t *p = buf;
    MemResult worst = MEM_OK;

    rcu_lock();
    while (len) {
        size_t n = len;

        worst = worse(worst, write_some(as, addr, p, &n, at));
        p += n;
        addr += n;
        len -= n;
    }
    rcu_unlock();
    return worst;
}

MemResult as_load(AddrSpace *as, uint64_t addr, unsigned size, uint64_t *val, MemAttrs at)
{
    uint8_t b[8] = { 0 };
    MemResult r = as_read(as, addr, b, size, at);

    *val = le_load(b, size);
    return r;
}

MemResult as_store(AddrSpace *as, uint64_t addr, unsigned size, uint64_t val, MemAttrs at)
{
    uint8_t b[8];

    le_store(b, size, val);
    return as_write(as, addr, b, size, at);
}

uint8_t *as_ram(AddrSpace *as, uint64_t addr, RamBlock **block, uint64_t *off, bool *writable)
{
    const FlatRange *f = core__view_find(view_of(as), addr);
    uint64_t page = addr & ~4095ull;

    if (!f || !is_ram(f, false) || page < f->at || f->len - (page - f->at) < 4096)
        return NULL;
    if (block)
        *block = f->region->ram;
    if (off)
        *off = f->region->ram_off + f->offset + (addr - f->at);
    if (writable)
        *writable = f->region->kind == REGION_RAM && !f->readonly;
    return ram_at(f, addr);
}

bool as_ram_range(AddrSpace *as, uint64_t addr, RamRange *out)
{
    const FlatRange *f = core__view_find(view_of(as), addr);
    uint64_t at, skip;

    if (!f || !is_ram(f, false))
        return false;
    at = (f->at + 4095) & ~4095ull;
    skip = at - f->at;
    if (f->len < skip || addr - at >= ((f->len - skip) & ~4095ull))
        return false;
    *out = (RamRange){ at, (f->len - skip) & ~4095ull, ram_at(f, at), f->region->ram, f->region->ram_off + f->offset + skip,
                       f->region->kind == REGION_RAM && !f->readonly };
    return true;
}

MemResult as_write_rom(AddrSpace *as, uint64_t addr, const void *buf, size_t len)
{
    const uint8_t *p = buf;
    MemResult worst = MEM_OK;

    rcu_lock();
    while (len) {
        const FlatRange *f = core__view_find(view_of(as), addr);
        size_t n = 1;

        if (f && f->region->ram) {
            n = (size_t)MIN(len, f->len - (addr - f->at));
            shared_copy(ram_at(f, addr), p, n);
            ram_mark_dirty(f->region->ram, f->region->ram_off + f->offset + (addr - f->at), n);
        } else {
            worst = MEM_NOBODY;
        }
        p += n;
        addr += n;
        len -= n;
    }
    rcu_unlock();
    return worst;
}
