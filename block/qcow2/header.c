/*
 * block/qcow2/header.c - the first cluster: fields, feature bits, extensions, the backing file's name. Everything read
 * is bounded here, so that the other files may trust the geometry.
 */
#include "block/qcow2/qcow2.h"
#include <errno.h>

/* clang-format off */
static const struct {
    uint8_t at, size;
    uint16_t member;
    uint8_t version; /* since */
} fields[] = {
#define FIELD(at, size, name, version) { at, size, offsetof(Header, name), version }
    FIELD(0,   4, magic, 2),             FIELD(4,   4, version, 2),       FIELD(8,   8, backing_offset, 2),
    FIELD(16,  4, backing_len, 2),       FIELD(20,  4, cluster_bits, 2),  FIELD(24,  8, size, 2),
    FIELD(32,  4, crypt, 2),             FIELD(36,  4, l1_len, 2),        FIELD(40,  8, l1_at, 2),
    FIELD(48,  8, reftable_at, 2),       FIELD(56,  4, reftable_clusters, 2), FIELD(60, 4, nsnapshots, 2),
    FIELD(64,  8, snapshots_at, 2),      FIELD(72,  8, incompatible, 3),  FIELD(80,  8, compatible, 3),
    FIELD(88,  8, autoclear, 3),         FIELD(96,  4, refcount_order, 3), FIELD(100, 4, header_len, 3),
    FIELD(104, 1, compression, 3),
};
static const struct { uint8_t type, bit; const char *name; } features[] = {
    { 0, 0, "dirty bit" },           { 0, 1, "corrupt bit" },          { 0, 2, "external data file" },
    { 0, 3, "compression type" },    { 0, 4, "extended L2 entries" },  { 1, 0, "lazy refcounts" },
    { 2, 0, "bitmaps" },             { 2, 1, "raw external data" },
};
/* clang-format on */
enum { V2_LEN = 72, V3_LEN = 104, OUR_LEN = 112, FEATURE_ROW = 48,
       KNOWN_INCOMPAT = INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_DATA_FILE | INCOMPAT_COMPRESSION | INCOMPAT_EXT_L2 };

static uint64_t *member(Header *h, size_t i) { return (uint64_t *)((char *)h + fields[i].member); }

static void parse(Header *h, const uint8_t *p)
{
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
        bool there = fields[i].version <= h->version && (fields[i].at < V3_LEN || fields[i].at < h->header_len);

        *member(h, i) = there ? be_load(p + fields[i].at, fields[i].size) : 0;
    }
    if (h->version < 3) {
        h->refcount_order = 4;
        h->header_len = V2_LEN;
    }
}

void qcow2__geometry(Qcow2 *s)
{
    s->cluster_bits = (unsigned)s->h.cluster_bits;
    s->cluster = 1ull << s->cluster_bits;
    s->nsub = s->h.incompatible & INCOMPAT_EXT_L2 ? 32 : 1;
    s->sub_bits = s->cluster_bits - (s->nsub == 32 ? 5 : 0);
    s->l2_entry = s->nsub == 32 ? 16 : 8;
    s->l2_bits = s->cluster_bits - (s->nsub == 32 ? 4 : 3);
    s->refcount_bits = 1u << s->h.refcount_order;
    s->refblock_bits = s->cluster_bits + 3 - (unsigned)s->h.refcount_order;
    s->refcount_max = s->refcount_bits == 64 ? INT64_MAX : ones(s->refcount_bits);
    s->reftable_len = s->h.reftable_clusters << (s->cluster_bits - 3);
    s->data_raw = s->h.autoclear & AUTOCLEAR_DATA_RAW && s->h.incompatible & INCOMPAT_DATA_FILE;
    s->lazy = s->h.compatible & COMPAT_LAZY;
    s->corrupt = s->h.incompatible & INCOMPAT_CORRUPT;
}

/* ---- extensions ---- */
static void extension_free(gpointer p)
{
    Extension *e = p;

    g_free(e->data);
    g_free(e);
}

Extension *qcow2__extension(const Qcow2 *s, uint32_t type)
{
    for (guint i = 0; i < s->extensions->len; i++) {
        Extension *e = s->extensions->pdata[i];

        if (e->type == type)
            return e;
    }
    return NULL;
}

static char *text_of(const Extension *e)
{
    return e ? g_strndup((const char *)e->data, MIN(e->len, NAME_MAX_LEN)) : NULL;
}

static bool read_extensions(Qcow2 *s, const uint8_t *head, Error **err)
{
    uint64_t at = s->h.header_len, end = s->h.backing_offset ? s->h.backing_offset : s->cluster;

    s->extensions = g_ptr_array_new_with_free_func(extension_free);
    while (at + 8 <= end) { /* each takes 8 bytes at least of one cluster */
        Extension *e;
        uint32_t type = be32_load(head + at), len = be32_load(head + at + 4);

        at += 8;
        if (!type)
            break;
        if (!in_range(at, len, end))
            return fail(err, "'%s': header extension %#x is too long", s->n->filename, type);
        e = g_new0(Extension, 1);
        e->type = type;
        e->len = len;
        e->data = g_memdup2(head + at, len);
        g_ptr_array_add(s->extensions, e);
        at += align_up(len, 8);
    }
    s->backing_format = text_of(qcow2__extension(s, (uint32_t)EXT_BACKING_FORMAT));
    s->data_file = text_of(qcow2__extension(s, EXT_DATA_FILE));
    return true;
}

static void name_features(Qcow2 *s, uint64_t bits, GString *out)
{
    const Extension *e = qcow2__extension(s, EXT_FEATURES);

    for (unsigned bit = 0; bit < 64; bit++) {
        const uint8_t *row = NULL;

        if (!(bits >> bit & 1))
            continue;
        for (uint32_t i = 0; e && i + FEATURE_ROW <= e->len; i += FEATURE_ROW)
            if (e->data[i] == 0 && e->data[i + 1] == bit)
                row = e->data + i;
        g_string_append(out, out->len ? ", " : "");
        if (row)
            g_string_append_len(out, (const char *)row + 2, (gssize)strnlen((const char *)row + 2, FEATURE_ROW - 2));
        else
            g_string_append_printf(out, "unknown feature %u", bit);
    }
}

/* ---- checks ---- */
static bool table_ok(const Qcow2 *s, const char *what, uint64_t at, uint64_t entries, uint64_t max, Error **err)
{
    if (entries > max)
        return fail(err, "'%s': the %s is too large (%" PRIu64 " entries, at most %" PRIu64 ")", s->n->filename, what, entries, max);
    if (at % s->cluster || !in_range(at, entries * 8, HOST_MAX))
        return fail(err, "'%s': the %s lies at an invalid offset", s->n->filename, what);
    return true;
}

static bool basic_ok(const Qcow2 *s, Error **err)
{
    const Header *h = &s->h;
    const char *f = s->n->filename;

    if (h->magic != QCOW2_MAGIC)
        return fail(err, "'%s' is no qcow2 image", f);
    if (h->version != 2 && h->version != 3) {
        fail(err, "'%s': qcow2 version %" PRIu64 " is not supported", f, h->version);
        return error_hint(err, "versions 2 and 3 are; qemu-img convert -O qcow2 makes one");
    }
    if (h->cluster_bits < 9 || h->cluster_bits > 21)
        return fail(err, "'%s': unsupported cluster size: 2^%" PRIu64, f, h->cluster_bits);
    if (h->header_len % 8 || (h->version == 3 && h->header_len < V3_LEN) || h->header_len > 1ull << h->cluster_bits)
        return fail(err, "'%s': the header's length %" PRIu64 " is invalid", f, h->header_len);
    if (h->refcount_order > 6)
        return fail(err, "'%s': refcounts of more than 64 bits are not possible", f);
    return true;
}

static bool features_ok(Qcow2 *s, Error **err)
{
    uint64_t unknown = s->h.incompatible & ~(uint64_t)KNOWN_INCOMPAT;
    const char *f = s->n->filename;

    if (unknown) {
        g_autoptr(GString) names = g_string_new(NULL);

        name_features(s, unknown, names);
        return fail(err, "'%s' uses qcow2 features that are not supported: %s", f, names->str);
    }
    if (s->h.compression > 1 || (s->h.compression && !(s->h.incompatible & INCOMPAT_COMPRESSION)))
        return fail(err, "'%s': unknown compression type %" PRIu64, f, s->h.compression);
    if (s->h.compression && !qcow2__have_zstd)
        return fail(err, "'%s' is compressed by zstd, which this build lacks", f);
    if (s->nsub == 32 && s->cluster_bits < 14)
        return fail(err, "'%s': extended L2 entries need clusters of at least 16 KiB", f);
    if (s->corrupt && !s->n->readonly && !s->for_check) {
        fail(err, "'%s' is marked corrupt; it cannot be opened for writing", f);
        return error_hint(err, "mend it first: menura-img check -r all '%s', or use readonly=on", f);
    }
    return true;
}

static bool tables_ok(const Qcow2 *s, Error **err)
{
    const Header *h = &s->h;
    uint64_t need = h->size / l2_covers(s) + (h->size % l2_covers(s) != 0);

    if (h->size > INT64_MAX)
        return fail(err, "'%s': the image is too large", s->n->filename);
    if (need > h->l1_len)
        return fail(err, "'%s': the L1 table is too small", s->n->filename);
    if (h->nsnapshots > SNAPSHOTS_MAX)
        return fail(err, "'%s': too many snapshots", s->n->filename);
    if (h->backing_len > NAME_MAX_LEN)
        return fail(err, "'%s': the name of the backing file is too long", s->n->filename);
    if (h->reftable_clusters > REFTABLE_MAX || !h->reftable_clusters)
        return fail(err, "'%s': the refcount table is %s", s->n->filename, h->reftable_clusters ? "too large" : "missing");
    return table_ok(s, "L1 table", h->l1_at, h->l1_len, L1_MAX, err) &&
           table_ok(s, "refcount table", h->reftable_at, s->reftable_len, REFTABLE_MAX, err) &&
           table_ok(s, "snapshot table", h->snapshots_at, h->nsnapshots, SNAPSHOTS_MAX, err);
}

static bool read_backing_name(Qcow2 *s, const uint8_t *head, Error **err)
{
    if (!s->h.backing_offset)
        return true;
    if (!in_range(s->h.backing_offset, s->h.backing_len, s->cluster))
        return fail(err, "'%s': the name of the backing file lies outside of the header", s->n->filename);
    s->backing = g_strndup((const char *)head + s->h.backing_offset, s->h.backing_len);
    if (*s->backing)
        return true;
    g_clear_pointer(&s->backing, g_free);
    return true;
}

CO_FN bool qcow2__read_header(Qcow2 *s, Error **err)
{
    g_autofree uint8_t *head = g_malloc0(OUR_LEN);
    int ret = blk_read(s->n->file, 0, head, OUR_LEN);

    if (ret)
        return fail_errno_is(err, -ret, "cannot read the header of '%s'", s->n->filename);
    s->h.version = be32_load(head + 4);
    s->h.header_len = be32_load(head + 100);
    parse(&s->h, head);
    if (!basic_ok(s, err))
        return false;
    qcow2__geometry(s);
    head = g_realloc(head, s->cluster);
    ret = blk_read(s->n->file, 0, head, s->cluster);
    if (ret)
        return fail_errno_is(err, -ret, "cannot read the header of '%s'", s->n->filename);
    if (s->h.backing_offset > s->cluster)
        return fail(err, "'%s': the name of the backing file lies outside of the header", s->n->filename);
    s->raw_head = g_memdup2(head, s->h.header_len);
    return read_extensions(s, head, err) && features_ok(s, err) && tables_ok(s, err) && read_backing_name(s, head, err);
}

/* ---- writing ---- */
bool qcow2__set_string(char **at, const char *v)
{
    char *copy = v && *v ? g_strdup(v) : NULL;

    g_free(*at);
    *at = copy;
    return true;
}

typedef struct Writer {
    uint8_t *to;
    uint64_t at, room;
    bool full;
} Writer;

static void put(Writer *w, uint32_t type, const void *data, uint32_t len)
{
    uint64_t whole = 8 + align_up(len, 8);

    w->full |= w->at + whole > w->room;
    if (w->full)
        return;
    be32_store(w->to + w->at, type);
    be32_store(w->to + w->at + 4, len);
    if (len)
        memcpy(w->to + w->at + 8, data, len);
    w->at += whole;
}

static void put_features(Writer *w)
{
    uint8_t rows[G_N_ELEMENTS(features) * FEATURE_ROW] = { 0 };

    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        rows[i * FEATURE_ROW] = features[i].type;
        rows[i * FEATURE_ROW + 1] = features[i].bit;
        memcpy(rows + i * FEATURE_ROW + 2, features[i].name, strlen(features[i].name));
    }
    put(w, EXT_FEATURES, rows, sizeof(rows));
}

static void put_text(Writer *w, uint32_t type, const char *text)
{
    if (text)
        put(w, type, text, (uint32_t)strlen(text));
}

int qcow2__build_header(Qcow2 *s, uint8_t *cluster)
{
    Header *h = &s->h;
    Writer w = { cluster, h->header_len, s->cluster, false };

    if (s->raw_head)
        memcpy(cluster, s->raw_head, h->header_len);
    put_text(&w, (uint32_t)EXT_BACKING_FORMAT, s->backing_format);
    put_text(&w, EXT_DATA_FILE, s->data_file);
    for (guint i = 0; i < s->extensions->len; i++) {
        const Extension *e = s->extensions->pdata[i];

        if (e->type != (uint32_t)EXT_BACKING_FORMAT && e->type != EXT_DATA_FILE && e->type != EXT_FEATURES)
            put(&w, e->type, e->data, e->len);
    }
    if (h->version >= 3 && !w.full) {
        put_features(&w);
        w.full = false; /* a courtesy: it may lack room */
    }
    put(&w, 0, NULL, 0);
    h->backing_offset = h->backing_len = 0;
    if (s->backing && !w.full) {
        h->backing_len = strlen(s->backing);
        if (h->backing_len > NAME_MAX_LEN || w.at + h->backing_len > s->cluster)
            return -ENOSPC;
        h->backing_offset = w.at;
        memcpy(cluster + w.at, s->backing, h->backing_len);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
        if (fields[i].version <= h->version && fields[i].at + fields[i].size <= h->header_len)
            be_store(cluster + fields[i].at, fields[i].size, *member(h, i));
    return w.full ? -ENOSPC : 0;
}

CO_FN int qcow2__write_header(Qcow2 *s)
{
    g_autofree uint8_t *cluster = g_malloc0(s->cluster);
    int ret = qcow2__build_header(s, cluster);

    if (ret)
        return ret;
    g_free(s->raw_head);
    s->raw_head = g_memdup2(cluster, s->h.header_len);
    ret = blk_write(s->n->file, 0, cluster, s->cluster);
    return ret ? ret : blk_flush(s->n->file);
}

CO_FN int qcow2__set_incompatible(Qcow2 *s, uint64_t set, uint64_t clear)
{
    uint8_t bits[8];
    uint64_t v = (s->h.incompatible | set) & ~clear;
    int ret;

    if (v == s->h.incompatible)
        return 0;
    be64_store(bits, v);
    ret = blk_write(s->n->file, 72, bits, sizeof(bits));
    if (!ret)
        ret = blk_flush(s->n->file);
    if (!ret)
        s->h.incompatible = v;
    return ret;
}
