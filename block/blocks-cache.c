/* block/blocks-cache.c - see blocks.h: pieces of tables in memory, as many as `max`. */
#include "block/blocks.h"
#include <errno.h>

static BlockChunk *chunk_of(GList *l) { return l->data; }

void block_cache_init(BlockCache *c, unsigned size, unsigned max)
{
    *c = (BlockCache){ .chunks = g_hash_table_new(g_int64_hash, g_int64_equal), .size = size, .max = max };
}

static void drop(BlockCache *c, BlockChunk *v)
{
    g_queue_unlink(&c->lru, &v->link);
    g_hash_table_remove(c->chunks, &v->key);
    g_free(v);
}

void block_cache_free(BlockCache *c)
{
    GList *l;

    while ((l = c->lru.head))
        drop(c, chunk_of(l));
    if (c->chunks)
        g_hash_table_destroy(c->chunks);
    c->chunks = NULL;
}

/* The oldest that need not be written goes; those that must be are few, because drivers write them in time. */
static void make_room(BlockCache *c)
{
    for (GList *l = c->lru.tail; l && c->lru.length >= c->max; l = l->prev) {
        if (!chunk_of(l)->dirty) {
            drop(c, chunk_of(l));
            return;
        }
    }
}

BlockChunk *block_cache_new(BlockCache *c, uint64_t key, Node *file, uint64_t at)
{
    BlockChunk *v = g_malloc0(sizeof(*v) + c->size);

    make_room(c);
    v->key = key;
    v->at = at;
    v->file = file;
    v->link.data = v;
    g_hash_table_insert(c->chunks, &v->key, v);
    g_queue_push_head_link(&c->lru, &v->link);
    return v;
}

static BlockChunk *find(BlockCache *c, uint64_t key)
{
    BlockChunk *v = g_hash_table_lookup(c->chunks, &key);

    if (v && c->lru.head != &v->link) {
        g_queue_unlink(&c->lru, &v->link);
        g_queue_push_head_link(&c->lru, &v->link);
    }
    return v;
}

CO_FN int block_cache_get(BlockCache *c, uint64_t key, Node *file, uint64_t at, BlockChunk **out)
{
    g_autofree uint8_t *bytes = NULL;
    int ret = 0;

    if ((*out = find(c, key)))
        return 0;
    bytes = g_try_malloc(c->size);
    if (!bytes)
        return -ENOMEM;
    co_lock(&c->loading);
    if (!find(c, key)) {
        ret = blk_read(file, at, bytes, c->size);
        if (!ret && !find(c, key)) /* or it was made new meanwhile */
            memcpy(block_cache_new(c, key, file, at)->bytes, bytes, c->size);
    }
    co_unlock(&c->loading);
    if (ret || (*out = find(c, key)))
        return ret;
    return block_cache_get(c, key, file, at, out); /* it was dropped while others had the lock */
}

void block_cache_dirty(BlockCache *c, BlockChunk *v)
{
    c->ndirty += !v->dirty;
    v->dirty = true;
}

static CO_FN int write_chunk(BlockCache *c, const BlockChunk *v)
{
    g_autofree uint8_t *copy = g_memdup2(v->bytes, c->size);
    Node *file = v->file;
    uint64_t at = v->at, mirror = v->mirror;
    int ret = blk_write(file, at, copy, c->size);

    return ret || !mirror ? ret : blk_write(file, mirror, copy, c->size);
}

CO_FN int block_cache_write(BlockCache *c)
{
    g_autoptr(GPtrArray) v = g_ptr_array_new();
    int ret = 0;

    for (GList *l = c->lru.head; l; l = l->next)
        if (chunk_of(l)->dirty)
            g_ptr_array_add(v, chunk_of(l));
    for (guint i = 0; i < v->len && !ret; i++) { /* dirty ones are not dropped, and change under the lock only */
        BlockChunk *e = v->pdata[i];

        ret = write_chunk(c, e);
        if (!ret) {
            e->dirty = false;
            c->ndirty--;
        }
    }
    return ret;
}
