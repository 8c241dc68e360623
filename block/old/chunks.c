/* block/old/chunks.c - see chunks.h. Unpacking happens on a thread of the pool and makes no more than the chunk's length. */
#include "block/old/chunks.h"
#include <errno.h>
#include <zlib.h>

void chunks_init(Chunks *c, Node *n)
{
    c->n = n;
    c->list = g_array_new(FALSE, FALSE, sizeof(Chunk));
    g_queue_init(&c->lock.waiters);
}

void chunks_free(Chunks *c)
{
    if (c->list)
        g_array_free(c->list, TRUE);
    g_free(c->bytes);
}

static const Chunk *at(const Chunks *c, guint i) { return &g_array_index(c->list, Chunk, i); }

static gint by_place(gconstpointer a, gconstpointer b)
{
    const Chunk *x = a, *y = b;

    return x->off < y->off ? -1 : x->off > y->off;
}

static bool chunk_ok(const Chunks *c, const Chunk *k, uint64_t end, Error **err)
{
    const char *f = c->n->filename;
    bool packed = k->kind > CHUNK_RAW;

    if (k->off < end || k->len > INT64_MAX - k->off)
        return fail(err, "'%s': two chunks overlap at %" PRIu64, f, k->off);
    if (k->kind != CHUNK_ZERO && !in_range(k->at, k->kind == CHUNK_RAW ? k->len : k->packed, c->n->file->size))
        return fail(err, "'%s': the chunk at %" PRIu64 " lies behind the file's end", f, k->off);
    if (packed && (k->len > CHUNK_MAX || k->packed > CHUNK_MAX))
        return fail(err, "'%s': the chunk at %" PRIu64 " is too large", f, k->off);
    if (k->kind == CHUNK_LZFSE || k->kind == CHUNK_ADC)
        return fail(err, "'%s' is packed by %s, which is not supported", f, k->kind == CHUNK_ADC ? "ADC" : "lzfse");
    if (k->kind == CHUNK_BZIP2 && !chunks_have_bzip2) {
        fail(err, "'%s' is packed by bzip2, which this build lacks", f);
        return error_hint(err, "install libbz2-dev, configure and build again");
    }
    return true;
}

bool chunks_ready(Chunks *c, Error **err)
{
    uint64_t end = 0;

    g_array_sort(c->list, by_place);
    for (guint i = 0; i < c->list->len; i++) {
        if (!chunk_ok(c, at(c, i), end, err))
            return false;
        end = at(c, i)->off + at(c, i)->len;
    }
    return true;
}

/* ---- unpacking ---- */
typedef struct Work {
    const Chunk *k;
    uint8_t *in, *out;
} Work;

static int unpack(void *arg)
{
    const Work *w = arg;
    uLongf made = w->k->len;

    if (w->k->kind == CHUNK_BZIP2)
        return chunks_bzip2(w->in, w->k->packed, w->out, w->k->len) ? 0 : -EIO;
    return uncompress(w->out, &made, w->in, w->k->packed) == Z_OK && made == w->k->len ? 0 : -EIO;
}

static CO_FN int keep(Chunks *c, guint i)
{
    const Chunk *k = at(c, i);
    g_autofree uint8_t *in = NULL;
    Work w = { .k = k };
    int ret;

    if (c->kept == i + 1)
        return 0;
    c->kept = 0;
    g_free(c->bytes);
    c->bytes = g_try_malloc(MAX(k->len, 1));
    in = g_try_malloc(MAX(k->packed, 1));
    if (!c->bytes || !in)
        return -ENOMEM;
    w.in = in;
    w.out = c->bytes;
    ret = blk_read(c->n->file, k->at, in, k->packed);
    if (!ret)
        ret = blk_in_pool(c->n->loop, unpack, &w);
    c->kept = ret ? 0 : i + 1;
    return ret;
}

/* ---- requests ---- */
/* The first that ends behind `off`. */
static guint find(const Chunks *c, uint64_t off)
{
    guint lo = 0, hi = c->list->len;

    while (lo < hi) {
        guint mid = lo + (hi - lo) / 2;

        if (at(c, mid)->off + at(c, mid)->len <= off)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Bytes alike from `off` on; *i: the chunk, its list's length: a hole. */
static uint64_t piece(const Chunks *c, uint64_t off, uint64_t len, guint *i)
{
    *i = find(c, off);
    if (*i == c->list->len)
        return len;
    if (at(c, *i)->off > off) {
        len = MIN(len, at(c, *i)->off - off);
        *i = c->list->len;
        return len;
    }
    return MIN(len, at(c, *i)->off + at(c, *i)->len - off);
}

static CO_FN int read_packed(Chunks *c, guint i, uint64_t off, const struct iovec *iov, int niov, uint64_t len)
{
    int ret;

    co_lock(&c->lock);
    ret = keep(c, i);
    if (!ret)
        iov_scatter(iov, niov, 0, c->bytes + (off - at(c, i)->off), len);
    co_unlock(&c->lock);
    return ret;
}

static CO_FN int read_all(Chunks *c, const BlkReq *r)
{
    g_autofree struct iovec *iov = g_new(struct iovec, MAX(r->niov, 1));
    int ret = 0;

    for (uint64_t done = 0, len; done < r->len && !ret; done += len) {
        uint64_t off = r->off + done;
        guint i;
        int niov;

        len = piece(c, off, r->len - done, &i);
        niov = iov_slice(r->iov, r->niov, done, len, iov);
        if (i == c->list->len || at(c, i)->kind == CHUNK_ZERO)
            iov_zero(iov, niov, 0, len);
        else if (at(c, i)->kind == CHUNK_RAW)
            ret = blk_submit(c->n->file, &(BlkReq){ .op = BLK_READ, .off = at(c, i)->at + (off - at(c, i)->off), .len = len, .iov = iov, .niov = niov });
        else
            ret = read_packed(c, i, off, iov, niov, len);
    }
    return ret;
}

CO_FN int chunks_submit(Chunks *c, BlkReq *r)
{
    return r->op == BLK_READ ? read_all(c, r) : r->op == BLK_FLUSH ? 0 : -ENOTSUP;
}
