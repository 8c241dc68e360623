/* block/vhdx/log.c - the log: finding the active sequence and putting it in place; writing pages of the BAT by it. */
#include "block/vhdx/vhdx.h"
#include <errno.h>

enum { ENTRY_HEAD = 64, DESCRIPTOR = 32, PAGES_AT_ONCE = 126 /* whose descriptors fit the first sector */, LEADING = 8, TRAILING = 4 };
/* Where an entry has what. */
enum { LENGTH_AT = 8, TAIL_AT = 12, SEQUENCE_AT = 16, COUNT_AT = 24, GUID_AT = 32, FLUSHED_AT = 48, LAST_AT = 56 };

/* ---- what is in the log ---- */
typedef struct Log {
    Vhdx *s;
    uint8_t *ring;   /* all of it, twice, so that an entry that wraps is in one piece */
    uint64_t len;
} Log;
typedef struct Sequence { /* entries in a row */
    uint64_t at, len, last; /* where; the offset of the last entry */
    uint64_t number;        /* of the last entry */
} Sequence;

static uint64_t sectors_of_descriptors(uint32_t count) { return (ENTRY_HEAD + (uint64_t)count * DESCRIPTOR + VHDX_PAGE - 1) / VHDX_PAGE; }

static bool data_ok(const uint8_t *p, uint64_t number)
{
    return !memcmp(p, "data", 4) && le32_load(p + 4) == number >> 32 && le32_load(p + VHDX_PAGE - 4) == (uint32_t)number;
}

static bool descriptors_ok(const uint8_t *e, uint32_t count, uint64_t len)
{
    const uint8_t *data = e + sectors_of_descriptors(count) * VHDX_PAGE;
    uint64_t number = le64_load(e + SEQUENCE_AT);

    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *d = e + ENTRY_HEAD + i * DESCRIPTOR;
        bool is_data = !memcmp(d, "desc", 4);

        if ((!is_data && memcmp(d, "zero", 4)) || le64_load(d + 24) != number || le64_load(d + 16) % VHDX_PAGE)
            return false;
        if (!is_data)
            continue;
        if (data + VHDX_PAGE > e + len || !data_ok(data, number))
            return false;
        data += VHDX_PAGE;
    }
    return true;
}

/* The entry at `at`, if there is a whole and valid one; its length in *len. */
static const uint8_t *entry_at(const Log *l, uint64_t at, uint64_t *len)
{
    const uint8_t *e = l->ring + at;
    uint32_t count = le32_load(e + COUNT_AT);

    *len = le32_load(e + LENGTH_AT);
    if (memcmp(e, "loge", 4) || *len % VHDX_PAGE || !*len || *len > l->len || !le64_load(e + SEQUENCE_AT))
        return NULL;
    if (memcmp(e + GUID_AT, l->s->h.log, VHDX_GUID) || le32_load(e + TAIL_AT) % VHDX_PAGE || le32_load(e + TAIL_AT) >= l->len)
        return NULL;
    if (sectors_of_descriptors(count) * VHDX_PAGE > *len || le32_load(e + VHDX_SUM_AT) != vhdx__sum(e, *len))
        return NULL;
    return descriptors_ok(e, count, *len) ? e : NULL;
}

/* All entries from `at` on that follow each other. */
static Sequence sequence_at(const Log *l, uint64_t at)
{
    Sequence q = { .at = at };
    const uint8_t *e;
    uint64_t len;

    while (q.len < l->len && (e = entry_at(l, (at + q.len) % l->len, &len)) && q.len + len <= l->len) {
        if (q.len && le64_load(e + SEQUENCE_AT) != q.number + 1)
            break;
        q.number = le64_load(e + SEQUENCE_AT);
        q.last = (at + q.len) % l->len;
        q.len += len;
    }
    return q;
}

/* The tail that the last entry names lies in the sequence: what must be replayed is all there. */
static bool is_whole(const Log *l, const Sequence *q)
{
    uint64_t tail = le32_load(l->ring + q->last + TAIL_AT);

    return q->len && (tail + l->len - q->at) % l->len < q->len;
}

static Sequence find_active(const Log *l)
{
    Sequence best = { 0 };

    for (uint64_t at = 0; at < l->len;) {
        Sequence q = sequence_at(l, at);

        if (is_whole(l, &q) && q.number > best.number)
            best = q;
        at += q.len ? q.len : VHDX_PAGE;
    }
    return best;
}

/* ---- replay ---- */
static CO_FN int put_in_place(Vhdx *s, const uint8_t *d, const uint8_t *data, uint64_t end)
{
    uint64_t at = le64_load(d + 16), len = le64_load(d + 8);
    uint8_t page[VHDX_PAGE];

    if (!data) {
        if (!in_range(at, len, end))
            return -EINVAL;
        return blk_zero(s->b.n->file, at, len, BLK_MAY_UNMAP);
    }
    if (!in_range(at, VHDX_PAGE, end))
        return -EINVAL;
    memcpy(page, data, VHDX_PAGE);
    memcpy(page, d + 8, LEADING);
    memcpy(page + VHDX_PAGE - TRAILING, d + 4, TRAILING);
    return blk_write(s->b.n->file, at, page, VHDX_PAGE);
}

static CO_FN int replay_entry(Vhdx *s, const uint8_t *e)
{
    uint32_t count = le32_load(e + COUNT_AT);
    const uint8_t *data = e + sectors_of_descriptors(count) * VHDX_PAGE;
    uint64_t flushed = le64_load(e + FLUSHED_AT), last = le64_load(e + LAST_AT);
    Node *file = s->b.n->file;
    int ret = 0;

    if (flushed > file->size || last > VHDX_FILE_MAX)
        return -EINVAL; /* the file was cut */
    if (last > file->size)
        ret = blk_truncate(file, last, 0);
    for (uint32_t i = 0; i < count && !ret; i++) {
        const uint8_t *d = e + ENTRY_HEAD + i * DESCRIPTOR;
        bool is_data = !memcmp(d, "desc", 4);

        ret = put_in_place(s, d, is_data ? data : NULL, MAX(last, file->size));
        data += is_data ? VHDX_PAGE : 0;
    }
    return ret;
}

static CO_FN int replay_sequence(const Log *l, const Sequence *q)
{
    uint64_t tail = le32_load(l->ring + q->last + TAIL_AT), len;
    int ret = 0;

    for (uint64_t done = (tail + l->len - q->at) % l->len; done < q->len && !ret; done += len) {
        const uint8_t *e = entry_at(l, (q->at + done) % l->len, &len);

        ret = e ? replay_entry(l->s, e) : -EINVAL; /* a tail within an entry */
    }
    return ret;
}

CO_FN bool vhdx__replay(Vhdx *s, Error **err)
{
    Node *n = s->b.n;
    Log l = { .s = s, .len = s->h.log_len };
    g_autofree uint8_t *ring = l.ring = g_try_malloc(2 * l.len);
    int ret = ring ? blk_read(n->file, s->h.log_at, ring, l.len) : -ENOMEM;
    Sequence q;

    if (ret)
        return fail_errno_is(err, -ret, "cannot read the log of '%s'", n->filename);
    memcpy(ring + l.len, ring, l.len);
    q = find_active(&l);
    if (q.len && n->readonly) {
        fail(err, "'%s' was not closed: its log must be replayed, but it is opened read-only", n->filename);
        return error_hint(err, "menura-img check -r all '%s'", n->filename);
    }
    if (n->readonly)
        return true;
    ret = q.len ? replay_sequence(&l, &q) : 0;
    if (!ret)
        ret = blk_flush(n->file);
    if (!ret) {
        memset(s->h.log, 0, VHDX_GUID);
        ret = vhdx__write_header(s);
    }
    s->replayed = q.len;
    return !ret || fail_errno_is(err, -ret, "cannot replay the log of '%s'", n->filename);
}

/* ---- writing ---- */
static void fill_page(uint8_t *d, uint8_t *data, const uint8_t *page, uint64_t at, uint64_t number)
{
    memcpy(d, "desc", 4);
    memcpy(d + 4, page + VHDX_PAGE - TRAILING, TRAILING);
    memcpy(d + 8, page, LEADING);
    le64_store(d + 16, at);
    le64_store(d + 24, number);
    memcpy(data, page, VHDX_PAGE);
    memcpy(data, "data", 4);
    le32_store(data + 4, (uint32_t)(number >> 32));
    le32_store(data + VHDX_PAGE - 4, (uint32_t)number);
}

static void fill_entry(Vhdx *s, uint8_t *e, const uint64_t *pages, unsigned count)
{
    uint64_t len = (1 + count) * (uint64_t)VHDX_PAGE, size = s->b.n->file->size;

    memcpy(e, "loge", 4);
    le32_store(e + LENGTH_AT, (uint32_t)len);
    le32_store(e + TAIL_AT, (uint32_t)s->log_next);
    le64_store(e + SEQUENCE_AT, s->log_sequence);
    le32_store(e + COUNT_AT, count);
    memcpy(e + GUID_AT, s->h.log, VHDX_GUID);
    le64_store(e + FLUSHED_AT, size);
    le64_store(e + LAST_AT, size);
    for (unsigned i = 0; i < count; i++)
        fill_page(e + ENTRY_HEAD + i * DESCRIPTOR, e + (1 + i) * VHDX_PAGE, s->bat.bytes + pages[i] * VHDX_PAGE,
                  s->bat.at + pages[i] * VHDX_PAGE, s->log_sequence);
    le32_store(e + VHDX_SUM_AT, vhdx__sum(e, len));
}

/* Some pages: into the log, sync, in place, sync. The log is empty then, though nobody says so. */
static CO_FN int write_pages(Vhdx *s, const uint64_t *pages, unsigned count)
{
    uint64_t len = (1 + count) * (uint64_t)VHDX_PAGE;
    g_autofree uint8_t *e = g_try_malloc0(len);
    Node *file = s->b.n->file;
    int ret;

    if (!e)
        return -ENOMEM;
    if (s->log_next + len > s->h.log_len)
        s->log_next = 0; /* a new one does not touch the one before: both fit */
    fill_entry(s, e, pages, count);
    ret = blk_write(file, s->h.log_at + s->log_next, e, len);
    if (!ret)
        ret = blk_flush(file);
    if (ret)
        return ret;
    s->log_next += len;
    s->log_sequence++;
    for (unsigned i = 0; i < count && !ret; i++)
        ret = blk_write(file, s->bat.at + pages[i] * VHDX_PAGE, s->bat.bytes + pages[i] * VHDX_PAGE, VHDX_PAGE);
    return ret ? ret : blk_flush(file);
}

CO_FN int vhdx__write_bat(Vhdx *s)
{
    BlockTable *t = &s->bat;
    uint64_t pages[PAGES_AT_ONCE];
    unsigned count = 0;
    int ret = 0;

    for (uint64_t i = 0; i * VHDX_PAGE < t->len && t->ndirty && !ret; i++) {
        if (t->dirty[i / 8] >> (i % 8) & 1)
            pages[count++] = i;
        if (count < PAGES_AT_ONCE && count < t->ndirty)
            continue;
        ret = write_pages(s, pages, count);
        for (unsigned k = 0; k < count && !ret; k++) {
            t->dirty[pages[k] / 8] &= (uint8_t)~(1 << (pages[k] % 8));
            t->ndirty--;
        }
        count = 0;
    }
    return ret;
}
