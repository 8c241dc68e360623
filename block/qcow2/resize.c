/* block/qcow2/resize.c - another size, clusters in advance, and an image that is emptied. */
#include "block/qcow2/qcow2.h"
#include <errno.h>

/* ---- a longer L1 table ---- */
static CO_FN int write_place(Qcow2 *s, uint64_t at, uint64_t len)
{
    uint8_t b[12];
    int ret = blk_flush(s->n->file);

    be32_store(b, (uint32_t)len);
    be64_store(b + 4, at);
    if (!ret)
        ret = blk_write(s->n->file, 36, b, sizeof(b));
    return ret ? ret : blk_flush(s->n->file);
}

CO_FN int qcow2__grow_l1(Qcow2 *s, uint64_t len)
{
    uint64_t at, got, old_at = s->h.l1_at, old_bytes = s->h.l1_len * 8, *l1;
    g_autofree uint64_t *be = NULL;
    int ret;

    if (len <= s->h.l1_len)
        return 0;
    if (len > L1_MAX)
        return -EFBIG;
    ret = qcow2__alloc(s, (len * 8 + s->cluster - 1) >> s->cluster_bits, true, &at, &got);
    if (!ret)
        ret = qcow2__writeback(s); /* what the old one leads to is there */
    if (ret)
        return ret;
    be = g_new0(uint64_t, len);
    for (uint64_t i = 0; i < s->h.l1_len; i++)
        be64_store(&be[i], s->l1[i]);
    ret = blk_write(s->n->file, at, be, len * 8);
    if (!ret)
        ret = write_place(s, at, len);
    if (ret)
        return ret;
    l1 = g_new0(uint64_t, len);
    memcpy(l1, s->l1, old_bytes);
    g_free(s->l1);
    s->l1 = l1;
    s->h.l1_at = at;
    s->h.l1_len = len;
    qcow2__note_meta(s, at, len * 8);
    if (old_bytes)
        qcow2__free_later(s, old_at, old_bytes, true);
    return 0;
}

static CO_FN int write_size(Qcow2 *s, uint64_t size)
{
    uint8_t b[8];
    int ret = qcow2__writeback(s);

    be64_store(b, size);
    if (!ret)
        ret = blk_write(s->n->file, 24, b, 8);
    if (!ret)
        ret = blk_flush(s->n->file);
    if (!ret)
        s->h.size = s->n->size = size;
    return ret;
}

/* What becomes part of the disk reads as zeros, though the backing file may be longer or a shrink may have left bytes. */
static CO_FN int zero_new(Qcow2 *s, uint64_t from, uint64_t to)
{
    uint64_t below = s->n->backing ? s->n->backing->size : 0, end = MIN(to, MAX(align_up(from, s->cluster), below));
    int ret;

    if (end <= from)
        return 0;
    co_unlock(&s->lock); /* a request like others, but the only one: the gate stays shut */
    ret = qcow2__zero(s, &(BlkReq){ .op = BLK_ZERO, .off = from, .len = end - from, .flags = BLK_MAY_UNMAP });
    co_lock(&s->lock);
    return ret;
}

CO_FN int qcow2__resize(Qcow2 *s, uint64_t size, unsigned flags)
{
    uint64_t old = s->h.size;
    int ret;

    if (s->n->readonly)
        return -EACCES;
    if (size % 512 || size > INT64_MAX - GiB)
        return -EINVAL;
    if (s->h.version < 3 && s->snapshots->len)
        return -ENOTSUP; /* its snapshots do not say how large the disk was */
    if (size < old) {
        ret = write_size(s, size);
        if (!ret)
            ret = qcow2__drop(s, align_up(size, s->cluster), align_up(old, s->cluster) - align_up(size, s->cluster), DROP_BELOW, true);
        return ret ? ret : qcow2__writeback(s);
    }
    ret = qcow2__grow_l1(s, size / l2_covers(s) + (size % l2_covers(s) != 0));
    if (!ret && size > old)
        ret = zero_new(s, old, size);
    if (!ret)
        ret = write_size(s, size);
    if (!ret && s->data_raw)
        ret = blk_truncate(s->n->data, size, 0);
    return ret;
}

/* ---- clusters in advance ---- */
static CO_FN int prepare_host(Qcow2 *s, uint64_t at, uint64_t len, unsigned flags)
{
    Node *n = qcow2__data(s);
    uint64_t inside = at < n->size ? MIN(len, n->size - at) : 0;
    int ret;

    if (flags & BLK_NO_FALLBACK) /* full: blocks that were really written */
        return blk_write_zeros(n, blk_submit, at, len, 0);
    if (flags & BLK_RESERVE)
        return blk_zero(n, at, len, BLK_RESERVE);
    ret = inside ? blk_zero(n, at, inside, BLK_MAY_UNMAP) : 0;
    if (!ret && at + len > n->size)
        ret = blk_truncate(n, at + len, 0);
    return ret;
}

/* What lies in a place taken in advance: zeros, of which an encrypted image must know, or with subclusters nothing. */
static uint64_t filler(const Qcow2 *s) { return s->nsub > 1 ? 0 : s->h.crypt ? 1ull << 32 : 1; }

static CO_FN int take_run(Qcow2 *s, uint64_t off, uint64_t count, unsigned flags, uint64_t *got)
{
    uint64_t at = off;
    int ret = 0;

    *got = count;
    if (!s->n->data)
        ret = qcow2__alloc(s, count, false, &at, got);
    if (!ret)
        ret = prepare_host(s, at, *got << s->cluster_bits, flags);
    for (uint64_t i = 0; i < *got && !ret;) {
        uint64_t index;
        Slice *t;

        ret = qcow2__l2(s, off + (i << s->cluster_bits), true, &t, &index);
        if (ret)
            break;
        for (; i < *got && index < slice_entries(s); i++, index++)
            qcow2__entry_put(s, t->data, index, (Entry){ (at + (i << s->cluster_bits)) | OFLAG_COPIED, filler(s) });
        qcow2__dirty(s, t);
    }
    return ret;
}

/* Every cluster of [from, to) that has none gets one. flags 0: metadata only; BLK_RESERVE; BLK_NO_FALLBACK: written. */
CO_FN int qcow2__preallocate(Qcow2 *s, uint64_t from, uint64_t to, unsigned flags)
{
    int ret = s->h.crypt && s->h.version < 3 ? -ENOTSUP : 0;

    for (uint64_t off = align_down(from, s->cluster); off < to && !ret;) {
        uint64_t got, most = MIN(align_up(to, s->cluster), (off / l2_covers(s) + 1) * l2_covers(s)) - off;
        Map m;

        ret = qcow2__map(s, off, most, true, &m);
        if (ret)
            return ret;
        if (m.type != MAP_NONE || m.has_host) {
            off += align_up(m.len, s->cluster);
            continue;
        }
        ret = take_run(s, off, align_up(m.len, s->cluster) >> s->cluster_bits, flags, &got);
        off += got << s->cluster_bits;
    }
    return ret ? ret : qcow2__writeback(s);
}

CO_FN int qcow2__make_empty(Node *n)
{
    Qcow2 *s = n->opaque;
    int ret = n->readonly ? -EACCES : 0;

    if (ret)
        return ret;
    if (s->bitmaps->len && (ret = qcow2__bitmaps_start(s)))
        return ret;
    qcow2__exclusive(s);
    qcow2__bitmaps_set(s, 0, s->h.size);
    ret = qcow2__drop(s, 0, align_up(s->h.size, s->cluster), DROP_BELOW, true);
    for (int i = 0; i < 2 && !ret; i++)
        ret = qcow2__writeback(s);
    qcow2__exclusive_end(s);
    return ret;
}
