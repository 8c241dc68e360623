/*
 * block/nbd/client.c - driver "nbd": a disk on an NBD server. Requests go out as they come; one coroutine reads replies and
 * wakes who waits for them. A lost connection is made again (reconnect-delay=): requests wait that long, then fail.
 *
 * Invariants: 1. a request is in `slots` from before it is sent until its reply is complete or the connection is lost.
 * 2. `reader` is the only one that reads; when it ends, every slot is answered with -ECONNRESET.
 */
#include "block/nbd/client-priv.h"
#include "block/priv.h"
#include <errno.h>

enum { OPEN_RETRY_MS = 100, RETRY_MIN_MS = 100, RETRY_MAX_MS = 5000 };

/* ---- a sleep that closing ends ---- */
static bool timer_ended(void *arg)
{
    NbdDisk *s = arg;
    Co *co = s->sleeper;

    s->sleeper = NULL;
    s->timer = 0;
    co_wake(co);
    return false;
}

static CO_FN void sleep_ms(NbdDisk *s, int64_t ms)
{
    s->sleeper = co_self();
    s->timer = loop_after(s->n->loop, ms * MS, timer_ended, s);
    while (s->sleeper)
        co_yield();
}

static void end_sleep(NbdDisk *s)
{
    if (!s->timer)
        return;
    loop_unwatch(s->n->loop, s->timer);
    timer_ended(s);
}

/* ---- the connection ---- */
static CO_FN bool link_up(NbdDisk *s, Error **err)
{
    NbdLinkSpec spec = { &s->addr, s->export, s->context ? s->context : "base:allocation", s->tls, s->tls_hostname };

    return nbd_link_open(&s->link, s->n->loop, &spec, err);
}

static void wake_waiters(NbdDisk *s)
{
    GQueue now = s->waiters;
    Co *co;

    g_queue_init(&s->waiters);
    while ((co = g_queue_pop_head(&now)))
        co_wake(co);
}

static bool give_up(void *arg)
{
    NbdDisk *s = arg;

    s->limit = 0;
    wake_waiters(s);
    return false;
}

static void reader_body(void *arg)
{
    NbdDisk *s = arg;

    nbd__read_replies(s);
    s->state = s->closing ? NBD_DEAD : NBD_LOST; /* without reconnect-delay requests fail until it is there again */
    co_lock(&s->link.chan.send); /* who is sending finds it broken, and nobody begins any more */
    co_unlock(&s->link.chan.send);
    nbd_link_close(&s->link);
    if (s->state == NBD_LOST && s->reconnect_s)
        s->limit = loop_after(s->n->loop, (int64_t)s->reconnect_s * SEC, give_up, s);
    for (unsigned i = 0; i < NBD_SLOTS; i++)
        if (s->slots[i])
            nbd__answer(s, i, -ECONNRESET);
    s->reader = NULL;
    if (s->state == NBD_LOST)
        nbd__reconnect(s);
    else
        wake_waiters(s);
    if (s->closer)
        co_wake(s->closer);
}

static void start_reader(NbdDisk *s)
{
    s->state = NBD_UP;
    s->reader = co_new(reader_body, s);
    co_enter(s->reader);
}

/* The same disk as before? */
static bool same(const NbdDisk *s) { return s->link.size == s->n->size && (s->n->readonly || !(s->link.flags & NBD_READ_ONLY)); }

static void reconnect_body(void *arg)
{
    NbdDisk *s = arg;
    int64_t pause = RETRY_MIN_MS;

    while (!s->closing) {
        bool up = link_up(s, NULL);

        if (up && (s->closing || !same(s))) {
            nbd_link_close(&s->link);
            up = false;
        }
        if (up)
            break;
        if (!s->closing)
            sleep_ms(s, pause);
        pause = MIN(pause * 2, RETRY_MAX_MS);
    }
    loop_unwatch(s->n->loop, s->limit);
    s->limit = 0;
    s->connector = NULL;
    if (!s->closing)
        start_reader(s);
    wake_waiters(s);
    if (s->closer)
        co_wake(s->closer);
}

void nbd__reconnect(NbdDisk *s)
{
    s->connector = co_new(reconnect_body, s);
    co_enter(s->connector);
}

CO_FN int nbd__usable(NbdDisk *s)
{
    for (;;) {
        if (s->state == NBD_DEAD || s->closing)
            return -EIO;
        if (s->state == NBD_UP && s->in_flight < NBD_SLOTS)
            return 0;
        if (s->state == NBD_LOST && !s->limit)
            return -EIO;
        g_queue_push_tail(&s->waiters, co_self());
        co_yield();
    }
}

void nbd__slot_free(NbdDisk *s)
{
    Co *co = s->state == NBD_UP ? g_queue_pop_head(&s->waiters) : NULL;

    if (co)
        co_wake(co);
}

/* ---- opening ---- */
static bool take_addr(NbdDisk *s, Opts *o, const char *filename, Error **err)
{
    Error *why = NULL;
    char *path = opts_take(o, "path"), *host = opts_take(o, "host"), *port = opts_take(o, "port");

    if (filename && !nbd_uri_parse(filename, &s->addr, &s->export, &s->wants_tls, err)) {
        g_free(path);
        g_free(host);
        g_free(port);
        return false;
    }
    if (!filename && !path && !host && !nbd_addr_parse(&s->addr, o, "server.", &why))
        return why ? error_pass(err, why) : fail(err, "NBD server address missing");
    if (path || host) { /* the older spelling */
        nbd_addr_clear(&s->addr);
        s->addr = (NbdAddr){ .path = path, .host = host, .port = port ? port : g_strdup_printf("%d", NBD_PORT) };
    }
    return true;
}

static bool take_tls(NbdDisk *s, const char *id, Error **err)
{
    s->tls = id ? tls_creds_find(s->n->loop, id) : NULL;
    if (id && !s->tls)
        return fail(err, "No TLS credentials with id '%s'", id);
    if (s->tls && tls_creds_is_server(s->tls))
        return fail(err, "Expecting TLS credentials with a client endpoint");
    if (s->wants_tls && !s->tls)
        return fail(err, "an nbds address needs tls-creds=ID");
    if (s->tls)
        tls_creds_ref(s->tls);
    return true;
}

static bool options(NbdDisk *s, Opts *o, Error **err)
{
    const char *export = opts_get(o, "export"), *bitmap = opts_get(o, "x-dirty-bitmap"), *host = opts_get(o, "tls-hostname");
    uint64_t open_s = 0, again_s = 0;

    if (!take_addr(s, o, opts_get(o, "filename"), err))
        return false;
    if (export) {
        g_free(s->export);
        s->export = g_strdup(export);
    }
    if (s->export && strlen(s->export) > NBD_NAME_MAX)
        return fail(err, "export name too long to send to server");
    s->context = g_strdup(bitmap);
    s->tls_hostname = g_strdup(host);
    if (!opts_get_u64(o, "reconnect-delay", 0, &again_s, err) || !opts_get_u64(o, "open-timeout", 0, &open_s, err))
        return false;
    s->reconnect_s = (uint32_t)MIN(again_s, UINT32_MAX / 2);
    s->open_s = (uint32_t)MIN(open_s, UINT32_MAX / 2);
    return take_tls(s, opts_get(o, "tls-creds"), err);
}

static CO_FN bool first_link(NbdDisk *s, Error **err)
{
    int64_t end = host_now() + (int64_t)s->open_s * SEC;
    Error *why = NULL;

    while (!link_up(s, &why)) {
        if (host_now() >= end)
            return error_pass(err, why);
        error_free(why);
        why = NULL;
        sleep_ms(s, OPEN_RETRY_MS);
    }
    return true;
}

static void describe(NbdDisk *s)
{
    g_autofree char *base = nbd_addr_text(&s->addr);
    const char *export = s->export ? s->export : "";

    if (s->addr.path)
        s->n->filename = g_strdup_printf("nbd+unix:///%s?socket=%s", export, s->addr.path);
    else
        s->n->filename = *export ? g_strdup_printf("%s/%s", base, export) : g_strdup(base);
}

static void free_state(NbdDisk *s)
{
    nbd_addr_clear(&s->addr);
    g_free(s->export);
    g_free(s->context);
    g_free(s->tls_hostname);
    tls_creds_free(s->tls);
}

static GPtrArray *links(Loop *loop) /* of NbdDisk: all that have coroutines on this loop */
{
    GPtrArray *v = loop_named(loop, "nbd/links");

    if (!v)
        loop_name(loop, "nbd/links", v = g_ptr_array_new());
    return v;
}

static CO_FN bool nbd_open(Node *n, Opts *o, Error **err)
{
    NbdDisk *s = n->opaque;
    bool ok;

    s->n = n;
    g_queue_init(&s->waiters);
    ok = options(s, o, err) && first_link(s, err);
    if (ok && s->link.flags & NBD_READ_ONLY && !n->readonly) {
        ok = n->auto_readonly || fail(err, "request on write denied without write permission: the export is read-only");
        n->readonly |= ok;
        if (!ok)
            nbd_link_close(&s->link);
    }
    if (ok && s->context && !s->link.have_context) {
        ok = fail(err, "requested x-dirty-bitmap %s not found", s->context);
        nbd_link_close(&s->link);
    }
    if (!ok) {
        free_state(s);
        return false;
    }
    describe(s);
    n->size = s->link.size;
    g_ptr_array_add(links(n->loop), s);
    start_reader(s);
    return true;
}

/* ---- closing ---- */
static CO_FN void end(NbdDisk *s)
{
    s->closing = true;
    if (s->state == NBD_UP)
        nbd__say_goodbye(s);
    end_sleep(s);
    s->closer = co_self();
    while (s->reader || s->connector) {
        if (s->link.chan.fd >= 0)
            chan_break(&s->link.chan);
        co_yield();
    }
    s->closer = NULL;
    loop_unwatch(s->n->loop, s->limit);
    s->limit = 0;
}

static CO_FN void nbd_close(Node *n)
{
    NbdDisk *s = n->opaque;
    GPtrArray *v = links(n->loop);

    end(s);
    g_ptr_array_remove(v, s);
    if (!v->len) {
        loop_name(n->loop, "nbd/links", NULL);
        g_ptr_array_free(v, TRUE);
    }
    free_state(s);
}

static void end_body(void *arg) { end(arg); }

void nbd__end_all(Loop *loop)
{
    GPtrArray *v = loop_named(loop, "nbd/links");

    for (guint i = 0; v && i < v->len; i++)
        if (!((NbdDisk *)v->pdata[i])->closing)
            block__run(loop, end_body, v->pdata[i]);
}

static void nbd_limits(Node *n, BlkLimits *out)
{
    const NbdDisk *s = n->opaque;
    uint64_t max = s->link.max_block ? MIN(s->link.max_block, NBD_DATA_MAX) : NBD_DATA_MAX;

    out->align = s->link.min_block ? s->link.min_block : 1;
    if (n->size % out->align)
        out->align = 1;
    out->max_transfer = align_down(max, out->align);
    out->max_discard = out->max_zero = s->link.extended ? 1ull << 40 : align_down(INT32_MAX, 64 * KiB);
}

const BlkDriver nbd__driver = { .name = "nbd", .schemes = "nbd nbds nbd+tcp nbds+tcp nbd+unix nbds+unix",
                                .size = sizeof(NbdDisk),
                                .protocol = true,
                                .open = nbd_open,
                                .close = nbd_close,
                                .submit = nbd__submit,
                                .limits = nbd_limits };
BLK_DRIVER(nbd__driver);
