/* block/vpc/bitmap.c - which sectors of a block an image has. */
#include "block/vpc/vpc.h"
#include <errno.h>

enum { CACHED = 4096 };

void vpc__bits_init(Vpc *s)
{
    block_cache_init(&s->bits, (unsigned)s->bitmap_bytes, CACHED);
    if (s->f.type == VPC_DYNAMIC)
        s->full = g_malloc0(s->h.entries / 8 + 1);
}

void vpc__bits_free(Vpc *s)
{
    block_cache_free(&s->bits);
    g_free(s->full);
}

CO_FN int vpc__bits_get(Vpc *s, uint64_t block, BlockChunk **out)
{
    return block_cache_get(&s->bits, block, s->b.n->file, vpc__bits_at(s, block), out);
}

void vpc__bits_new(Vpc *s, uint64_t block)
{
    BlockChunk *v = block_cache_new(&s->bits, block, s->b.n->file, vpc__bits_at(s, block));

    if (s->full) {
        memset(v->bytes, 0xff, s->bitmap_bytes);
        s->full[block / 8] |= (uint8_t)(1 << (block % 8));
    }
    block_cache_dirty(&s->bits, v);
}

CO_FN int vpc__bits_set(Vpc *s, uint64_t block, uint64_t lo, uint64_t hi)
{
    BlockChunk *v;
    int ret = vpc__bits_get(s, block, &v);

    if (ret)
        return ret;
    for (uint64_t i = lo / 512; i < hi / 512; i++)
        v->bytes[i / 8] |= (uint8_t)(0x80 >> (i % 8));
    block_cache_dirty(&s->bits, v);
    return 0;
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
        BlockChunk *v;

        if (vpc__entry(s, i) == VPC_NONE || s->full[i / 8] >> (i % 8) & 1)
            continue;
        co_lock(&s->b.lock);
        ret = vpc__bits_get(s, i, &v);
        if (!ret && !all_ones(v->bytes, s->bitmap_bytes)) {
            memset(v->bytes, 0xff, s->bitmap_bytes);
            block_cache_dirty(&s->bits, v);
            s->b.dirty = true;
        }
        if (!ret)
            s->full[i / 8] |= (uint8_t)(1 << (i % 8));
        if (!ret && block_cache_is_full(&s->bits))
            ret = blocks_writeback(s->b.n);
        co_unlock(&s->b.lock);
    }
    return ret;
}
