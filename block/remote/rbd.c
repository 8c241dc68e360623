/*
 * block/remote/rbd.c - driver "rbd": an image in a Ceph cluster (librbd). Requests are librbd's own asynchronous ones; their completions come
 * on its threads and go back to the node's loop. What waits (connecting, opening, resizing) is a job of the pool.
 */
#include "block/priv.h"
#include "block/remote/lib.h"
#include "block/sonames.h"
#include "core/secret.h"
#include <errno.h>
#include <rbd/librbd.h>

#define FUNCTIONS(X) \
    X(rados_create) X(rados_conf_read_file) X(rados_conf_set) X(rados_connect) X(rados_shutdown) X(rados_ioctx_create) \
    X(rados_ioctx_set_namespace) X(rados_ioctx_destroy) X(rbd_open) X(rbd_open_read_only) X(rbd_close) X(rbd_get_size) X(rbd_resize) \
    X(rbd_aio_create_completion) X(rbd_aio_get_return_value) X(rbd_aio_release) X(rbd_aio_readv) X(rbd_aio_writev) X(rbd_aio_discard) \
    X(rbd_aio_write_zeroes) X(rbd_aio_flush)
LIB_TABLE(FUNCTIONS);

enum { SERVERS = 16, METHODS = 2 };
typedef struct Rbd {
    Node *n;
    rados_t cluster;
    rados_ioctx_t pool;
    rbd_image_t image;
    GPtrArray *settings; /* key, value, key, .. for the cluster's configuration; owned */
    char *names[5];      /* which pool, namespace, image, snapshot, user; NULL: not given */
    char *conf;          /* the configuration file; NULL: the usual ones */
    Error *why;          /* of a job that failed */
    CoLock sizing;
    uint64_t want;       /* of a resize: bytes */
} Rbd;
enum { POOL, NAMESPACE, IMAGE, SNAPSHOT, USER };
static const char *const keys[] = { "pool", "namespace", "image", "snapshot", "user" };

/* ---- options ---- */
static void set(Rbd *s, const char *key, const char *value)
{
    g_ptr_array_add(s->settings, g_strdup(key));
    g_ptr_array_add(s->settings, g_strdup(value));
}

static void name(Rbd *s, unsigned which, const char *value)
{
    g_free(s->names[which]);
    s->names[which] = g_strdup(value);
}

/* The next part of text, up to one of `ends` that no backslash precedes; *end says which it was. Caller frees. */
static char *part(const char **text, const char *ends, char *end)
{
    GString *out = g_string_new(NULL);
    const char *p = *text;

    for (; *p && !strchr(ends, *p); p++) {
        if (*p == '\\' && p[1])
            p++;
        g_string_append_c(out, *p);
    }
    *end = *p;
    *text = *p ? p + 1 : p;
    return g_string_free(out, FALSE);
}

/* rbd:POOL[/NAMESPACE]/IMAGE[@SNAPSHOT][:KEY=VALUE..]; the keys id and conf are ours, all others the cluster's. */
static bool take_filename(Rbd *s, const char *text, Error **err)
{
    char end = 0;

    if (!g_str_has_prefix(text, "rbd:"))
        return fail(err, "File name must start with 'rbd:'");
    text += 4;
    for (unsigned n = 0; n < 3; n++) {
        g_autofree char *v = part(&text, "/@:", &end);

        if (end != '/') {
            name(s, IMAGE, v);
            break;
        }
        name(s, n, v); /* POOL, then NAMESPACE */
    }
    if (end == '@') {
        g_autofree char *v = part(&text, ":", &end);

        name(s, SNAPSHOT, v);
    }
    while (end == ':') {
        g_autofree char *key = part(&text, "=:", &end), *v = end == '=' ? part(&text, ":", &end) : NULL;

        if (!v)
            return fail(err, "conf option %s has no value", key);
        if (!strcmp(key, "id"))
            name(s, USER, v);
        else if (!strcmp(key, "conf"))
            s->conf = g_strdup(v);
        else
            set(s, key, v);
    }
    return (s->names[POOL] && s->names[IMAGE]) || fail(err, "Pool name is required");
}

static void take_servers(Rbd *s, Opts *o)
{
    g_autoptr(GString) all = g_string_new(NULL);

    for (unsigned i = 0; i < SERVERS; i++) {
        g_autofree char *host = g_strdup_printf("server.%u.host", i), *port = g_strdup_printf("server.%u.port", i);
        const char *h = opts_get(o, host), *p = opts_get(o, port);

        if (h && p)
            g_string_append_printf(all, strchr(h, ':') ? "%s[%s]:%s" : "%s%s:%s", all->len ? ";" : "", h, p);
    }
    if (all->len)
        set(s, "mon_host", all->str);
}

static bool take_auth(Rbd *s, Opts *o, Error **err)
{
    g_autoptr(GString) methods = g_string_new(NULL);
    const char *id = opts_get(o, "key-secret");
    uint8_t *bytes;
    size_t n;

    for (unsigned i = 0; i < METHODS; i++) {
        g_autofree char *key = g_strdup_printf("auth-client-required.%u", i);
        const char *v = opts_get(o, key);

        if (v)
            g_string_append_printf(methods, "%s%s", methods->len ? ";" : "", v);
    }
    if (methods->len)
        set(s, "auth_client_required", methods->str);
    if (!id)
        return true;
    if (!secret_get(s->n->loop, id, &bytes, &n, err))
        return false;
    g_autofree char *text = g_base64_encode(bytes, n);

    secret_wipe(bytes, n);
    set(s, "key", text);
    explicit_bzero(text, strlen(text));
    return true;
}

static bool options(Rbd *s, Opts *o, Error **err)
{
    const char *filename = opts_get(o, "filename");

    if (filename && !take_filename(s, filename, err))
        return false;
    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++)
        remote_take(&s->names[i], o, keys[i]);
    remote_take(&s->conf, o, "conf");
    take_servers(s, o);
    if (!take_auth(s, o, err))
        return false;
    if (!s->names[POOL] || !s->names[IMAGE])
        return fail(err, "Parameter '%s' is missing", s->names[POOL] ? "image" : "pool");
    if (s->names[SNAPSHOT] && !s->n->readonly && !s->n->auto_readonly)
        return fail(err, "rbd snapshots are read-only");
    s->n->readonly |= s->names[SNAPSHOT] != NULL;
    return true;
}

/* ---- the cluster; in the pool ---- */
static bool failed(Rbd *s, int r, const char *what, const char *which)
{
    return fail(&s->why, "error %s %s: %s", what, which, g_strerror(-r));
}

static bool connect_to(Rbd *s)
{
    int r = lib.rados_create(&s->cluster, s->names[USER]);

    if (r < 0) {
        s->cluster = NULL;
        return failed(s, r, "initializing for", s->names[USER] ? s->names[USER] : "the usual user");
    }
    r = lib.rados_conf_read_file(s->cluster, s->conf);
    if (r < 0 && s->conf)
        return failed(s, r, "reading conf file", s->conf);
    for (guint i = 0; i < s->settings->len; i += 2) {
        r = lib.rados_conf_set(s->cluster, s->settings->pdata[i], s->settings->pdata[i + 1]);
        if (r < 0)
            return failed(s, r, "setting option", s->settings->pdata[i]);
    }
    r = lib.rados_connect(s->cluster);
    return r >= 0 || failed(s, r, "connecting to", "the cluster");
}

static bool open_image(Rbd *s)
{
    uint64_t size = 0;
    int r = lib.rados_ioctx_create(s->cluster, s->names[POOL], &s->pool);

    if (r < 0) {
        s->pool = NULL;
        return failed(s, r, "opening pool", s->names[POOL]);
    }
    if (s->names[NAMESPACE])
        lib.rados_ioctx_set_namespace(s->pool, s->names[NAMESPACE]);
    r = (s->n->readonly ? lib.rbd_open_read_only : lib.rbd_open)(s->pool, s->names[IMAGE], &s->image, s->names[SNAPSHOT]);
    if (r < 0) {
        s->image = NULL;
        return failed(s, r, "reading header from", s->names[IMAGE]);
    }
    r = lib.rbd_get_size(s->image, &size);
    s->n->size = size;
    return r >= 0 || failed(s, r, "getting the size of", s->names[IMAGE]);
}

static int job_open(void *arg) { return connect_to(arg) && open_image(arg) ? 0 : -EIO; }

static int job_close(void *arg)
{
    Rbd *s = arg;

    if (s->image)
        lib.rbd_close(s->image);
    if (s->pool)
        lib.rados_ioctx_destroy(s->pool);
    if (s->cluster)
        lib.rados_shutdown(s->cluster);
    return 0;
}

static int job_resize(void *arg)
{
    const Rbd *s = arg;

    return MIN(lib.rbd_resize(s->image, s->want), 0);
}

/* ---- requests ---- */
static void completed(rbd_completion_t c, void *arg) /* a thread of librbd's */
{
    remote_done(arg);
}

static int begin(const Rbd *s, const BlkReq *r, rbd_completion_t c)
{
    switch (r->op) {
    case BLK_READ: return lib.rbd_aio_readv(s->image, r->iov, r->niov, r->off, c);
    case BLK_WRITE: return lib.rbd_aio_writev(s->image, r->iov, r->niov, r->off, c);
    case BLK_DISCARD: return lib.rbd_aio_discard(s->image, r->off, r->len, c);
    case BLK_ZERO: return lib.rbd_aio_write_zeroes(s->image, r->off, r->len, c, r->flags & BLK_MAY_UNMAP ? 0 : RBD_WRITE_ZEROES_FLAG_THICK_PROVISION, 0);
    default: return lib.rbd_aio_flush(s->image, c);
    }
}

static CO_FN int request(Rbd *s, const BlkReq *r)
{
    RemoteWait w = { s->n->loop, co_self() };
    rbd_completion_t c;
    int ret = lib.rbd_aio_create_completion(&w, completed, &c);

    if (ret < 0)
        return ret;
    ret = begin(s, r, c);
    if (ret >= 0) {
        remote_wait(&w);
        ret = (int)MIN(lib.rbd_aio_get_return_value(c), 0);
    }
    lib.rbd_aio_release(c);
    return ret;
}

/* only_up: somebody else may have made it larger meanwhile. */
static CO_FN int resize(Rbd *s, uint64_t size, bool only_up)
{
    int ret = 0;

    co_lock(&s->sizing);
    if (!only_up || size > s->n->size) {
        s->want = size;
        ret = blk_in_pool(s->n->loop, job_resize, s);
        if (!ret)
            s->n->size = size;
    }
    co_unlock(&s->sizing);
    return ret;
}

static CO_FN int rbd_submit(Node *n, BlkReq *r)
{
    Rbd *s = n->opaque;
    int ret;

    if (r->op == BLK_STATUS)
        return 0;
    if (r->op == BLK_TRUNCATE)
        return resize(s, align_up(r->off, 512), false);
    if (r->op > BLK_ZERO)
        return -ENOTSUP;
    ret = r->op != BLK_READ && r->off + r->len > n->size ? resize(s, r->off + r->len, true) : 0;
    if (!ret)
        ret = request(s, r);
    if (!ret && r->op == BLK_WRITE && r->flags & BLK_FUA)
        ret = request(s, &(BlkReq){ .op = BLK_FLUSH });
    return ret;
}

/* ---- opening ---- */
static void free_state(Rbd *s)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(s->names); i++)
        g_free(s->names[i]);
    for (guint i = 0; i < s->settings->len; i++) /* one may be a key */
        secret_wipe(s->settings->pdata[i], strlen(s->settings->pdata[i]));
    g_ptr_array_free(s->settings, TRUE);
    g_free(s->conf);
}

static CO_FN void rbd_close_node(Node *n)
{
    blk_in_pool(n->loop, job_close, n->opaque);
    free_state(n->opaque);
}

static CO_FN bool rbd_open_node(Node *n, Opts *o, Error **err)
{
    Rbd *s = n->opaque;

    if (!remote_load(LIBRBD_SONAME, lib_names, &lib, err))
        return false;
    s->n = n;
    s->settings = g_ptr_array_new();
    g_queue_init(&s->sizing.waiters);
    if (!options(s, o, err)) {
        free_state(s);
        return false;
    }
    if (blk_in_pool(n->loop, job_open, s)) {
        rbd_close_node(n);
        return error_pass(err, s->why);
    }
    n->filename = g_strdup_printf("rbd:%s%s%s/%s%s%s", s->names[POOL], s->names[NAMESPACE] ? "/" : "", s->names[NAMESPACE] ? s->names[NAMESPACE] : "", s->names[IMAGE],
                                  s->names[SNAPSHOT] ? "@" : "", s->names[SNAPSHOT] ? s->names[SNAPSHOT] : "");
    return true;
}

static const BlkDriver rbd = { .name = "rbd", .schemes = "rbd", .size = sizeof(Rbd), .protocol = true, .open = rbd_open_node, .close = rbd_close_node, .submit = rbd_submit };
BLK_DRIVER(rbd);
