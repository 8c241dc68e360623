/*
 * block/qcow2/packed.c - compressed clusters: zlib's raw deflate with a window of 4 KiB, or zstd. Packing and unpacking
 * happen on pool threads. What a file says it packed never makes more than one cluster.
 */
#include "block/qcow2/qcow2.h"
#include <errno.h>
#include <zlib.h>

typedef struct Packing {
    bool zstd;
    const uint8_t *in;
    uint8_t *out;
    size_t n, room, made;
} Packing;

static int inflate_all(Packing *p)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)p->in, .avail_in = (uInt)p->n, .next_out = p->out, .avail_out = (uInt)p->room };
    int ret;

    if (inflateInit2(&z, -12) != Z_OK)
        return -ENOMEM;
    ret = inflate(&z, Z_FINISH); /* the input ends with what fills its last sector */
    inflateEnd(&z);
    return (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && !z.avail_out ? 0 : -EIO;
}

static int unpack(void *arg)
{
    Packing *p = arg;

    if (p->zstd)
        return qcow2__zstd_unpack(p->in, p->n, p->out, p->room) ? 0 : -EIO;
    return inflate_all(p);
}

static size_t deflate_all(Packing *p)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)p->in, .avail_in = (uInt)p->n, .next_out = p->out, .avail_out = (uInt)p->room };
    int ret;

    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    ret = deflate(&z, Z_FINISH);
    deflateEnd(&z);
    return ret == Z_STREAM_END ? p->room - z.avail_out : 0;
}

static int pack(void *arg)
{
    Packing *p = arg;

    p->made = p->zstd ? qcow2__zstd_pack(p->in, p->n, p->out, p->room) : deflate_all(p);
    return 0;
}

CO_FN int qcow2__read_packed(Qcow2 *s, uint64_t desc, void *cluster)
{
    g_autofree uint8_t *in = NULL;
    Packing p = { .zstd = s->h.compression, .out = cluster, .room = s->cluster };
    uint64_t at, len;
    int ret;

    qcow2__packed_place(s, desc, &at, &len);
    in = g_try_malloc(len); /* at most two clusters, by the width of the field */
    if (!in)
        return -ENOMEM;
    ret = blk_read(s->n->file, at, in, len);
    if (ret)
        return ret;
    p.in = in;
    p.n = len;
    return blk_in_pool(s->n->loop, unpack, &p);
}

/* Puts the bytes somewhere and the cluster's entry on them; who had the cluster loses it. */
static CO_FN int store(Qcow2 *s, uint64_t off, const uint8_t *packed, size_t len)
{
    uint64_t at = 0, index;
    Alloc a;
    Slice *t;
    int ret;

    co_lock(&s->lock);
    while (qcow2__wait_allocs(s, off >> s->cluster_bits, (off >> s->cluster_bits) + 1))
        ;
    ret = qcow2__alloc_bytes(s, len, &at);
    if (!ret)
        qcow2__alloc_begin(s, &a, off >> s->cluster_bits, (off >> s->cluster_bits) + 1);
    co_unlock(&s->lock);
    if (ret)
        return ret;
    ret = blk_write(s->n->file, at, packed, len);
    co_lock(&s->lock);
    if (!ret)
        ret = qcow2__l2(s, off, true, &t, &index);
    if (!ret) {
        qcow2__release_entry(s, qcow2__entry(s, t->data, index), true);
        qcow2__entry_put(s, t->data, index, (Entry){ qcow2__packed_desc(s, at, len), 0 });
        qcow2__dirty(s, t);
    } else {
        qcow2__free_now(s, at, len);
    }
    co_unlock(&s->lock);
    qcow2__alloc_end(s, &a);
    return ret;
}

static CO_FN int plain(Qcow2 *s, uint64_t off, void *buf, uint64_t len)
{
    struct iovec one = { buf, len };

    return qcow2__write(s, &(BlkReq){ .op = BLK_WRITE, .off = off, .len = len, .iov = &one, .niov = 1 });
}

/* One cluster, or the disk's last piece of one. What does not become smaller is stored as it is. */
static CO_FN int write_one(Qcow2 *s, uint64_t off, uint8_t *buf, uint64_t len)
{
    g_autofree uint8_t *out = g_try_malloc(s->cluster);
    Packing p = { .zstd = s->h.compression, .in = buf, .n = s->cluster, .out = out, .room = s->cluster - 1 };
    int ret;

    if (!out)
        return -ENOMEM;
    memset(buf + len, 0, s->cluster - len);
    ret = blk_in_pool(s->n->loop, pack, &p);
    if (ret)
        return ret;
    return p.made ? store(s, off, out, p.made) : plain(s, off, buf, len);
}

CO_FN int qcow2__write_packed(Qcow2 *s, BlkReq *r)
{
    g_autofree uint8_t *buf = g_try_malloc(s->cluster);
    int ret = 0;

    if (s->n->data || s->h.crypt)
        return -ENOTSUP;
    if (r->off & (s->cluster - 1) || (r->len & (s->cluster - 1) && r->off + r->len != s->h.size))
        return -EINVAL;
    for (uint64_t at = 0; at < r->len && !ret; at += s->cluster) {
        uint64_t len = MIN(r->len - at, s->cluster);

        if (!buf)
            return -ENOMEM;
        iov_gather(r->iov, r->niov, at, buf, len);
        ret = write_one(s, r->off + at, buf, len);
    }
    return ret;
}
