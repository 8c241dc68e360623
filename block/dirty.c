/* block/dirty.c - dirty bitmaps in memory: one bit a granule, in words. */
#include "block/dirty.h"
#include "block/image.h"

enum { DEFAULT_MIN = 4096, DEFAULT_MAX = 65536 };
#define BITS_MAX (1ull << 36) /* 8 GiB of memory would be a mistake of somebody's */

static uint64_t words(uint64_t nbits) { return (nbits + 63) / 64; }
static uint64_t bits_of(const DirtyBitmap *b) { return (b->n->size + ones(b->shift)) >> b->shift; }

static uint64_t default_granularity(const Node *n)
{
    BlkNames names = { .cluster_size = 0 };

    if (n->drv->image)
        n->drv->image->names(n, &names);
    return names.cluster_size ? CLAMP(names.cluster_size, DEFAULT_MIN, DEFAULT_MAX) : DEFAULT_MAX;
}

static bool may_be(const Node *n, const char *name, uint64_t granularity, Error **err)
{
    if (name && strlen(name) > DIRTY_NAME_MAX)
        return fail(err, "Bitmap name too long: at most %d bytes", DIRTY_NAME_MAX);
    if (name && dirty_find(n, name))
        return fail(err, "Bitmap already exists: %s", name);
    if (!is_pow2(granularity))
        return fail(err, "Granularity must be power of 2");
    if (granularity < 1u << DIRTY_SHIFT_MIN || granularity > 1u << DIRTY_SHIFT_MAX)
        return fail(err, "Granularity must be at least 512 bytes and at most 2 GiB");
    return true;
}

DirtyBitmap *dirty_new(Node *n, const char *name, uint64_t granularity, Error **err)
{
    DirtyBitmap *b;

    if (!granularity)
        granularity = default_granularity(n);
    if (!may_be(n, name, granularity, err))
        return NULL;
    b = g_new0(DirtyBitmap, 1);
    *b = (DirtyBitmap){ .n = n, .name = g_strdup(name), .shift = (unsigned)__builtin_ctzll(granularity) };
    b->nbits = bits_of(b);
    b->bits = b->nbits <= BITS_MAX ? g_try_new0(uint64_t, words(b->nbits) + 1) : NULL;
    if (!b->bits) {
        g_free(b->name);
        g_free(b);
        fail(err, "no memory for a bitmap of that granularity");
        return NULL;
    }
    if (!n->dirty)
        n->dirty = g_ptr_array_new();
    g_ptr_array_add(n->dirty, b);
    return b;
}

void dirty_free(DirtyBitmap *b)
{
    g_ptr_array_remove(b->n->dirty, b);
    g_free(b->name);
    g_free(b->bits);
    g_free(b);
}

DirtyBitmap *dirty_find(const Node *n, const char *name)
{
    for (guint i = 0; n->dirty && i < n->dirty->len; i++) {
        DirtyBitmap *b = n->dirty->pdata[i];

        if (b->name && !strcmp(b->name, name))
            return b;
    }
    return NULL;
}

static void change(DirtyBitmap *b, uint64_t off, uint64_t len, bool to)
{
    uint64_t at = off >> b->shift, end = len ? MIN(((off + len - 1) >> b->shift) + 1, b->nbits) : at;

    while (at < end) {
        unsigned lo = at % 64, n = (unsigned)MIN(64 - lo, end - at);
        uint64_t mask = ones(n) << lo, old = b->bits[at / 64], now = to ? old | mask : old & ~mask;

        b->bits[at / 64] = now;
        b->count += (uint64_t)__builtin_popcountll(now);
        b->count -= (uint64_t)__builtin_popcountll(old);
        at += n;
    }
}

void dirty_set(DirtyBitmap *b, uint64_t off, uint64_t len) { change(b, off, len, true); }
void dirty_reset(DirtyBitmap *b, uint64_t off, uint64_t len) { change(b, off, len, false); }

bool dirty_get(const DirtyBitmap *b, uint64_t off)
{
    uint64_t i = off >> b->shift;

    return i < b->nbits && (b->bits[i / 64] >> i % 64 & 1);
}

/* The first bit from i on that is `want`, or end. */
static uint64_t scan(const DirtyBitmap *b, uint64_t i, uint64_t end, bool want)
{
    while (i < end) {
        uint64_t w = (want ? b->bits[i / 64] : ~b->bits[i / 64]) & ~ones(i % 64);

        if (w)
            return MIN((i & ~63ull) + (uint64_t)__builtin_ctzll(w), end);
        i = (i & ~63ull) + 64;
    }
    return end;
}

uint64_t dirty_next(const DirtyBitmap *b, uint64_t off)
{
    uint64_t i = scan(b, off >> b->shift, b->nbits, true);

    return i < b->nbits ? MAX(i << b->shift, off) : UINT64_MAX;
}

uint64_t dirty_run(const DirtyBitmap *b, uint64_t off, uint64_t len, bool *dirty)
{
    uint64_t end = MIN(((off + len - 1) >> b->shift) + 1, b->nbits), stop;

    *dirty = dirty_get(b, off);
    stop = scan(b, off >> b->shift, end, !*dirty);
    return stop >= end ? len : MIN(len, (stop << b->shift) - off);
}

void dirty_merge(DirtyBitmap *into, const DirtyBitmap *from)
{
    if (into->shift == from->shift && into->nbits == from->nbits) {
        into->count = 0;
        for (uint64_t i = 0; i < words(into->nbits); i++) {
            into->bits[i] |= from->bits[i];
            into->count += (uint64_t)__builtin_popcountll(into->bits[i]);
        }
        return;
    }
    for (uint64_t i = scan(from, 0, from->nbits, true); i < from->nbits; i = scan(from, i + 1, from->nbits, true))
        dirty_set(into, i << from->shift, dirty_granularity(from));
}

void dirty__written(Node *n, uint64_t off, uint64_t len)
{
    for (guint i = 0; i < n->dirty->len; i++) {
        DirtyBitmap *b = n->dirty->pdata[i];

        if (!b->disabled && !b->inconsistent)
            dirty_set(b, off, len);
    }
}

/* New bits are clean; those that are gone do not count. */
void dirty__resized(Node *n)
{
    for (guint i = 0; n->dirty && i < n->dirty->len; i++) {
        DirtyBitmap *b = n->dirty->pdata[i];
        uint64_t now = bits_of(b), old = b->nbits;

        if (now < old)
            dirty_reset(b, now << b->shift, (old - now) << b->shift);
        b->bits = g_renew(uint64_t, b->bits, words(now) + 1);
        if (words(now) > words(old))
            memset(b->bits + words(old), 0, (words(now) - words(old)) * 8);
        b->nbits = now;
    }
}

void dirty__closed(Node *n)
{
    while (n->dirty && n->dirty->len)
        dirty_free(n->dirty->pdata[n->dirty->len - 1]);
    if (n->dirty)
        g_ptr_array_free(n->dirty, TRUE);
    n->dirty = NULL;
}
