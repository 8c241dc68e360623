/* block/nbd/handshake.c - the server's side of the fixed newstyle negotiation: options until an export is chosen. */
#include "block/nbd/server-priv.h"
#include <errno.h>

enum { OPTION_MAX = 256 * 1024, SKIP_MAX = 32 << 20, REPLY_HEAD = 20, OPTIONS_MAX = 10000 };
#define SIZE_PREFERRED 4096u

typedef struct Option {
    uint32_t type, len;
    uint8_t *data; /* len bytes */
} Option;
typedef enum Step { STEP_MORE, STEP_GO, STEP_END } Step;

/* ---- replies ---- */
static CO_FN int reply2(NbdClient *c, const Option *o, uint32_t type, struct iovec a, struct iovec b)
{
    uint8_t head[REPLY_HEAD];
    struct iovec v[3] = { { head, sizeof(head) }, a, b };
    int ret;

    be64_store(head, NBD_REP_MAGIC);
    be32_store(head + 8, o->type);
    be32_store(head + 12, type);
    be32_store(head + 16, (uint32_t)(a.iov_len + b.iov_len));
    co_lock(&c->chan.send);
    ret = chan_writev(&c->chan, v, 3);
    co_unlock(&c->chan.send);
    return ret;
}

static CO_FN Step reply(NbdClient *c, const Option *o, uint32_t type, const void *data, size_t len)
{
    struct iovec a = { (void *)(uintptr_t)data, len }, none = { NULL, 0 };

    return reply2(c, o, type, a, none) ? STEP_END : STEP_MORE;
}

static CO_FN Step refuse(NbdClient *c, const Option *o, uint32_t type, const char *why) { return reply(c, o, type, why, strlen(why)); }
static CO_FN Step ack(NbdClient *c, const Option *o) { return reply(c, o, NBD_REP_ACK, NULL, 0); }

static uint16_t export_flags(const NbdClient *c, const NbdExport *e)
{
    unsigned f = NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA | NBD_SEND_CACHE;

    f |= e->writable ? NBD_SEND_TRIM | NBD_SEND_WRITE_ZEROES | NBD_SEND_FAST_ZERO : NBD_READ_ONLY;
    f |= c->structured ? NBD_SEND_DF : 0;
    f |= e->shared || !e->writable ? NBD_CAN_MULTI_CONN : 0;
    f |= c->extended && c->ctx_export == e && c->ctx->len ? NBD_STATUS_PAYLOAD : 0;
    return (uint16_t)f;
}

/* ---- what options hold: a name with its length before it ---- */
static bool take(const Option *o, uint32_t *at, uint32_t len, const uint8_t **out)
{
    if (!in_range(*at, len, o->len))
        return false;
    *out = o->data + *at;
    *at += len;
    return true;
}

static char *take_text(const Option *o, uint32_t *at)
{
    const uint8_t *p;
    uint32_t len;

    if (!take(o, at, 4, &p))
        return NULL;
    len = be32_load(p);
    if (len > NBD_NAME_MAX || !take(o, at, len, &p) || memchr(p, 0, len))
        return NULL;
    return g_strndup((const char *)p, len);
}

static NbdExport *find_export(const NbdClient *c, const char *name)
{
    NbdExport *e = nbd_export_find(c->s, NULL, name);

    return e && !e->closing ? e : NULL;
}

static Step choose(NbdClient *c, NbdExport *e)
{
    c->e = e;
    e->clients++;
    if (c->ctx_export != e)
        g_array_set_size(c->ctx, 0);
    return STEP_GO;
}

/* ---- options ---- */
/* The old way to choose: no reply but the export itself; what is wrong ends the connection. */
static CO_FN Step opt_export_name(NbdClient *c, const Option *o)
{
    g_autofree char *name = g_strndup((const char *)o->data, o->len);
    NbdExport *e = o->len > NBD_NAME_MAX || c->extended ? NULL : find_export(c, name);
    uint8_t out[10 + 124] = { 0 };
    int ret;

    if (!e)
        return STEP_END;
    be64_store(out, e->node->size);
    be_store(out + 8, 2, export_flags(c, e));
    choose(c, e);
    co_lock(&c->chan.send);
    ret = chan_write(&c->chan, out, c->no_zeroes ? 10 : sizeof(out));
    co_unlock(&c->chan.send);
    return ret ? STEP_END : STEP_GO;
}

static CO_FN Step opt_list(NbdClient *c, const Option *o)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free), texts = g_ptr_array_new_with_free_func(g_free);

    if (o->len)
        return refuse(c, o, NBD_REP_ERR_INVALID, "no data expected");
    for (guint i = 0; i < c->s->exports->len; i++) {
        const NbdExport *e = c->s->exports->pdata[i];

        g_ptr_array_add(names, g_strdup(e->name));
        g_ptr_array_add(texts, g_strdup(e->description ? e->description : ""));
    }
    for (guint i = 0; i < names->len; i++) {
        size_t n = strlen(names->pdata[i]);
        g_autofree uint8_t *a = g_malloc(4 + n);

        be32_store(a, (uint32_t)n);
        memcpy(a + 4, names->pdata[i], n);
        if (reply2(c, o, NBD_REP_SERVER, (struct iovec){ a, 4 + n }, (struct iovec){ texts->pdata[i], strlen(texts->pdata[i]) }))
            return STEP_END;
    }
    return ack(c, o);
}

static CO_FN Step info_text(NbdClient *c, const Option *o, uint16_t kind, const char *text)
{
    uint8_t head[2];

    be_store(head, 2, kind);
    return reply2(c, o, NBD_REP_INFO, (struct iovec){ head, 2 }, (struct iovec){ (void *)(uintptr_t)text, strlen(text) }) ? STEP_END : STEP_MORE;
}

static CO_FN Step info_block_size(NbdClient *c, const Option *o, bool asked)
{
    uint8_t b[14];

    be_store(b, 2, NBD_INFO_BLOCK_SIZE);
    be32_store(b + 2, asked ? 1 : 512);
    be32_store(b + 6, SIZE_PREFERRED);
    be32_store(b + 10, NBD_DATA_MAX);
    return reply(c, o, NBD_REP_INFO, b, sizeof(b));
}

static CO_FN Step info_export(NbdClient *c, const Option *o, const NbdExport *e)
{
    uint8_t b[12];

    be_store(b, 2, NBD_INFO_EXPORT);
    be64_store(b + 2, e->node->size);
    be_store(b + 10, 2, export_flags(c, e));
    return reply(c, o, NBD_REP_INFO, b, sizeof(b));
}

static CO_FN Step opt_info_or_go(NbdClient *c, const Option *o)
{
    uint32_t at = 0, wanted = 0;
    g_autofree char *name = take_text(o, &at);
    const uint8_t *p = NULL;
    NbdExport *e;
    Step s;

    if (!name || !take(o, &at, 2, &p) || o->len - at != 2u * be_load(p, 2))
        return refuse(c, o, NBD_REP_ERR_INVALID, "malformed request");
    for (; at < o->len; at += 2)
        wanted |= 1u << MIN(be_load(o->data + at, 2), 31);
    e = find_export(c, name);
    if (!e)
        return refuse(c, o, NBD_REP_ERR_UNKNOWN, "export is not here");
    e->clients++; /* it stays while we talk about it */
    s = wanted & 1u << NBD_INFO_NAME ? info_text(c, o, NBD_INFO_NAME, e->name) : STEP_MORE;
    if (s == STEP_MORE && wanted & 1u << NBD_INFO_DESCRIPTION && e->description)
        s = info_text(c, o, NBD_INFO_DESCRIPTION, e->description);
    if (s == STEP_MORE)
        s = info_block_size(c, o, wanted & 1u << NBD_INFO_BLOCK_SIZE);
    if (s == STEP_MORE)
        s = info_export(c, o, e);
    if (s == STEP_MORE)
        s = ack(c, o);
    c->e = e; /* client_end counts it down again */
    if (s == STEP_END || o->type == NBD_OPT_GO) {
        if (s == STEP_MORE && c->ctx_export != e)
            g_array_set_size(c->ctx, 0);
        return s == STEP_MORE ? STEP_GO : STEP_END;
    }
    c->e = NULL;
    e->clients--;
    return STEP_MORE;
}

static CO_FN Step tell_context(NbdClient *c, const Option *o, uint32_t id, const char *name)
{
    uint8_t head[4];

    be32_store(head, o->type == NBD_OPT_LIST_META_CONTEXT ? 0 : id);
    return reply2(c, o, NBD_REP_META_CONTEXT, (struct iovec){ head, 4 }, (struct iovec){ (void *)(uintptr_t)name, strlen(name) }) ? STEP_END
                                                                                                                              : STEP_MORE;
}

/* A query names a context whole; a list may also ask for "base:", "qemu:", "qemu:dirty-bitmap:", or (none) for all. */
static bool matches(const char *query, const char *name, bool list)
{
    return !strcmp(query, name) || (list && g_str_has_suffix(query, ":") && g_str_has_prefix(name, query));
}

static CO_FN Step meta_contexts(NbdClient *c, const Option *o, NbdExport *e, const GPtrArray *queries)
{
    bool list = o->type == NBD_OPT_LIST_META_CONTEXT;
    uint32_t end = CTX_BITMAPS + e->bitmaps->len;

    for (uint32_t id = 0; id < end; id++) {
        g_autofree char *name = nbd__context_name(e, id);
        bool hit = list && !queries->len;

        for (guint q = 0; name && q < queries->len && !hit; q++)
            hit = matches(queries->pdata[q], name, list);
        if (!name || !hit)
            continue;
        if (tell_context(c, o, id, name) == STEP_END)
            return STEP_END;
        if (!list)
            g_array_append_val(c->ctx, id);
    }
    return ack(c, o);
}

static CO_FN Step opt_meta(NbdClient *c, const Option *o)
{
    g_autoptr(GPtrArray) queries = g_ptr_array_new_with_free_func(g_free);
    uint32_t at = 0, n = 0;
    g_autofree char *name = take_text(o, &at);
    const uint8_t *p;
    NbdExport *e;
    Step s;

    if (!c->structured)
        return refuse(c, o, NBD_REP_ERR_INVALID, "request structured replies first");
    if (!name || !take(o, &at, 4, &p))
        return refuse(c, o, NBD_REP_ERR_INVALID, "malformed request");
    for (n = be32_load(p); n; n--) { /* each takes at least 4 of the option's bytes */
        char *q = take_text(o, &at);

        if (!q)
            return refuse(c, o, NBD_REP_ERR_INVALID, "malformed query");
        g_ptr_array_add(queries, q);
    }
    if (at != o->len)
        return refuse(c, o, NBD_REP_ERR_INVALID, "trailing bytes");
    e = find_export(c, name);
    if (!e)
        return refuse(c, o, NBD_REP_ERR_UNKNOWN, "export is not here");
    if (o->type == NBD_OPT_SET_META_CONTEXT) {
        g_array_set_size(c->ctx, 0);
        c->ctx_export = e;
    }
    e->clients++;
    c->e = e;
    s = meta_contexts(c, o, e, queries);
    if (s == STEP_END)
        return s;
    c->e = NULL;
    e->clients--;
    return s;
}

static CO_FN Step opt_structured(NbdClient *c, const Option *o)
{
    if (o->len)
        return refuse(c, o, NBD_REP_ERR_INVALID, "no data expected");
    if (o->type == NBD_OPT_STRUCTURED_REPLY && c->extended)
        return refuse(c, o, NBD_REP_ERR_EXT_HEADER_REQD, "extended headers are in use");
    if (c->extended || (c->structured && o->type == NBD_OPT_STRUCTURED_REPLY))
        return refuse(c, o, NBD_REP_ERR_INVALID, "already negotiated");
    c->structured = true;
    c->extended = o->type == NBD_OPT_EXTENDED_HEADERS;
    return ack(c, o);
}

static CO_FN Step opt_starttls(NbdClient *c, const Option *o)
{
    Error *why = NULL;

    if (o->len)
        return refuse(c, o, NBD_REP_ERR_INVALID, "no data expected");
    if (!c->s->cfg.tls)
        return refuse(c, o, NBD_REP_ERR_POLICY, "TLS not configured");
    if (c->chan.tls)
        return refuse(c, o, NBD_REP_ERR_INVALID, "TLS already in use");
    if (ack(c, o) == STEP_END)
        return STEP_END;
    if (tls_start(&c->chan, c->s->cfg.tls, NULL, &why)) {
        c->structured = c->extended = false; /* what was agreed in the clear does not count */
        c->ctx_export = NULL;
        g_array_set_size(c->ctx, 0);
        return STEP_MORE;
    }
    error_free(why);
    return STEP_END;
}

static CO_FN Step serve_option(NbdClient *c, const Option *o)
{
    if (c->s->cfg.tls && !c->chan.tls && o->type != NBD_OPT_STARTTLS && o->type != NBD_OPT_ABORT)
        return o->type == NBD_OPT_EXPORT_NAME ? STEP_END : refuse(c, o, NBD_REP_ERR_TLS_REQD, "Option not permitted before TLS");
    switch (o->type) {
    case NBD_OPT_EXPORT_NAME:
        return opt_export_name(c, o);
    case NBD_OPT_ABORT:
        ack(c, o);
        return STEP_END;
    case NBD_OPT_LIST:
        return opt_list(c, o);
    case NBD_OPT_STARTTLS:
        return opt_starttls(c, o);
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return opt_info_or_go(c, o);
    case NBD_OPT_STRUCTURED_REPLY:
    case NBD_OPT_EXTENDED_HEADERS:
        return opt_structured(c, o);
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        return opt_meta(c, o);
    default:
        return refuse(c, o, NBD_REP_ERR_UNSUP, "Unsupported option");
    }
}

static CO_FN Step next_option(NbdClient *c)
{
    g_autofree uint8_t *data = NULL;
    uint8_t head[16];
    Option o;

    if (chan_read(&c->chan, head, sizeof(head)) || be64_load(head) != NBD_OPT_MAGIC)
        return STEP_END;
    o = (Option){ be32_load(head + 8), be32_load(head + 12), NULL };
    if (o.len > OPTION_MAX) {
        if (o.len > SKIP_MAX || o.type == NBD_OPT_EXPORT_NAME || chan_skip(&c->chan, o.len))
            return STEP_END;
        return refuse(c, &o, NBD_REP_ERR_TOO_BIG, "too much data");
    }
    o.data = data = g_malloc(o.len + 1);
    return chan_read(&c->chan, data, o.len) ? STEP_END : serve_option(c, &o);
}

CO_FN bool nbd__handshake(NbdClient *c)
{
    uint8_t out[18], in[4];
    uint32_t flags;
    Step s = STEP_MORE;
    int ret;

    be64_store(out, NBD_MAGIC);
    be64_store(out + 8, NBD_OPT_MAGIC);
    be_store(out + 16, 2, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    co_lock(&c->chan.send);
    ret = chan_write(&c->chan, out, sizeof(out));
    co_unlock(&c->chan.send);
    if (ret || chan_read(&c->chan, in, sizeof(in)))
        return false;
    flags = be32_load(in);
    if (flags & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES))
        return false;
    c->no_zeroes = flags & NBD_NO_ZEROES;
    for (unsigned i = 0; i < OPTIONS_MAX && s == STEP_MORE; i++)
        s = next_option(c);
    return s == STEP_GO;
}
