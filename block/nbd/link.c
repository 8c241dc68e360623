/* block/nbd/link.c - the client's side of the negotiation. The server is not trusted: lengths and counts are bounded. */
#include "block/nbd/link.h"
#include "block/node.h"
#include <errno.h>
#include <unistd.h>

enum { REPLY_MAX = 64 * 1024, REPLIES_MAX = 100000 };

typedef struct Reply {
    uint32_t type, len;
    uint8_t *data; /* len bytes and a NUL */
} Reply;

static bool lost(Error **err, int ret) { return fail_errno_is(err, -ret, "the NBD server ended the connection"); }
static bool broken(Error **err, const char *what) { return fail(err, "the NBD server breaks the protocol: %s", what); }

/* ---- options ---- */
static CO_FN bool ask2(NbdLink *l, uint32_t option, struct iovec a, struct iovec b, Error **err)
{
    uint8_t head[16];
    struct iovec v[3] = { { head, sizeof(head) }, a, b };
    int ret;

    be64_store(head, NBD_OPT_MAGIC);
    be32_store(head + 8, option);
    be32_store(head + 12, (uint32_t)(a.iov_len + b.iov_len));
    co_lock(&l->chan.send);
    ret = chan_writev(&l->chan, v, 3);
    co_unlock(&l->chan.send);
    return !ret || lost(err, ret);
}

static CO_FN bool ask(NbdLink *l, uint32_t option, const void *data, size_t len, Error **err)
{
    return ask2(l, option, (struct iovec){ (void *)(uintptr_t)data, len }, (struct iovec){ NULL, 0 }, err);
}

static CO_FN bool answer(NbdLink *l, uint32_t option, Reply *r, Error **err)
{
    uint8_t head[20];
    int ret = chan_read(&l->chan, head, sizeof(head));

    *r = (Reply){ 0 };
    if (ret)
        return lost(err, ret);
    if (be64_load(head) != NBD_REP_MAGIC || be32_load(head + 8) != option)
        return broken(err, "not a reply to our option");
    r->type = be32_load(head + 12);
    r->len = be32_load(head + 16);
    if (r->len > REPLY_MAX)
        return broken(err, "a reply is too long");
    r->data = g_malloc0(r->len + 1);
    ret = chan_read(&l->chan, r->data, r->len);
    if (!ret)
        return true;
    g_free(r->data);
    return lost(err, ret);
}

static bool refused(const Reply *r, uint32_t option, Error **err)
{
    g_autofree char *text = g_utf8_make_valid((const char *)r->data, (gssize)strlen((const char *)r->data));

    switch (r->type) {
    case NBD_REP_ERR_TLS_REQD:
        fail(err, "Server requires TLS for option %u%s%s", option, *text ? ": " : "", text);
        return error_hint(err, "name credentials: tls-creds=ID");
    case NBD_REP_ERR_UNKNOWN:
        return fail(err, "Requested export not available%s%s", *text ? ": " : "", text);
    case NBD_REP_ERR_POLICY:
        return fail(err, "Denied by server for option %u%s%s", option, *text ? ": " : "", text);
    default:
        return fail(err, "The server refuses option %u (error %u)%s%s", option, r->type & ~NBD_REP_ERR, *text ? ": " : "", text);
    }
}

/* Yes or no to an option without more to say. */
static CO_FN bool agree(NbdLink *l, uint32_t option, bool *yes, Error **err)
{
    Reply r;

    if (!ask(l, option, NULL, 0, err) || !answer(l, option, &r, err))
        return false;
    *yes = r.type == NBD_REP_ACK;
    if (!*yes && r.type == NBD_REP_ERR_TLS_REQD)
        refused(&r, option, err);
    else if (!*yes && !(r.type & NBD_REP_ERR))
        broken(err, "neither yes nor no");
    g_free(r.data);
    return *yes || r.type == NBD_REP_ERR_TLS_REQD ? *yes : r.type & NBD_REP_ERR;
}

/* ---- the steps ---- */
static CO_FN bool greet(NbdLink *l, bool *old, Error **err)
{
    uint8_t in[16], flags[2], out[4];
    unsigned server;
    int ret = chan_read(&l->chan, in, sizeof(in));

    if (ret)
        return lost(err, ret);
    if (be64_load(in) != NBD_MAGIC)
        return fail(err, "Bad initial magic received: this is no NBD server");
    *old = be64_load(in + 8) == NBD_OLD_MAGIC;
    if (*old)
        return true;
    if (be64_load(in + 8) != NBD_OPT_MAGIC)
        return fail(err, "Bad server magic received");
    if ((ret = chan_read(&l->chan, flags, 2)))
        return lost(err, ret);
    server = (unsigned)be_load(flags, 2);
    if (!(server & NBD_FIXED_NEWSTYLE))
        return fail(err, "the NBD server is too old: it does not negotiate options");
    l->no_zeroes = server & NBD_NO_ZEROES;
    be32_store(out, server & (NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES));
    co_lock(&l->chan.send);
    ret = chan_write(&l->chan, out, sizeof(out));
    co_unlock(&l->chan.send);
    return !ret || lost(err, ret);
}

/* The first protocol: one export, no options. */
static CO_FN bool old_style(NbdLink *l, const NbdLinkSpec *spec, Error **err)
{
    uint8_t in[8 + 4 + 124];
    int ret;

    if (spec->tls)
        return fail(err, "Server does not support STARTTLS");
    if (spec->export && *spec->export)
        return fail(err, "Server does not support non-empty export names");
    ret = chan_read(&l->chan, in, sizeof(in));
    l->size = be64_load(in);
    l->flags = (uint16_t)be_load(in + 10, 2);
    return !ret || lost(err, ret);
}

static CO_FN bool encrypt(NbdLink *l, const NbdLinkSpec *spec, Error **err)
{
    bool yes = false;

    if (!spec->tls)
        return true;
    if (!agree(l, NBD_OPT_STARTTLS, &yes, err))
        return false;
    if (!yes)
        return fail(err, "Server does not support STARTTLS");
    return tls_start(&l->chan, spec->tls, spec->tls_hostname ? spec->tls_hostname : spec->addr->host, err);
}

static CO_FN bool choose_replies(NbdLink *l, Error **err)
{
    if (!agree(l, NBD_OPT_EXTENDED_HEADERS, &l->extended, err))
        return false;
    l->structured = l->extended;
    return l->extended || agree(l, NBD_OPT_STRUCTURED_REPLY, &l->structured, err);
}

static GByteArray *named(const char *name)
{
    GByteArray *b = g_byte_array_new();
    uint8_t len[4];

    be32_store(len, (uint32_t)strlen(name));
    g_byte_array_append(b, len, 4);
    g_byte_array_append(b, (const uint8_t *)name, (guint)strlen(name));
    return b;
}

static void append_text(GByteArray *b, const char *text)
{
    g_autoptr(GByteArray) t = named(text);

    g_byte_array_append(b, t->data, t->len);
}

/* contexts: where the names of a list go; else the one context's id goes to the link. */
static CO_FN bool meta(NbdLink *l, uint32_t option, const char *export, const char *context, GPtrArray *contexts, Error **err)
{
    g_autoptr(GByteArray) b = named(export);
    uint8_t n[4];

    be32_store(n, context ? 1 : 0);
    g_byte_array_append(b, n, 4);
    if (context)
        append_text(b, context);
    if (!ask(l, option, b->data, b->len, err))
        return false;
    for (unsigned i = 0; i < REPLIES_MAX; i++) {
        Reply r;
        bool hit;

        if (!answer(l, option, &r, err))
            return false;
        hit = r.type == NBD_REP_META_CONTEXT && r.len >= 4;
        if (hit && contexts)
            g_ptr_array_add(contexts, g_utf8_make_valid((const char *)r.data + 4, (gssize)strnlen((const char *)r.data + 4, r.len - 4)));
        if (hit && context && !strcmp((const char *)r.data + 4, context)) {
            l->have_context = true;
            l->context_id = be32_load(r.data);
        }
        g_free(r.data);
        if (!hit)
            return r.type == NBD_REP_ACK || r.type & NBD_REP_ERR || broken(err, "not a context");
    }
    return broken(err, "too many contexts");
}

static bool take_info(NbdLink *l, const Reply *r, char **description, Error **err)
{
    unsigned kind = r->len >= 2 ? (unsigned)be_load(r->data, 2) : UINT16_MAX;

    if (kind == NBD_INFO_EXPORT && r->len == 12) {
        l->size = be64_load(r->data + 2);
        l->flags = (uint16_t)be_load(r->data + 10, 2);
    } else if (kind == NBD_INFO_BLOCK_SIZE && r->len == 14) {
        l->min_block = be32_load(r->data + 2);
        l->preferred_block = be32_load(r->data + 6);
        l->max_block = be32_load(r->data + 10);
        if (!is_pow2(l->min_block) || l->min_block > 64 * KiB || (l->max_block != UINT32_MAX && l->max_block % l->min_block) ||
            l->max_block < l->min_block || !is_pow2(l->preferred_block))
            return broken(err, "impossible block sizes");
    } else if (kind == NBD_INFO_DESCRIPTION && description) {
        g_free(*description);
        *description = g_utf8_make_valid((const char *)r->data + 2, (gssize)strnlen((const char *)r->data + 2, r->len - 2));
    } else if (kind == NBD_INFO_EXPORT || kind == NBD_INFO_BLOCK_SIZE) {
        return broken(err, "information of a wrong length");
    }
    return true;
}

/* *unknown: the server has no such option, and nothing is decided yet. */
static CO_FN bool info_or_go(NbdLink *l, uint32_t option, const char *export, char **description, bool *unknown, Error **err)
{
    g_autoptr(GByteArray) b = named(export);
    uint8_t infos[6] = { 0, 1, 0, NBD_INFO_BLOCK_SIZE, 0, NBD_INFO_DESCRIPTION };
    bool told = false;

    infos[1] = description ? 2 : 1;
    g_byte_array_append(b, infos, description ? 6 : 4);
    if (!ask(l, option, b->data, b->len, err))
        return false;
    for (unsigned i = 0; i < REPLIES_MAX; i++) {
        Reply r;
        bool ok = true;

        if (!answer(l, option, &r, err))
            return false;
        *unknown = r.type == NBD_REP_ERR_UNSUP;
        if (r.type == NBD_REP_INFO)
            ok = take_info(l, &r, description, err);
        else if (r.type & NBD_REP_ERR)
            ok = *unknown || refused(&r, option, err);
        else if (r.type != NBD_REP_ACK)
            ok = broken(err, "not information");
        told |= r.type == NBD_REP_INFO && r.len == 12;
        g_free(r.data);
        if (!ok || r.type != NBD_REP_INFO)
            return ok && (told || *unknown || broken(err, "no size"));
    }
    return broken(err, "too much information");
}

static CO_FN bool by_name(NbdLink *l, const char *export, Error **err)
{
    uint8_t in[10 + 124];
    int ret;

    if (!ask(l, NBD_OPT_EXPORT_NAME, export, strlen(export), err))
        return false;
    ret = chan_read(&l->chan, in, l->no_zeroes ? 10 : sizeof(in));
    if (ret)
        return fail(err, "Requested export not available");
    l->size = be64_load(in);
    l->flags = (uint16_t)be_load(in + 8, 2);
    return true;
}

static CO_FN bool negotiate(NbdLink *l, const NbdLinkSpec *spec, Error **err)
{
    const char *export = spec->export ? spec->export : "";
    bool old = false, unknown = false;

    if (!greet(l, &old, err))
        return false;
    if (old)
        return old_style(l, spec, err);
    if (!encrypt(l, spec, err) || !choose_replies(l, err))
        return false;
    if (l->structured && spec->context && !meta(l, NBD_OPT_SET_META_CONTEXT, export, spec->context, NULL, err))
        return false;
    if (!info_or_go(l, NBD_OPT_GO, export, NULL, &unknown, err))
        return false;
    return !unknown || by_name(l, export, err);
}

/* ---- connecting, on a thread of the pool ---- */
typedef struct Connect {
    const NbdAddr *addr;
    Error *err;
} Connect;

static int connect_job(void *arg)
{
    Connect *c = arg;

    return nbd_addr_connect(c->addr, &c->err);
}

static CO_FN bool connected(NbdLink *l, Loop *loop, const NbdAddr *a, Error **err)
{
    Connect c = { a, NULL };
    int fd = blk_in_pool(loop, connect_job, &c);

    *l = (NbdLink){ .chan.fd = -1 };
    if (fd < 0)
        return error_pass(err, c.err);
    chan_init(&l->chan, loop, fd);
    return true;
}

CO_FN bool nbd_link_open(NbdLink *l, Loop *loop, const NbdLinkSpec *spec, Error **err)
{
    if (!connected(l, loop, spec->addr, err))
        return false;
    if (!negotiate(l, spec, err)) {
        chan_close(&l->chan);
        return false;
    }
    if (l->size <= INT64_MAX)
        return true;
    chan_close(&l->chan);
    return broken(err, "the export is too large");
}

void nbd_link_close(NbdLink *l) { chan_close(&l->chan); }

/* ---- list ---- */
void nbd_listed_free(gpointer p)
{
    NbdListed *x = p;

    g_free(x->name);
    g_free(x->description);
    if (x->contexts)
        g_ptr_array_free(x->contexts, TRUE);
    g_free(x);
}

static CO_FN bool list_names(NbdLink *l, GPtrArray *out, Error **err)
{
    if (!ask(l, NBD_OPT_LIST, NULL, 0, err))
        return false;
    for (unsigned i = 0; i < REPLIES_MAX; i++) {
        NbdListed *x;
        uint32_t n;
        Reply r;
        bool end, ok = true;

        if (!answer(l, NBD_OPT_LIST, &r, err))
            return false;
        end = r.type == NBD_REP_ACK || r.type & NBD_REP_ERR;
        n = r.len >= 4 ? be32_load(r.data) : 0;
        if (end) {
            ok = r.type == NBD_REP_ACK || refused(&r, NBD_OPT_LIST, err);
        } else if (r.type != NBD_REP_SERVER || r.len < 4 || n > r.len - 4) {
            ok = broken(err, "not a list");
        } else {
            x = g_new0(NbdListed, 1);
            x->name = g_strndup((const char *)r.data + 4, n);
            x->description = g_strndup((const char *)r.data + 4 + n, r.len - 4 - n);
            g_ptr_array_add(out, x);
        }
        g_free(r.data);
        if (end || !ok)
            return ok;
    }
    return broken(err, "too many exports");
}

static CO_FN bool describe(NbdLink *l, NbdListed *x, Error **err)
{
    bool unknown = false;

    x->facts = (NbdLink){ .structured = l->structured, .extended = l->extended };
    /* asked through a copy whose channel is the real one */
    if (!info_or_go(l, NBD_OPT_INFO, x->name, &x->description, &unknown, err))
        return false;
    x->known = !unknown;
    x->facts.size = l->size;
    x->facts.flags = l->flags;
    x->facts.min_block = l->min_block;
    x->facts.preferred_block = l->preferred_block;
    x->facts.max_block = l->max_block;
    if (!l->structured || unknown)
        return true;
    x->contexts = g_ptr_array_new_with_free_func(g_free);
    return meta(l, NBD_OPT_LIST_META_CONTEXT, x->name, NULL, x->contexts, err);
}

CO_FN GPtrArray *nbd_link_list(Loop *loop, const NbdLinkSpec *spec, Error **err)
{
    GPtrArray *out = g_ptr_array_new_with_free_func(nbd_listed_free);
    bool old = false, ok;
    NbdLink l;

    ok = connected(&l, loop, spec->addr, err);
    if (ok) {
        ok = greet(&l, &old, err) && (!old || fail(err, "the server knows no list")) && encrypt(&l, spec, err) && choose_replies(&l, err) &&
             list_names(&l, out, err);
        for (guint i = 0; ok && i < out->len; i++)
            ok = describe(&l, out->pdata[i], err);
        if (ok)
            ask(&l, NBD_OPT_ABORT, NULL, 0, NULL);
        chan_close(&l.chan);
    }
    if (ok)
        return out;
    g_ptr_array_free(out, TRUE);
    return NULL;
}
