/* block/vmdk/packed.c - compressed grains: a marker (sector of the disk, bytes), then zlib's stream, up to a whole sector. */
#include "block/vmdk/vmdk.h"
#include <errno.h>
#include <zlib.h>

typedef struct Packing {
    uint8_t *in, *out;
    uLongf n, room; /* room: on return what was made */
} Packing;

static int inflate_grain(void *arg)
{
    Packing *p = arg;
    uLongf made = p->room;
    int ret = uncompress(p->out, &made, p->in, p->n);

    if (ret == Z_OK) /* the disk's last grain may be short */
        memset(p->out + made, 0, p->room - made);
    return ret == Z_OK ? 0 : ret == Z_MEM_ERROR ? -ENOMEM : -EIO; /* more than a grain: Z_BUF_ERROR */
}

static int deflate_grain(void *arg)
{
    Packing *p = arg;

    return compress(p->out, &p->room, p->in, p->n) == Z_OK ? 0 : -ENOMEM;
}

CO_FN int vmdk__unpack(Node *n, uint64_t block, const BlockMap *m, void *buf)
{
    const Vmdk *s = n->opaque;
    uint8_t marker[VMDK_MARKER];
    g_autofree uint8_t *in = NULL;
    Packing p = { .out = buf, .room = s->b.block };
    const Extent *e = vmdk__extent_at(s, block * s->b.block);
    int ret = blk_read(m->file, m->host, marker, VMDK_MARKER);

    if (ret)
        return ret;
    p.n = le32_load(marker + 8);
    if (le64_load(marker) != block * e->h.grain - e->start / SECTOR || p.n > compressBound(s->b.block) || !p.n)
        return -EIO;
    p.in = in = g_try_malloc(p.n);
    ret = in ? blk_read(m->file, m->host + VMDK_MARKER, in, p.n) : -ENOMEM;
    return ret ? ret : blk_in_pool(n->loop, inflate_grain, &p);
}

/* Lock held. */
static CO_FN int store(Vmdk *s, Extent *e, uint64_t off, uint8_t *bytes, uint64_t len)
{
    BlockMap m;
    int ret = vmdk__ops.map(s->b.n, off, 1, &m);

    if (!ret && m.type != BLOCK_NONE)
        return -EIO; /* a stream is written once */
    if (!ret && (e->next + len) / SECTOR > UINT32_MAX)
        return -ENOSPC;
    if (!ret)
        ret = blk_write(e->file, e->next, bytes, len);
    if (!ret)
        ret = vmdk__set_gte(s, e, (off - e->start) / s->b.block, (uint32_t)(e->next / SECTOR));
    if (!ret)
        e->next += len;
    return ret;
}

/* One grain, whole but for the disk's last. */
static CO_FN int write_grain(Vmdk *s, const BlkReq *r, uint64_t at)
{
    uint64_t grain = s->b.block, off = r->off + at, len = MIN(grain, r->len - at), all;
    Extent *e = vmdk__extent_at(s, off);
    g_autofree uint8_t *in = g_try_malloc0(grain), *out = g_try_malloc0(align_up(compressBound(grain) + VMDK_MARKER, SECTOR));
    Packing p = { .in = in, .out = out + VMDK_MARKER, .n = grain, .room = compressBound(grain) };
    int ret = in && out ? 0 : -ENOMEM;

    if (e->kind != EXTENT_SPARSE || !e->packed)
        return -ENOTSUP;
    if (off % grain || (len < grain && off + len != s->b.n->size))
        return -EINVAL;
    if (!ret)
        iov_gather(r->iov, r->niov, at, in, len);
    if (!ret)
        ret = blk_in_pool(s->b.n->loop, deflate_grain, &p);
    if (ret)
        return ret;
    le64_store(out, (off - e->start) / SECTOR);
    le32_store(out + 8, (uint32_t)p.room);
    all = align_up(p.room + VMDK_MARKER, SECTOR);
    co_lock(&s->b.lock);
    ret = store(s, e, off, out, all);
    co_unlock(&s->b.lock);
    return ret;
}

CO_FN int vmdk__write_packed(Node *n, const BlkReq *r)
{
    Vmdk *s = n->opaque;
    int ret = 0;

    for (uint64_t at = 0; at < r->len && !ret; at += s->b.block)
        ret = write_grain(s, r, at);
    return ret;
}
