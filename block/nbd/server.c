/* block/nbd/server.c - the server's life: listeners, clients, exports, and how they end. */
#include "block/nbd/server-priv.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct Listener {
    NbdServer *s;
    int fd;
    guint watch;
} Listener;

static void listener_free(gpointer p)
{
    Listener *l = p;

    loop_unwatch(l->s->loop, l->watch);
    close(l->fd);
    g_free(l);
}

NbdServer *nbd_server_new(Loop *loop, const NbdConfig *c)
{
    NbdServer *s = g_new0(NbdServer, 1);

    s->loop = loop;
    s->cfg = *c;
    if (!s->cfg.max_clients || s->cfg.max_clients > NBD_CLIENTS_MAX)
        s->cfg.max_clients = NBD_CLIENTS_MAX;
    s->exports = g_ptr_array_new();
    s->clients = g_ptr_array_new();
    s->listeners = g_ptr_array_new_with_free_func(listener_free);
    return s;
}

unsigned nbd_server_clients(const NbdServer *s) { return s->clients->len; }

static void free_when_done(NbdServer *s)
{
    if (!s->stopping || s->clients->len || s->exports->len)
        return;
    g_ptr_array_free(s->listeners, TRUE);
    g_ptr_array_free(s->exports, TRUE);
    g_ptr_array_free(s->clients, TRUE);
    if (s->cfg.stopped)
        s->cfg.stopped(s->cfg.arg);
    g_free(s);
}

/* ---- exports ---- */
static void export_end(NbdExport *e)
{
    NbdServer *s = e->s;

    g_ptr_array_remove(s->exports, e);
    for (guint i = 0; i < e->bitmaps->len; i++)
        ((DirtyBitmap *)e->bitmaps->pdata[i])->busy--;
    g_ptr_array_free(e->bitmaps, TRUE);
    if (e->gone)
        e->gone(e->arg);
    node_unref(e->node);
    g_free(e->id);
    g_free(e->name);
    g_free(e->description);
    g_free(e);
    free_when_done(s);
}

NbdExport *nbd_export_find(const NbdServer *s, const char *id, const char *name)
{
    for (guint i = 0; i < s->exports->len; i++) {
        NbdExport *e = s->exports->pdata[i];

        if (id ? !g_strcmp0(e->id, id) : !strcmp(e->name, name))
            return e;
    }
    return NULL;
}

void nbd_export_foreach(const NbdServer *s, void (*fn)(NbdExport *e, void *arg), void *arg)
{
    for (guint i = 0; i < s->exports->len; i++)
        fn(s->exports->pdata[i], arg);
}

NbdExport *nbd_export_add(NbdServer *s, const NbdExportSpec *spec, Error **err)
{
    NbdExport *e;

    if (strlen(spec->name) > NBD_NAME_MAX || (spec->description && strlen(spec->description) > NBD_NAME_MAX)) {
        fail(err, "export name '%s' too long", spec->name);
        return NULL;
    }
    if (nbd_export_find(s, NULL, spec->name)) {
        fail(err, "NBD server already has export named '%s'", spec->name);
        return NULL;
    }
    if (spec->writable && spec->node->readonly) {
        fail(err, "Cannot export read-only node as writable");
        return NULL;
    }
    e = g_new(NbdExport, 1);
    *e = (NbdExport){ .s = s, .id = g_strdup(spec->id), .name = g_strdup(spec->name), .description = g_strdup(spec->description),
                      .node = node_ref(spec->node), .writable = spec->writable, .writethrough = spec->writethrough, .depth = spec->depth,
                      .shared = spec->shared, .bitmaps = g_ptr_array_new(), .gone = spec->gone, .arg = spec->arg };
    g_ptr_array_add(s->exports, e);
    return e;
}

bool nbd_export_bitmap(NbdExport *e, DirtyBitmap *b, Error **err)
{
    if (b->inconsistent)
        return fail(err, "Bitmap '%s' is inconsistent and cannot be used", b->name);
    if (!e->writable && !b->n->readonly && !b->disabled) /* who reads it expects that nothing changes */
        return fail(err, "Enabled bitmap '%s' incompatible with readonly export", b->name);
    if (e->bitmaps->len >= CTX_MAX - CTX_BITMAPS)
        return fail(err, "too many bitmaps in export '%s'", e->name);
    b->busy++;
    g_ptr_array_add(e->bitmaps, b);
    return true;
}

void nbd_export_remove(NbdExport *e)
{
    if (e->closing)
        return;
    e->closing = true;
    for (guint i = 0; i < e->s->clients->len; i++) {
        NbdClient *c = e->s->clients->pdata[i];

        if (c->e == e)
            chan_break(&c->chan);
    }
    if (!e->clients)
        export_end(e);
}

bool nbd_export_has_clients(const NbdExport *e) { return e->clients; }
bool nbd_export_closing(const NbdExport *e) { return e->closing; }
const char *nbd_export_id(const NbdExport *e) { return e->id; }
const char *nbd_export_name(const NbdExport *e) { return e->name; }
Node **nbd_export_node(NbdExport *e) { return &e->node; }

/* ---- clients ---- */
static bool on_accept(void *arg, int fd, GIOCondition cond);

/* A full server leaves who comes in the backlog. */
static void set_watches(NbdServer *s)
{
    bool want = !s->stopping && s->clients->len < s->cfg.max_clients;

    for (guint i = 0; i < s->listeners->len; i++) {
        Listener *l = s->listeners->pdata[i];

        if (!want)
            loop_unwatch(s->loop, l->watch);
        if (want && !l->watch)
            l->watch = loop_watch_fd(s->loop, l->fd, G_IO_IN, on_accept, l);
        l->watch = want ? l->watch : 0;
    }
}

static void client_end(NbdClient *c)
{
    NbdServer *s = c->s;
    NbdExport *e = c->e;

    loop_unwatch(s->loop, c->timer);
    chan_close(&c->chan);
    g_array_free(c->ctx, TRUE);
    g_ptr_array_remove(s->clients, c);
    g_free(c);
    set_watches(s);
    if (!s->clients->len && s->cfg.idle && !s->stopping)
        s->cfg.idle(s->cfg.arg);
    if (e && !--e->clients && e->closing)
        export_end(e);
    else
        free_when_done(s);
}

static bool too_slow(void *arg)
{
    NbdClient *c = arg;

    c->timer = 0;
    chan_break(&c->chan);
    return false;
}

static void client_body(void *arg)
{
    NbdClient *c = arg;

    if (nbd__handshake(c)) {
        loop_unwatch(c->s->loop, c->timer);
        c->timer = 0;
        nbd__serve(c);
    }
    client_end(c);
}

void nbd_server_serve(NbdServer *s, int fd)
{
    NbdClient *c = g_new0(NbdClient, 1);
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* fails on unix sockets, which is fine */
    c->s = s;
    c->ctx = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    chan_init(&c->chan, s->loop, fd);
    g_ptr_array_add(s->clients, c);
    set_watches(s);
    if (s->cfg.handshake_s)
        c->timer = loop_after(s->loop, (int64_t)s->cfg.handshake_s * SEC, too_slow, c);
    if (s->cfg.accepted)
        s->cfg.accepted(s->cfg.arg);
    co_enter(co_new(client_body, c));
}

static bool on_accept(void *arg, int fd, GIOCondition cond)
{
    Listener *l = arg;
    int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (conn >= 0)
        nbd_server_serve(l->s, conn);
    return true;
}

void nbd_server_listen(NbdServer *s, int fd)
{
    Listener *l = g_new(Listener, 1);

    *l = (Listener){ s, fd, 0 };
    g_ptr_array_add(s->listeners, l);
    set_watches(s);
}

void nbd_server_stop(NbdServer *s)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    for (guint i = 0; i < s->exports->len; i++)
        g_ptr_array_add(all, s->exports->pdata[i]);
    g_ptr_array_set_size(s->listeners, 0);
    for (guint i = 0; i < s->clients->len; i++)
        chan_break(&((NbdClient *)s->clients->pdata[i])->chan);
    for (guint i = 0; i < all->len; i++)
        nbd_export_remove(all->pdata[i]);
    s->stopping = true;
    free_when_done(s);
}
