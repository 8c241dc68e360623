/*
 * block/old/dmg.c - driver "dmg", Apple's UDIF: a trailer "koly" at the file's end leads to a property list (or a resource
 * fork) with a table "mish" for each partition, whose rows are chunks of the disk: zeros, plain, zlib, bzip2. Read only. The
 * name must end in .dmg or the driver be named: nothing at the file's start tells. Left out: lzfse, ADC (named in the error).
 */
#include "block/old/chunks.h"
#include <errno.h>

enum { KOLY = 512, KOLY_DATA = 24, KOLY_RSRC = 40, KOLY_RSRC_LEN = 48, KOLY_XML = 216, KOLY_XML_LEN = 224, KOLY_SECTORS = 492, LIST_MAX = 64 << 20,
       MISH_SECTOR = 8, MISH_DATA = 24, MISH_COUNT = 200, MISH_ROWS = 204, ROW = 40, SECTOR = 512,
       SEARCH = 2 * KOLY };
typedef struct Dmg {
    Chunks c;
    uint64_t data; /* where the chunks' places count from */
} Dmg;

static const struct {
    uint32_t type;
    ChunkKind kind;
} kinds[] = { { 0, CHUNK_ZERO }, { 1, CHUNK_RAW }, { 2, CHUNK_ZERO }, { 0x80000004, CHUNK_ADC }, { 0x80000005, CHUNK_ZLIB },
              { 0x80000006, CHUNK_BZIP2 }, { 0x80000007, CHUNK_LZFSE } };

/* ---- tables ---- */
static bool add_row(Dmg *d, const uint8_t *row, uint64_t first, uint64_t data, Error **err)
{
    uint64_t sector = be64_load(row + 8), count = be64_load(row + 16);
    Chunk k = { .at = be64_load(row + 24) + data, .packed = be64_load(row + 32) };
    size_t i = 0;

    while (i < G_N_ELEMENTS(kinds) && kinds[i].type != be32_load(row))
        i++;
    if (i == G_N_ELEMENTS(kinds) || !count) /* comments, the end, what is not known */
        return true;
    if (!in_range(sector, count, INT64_MAX / SECTOR) || first > INT64_MAX / SECTOR - sector - count)
        return fail(err, "'%s': a chunk lies behind the largest disk", d->c.n->filename);
    if (d->c.list->len >= CHUNKS_MAX)
        return fail(err, "'%s' has too many chunks", d->c.n->filename);
    k.off = (first + sector) * SECTOR;
    k.len = count * SECTOR;
    k.kind = kinds[i].kind;
    g_array_append_val(d->c.list, k);
    return true;
}

static bool add_table(Dmg *d, const uint8_t *p, size_t n, Error **err)
{
    uint64_t rows = n >= MISH_ROWS ? be32_load(p + MISH_COUNT) : 0, data;

    if (n < MISH_ROWS || memcmp(p, "mish", 4))
        return true; /* other resources */
    if (rows > (n - MISH_ROWS) / ROW)
        return fail(err, "'%s': a table of chunks is too short", d->c.n->filename);
    data = d->data + be64_load(p + MISH_DATA);
    for (uint64_t i = 0; i < rows; i++)
        if (!add_row(d, p + MISH_ROWS + i * ROW, be64_load(p + MISH_SECTOR), data, err))
            return false;
    return true;
}

static CO_FN uint8_t *load(Node *n, uint64_t at, uint64_t len, Error **err)
{
    uint8_t *p;
    int ret;

    if (!len || len > LIST_MAX || !in_range(at, len, n->file->size)) {
        fail(err, "'%s': the list of chunks is too large or lies behind the file's end", n->filename);
        return NULL;
    }
    p = g_try_malloc(len + 1);
    ret = p ? blk_read(n->file, at, p, len) : -ENOMEM;
    if (!ret) {
        p[len] = 0;
        return p;
    }
    g_free(p);
    fail_errno_is(err, -ret, "cannot read the list of chunks of '%s'", n->filename);
    return NULL;
}

/* Every <data> of the property list, in base64. */
static bool from_xml(Dmg *d, char *xml, Error **err)
{
    char *p = xml, *end;

    while ((p = strstr(p, "<data>")) && (end = strstr(p, "</data>"))) {
        gsize n = 0;
        g_autofree uint8_t *table = NULL;

        *end = 0;
        table = g_base64_decode(p + strlen("<data>"), &n);
        if (!add_table(d, table, n, err))
            return false;
        p = end + 1;
    }
    return true;
}

/* Its data: each resource is its length and its bytes. */
static bool from_fork(Dmg *d, const uint8_t *p, uint64_t n, Error **err)
{
    uint64_t at = n >= 16 ? be32_load(p) : 0, end = n >= 16 ? at + be32_load(p + 8) : 0;

    if (!at || end > n)
        return fail(err, "'%s': the resource fork is wrong", d->c.n->filename);
    while (at + 4 <= end) { /* each takes 4 bytes at least */
        uint64_t len = be32_load(p + at);

        if (!in_range(at + 4, len, end))
            return fail(err, "'%s': the resource fork is wrong", d->c.n->filename);
        if (!add_table(d, p + at + 4, len, err))
            return false;
        at += 4 + len;
    }
    return true;
}

/* ---- opening ---- */
/* The file may end between sectors: the trailer is looked for in the last two. */
static CO_FN bool find_trailer(Node *n, uint8_t out[KOLY], Error **err)
{
    uint64_t len = MIN(SEARCH, n->file->size);
    uint8_t end[SEARCH] = { 0 };
    int ret = blk_read(n->file, n->file->size - len, end, len);

    if (ret)
        return fail_errno_is(err, -ret, "cannot read the end of '%s'", n->filename);
    for (uint64_t i = len < KOLY ? 0 : len - KOLY + 1; i-- > 0;) {
        if (be32_load(end + i) == 0x6b6f6c79 && be32_load(end + i + 4) == 4 && be32_load(end + i + 8) == KOLY) {
            memcpy(out, end + i, KOLY);
            return true;
        }
    }
    return fail(err, "'%s' is no dmg image: it has no trailer", n->filename);
}

static CO_FN bool open_steps(Node *n, Error **err)
{
    Dmg *d = n->opaque;
    uint8_t koly[KOLY] = { 0 };
    g_autofree uint8_t *list = NULL;
    const Chunk *last;
    uint64_t len;

    if (!find_trailer(n, koly, err))
        return false;
    d->data = be64_load(koly + KOLY_DATA);
    len = be64_load(koly + KOLY_RSRC_LEN);
    if (len) {
        list = load(n, be64_load(koly + KOLY_RSRC), len, err);
        if (!list || !from_fork(d, list, len, err))
            return false;
    } else {
        list = load(n, be64_load(koly + KOLY_XML), be64_load(koly + KOLY_XML_LEN), err);
        if (!list || !from_xml(d, (char *)list, err))
            return false;
    }
    if (!d->c.list->len)
        return fail(err, "'%s' has no chunks", n->filename);
    if (!chunks_ready(&d->c, err))
        return false;
    last = &g_array_index(d->c.list, Chunk, d->c.list->len - 1);
    n->size = last->off + last->len;
    return true;
}

static void dmg_close(Node *n)
{
    Dmg *d = n->opaque;

    chunks_free(&d->c);
}

static CO_FN bool dmg_open(Node *n, Opts *o, Error **err)
{
    Dmg *d = n->opaque;

    if (!n->readonly && !n->auto_readonly) {
        fail(err, "'%s': dmg images are only read", n->filename);
        return error_hint(err, "readonly=on or snapshot=on");
    }
    n->readonly = true;
    chunks_init(&d->c, n);
    if (open_steps(n, err))
        return true;
    dmg_close(n);
    return false;
}

static CO_FN int dmg_submit(Node *n, BlkReq *r)
{
    Dmg *d = n->opaque;

    return chunks_submit(&d->c, r);
}

static void dmg_limits(Node *n, BlkLimits *out) { out->max_iov = 1 << 20; }

static const BlkDriver dmg = { .name = "dmg", .size = sizeof(Dmg), .suffix = ".dmg", .open = dmg_open, .close = dmg_close, .submit = dmg_submit,
                               .limits = dmg_limits };
BLK_DRIVER(dmg);
