/*
 * block/crypt/luks.c - driver "luks": a LUKS1 header and what it encrypts, in one file, or with header= the header in
 * another (detached). key-secret= opens it; with no-io=on only the header is read, without a password.
 */
#include "block/crypt/luks.h"
#include "block/priv.h"
#include "core/secret.h"
#include <errno.h>

typedef struct LuksNode {
    Luks l;
    Sectors *sectors; /* NULL: no-io */
} LuksNode;

static int luks_probe(const uint8_t *head, size_t n) { return luks_is(head, n) ? 100 : 0; }

/* ---- opening ---- */
static CO_FN bool open_header(Node *n, Opts *o, Error **err)
{
    g_autoptr(Opts) sub = opts_sub(o, "header");

    if (!n->data && sub->v->len) {
        if (!opts_peek(sub, "driver"))
            opts_set(sub, "driver", "file");
        n->data = block__open(n->loop, sub, n->readonly, NULL, NULL, NULL, err);
        if (!n->data)
            return false;
    }
    return !n->data || node_permissions(n->data, PERM_CONSISTENT_READ | (n->readonly ? 0 : PERM_WRITE), PERM_ALL & ~(unsigned)(PERM_WRITE | PERM_RESIZE), err);
}

static CO_FN bool unlock(LuksNode *v, const char *secret, bool no_io, Error **err)
{
    if (!secret && no_io)
        return true;
    if (!secret) {
        fail(err, "Parameter 'key-secret' is required for cipher");
        return error_hint(err, "--object secret,id=s,file=PATH and key-secret=s");
    }
    if (!luks_unlock(&v->l, secret, err))
        return false;
    v->sectors = sectors_new(&v->l.spec, v->l.key, err);
    return v->sectors;
}

static void luks_close(Node *n)
{
    LuksNode *v = n->opaque;

    sectors_free(v->sectors);
    explicit_bzero(v->l.key, sizeof(v->l.key));
}

static CO_FN bool luks_open(Node *n, Opts *o, Error **err)
{
    LuksNode *v = n->opaque;
    const char *secret = opts_get(o, "key-secret");
    Node *head;
    bool no_io;

    if (n->file->readonly && !n->readonly)
        return fail(err, "'%s' is read-only", n->filename);
    if (!opts_get_bool(o, "no-io", false, &no_io, err) || !open_header(n, o, err))
        return false;
    head = n->data ? n->data : n->file;
    v->l = (Luks){ .file = head, .room = head->size, .detached = n->data };
    if (!luks_read(&v->l, err))
        return false;
    if (v->l.payload > n->file->size)
        return fail(err, "'%s': the payload would begin behind the file's end", n->filename);
    n->size = n->file->size - v->l.payload;
    if (unlock(v, secret, no_io, err))
        return true;
    luks_close(n);
    return false;
}

static CO_FN bool luks_set_readonly(Node *n, bool readonly, Error **err)
{
    if (!node_set_readonly(n->file, readonly, err) || (n->data && !node_set_readonly(n->data, readonly, err)))
        return false;
    n->readonly = readonly;
    return true;
}

/* ---- requests ---- */
static CO_FN int truncate_payload(Node *n, const LuksNode *v, const BlkReq *r)
{
    int ret = r->off > INT64_MAX - v->l.payload ? -EFBIG : blk_truncate(n->file, v->l.payload + r->off, r->flags);

    if (!ret)
        n->size = r->off;
    return ret;
}

static CO_FN int luks_submit(Node *n, BlkReq *r)
{
    LuksNode *v = n->opaque;
    uint64_t at = v->l.payload + r->off, sector = r->off / CRYPT_SECTOR;

    if (!v->sectors && r->op != BLK_FLUSH)
        return -EPERM;
    switch (r->op) {
    case BLK_READ:
        return sectors_read(v->sectors, n->file, at, sector, r->iov, r->niov, r->len);
    case BLK_WRITE: {
        int ret = r->flags & BLK_COMPRESS ? -ENOTSUP : sectors_write(v->sectors, n->file, at, sector, r->iov, r->niov, r->len);

        return ret || !(r->flags & BLK_FUA) ? ret : blk_flush(n->file);
    }
    case BLK_FLUSH:
        return blk_flush(n->file);
    case BLK_TRUNCATE:
        return truncate_payload(n, v, r);
    default: /* what was discarded or zeroed below would not read as zeros */
        return -ENOTSUP;
    }
}

static void luks_limits(Node *n, BlkLimits *out)
{
    out->align = CRYPT_SECTOR;
    out->max_iov = 1 << 20;
}

/* ---- tools ---- */
static void luks_names(const Node *n, BlkNames *out) { *out = (BlkNames){ .encrypted = true }; }

static GPtrArray *facts(const Node *n)
{
    const LuksNode *v = n->opaque;
    GPtrArray *out = g_ptr_array_new();

    luks_facts(&v->l, "", NULL, out);
    return out;
}

static CO_FN bool amend(Node *n, Opts *o, bool force, Error **err)
{
    LuksNode *v = n->opaque;

    return luks_amend(&v->l, o, force, err);
}

typedef struct Making {
    LuksWish w;
    uint64_t size;
    unsigned reserve; /* BLK_*; 0: nothing in advance */
    bool detached;
} Making;

static bool parse_making(Making *m, Opts *o, Error **err)
{
    const char *pre = opts_get(o, "preallocation");

    if (pre && strcmp(pre, "off") && strcmp(pre, "falloc") && strcmp(pre, "full"))
        return fail(err, "Invalid parameter '%s': preallocation is off, falloc or full", pre);
    m->reserve = !g_strcmp0(pre, "falloc") ? BLK_RESERVE : !g_strcmp0(pre, "full") ? BLK_NO_FALLBACK : 0;
    opts_get(o, "extent_size_hint");
    opts_get(o, "nocow");
    return opts_get_size(o, "size", 0, &m->size, err) && opts_get_bool(o, "detached-header", false, &m->detached, err) && luks_wish(&m->w, o, err) &&
           opts_all_used(o, "luks", err);
}

static bool secret_there(Loop *loop, const LuksWish *w, Error **err)
{
    uint8_t *pass = NULL;
    size_t n = 0;
    bool ok;

    if (!w->secret)
        return fail(err, "Parameter 'key-secret' is required for cipher");
    ok = secret_get(loop, w->secret, &pass, &n, err);
    secret_wipe(pass, n);
    return ok;
}

static CO_FN int fill(Node *file, const Making *m, uint64_t payload)
{
    int ret = blk_truncate(file, payload + m->size, 0);

    if (!ret && m->reserve && m->size)
        ret = blk_zero(file, payload, m->size, m->reserve & BLK_RESERVE);
    return ret;
}

static CO_FN bool create(Loop *loop, const char *filename, Opts *o, Error **err)
{
    g_autoptr(Opts) open = opts_new();
    Making m = { 0 };
    Luks l = { 0 };
    int ret = 0;
    bool ok;

    if (!parse_making(&m, o, err) || !secret_there(loop, &m.w, err) || !blk_create_file(loop, filename, 0, err))
        return false;
    opts_set(open, "driver", "file");
    opts_set(open, "filename", filename);
    l.file = block__open(loop, open, false, NULL, NULL, NULL, err);
    if (!l.file)
        return false;
    l.file->grows = true;
    l.detached = m.detached;
    ok = luks_format(&l, &m.w, err);
    if (ok)
        ret = m.detached ? blk_truncate(l.file, luks_header_bytes(&l), 0) : fill(l.file, &m, l.payload);
    if (ret)
        ok = fail_errno_is(err, -ret, "cannot write '%s'", filename);
    explicit_bzero(l.key, sizeof(l.key));
    node_unref(l.file);
    return ok;
}

static bool measure(Opts *o, uint64_t size, uint64_t data, BlkMeasure *out, Error **err)
{
    Making m = { 0 };
    Luks l = { 0 };

    if (!parse_making(&m, o, err))
        return false;
    luks_lay_out(&l, &m.w);
    *out = (BlkMeasure){ .required = l.payload + size, .fully_allocated = l.payload + size };
    return true;
}

static const char *const create_options[] = { "size",     "key-secret", "cipher-alg",      "cipher-mode", "ivgen-alg",     "ivgen-hash-alg",
                                              "hash-alg", "iter-time",  "detached-header", "nocow",       "preallocation", "extent_size_hint", NULL };
static const BlkImageOps image = { .create_options = create_options, .new_is_noise = true, .create = create, .names = luks_names, .facts = facts, .amend = amend, .measure = measure };
static const BlkDriver luks = {
    .name = "luks",
    .size = sizeof(LuksNode),
    .encrypts = true,
    .image = &image,
    .probe = luks_probe,
    .open = luks_open,
    .close = luks_close,
    .submit = luks_submit,
    .limits = luks_limits,
    .set_readonly = luks_set_readonly,
};
BLK_DRIVER(luks);
