/*
 * block/qcow2/vmstate.c - the state of a machine beside the disk: bytes behind the disk's end, from the first L2 table on
 * that has nothing of the disk. A snapshot keeps them as it keeps the disk; then they go from the present tables.
 */
#include "block/qcow2/qcow2.h"
#include <errno.h>

static uint64_t begin_of(const Qcow2 *s, uint64_t disk) { return align_up(disk, l2_covers(s)); }

/* Encrypted: in whole sectors; a state's last piece gets zeros behind it. NULL: `len` is whole already. */
static uint8_t *whole_sectors(const Qcow2 *s, const void *buf, uint64_t *len)
{
    uint64_t was = *len;
    uint8_t *copy;

    if (!s->h.crypt || was % CRYPT_SECTOR == 0)
        return NULL;
    *len = align_up(was, CRYPT_SECTOR);
    copy = g_malloc0(*len);
    if (buf)
        memcpy(copy, buf, was);
    return copy;
}

CO_FN int qcow2__state_write(Node *n, uint64_t off, const void *buf, uint64_t len)
{
    Qcow2 *s = n->opaque;
    g_autofree uint8_t *copy = whole_sectors(s, buf, &len);
    struct iovec one = { copy ? copy : (void *)(uintptr_t)buf, len };
    BlkReq r = { .op = BLK_WRITE, .off = begin_of(s, s->h.size) + off, .len = len, .iov = &one, .niov = 1 };
    int ret = n->readonly ? -EACCES : n->data ? -ENOTSUP : 0;

    if (ret)
        return ret;
    qcow2__exclusive(s);
    ret = qcow2__grow_l1(s, (r.off + len + l2_covers(s) - 1) / l2_covers(s));
    qcow2__exclusive_end(s);
    return ret ? ret : qcow2__write(s, &r);
}

CO_FN int qcow2__state_clear(Node *n)
{
    Qcow2 *s = n->opaque;
    uint64_t from = begin_of(s, s->h.size), to = s->h.l1_len * l2_covers(s);
    int ret = 0;

    if (to <= from)
        return 0;
    qcow2__exclusive(s);
    ret = qcow2__drop(s, from, to - from, DROP_BELOW, true);
    if (!ret)
        ret = qcow2__writeback(s);
    qcow2__exclusive_end(s);
    return ret;
}

/* Through the snapshot's tables, which take the place of the present ones meanwhile. */
CO_FN int qcow2__state_read(Node *n, const char *which, uint64_t off, void *buf, uint64_t len)
{
    Qcow2 *s = n->opaque;
    uint64_t *mine = s->l1, *l1 = NULL, mine_len = s->h.l1_len, at;
    const Snapshot *v = qcow2__snapshot_find(s, which);
    uint64_t asked = len;
    g_autofree uint8_t *copy = whole_sectors(s, NULL, &len);
    struct iovec one = { copy ? copy : buf, len };
    int ret;

    if (!v)
        return -ENOENT;
    at = begin_of(s, v->facts.disk_bytes) + off;
    if (!in_range(off, asked, v->facts.vm_state_bytes) || !in_range(at, len, v->l1_len * l2_covers(s)))
        return -EINVAL;
    qcow2__exclusive(s);
    ret = qcow2__writeback(s);
    if (!ret)
        ret = qcow2__load_l1(s, v, v->l1_len, &l1);
    co_unlock(&s->lock); /* a request like others, but the only one: the gate stays shut */
    if (!ret) {
        s->l1 = l1;
        s->h.l1_len = v->l1_len;
        ret = qcow2__read(s, &(BlkReq){ .op = BLK_READ, .off = at, .len = len, .iov = &one, .niov = 1 });
        s->l1 = mine;
        s->h.l1_len = mine_len;
        if (copy)
            memcpy(buf, copy, asked);
    }
    co_lock(&s->lock);
    qcow2__exclusive_end(s);
    g_free(l1);
    return ret;
}
