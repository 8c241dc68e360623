/* block/vpc/bitmap.c - which sectors of a block an image has: bitmaps in memory, as many as CACHED. */
#include "block/vpc/vpc.h"
#include <errno.h>

enum { CACHED = 4096 };

static VpcBits *bits_of(GList *l) { return l->data; }

static void drop(Vpc *s, VpcBits *v)
{
    g_queue_unlink(&s->lru, &v->link);
    g_hash_table_remove(s->bits, &v->block);
    g_free(v);
}

/* The oldest that need not be written goes; those that must be are few, because link() writes them in time. */
static void make_room(Vpc *s)
{
    for (GList *l = s->lru.tail; l && s->lru.length >= CACHED; l = l->prev) {
        if (!bits_of(l)->dirty) {
            drop(s, bits_of(l));
            return;
        }
    }
}

static VpcBits *insert(Vpc *s, uint64_t block)
{
    VpcBits *v = g_malloc0(sizeof(*v) + s->bitmap_bytes);

    make_room(s);
    v->block = block;
    v->link.data = v;
    g_hash_table_insert(s->bits, &v->block, v);
    g_queue_push_head_link(&s->lru, &v->link);
    return v;
}

static VpcBits *find(Vpc *s, uint64_t block)
{
    VpcBits *v = g_hash_table_lookup(s->bits, &block);

    if (v && s->lru.head != &v->link) {
        g_queue_unlink(&s->lru, &v->link);
        g_queue_push_head_link(&s->lru, &v->link);
    }
    return v;
}

CO_FN int vpc__bits_get(Vpc *s, uint64_t block, VpcBits **out)
{
    g_autofree uint8_t *bytes = NULL;
    int ret = 0;

    if ((*out = find(s, block)))
        return 0;
    bytes = g_try_malloc(s->bitmap_bytes);
    if (!bytes)
        return -ENOMEM;
    co_lock(&s->loading);
    *out = find(s, block); /* somebody else was quicker */
    if (!*out) {
        ret = blk_read(s->b.n->file, vpc__bits_at(s, block), bytes, s->bitmap_bytes);
        if (!ret) {
            *out = insert(s, block);
            memcpy((*out)->bytes, bytes, s->bitmap_bytes);
        }
    }
    co_unlock(&s->loading);
    if (!ret && !(*out = find(s, block))) /* unlocking let another one drop it */
        return vpc__bits_get(s, block, out);
    return ret;
}

static void mark(Vpc *s, VpcBits *v)
{
    s->ndirty += !v->dirty;
    v->dirty = true;
}

VpcBits *vpc__bits_new(Vpc *s, uint64_t block, bool ones)
{
    VpcBits *v = insert(s, block);

    if (ones)
        memset(v->bytes, 0xff, s->bitmap_bytes);
    mark(s, v);
    return v;
}

CO_FN int vpc__bits_set(Vpc *s, uint64_t block, uint64_t lo, uint64_t hi)
{
    VpcBits *v;
    int ret = vpc__bits_get(s, block, &v);

    for (uint64_t i = lo / 512; i < hi / 512 && !ret; i++)
        v->bytes[i / 8] |= (uint8_t)(0x80 >> (i % 8));
    if (ret)
        return ret;
    mark(s, v);
    return s->ndirty > CACHED / 2 ? blocks_writeback(s->b.n) : 0;
}

CO_FN int vpc__bits_write(Vpc *s)
{
    int ret = 0;

    for (GList *l = s->lru.head, *next; l && s->ndirty && !ret; l = next) {
        VpcBits *v = bits_of(l);
        g_autofree uint8_t *copy = NULL;
        uint64_t block = v->block;

        next = l->next;
        if (!v->dirty)
            continue;
        copy = g_memdup2(v->bytes, s->bitmap_bytes);
        ret = blk_write(s->b.n->file, vpc__bits_at(s, block), copy, s->bitmap_bytes);
        v = g_hash_table_lookup(s->bits, &block); /* dirty ones stay; bits are set under the lock that we hold */
        if (!ret && v) {
            v->dirty = false;
            s->ndirty--;
        }
        next = s->lru.head; /* others may have moved in the list */
    }
    return ret;
}

static bool all_ones(const uint8_t *p, size_t n)
{
    while (n && *p == 0xff)
        p++, n--;
    return !n;
}

CO_FN int vpc__make_full(Vpc *s, uint64_t off, uint64_t len)
{
    int ret = 0;

    for (uint64_t i = off / s->b.block; i <= (off + len - 1) / s->b.block && !ret; i++) {
        VpcBits *v;

        if (vpc__entry(s, i) == VPC_NONE || s->full[i / 8] >> (i % 8) & 1)
            continue;
        co_lock(&s->b.lock);
        ret = vpc__bits_get(s, i, &v);
        if (!ret && !all_ones(v->bytes, s->bitmap_bytes)) {
            memset(v->bytes, 0xff, s->bitmap_bytes);
            mark(s, v);
            s->b.dirty = true;
        }
        if (!ret)
            s->full[i / 8] |= (uint8_t)(1 << (i % 8));
        if (!ret && s->ndirty > CACHED / 2)
            ret = blocks_writeback(s->b.n);
        co_unlock(&s->b.lock);
    }
    return ret;
}

void vpc__bits_free(Vpc *s)
{
    GList *l;

    while ((l = s->lru.head))
        drop(s, bits_of(l));
    if (s->bits)
        g_hash_table_destroy(s->bits);
    g_free(s->full);
}
