/*
 * block/qcow2/create.c - making an image, changing what its header says, and how large one would be. A new image is a
 * header, a refcount table and its first block; size and clusters in advance come by the same functions
 * that serve an image in use.
 */
#include "block/qcow2/qcow2.h"
#include <errno.h>

const char *const qcow2__create_options[] = { "encryption", "encrypt.format", "encrypt.key-secret", "encrypt.cipher-alg", "encrypt.cipher-mode",
                                              "encrypt.ivgen-alg", "encrypt.ivgen-hash-alg", "encrypt.hash-alg", "encrypt.iter-time",
                                              "cluster_size=65536", "extended_l2=off", "preallocation", "compat", "compression_type=zlib", "size",
                                              "backing_file", "backing_fmt", "data_file", "data_file_raw", "lazy_refcounts=off",
                                              "refcount_bits=16", "extent_size_hint", "nocow", NULL };
typedef enum Prealloc { PREALLOC_OFF, PREALLOC_METADATA, PREALLOC_FALLOC, PREALLOC_FULL } Prealloc;
static const char *const prealloc_names[] = { "off", "metadata", "falloc", "full" };
typedef struct Wish { /* what was asked for */
    uint64_t size, cluster, refcount_bits, hint;
    bool v2, zstd, lazy, ext_l2, data_raw, nocow;
    Prealloc prealloc;
    const char *backing, *backing_format, *data_file;
    bool luks;
    LuksWish keys;
    Opts *encrypt; /* "encrypt.", which keys borrows from; owned */
} Wish;

/* ---- what is asked for ---- */
static bool parse_texts(Wish *w, Opts *o, Error **err)
{
    const char *compat = opts_get(o, "compat"), *compression = opts_get(o, "compression_type"), *pre = opts_get(o, "preallocation");
    unsigned p = 0;

    if (compat && strcmp(compat, "0.10") && strcmp(compat, "v2") && strcmp(compat, "1.1") && strcmp(compat, "v3"))
        return fail(err, "Invalid parameter '%s': compat is v2 (0.10) or v3 (1.1)", compat);
    w->v2 = compat && (!strcmp(compat, "0.10") || !strcmp(compat, "v2"));
    if (compression && strcmp(compression, "zlib") && strcmp(compression, "zstd"))
        return fail(err, "Invalid parameter '%s': compression_type is zlib or zstd", compression);
    w->zstd = !g_strcmp0(compression, "zstd");
    if (w->zstd && !qcow2__have_zstd)
        return fail(err, "this build has no zstd");
    while (pre && p < G_N_ELEMENTS(prealloc_names) && strcmp(pre, prealloc_names[p]))
        p++;
    if (p == G_N_ELEMENTS(prealloc_names))
        return fail(err, "Invalid parameter '%s': preallocation is off, metadata, falloc or full", pre);
    w->prealloc = (Prealloc)p;
    w->backing = opts_get(o, "backing_file");
    w->backing_format = opts_get(o, "backing_fmt");
    w->data_file = opts_get(o, "data_file");
    return true;
}

static bool parse_encryption(Wish *w, Opts *o, Error **err)
{
    const char *format;
    bool old;

    w->encrypt = opts_sub(o, "encrypt");
    format = opts_get(w->encrypt, "format");
    if (!opts_get_bool(o, "encryption", false, &old, err))
        return false;
    if (old || !g_strcmp0(format, "aes")) {
        fail(err, "the old encryption AES is only read");
        return error_hint(err, "encrypt.format=luks");
    }
    if (!format)
        return !w->encrypt->v->len || fail(err, "Parameter 'encrypt.format' is missing");
    if (strcmp(format, "luks"))
        return fail(err, "Parameter 'encrypt.format' does not accept value '%s'", format);
    w->luks = true;
    if (!luks_wish(&w->keys, w->encrypt, err) || !opts_all_used(w->encrypt, "encrypt", err))
        return false;
    return w->keys.secret || fail(err, "Parameter 'encrypt.key-secret' is required for cipher");
}

static bool parse_wish(Wish *w, Opts *o, Error **err)
{
    return parse_encryption(w, o, err) && opts_get_size(o, "size", 0, &w->size, err) && opts_get_bool(o, "extended_l2", false, &w->ext_l2, err) &&
           opts_get_size(o, "cluster_size", 65536, &w->cluster, err) &&
           opts_get_u64(o, "refcount_bits", 16, &w->refcount_bits, err) && opts_get_size(o, "extent_size_hint", 0, &w->hint, err) &&
           opts_get_bool(o, "nocow", false, &w->nocow, err) && opts_get_bool(o, "lazy_refcounts", false, &w->lazy, err) &&
           opts_get_bool(o, "data_file_raw", false, &w->data_raw, err) && parse_texts(w, o, err);
}

static bool wish_ok(Wish *w, Error **err)
{
    if (!is_pow2(w->cluster) || w->cluster < 512 || w->cluster > 2 * MiB)
        return fail(err, "Cluster size must be a power of two between 512 and 2048k");
    if (!is_pow2(w->refcount_bits) || w->refcount_bits > 64)
        return fail(err, "Refcount width must be a power of two and may not exceed 64 bits");
    if (w->v2 && w->refcount_bits != 16)
        return fail(err, "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)");
    if (w->v2 && w->lazy)
        return fail(err, "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)");
    if (w->v2 && w->zstd)
        return fail(err, "Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or greater)");
    if (w->v2 && (w->ext_l2 || w->data_file))
        return fail(err, "%s are only supported with compatibility level 1.1 and above (use version=v3 or greater)",
                    w->ext_l2 ? "Extended L2 entries" : "External data files");
    if (w->ext_l2 && w->cluster < 16384)
        return fail(err, "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
    if (w->data_raw && !w->data_file)
        return fail(err, "data-file-raw requires data-file");
    if (w->data_raw && w->backing)
        return fail(err, "Backing file and data-file-raw cannot be used at the same time");
    if (w->backing_format && !w->backing)
        return fail(err, "Backing format cannot be used without backing file");
    if (w->backing && w->prealloc != PREALLOC_OFF && !w->ext_l2)
        return fail(err, "Backing file and preallocation can only be used at the same time if extended_l2 is enabled");
    if (w->luks && w->v2 && w->prealloc != PREALLOC_OFF)
        return fail(err, "Preallocation of an encrypted image requires compatibility level 1.1 or above (use version=v3 or greater)");
    if (w->data_raw && w->luks)
        return fail(err, "an encrypted data file is not raw");
    if (w->data_raw && w->prealloc == PREALLOC_OFF)
        w->prealloc = PREALLOC_METADATA;
    w->size = align_up(w->size, 512);
    return true;
}

/* ---- the file ---- */
static uint64_t up(uint64_t n, uint64_t unit) { return (n + unit - 1) / unit; }

static uint64_t key_bytes(const Wish *w)
{
    Luks l = { 0 };

    luks_lay_out(&l, &w->keys);
    return luks_header_bytes(&l);
}

static void fill_header(Qcow2 *s, const Wish *w)
{
    s->h = (Header){ .magic = QCOW2_MAGIC, .version = w->v2 ? 2 : 3, .cluster_bits = (unsigned)__builtin_ctzll(w->cluster),
                     .reftable_at = w->cluster, .reftable_clusters = 1, .header_len = w->v2 ? 72 : 112,
                     .refcount_order = (unsigned)__builtin_ctzll(w->refcount_bits), .compression = w->zstd,
                     .incompatible = (w->data_file ? INCOMPAT_DATA_FILE : 0) | (w->zstd ? INCOMPAT_COMPRESSION : 0) | (w->ext_l2 ? INCOMPAT_EXT_L2 : 0),
                     .compatible = w->lazy ? COMPAT_LAZY : 0, .autoclear = w->data_raw ? AUTOCLEAR_DATA_RAW : 0 };
    s->extensions = g_ptr_array_new();
    s->backing = (char *)w->backing;
    s->backing_format = (char *)w->backing_format;
    s->data_file = (char *)w->data_file;
    qcow2__geometry(s);
}

/* Refcount blocks for the start and, so that they lie in one row behind it, for the keys of an encrypted image. */
static void first_blocks(const Wish *w, uint64_t *table, uint64_t *blocks)
{
    uint64_t per = w->cluster * 8 / w->refcount_bits, keys = w->luks ? up(key_bytes(w), w->cluster) : 0, was;

    *blocks = *table = 1;
    do { /* grows to a fixed point */
        was = *blocks + *table;
        *blocks = up(1 + was + keys, per);
        *table = up(*blocks, w->cluster / 8);
    } while (*blocks + *table != was);
}

/* The header, the refcount table, its blocks. */
static CO_FN int write_start(Node *file, const Wish *w)
{
    uint64_t table, blocks, used;
    g_autofree uint8_t *all = NULL;
    Qcow2 s = { 0 };
    int ret;

    first_blocks(w, &table, &blocks);
    used = 1 + table + blocks;
    all = g_malloc0(used * w->cluster);
    fill_header(&s, w);
    s.h.reftable_clusters = table;
    ret = qcow2__build_header(&s, all);
    for (uint64_t i = 0; i < blocks; i++)
        be64_store(all + w->cluster + i * 8, (1 + table + i) * w->cluster);
    for (uint64_t i = 0; i < used; i++)
        qcow2__refcount_put(&s, all + (1 + table) * w->cluster, i, 1);
    g_ptr_array_free(s.extensions, TRUE);
    if (!ret)
        ret = blk_write(file, 0, all, used * w->cluster);
    return ret ? ret : blk_flush(file);
}

static CO_FN Node *open_file(Loop *loop, const char *driver, const char *name, const char *data_file, Error **err)
{
    g_autoptr(Opts) o = opts_new();

    opts_set(o, "driver", driver);
    opts_set(o, "filename", name);
    if (!strcmp(driver, "qcow2"))
        opts_set(o, "backing", NULL);
    return block__open(loop, o, false, NULL, NULL, NULL, err);
}

static CO_FN bool encrypt_new(Node *n, const Wish *w, Error **err)
{
    Qcow2 *s = n->opaque;
    bool ok;

    qcow2__exclusive(s);
    ok = !w->luks || qcow2__crypt_make(s, &w->keys, err);
    qcow2__exclusive_end(s);
    return ok;
}

static CO_FN int grow_new(Node *n, const Wish *w)
{
    static const unsigned flags[] = { [PREALLOC_METADATA] = 0, [PREALLOC_FALLOC] = BLK_RESERVE, [PREALLOC_FULL] = BLK_NO_FALLBACK };
    Qcow2 *s = n->opaque;
    int ret;

    qcow2__exclusive(s);
    ret = qcow2__resize(s, w->size, 0);
    if (!ret && w->prealloc != PREALLOC_OFF)
        ret = qcow2__preallocate(s, 0, w->size, flags[w->prealloc]);
    qcow2__exclusive_end(s);
    return ret;
}

static CO_FN bool fill_new(Loop *loop, const char *filename, const Wish *w, Error **err)
{
    Node *n = open_file(loop, "file", filename, NULL, err);
    bool ok;
    int ret;

    if (!n)
        return false;
    n->grows = true;
    ret = write_start(n, w);
    node_unref(n);
    if (ret)
        return fail_errno_is(err, -ret, "cannot write '%s'", filename);
    n = open_file(loop, "qcow2", filename, w->data_file, err);
    if (!n)
        return false;
    ok = encrypt_new(n, w, err);
    ret = ok ? grow_new(n, w) : 0;
    node_unref(n);
    return ok && (!ret || fail_errno_is(err, -ret, "cannot resize '%s'", filename));
}

static CO_FN bool make_files(Loop *loop, const char *filename, const Wish *w, Error **err)
{
    if (w->data_file) {
        g_autofree char *path = block__beside(filename, w->data_file);

        if (!blk_create_file(loop, path, 0, err))
            return false;
    }
    return blk_create_file(loop, filename, 0, err) && fill_new(loop, filename, w, err);
}

static void wish_end(Wish *w)
{
    if (w->encrypt)
        opts_free(w->encrypt);
}

CO_FN bool qcow2__create(Loop *loop, const char *filename, Opts *o, Error **err)
{
    Wish w = { 0 };
    bool ok = parse_wish(&w, o, err) && wish_ok(&w, err) && opts_all_used(o, "qcow2", err) && make_files(loop, filename, &w, err);

    wish_end(&w);
    return ok;
}

/* ---- how large ---- */
/* Clusters of the refcount structures for `others` clusters and themselves. */
static uint64_t refcount_clusters(const Wish *w, uint64_t others)
{
    uint64_t per = w->cluster * 8 / w->refcount_bits, blocks = 0, table = 0, was;

    do { /* grows to a fixed point */
        was = blocks + table;
        blocks = up(others + was, per);
        table = up(blocks, w->cluster / 8);
    } while (blocks + table != was);
    return blocks + table;
}

bool qcow2__measure(Opts *o, uint64_t size, uint64_t data, BlkMeasure *out, Error **err)
{
    Wish w = { 0 };
    uint64_t l2, l1, entry, meta;
    bool ok = parse_wish(&w, o, err) && wish_ok(&w, err) && opts_all_used(o, "qcow2", err);

    wish_end(&w);
    if (!ok)
        return false;
    entry = w.ext_l2 ? 16 : 8;
    l2 = up(up(size, w.cluster), w.cluster / entry);
    l1 = up(l2 * 8, w.cluster);
    if (l2 > L1_MAX)
        return fail(err, "The image size is too large (try using a larger cluster size)");
    meta = 1 + l1 + l2 + (w.luks ? up(key_bytes(&w), w.cluster) : 0);
    meta += refcount_clusters(&w, meta + up(size, w.cluster));
    *out = (BlkMeasure){ .required = meta * w.cluster + (w.data_file ? 0 : w.prealloc == PREALLOC_OFF || w.prealloc == PREALLOC_METADATA ? align_up(data, w.cluster) : align_up(size, w.cluster)),
                         .fully_allocated = (meta + (w.data_file ? 0 : up(size, w.cluster))) * w.cluster, .has_bitmaps = true };
    return true;
}

/* ---- changing the header ---- */
static CO_FN bool rewrite(Qcow2 *s, Error **err)
{
    int ret = qcow2__write_header(s);

    if (ret == -ENOSPC)
        return fail(err, "the header of '%s' has no room for that", s->n->filename);
    return !ret || fail_errno_is(err, -ret, "cannot write the header of '%s'", s->n->filename);
}

CO_FN bool qcow2__set_backing(Node *n, const char *file, const char *format, Error **err)
{
    Qcow2 *s = n->opaque;
    bool ok;

    if (n->readonly)
        return fail(err, "'%s' is read-only", n->filename);
    if (file && strlen(file) > NAME_MAX_LEN)
        return fail(err, "the backing file's name is too long");
    if (file && s->data_raw)
        return fail(err, "Cannot set a backing file for images with data-file-raw");
    qcow2__exclusive(s);
    ok = qcow2__set_string(&s->backing, file) && qcow2__set_string(&s->backing_format, file ? format : NULL) && rewrite(s, err);
    qcow2__exclusive_end(s);
    return ok;
}

static CO_FN bool set_compat(Qcow2 *s, const char *compat, Error **err)
{
    bool v2 = !strcmp(compat, "0.10") || !strcmp(compat, "v2");

    if (!v2 && strcmp(compat, "1.1") && strcmp(compat, "v3"))
        return fail(err, "Unknown compatibility level %s", compat);
    if (v2 == (s->h.version == 2))
        return true;
    if (v2)
        return fail(err, "an image cannot go back to compat=0.10 in place: convert it");
    if (s->h.header_len < 112) { /* what v2 had behind its header is written anew */
        uint8_t *head = g_malloc0(112);

        memcpy(head, s->raw_head, s->h.header_len);
        g_free(s->raw_head);
        s->raw_head = head;
    }
    s->h.version = 3;
    s->h.header_len = 112;
    s->h.refcount_order = 4;
    return rewrite(s, err);
}

static CO_FN bool set_lazy(Qcow2 *s, bool lazy, Error **err)
{
    if (lazy && s->h.version < 3)
        return fail(err, "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)");
    if (lazy == !!(s->h.compatible & COMPAT_LAZY))
        return true;
    s->h.compatible ^= COMPAT_LAZY;
    return rewrite(s, err);
}

static CO_FN bool amend_keys(Qcow2 *s, Opts *o, bool force, Error **err)
{
    g_autoptr(Opts) keys = opts_sub(o, "encrypt");

    if (!keys->v->len)
        return true;
    if (!s->luks)
        return fail(err, "Can't amend encryption options - encryption not present");
    return luks_amend(s->luks, keys, force, err);
}

CO_FN bool qcow2__amend(Node *n, Opts *o, bool force, Error **err)
{
    Qcow2 *s = n->opaque;
    const char *compat = opts_get(o, "compat"), *file = opts_get(o, "backing_file"), *format = opts_get(o, "backing_fmt");
    uint64_t size;
    bool lazy, ok;
    int ret = 0;

    if (!amend_keys(s, o, force, err))
        return false;
    if (!opts_get_size(o, "size", s->h.size, &size, err) || !opts_get_bool(o, "lazy_refcounts", s->h.compatible & COMPAT_LAZY, &lazy, err) ||
        !opts_all_used(o, "amend", err))
        return false;
    if ((file || format) && !qcow2__set_backing(n, file ? file : s->backing, format ? format : s->backing_format, err))
        return false;
    qcow2__exclusive(s);
    ok = (!compat || set_compat(s, compat, err)) && set_lazy(s, lazy, err);
    if (ok && size != s->h.size)
        ret = qcow2__resize(s, size, 0);
    qcow2__exclusive_end(s);
    return ok && (!ret || fail_errno_is(err, -ret, "cannot resize '%s'", n->filename));
}
