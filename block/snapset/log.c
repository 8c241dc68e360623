/*
 * block/snapset/log.c - the file `index`: two heads, of which the valid one with the higher generation counts, and the log
 * that it leads to. Each record carries a checksum over the one before it, too, so that what a power cut left behind the
 * end is never taken for a part of it. A new generation is written elsewhere in the file before its head.
 *
 *   head (at 0 and 4096)  "MENUSNAP" u32 version | u32 cluster | u64 generation | u64 start of its log | u32 CRC-32
 *   alive (at 1024)       u64 real time | u32 which boot of the host | u32 CRC-32
 *   record                u32 CRC-32 of the rest and the record before | u32 length | u8 kind | bytes
 */
#include "block/snapset/priv.h"
#include <errno.h>
#include <zlib.h>

enum { VERSION = 1, HEAD = 36, HEADS = 4096, ALIVE_AT = 1024, ALIVE = 16, LOG_FIRST = 8192, RECORD = 9, READ_STEP = 256 * KiB };
#define MAGIC       "MENUSNAP"
#define COMPACT_MIN (1 * MiB)
static uint32_t crc(uint32_t before, const void *p, size_t n) { return (uint32_t)crc32_z(before, p, n); }

/* ---- heads ---- */
static int write_head(SnapSet *s)
{
    uint8_t b[512] = { 0 };

    memcpy(b, MAGIC, 8);
    le32_store(b + 8, VERSION);
    le32_store(b + 12, CLUSTER);
    le64_store(b + 16, s->gen);
    le64_store(b + 24, s->start);
    le32_store(b + 32, crc(0, b, 32));
    return blk_write(s->index, s->gen % 2 * HEADS, b, sizeof(b));
}

typedef enum Found { FOUND_NOTHING, FOUND_BAD, FOUND_OLDER, FOUND } Found;

static CO_FN Found read_head(SnapSet *s, uint64_t at, Error **err)
{
    static const uint8_t zero[HEAD];
    uint8_t b[HEAD];
    int ret = blk_read(s->index, at, b, sizeof(b));

    if (ret) {
        fail_errno_is(err, -ret, "cannot read the index of the snapshots");
        return FOUND_BAD;
    }
    if (!memcmp(b, zero, HEAD))
        return FOUND_NOTHING;
    if (memcmp(b, MAGIC, 8) || le32_load(b + 32) != crc(0, b, 32))
        return FOUND_BAD;
    if (le32_load(b + 8) != VERSION || le32_load(b + 12) != CLUSTER) {
        fail(err, "the snapshots have version %u, this program reads version %u", le32_load(b + 8), VERSION);
        return FOUND_BAD;
    }
    if (le64_load(b + 16) < s->gen)
        return FOUND_OLDER;
    s->gen = le64_load(b + 16);
    s->start = le64_load(b + 24);
    return FOUND;
}

/* ---- alive ---- */
uint32_t set__boot(void)
{
    g_autofree char *text = NULL;

    return g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL) ? crc(0, text, strlen(text)) : 0;
}

CO_FN int set__alive(SnapSet *s)
{
    uint8_t b[ALIVE];

    le64_store(b, s->alive_ns);
    le32_store(b + 8, set__boot());
    le32_store(b + 12, crc(0, b, 12));
    return blk_write(s->index, ALIVE_AT, b, sizeof(b));
}

static CO_FN void read_alive(SnapSet *s)
{
    uint8_t b[ALIVE];

    if (blk_read(s->index, ALIVE_AT, b, sizeof(b)) || le32_load(b + 12) != crc(0, b, 12))
        return;
    s->found_alive_ns = le64_load(b);
    s->found_boot = le32_load(b + 8);
}

/* ---- records ---- */
static uint32_t first_chain(const SnapSet *s)
{
    uint8_t b[8];

    le64_store(b, s->gen);
    return crc(0, b, 8);
}

static void add_record(SnapSet *s, uint8_t kind, const GByteArray *payload)
{
    uint8_t b[RECORD];

    le32_store(b + 4, payload->len);
    b[8] = kind;
    s->chain = crc(crc(s->chain, b + 4, 5), payload->data, payload->len);
    le32_store(b, s->chain);
    g_byte_array_append(s->pending, b, RECORD);
    g_byte_array_append(s->pending, payload->data, payload->len);
}

void set__record(SnapSet *s, uint8_t kind, const GByteArray *payload)
{
    StateIn in = { .p = payload->data, .n = payload->len };
    bool ok = set__apply(s, kind, &in);

    g_assert(ok);
    add_record(s, kind, payload);
    s->made++;
}

/* The old contents that the records speak of first. */
static CO_FN int write_pending(SnapSet *s)
{
    guint n = s->pending->len;
    g_autofree uint8_t *copy = g_memdup2(s->pending->data, n);
    uint64_t upto = s->made;
    int ret = blk_flush(s->blocks);

    if (!ret)
        ret = blk_write(s->index, s->at, copy, n);
    if (!ret)
        ret = blk_flush(s->index);
    if (ret)
        return ret;
    s->at += n;
    s->high = MAX(s->high, s->at);
    s->durable = upto;
    g_byte_array_remove_range(s->pending, 0, n);
    return 0;
}

/* Elsewhere than the log in use, and than what an attempt before left: until the new head is durable, either may count. */
static CO_FN int new_generation(SnapSet *s)
{
    uint64_t upto = s->made, durable = s->durable;
    int ret;

    g_byte_array_set_size(s->pending, 0);
    s->gen++;
    s->chain = first_chain(s);
    set__dump(s, add_record);
    s->at = !s->renew && (!s->start || LOG_FIRST + s->pending->len <= s->start) ? LOG_FIRST : align_up(MAX(s->high, LOG_FIRST), HEADS);
    s->renew = true;
    s->start = s->at;
    ret = write_pending(s);
    s->durable = durable; /* not before its head is */
    if (!ret)
        ret = write_head(s);
    if (!ret)
        ret = blk_flush(s->index);
    if (ret)
        return ret;
    s->renew = false;
    s->durable = upto;
    if (s->at < s->high)
        blk_truncate(s->index, align_up(s->at, 512), 0); /* what does not go stays as it is */
    s->high = s->at;
    return 0;
}

CO_FN int set__commit(SnapSet *s)
{
    uint64_t want = s->made;
    int ret = 0;

    while ((s->durable < want || s->renew) && !ret) { /* the first writes what others made meanwhile, too */
        co_lock(&s->commit);
        if (s->renew)
            ret = new_generation(s);
        else if (s->durable < want)
            ret = write_pending(s);
        co_unlock(&s->commit);
    }
    return ret;
}

CO_FN int set__compact(SnapSet *s)
{
    int ret = 0;

    co_lock(&s->commit);
    if (s->at - s->start > COMPACT_MIN)
        ret = new_generation(s);
    co_unlock(&s->commit);
    return ret;
}

/* ---- reading ---- */
typedef struct Reader {
    SnapSet *s;
    GByteArray *buf; /* from `at` on */
    uint64_t at;
    int ret;
} Reader;

static CO_FN bool have(Reader *r, uint64_t n)
{
    while (r->buf->len < n && !r->ret) { /* ends: a record has at most RECORD_MAX bytes */
        guint was = r->buf->len;
        uint64_t from = r->at + was, left = from < r->s->index->size ? r->s->index->size - from : 0;
        guint more = (guint)MIN(left, READ_STEP);

        if (!more)
            return false;
        g_byte_array_set_size(r->buf, was + more);
        r->ret = blk_read(r->s->index, from, r->buf->data + was, more);
    }
    return !r->ret;
}

/* One record; false: the log ends here. */
static CO_FN bool next(Reader *r, uint8_t *kind, GByteArray *payload)
{
    uint32_t len;

    if (!have(r, RECORD))
        return false;
    len = le32_load(r->buf->data + 4);
    *kind = r->buf->data[8];
    if (len > RECORD_MAX || !have(r, RECORD + (uint64_t)len) ||
        crc(crc(r->s->chain, r->buf->data + 4, 5), r->buf->data + RECORD, len) != le32_load(r->buf->data))
        return false;
    r->s->chain = le32_load(r->buf->data);
    g_byte_array_set_size(payload, 0);
    g_byte_array_append(payload, r->buf->data + RECORD, len);
    g_byte_array_remove_range(r->buf, 0, RECORD + len);
    r->at += RECORD + len;
    return true;
}

static CO_FN bool replay(SnapSet *s, Error **err)
{
    Reader r = { s, g_byte_array_new(), s->start, 0 };
    GByteArray *payload = g_byte_array_new();
    uint64_t n = 0;
    bool sane = true;
    uint8_t kind;

    s->chain = first_chain(s);
    while (sane && next(&r, &kind, payload)) {
        StateIn in = { .p = payload->data, .n = payload->len };

        sane = set__apply(s, kind, &in);
        n++;
    }
    s->at = s->high = r.at;
    g_byte_array_unref(r.buf);
    g_byte_array_unref(payload);
    if (r.ret)
        return fail_errno_is(err, -r.ret, "cannot read the index of the snapshots");
    if (!sane || !n)
        return fail(err, "the index of the snapshots is damaged in record %" PRIu64, n);
    return true;
}

CO_FN bool set__log_open(SnapSet *s, Error **err)
{
    Error *why = NULL;
    Found a = read_head(s, 0, &why), b = why ? FOUND_BAD : read_head(s, HEADS, &why);
    int ret;

    if (why)
        return error_pass(err, why);
    if (a != FOUND && b != FOUND && (a != FOUND_NOTHING || b != FOUND_NOTHING))
        return fail(err, "the index of the snapshots is damaged, or of something else");
    read_alive(s);
    if ((a == FOUND || b == FOUND) && !replay(s, err))
        return false;
    set__count(s);
    ret = new_generation(s);
    return !ret || fail_errno_is(err, -ret, "cannot write the index of the snapshots");
}
