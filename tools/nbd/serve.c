/* tools/nbd/serve.c - menura-nbd's server: opens the image, listens, ends in an orderly way. */
#include "tools/nbd/nbd.h"
#include "util/daemon.h"
#include <glib-unix.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Serving {
    NbdTool *t;
    Node *node;
    NbdServer *server;
    bool quit, stopped;
    Error **err;
    bool ok;
} Serving;

/* ---- the image ---- */
static bool cache_mode(const NbdTool *t, Opts *o, Error **err)
{
    const char *m = t->cache;

    if (!m || !strcmp(m, "writeback") || !strcmp(m, "writethrough"))
        return true;
    if (!strcmp(m, "none") || !strcmp(m, "off") || !strcmp(m, "directsync"))
        opts_set(o, "cache.direct", "on");
    else if (!strcmp(m, "unsafe"))
        opts_set(o, "cache.no-flush", "on");
    else
        return fail(err, "Invalid cache mode '%s'", m);
    return true;
}

static bool describe(const NbdTool *t, Opts *o, Error **err)
{
    if (t->image_opts) {
        g_autoptr(Opts) more = opts_parse(t->file, NULL, err);

        if (!more)
            return false;
        for (guint i = 0; i < more->v->len; i++)
            opts_set(o, ((Opt *)more->v->pdata[i])->key, ((Opt *)more->v->pdata[i])->value);
    } else {
        opts_set(o, "filename", t->file);
    }
    if (t->format)
        opts_set(o, "driver", t->format);
    if (t->discard)
        opts_set(o, "discard", t->discard);
    if (t->detect_zeroes)
        opts_set(o, "detect-zeroes", t->detect_zeroes);
    return cache_mode(t, o, err);
}

static bool add_overlay(Serving *s)
{
    Node *top = node_overlay(s->node, s->err);

    if (top)
        s->node = top;
    return top;
}

static bool add_offset(Serving *s)
{
    g_autoptr(Opts) o = opts_new();
    g_autofree char *at = g_strdup_printf("%" PRIu64, s->t->offset);
    Node *top;

    opts_set(o, "driver", "raw");
    opts_set(o, "offset", at);
    top = node_open_on(s->t->loop, o, s->node->readonly, s->node, NULL, s->err);
    if (top)
        node_unref(s->node);
    s->node = top ? top : s->node;
    return top;
}

static bool view(Serving *s)
{
    const char *which = s->t->snapshot_view;

    if (g_str_has_prefix(which, "snapshot.id="))
        which += strlen("snapshot.id=");
    else if (g_str_has_prefix(which, "snapshot.name="))
        which += strlen("snapshot.name=");
    if (!s->node->drv->image || !s->node->drv->image->snapshot_view)
        return fail(s->err, "the image has no snapshots");
    return s->node->drv->image->snapshot_view(s->node, which, s->err);
}

static void open_body(void *arg)
{
    Serving *s = arg;
    NbdTool *t = s->t;
    g_autoptr(Opts) o = opts_new();
    bool readonly = t->readonly || t->snapshot || t->snapshot_view;
    unsigned want = PERM_CONSISTENT_READ | (t->readonly || t->snapshot_view || t->snapshot ? 0 : PERM_WRITE | PERM_RESIZE);

    s->node = describe(t, o, s->err) ? node_open(t->loop, o, readonly, s->err) : NULL;
    s->ok = s->node && node_permissions(s->node, want, PERM_ALL & ~(unsigned)(PERM_WRITE | PERM_RESIZE), s->err) &&
            (!t->snapshot_view || view(s)) && (!t->snapshot || add_overlay(s)) && (!t->offset || add_offset(s)) &&
            (!t->bitmaps->len || blk_bitmaps_load(s->node, s->err));
}

/* ---- its export ---- */
static DirtyBitmap *find_bitmap(Node *n, const char *name)
{
    for (; n; n = n->backing) {
        DirtyBitmap *b = dirty_find(n, name);

        if (b)
            return b;
    }
    return NULL;
}

static bool add_export(Serving *s, Error **err)
{
    NbdTool *t = s->t;
    NbdExportSpec spec = { .name = t->name ? t->name : "", .description = t->description, .node = s->node,
                           .writable = !t->readonly && !t->snapshot_view,
                           .writethrough = t->cache && (!strcmp(t->cache, "writethrough") || !strcmp(t->cache, "directsync")),
                           .depth = t->depth, .shared = t->shared != 1 };
    NbdExport *e = nbd_export_add(s->server, &spec, err);

    for (guint i = 0; e && i < t->bitmaps->len; i++) {
        DirtyBitmap *b = find_bitmap(s->node, t->bitmaps->pdata[i]);

        if (!b)
            return fail(err, "Bitmap '%s' is not found", (const char *)t->bitmaps->pdata[i]);
        if (!nbd_export_bitmap(e, b, err))
            return false;
    }
    return e;
}

static int listening(const NbdTool *t, Error **err)
{
    const char *fds = g_getenv("LISTEN_FDS"), *pid = g_getenv("LISTEN_PID");
    NbdAddr a;
    int fd;

    if (fds && pid && g_ascii_strtoull(pid, NULL, 10) == (guint64)getpid() && g_ascii_strtoull(fds, NULL, 10) == 1)
        return 3; /* socket activation */
    nbd_tool_addr(t, &a);
    fd = nbd_addr_listen(&a, MAX((int)t->shared, 1), err);
    nbd_addr_clear(&a);
    return fd;
}

static void idle(void *arg)
{
    Serving *s = arg;

    if (!s->t->persistent)
        s->quit = true;
}

static void stopped(void *arg) { ((Serving *)arg)->stopped = true; }

static gboolean on_signal(gpointer arg)
{
    ((Serving *)arg)->quit = true;
    return G_SOURCE_CONTINUE;
}

static void watch_signals(Serving *s)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
        GSource *src = g_unix_signal_source_new(signals[i]);

        g_source_set_callback(src, on_signal, s, NULL);
        g_source_attach(src, loop_context(s->t->loop));
        g_source_unref(src);
    }
}

static bool tell_ready(const NbdTool *t, Error **err)
{
    g_autofree char *pid = g_strdup_printf("%d\n", (int)getpid());
    g_autoptr(GError) why = NULL;

    if (t->pid_file && !g_file_set_contents(t->pid_file, pid, -1, &why))
        return fail(err, "cannot write the PID file: %s", why->message);
    return t->ready_fd < 0 || daemon_ready(t->ready_fd, false, err);
}

static bool start(Serving *s, Error **err)
{
    NbdConfig c = { .tls = s->t->tls, .handshake_s = s->t->handshake_s, .max_clients = s->t->shared, .idle = idle, .stopped = stopped, .arg = s };
    int fd;

    blk_run(s->t->loop, open_body, s);
    if (!s->ok)
        return false;
    fd = listening(s->t, err);
    if (fd < 0)
        return false;
    s->server = nbd_server_new(s->t->loop, &c);
    nbd_server_listen(s->server, fd);
    return add_export(s, err) && tell_ready(s->t, err);
}

/* What came in is answered and flushed before the image is closed. */
static void finish(Serving *s)
{
    Node *n = s->node;

    if (s->server) {
        nbd_server_stop(s->server);
        while (!s->stopped)
            loop_iterate(s->t->loop, true);
    }
    if (n)
        node_unref(n);
    if (s->t->socket)
        unlink(s->t->socket);
    if (s->t->pid_file)
        unlink(s->t->pid_file);
}

int nbd_serve(NbdTool *t, Error **err)
{
    Serving s = { .t = t, .err = err };
    bool ok;

    watch_signals(&s);
    ok = start(&s, err);
    while (ok && !s.quit)
        loop_iterate(t->loop, true);
    finish(&s);
    return ok ? 0 : 1;
}
