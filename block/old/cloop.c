/*
 * block/old/cloop.c - driver "cloop", the compressed loop device's images of version 2: a script of 128 bytes, the block size,
 * the number of blocks, where each begins (and the last one ends), the blocks, packed by zlib. Read only.
 */
#include "block/old/chunks.h"
#include <errno.h>

enum { SCRIPT = 128, TABLE = 136, BLOCK_MAX = 64 << 20 };
static const char magic[] = "#!/bin/sh\n#V2.0 Format\n";
typedef struct Cloop {
    Chunks c;
} Cloop;

static int cloop_probe(const uint8_t *head, size_t n) { return n >= TABLE && !memcmp(head, magic, sizeof(magic) - 1) ? 2 : 0; }

static CO_FN bool read_table(Node *n, uint64_t block, uint64_t count, Error **err)
{
    Cloop *s = n->opaque;
    g_autofree uint8_t *t = g_try_malloc((count + 1) * 8);
    int ret = t ? blk_read(n->file, TABLE, t, (count + 1) * 8) : -ENOMEM;

    if (ret)
        return fail_errno_is(err, -ret, "cannot read the table of '%s'", n->filename);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t from = be64_load(t + i * 8), to = be64_load(t + i * 8 + 8);
        Chunk k = { i * block, block, from, to - from, CHUNK_ZLIB };

        if (to < from)
            return fail(err, "'%s': offsets not monotonically increasing at index %" PRIu64 ", image file is corrupt", n->filename, i + 1);
        g_array_append_val(s->c.list, k);
    }
    return true;
}

static CO_FN bool open_steps(Node *n, Error **err)
{
    Cloop *s = n->opaque;
    uint8_t head[TABLE] = { 0 };
    uint64_t block, count;
    int ret = n->file->size >= TABLE ? blk_read(n->file, 0, head, sizeof(head)) : 0;

    if (ret)
        return fail_errno_is(err, -ret, "cannot read the header of '%s'", n->filename);
    block = be32_load(head + SCRIPT);
    count = be32_load(head + SCRIPT + 4);
    if (!block || block % 512 || block > BLOCK_MAX)
        return fail(err, "'%s': block_size %" PRIu64 " must be a multiple of 512 up to 64 MB", n->filename, block);
    if (count > CHUNKS_MAX || !in_range(TABLE, (count + 1) * 8, n->file->size))
        return fail(err, "'%s': the table of %" PRIu64 " blocks is too large", n->filename, count);
    n->size = block * count;
    return read_table(n, block, count, err) && chunks_ready(&s->c, err);
}

static void cloop_close(Node *n)
{
    Cloop *s = n->opaque;

    chunks_free(&s->c);
}

static CO_FN bool cloop_open(Node *n, Opts *o, Error **err)
{
    Cloop *s = n->opaque;

    if (!n->readonly && !n->auto_readonly) {
        fail(err, "'%s': cloop images are only read", n->filename);
        return error_hint(err, "readonly=on or snapshot=on");
    }
    n->readonly = true;
    chunks_init(&s->c, n);
    if (open_steps(n, err))
        return true;
    cloop_close(n);
    return false;
}

static CO_FN int cloop_submit(Node *n, BlkReq *r)
{
    Cloop *s = n->opaque;

    return chunks_submit(&s->c, r);
}

static void cloop_limits(Node *n, BlkLimits *out) { out->max_iov = 1 << 20; }

static const BlkDriver cloop = { .name = "cloop", .size = sizeof(Cloop), .probe = cloop_probe, .open = cloop_open, .close = cloop_close,
                                 .submit = cloop_submit, .limits = cloop_limits };
BLK_DRIVER(cloop);
