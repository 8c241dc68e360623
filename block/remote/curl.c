/*
 * block/remote/curl.c - drivers "http", "https", "ftp", "ftps": a file on a server, read-only, by libcurl. Each request that is not in a
 * piece fetched before fetches a range of its own, at least `readahead` bytes; PIECES of them at once, and kept until others want their
 * place. Everything runs on the node's loop: libcurl says which sockets and which time it waits for.
 *
 * The server is not trusted: what it sends beyond the range ends the transfer, and a range that it ignores is an error (RFC 9110, 14.2).
 */
#include "block/priv.h"
#include "block/remote/lib.h"
#include "block/sonames.h"
#define CURL_DISABLE_TYPECHECK /* it would stand in the way of lib.curl_easy_setopt */
#include <curl/curl.h>
#include <errno.h>

#define FUNCTIONS(X) \
    X(curl_easy_cleanup) X(curl_easy_getinfo) X(curl_easy_init) X(curl_easy_setopt) X(curl_global_init) X(curl_multi_add_handle) \
    X(curl_multi_cleanup) X(curl_multi_info_read) X(curl_multi_init) X(curl_multi_remove_handle) X(curl_multi_setopt) \
    X(curl_multi_socket_action)
LIB_TABLE(FUNCTIONS);

enum { PIECES = 8, PIECE_MAX = 2 * MiB, READAHEAD = 256 * KiB, TIMEOUT = 5 };
typedef struct Http Http;
typedef struct Piece { /* a range of the file: on its way, or here */
    Http *h;
    CURL *easy;
    uint8_t *buf;
    uint64_t from, len, got; /* bytes */
    bool busy;
    int ret;        /* once it is not busy any more: 0 or -errno */
    uint64_t stamp; /* when it was last of use */
    char why[CURL_ERROR_SIZE];
} Piece;
typedef struct Waiter {
    RemoteWait w;
    Piece *p;
    uint64_t until; /* wake when the piece reaches so far, or ends */
} Waiter;
struct Http {
    Node *n;
    CURLM *multi;
    Piece piece[PIECES];
    GHashTable *watches; /* socket -> watch */
    guint timer;
    GQueue waiters; /* of Waiter, on their coroutines' stacks; p NULL: for a piece that is free */
    uint64_t readahead, timeout, clock;
    char *url, *user, *password, *proxy_user, *proxy_password, *cookie;
    bool verify, ranges; /* ranges: the server said that it knows them */
};

/* ---- who waits ---- */
static void wake(Http *h, const Piece *p)
{
    for (GList *l = h->waiters.head, *next; l; l = next) {
        Waiter *w = l->data;

        next = l->next;
        if (w->p ? w->p != p || (p->busy && p->from + p->got < w->until) : p->busy)
            continue;
        g_queue_delete_link(&h->waiters, l);
        remote_done(&w->w);
    }
}

static CO_FN void wait_for(Http *h, Piece *p, uint64_t until)
{
    Waiter w = { { h->n->loop, co_self() }, p, until };

    g_queue_push_tail(&h->waiters, &w);
    remote_wait(&w.w);
}

/* ---- libcurl and the loop ---- */
static int code_of(const Piece *p, CURLcode r)
{
    long status = 0;
    bool http = g_str_has_prefix(p->h->n->drv->name, "http");

    if (r)
        return r == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : r == CURLE_REMOTE_FILE_NOT_FOUND ? -ENOENT : -EIO;
    lib.curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &status);
    if (p->len && http && status != 206)
        return -EIO;
    return p->got == p->len ? 0 : -EIO;
}

static void finish(Http *h)
{
    CURLMsg *m;
    int left;

    while ((m = lib.curl_multi_info_read(h->multi, &left))) {
        Piece *p;

        if (m->msg != CURLMSG_DONE)
            continue;
        lib.curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&p);
        p->ret = code_of(p, m->data.result);
        lib.curl_multi_remove_handle(h->multi, p->easy);
        p->busy = false;
        wake(h, p);
    }
}

static bool on_socket(void *arg, int fd, GIOCondition cond)
{
    Http *h = arg;
    int n, what = (cond & G_IO_IN ? CURL_CSELECT_IN : 0) | (cond & G_IO_OUT ? CURL_CSELECT_OUT : 0) |
                  (cond & (G_IO_ERR | G_IO_HUP) ? CURL_CSELECT_ERR : 0);

    lib.curl_multi_socket_action(h->multi, fd, what, &n);
    finish(h);
    return true;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    Http *h = arg;
    guint old = GPOINTER_TO_UINT(g_hash_table_lookup(h->watches, GINT_TO_POINTER(fd)));
    GIOCondition cond = (what & CURL_POLL_IN ? G_IO_IN : 0) | (what & CURL_POLL_OUT ? G_IO_OUT : 0);

    if (old)
        loop_unwatch(h->n->loop, old);
    g_hash_table_remove(h->watches, GINT_TO_POINTER(fd));
    if (what != CURL_POLL_REMOVE)
        g_hash_table_insert(h->watches, GINT_TO_POINTER(fd), GUINT_TO_POINTER(loop_watch_fd(h->n->loop, fd, cond, on_socket, h)));
    return 0;
}

static bool on_timer(void *arg)
{
    Http *h = arg;
    int n;

    h->timer = 0;
    lib.curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &n);
    finish(h);
    return false;
}

static int want_timer(CURLM *multi, long ms, void *arg)
{
    Http *h = arg;

    if (h->timer)
        loop_unwatch(h->n->loop, h->timer);
    h->timer = ms < 0 ? 0 : loop_after(h->n->loop, ms * MS, on_timer, h);
    return 0;
}

/* ---- a transfer ---- */
static size_t take_body(char *data, size_t size, size_t n, void *arg)
{
    Piece *p = arg;

    n *= size;
    if (n > p->len - p->got)
        return 0; /* more than was asked for: an error */
    memcpy(p->buf + p->got, data, n);
    p->got += n;
    wake(p->h, p);
    return n;
}

static size_t take_header(char *data, size_t size, size_t n, void *arg)
{
    static const char name[] = "accept-ranges:";
    Piece *p = arg;
    const char *v = data + strlen(name), *end = data + size * n;

    if (size * n < strlen(name) || g_ascii_strncasecmp(data, name, strlen(name)))
        return size * n;
    while (v < end && g_ascii_isspace(*v))
        v++;
    p->h->ranges |= (size_t)(end - v) >= 5 && !g_ascii_strncasecmp(v, "bytes", 5);
    return size * n;
}

static void credentials(Http *h, CURL *c)
{
    const struct {
        CURLoption option;
        const char *value;
    } texts[] = { { CURLOPT_USERNAME, h->user },           { CURLOPT_PASSWORD, h->password },
                  { CURLOPT_PROXYUSERNAME, h->proxy_user }, { CURLOPT_PROXYPASSWORD, h->proxy_password },
                  { CURLOPT_COOKIE, h->cookie } };

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        if (texts[i].value)
            lib.curl_easy_setopt(c, texts[i].option, texts[i].value);
    lib.curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_ANY);
    lib.curl_easy_setopt(c, CURLOPT_PROXYAUTH, CURLAUTH_ANY);
    lib.curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, (long)h->verify);
    lib.curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, h->verify ? 2L : 0L);
}

static bool prepare(Http *h, Piece *p)
{
    static const char protocols[] = "http,https,ftp,ftps";
    CURL *c = p->easy ? p->easy : lib.curl_easy_init();

    if (!c)
        return false;
    p->easy = c;
    p->h = h;
    lib.curl_easy_setopt(c, CURLOPT_PRIVATE, p);
    lib.curl_easy_setopt(c, CURLOPT_URL, h->url);
    lib.curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, protocols); /* nor may the server lead elsewhere */
    lib.curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    lib.curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    lib.curl_easy_setopt(c, CURLOPT_MAXREDIRS, 10L);
    lib.curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    lib.curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    lib.curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)h->timeout);
    lib.curl_easy_setopt(c, CURLOPT_ERRORBUFFER, p->why);
    lib.curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    lib.curl_easy_setopt(c, CURLOPT_WRITEDATA, p);
    lib.curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
    lib.curl_easy_setopt(c, CURLOPT_HEADERDATA, p);
    credentials(h, c);
    return true;
}

static int begin(Http *h, Piece *p)
{
    p->busy = true;
    p->got = 0;
    p->ret = 0;
    p->why[0] = 0;
    if (!lib.curl_multi_add_handle(h->multi, p->easy))
        return 0;
    p->busy = false;
    return p->ret = -EIO;
}

static int fetch(Http *h, Piece *p, uint64_t from, uint64_t len)
{
    g_autofree char *range = g_strdup_printf("%" PRIu64 "-%" PRIu64, from, from + len - 1);

    p->len = 0; /* until it is under way, it is no piece of anything */
    g_free(p->buf);
    p->buf = g_try_malloc(len);
    if (!p->buf || !prepare(h, p))
        return -ENOMEM;
    p->from = from;
    p->len = len;
    lib.curl_easy_setopt(p->easy, CURLOPT_NOBODY, 0L);
    lib.curl_easy_setopt(p->easy, CURLOPT_HTTPGET, 1L);
    lib.curl_easy_setopt(p->easy, CURLOPT_RANGE, range);
    return begin(h, p);
}

/* ---- requests ---- */
static Piece *covering(Http *h, uint64_t off)
{
    for (unsigned i = 0; i < PIECES; i++) {
        Piece *p = &h->piece[i];

        if (off - p->from < p->len && (p->busy || !p->ret))
            return p;
    }
    return NULL;
}

static Piece *idle(Http *h)
{
    Piece *best = NULL;

    for (unsigned i = 0; i < PIECES; i++)
        if (!h->piece[i].busy && (!best || h->piece[i].stamp < best->stamp))
            best = &h->piece[i];
    return best;
}

/* The piece has all that it can have of [off, end). */
static CO_FN int piece_with(Http *h, uint64_t off, uint64_t end, Piece **out)
{
    for (;;) {
        Piece *p = covering(h, off), *fresh = p ? NULL : idle(h);
        uint64_t until = p ? MIN(end, p->from + p->len) : end;
        int ret;

        if (p && p->from + p->got >= until) {
            p->stamp = ++h->clock;
            *out = p;
            return 0;
        }
        if (fresh) {
            ret = fetch(h, fresh, off, MIN(MIN(MAX(end - off, h->readahead), PIECE_MAX), h->n->size - off));
            if (ret)
                return ret;
            p = fresh;
            until = MIN(end, p->from + p->len);
        }
        wait_for(h, p, until);
        if (p && !p->busy && p->ret && off - p->from < p->len)
            return p->ret;
    }
}

static CO_FN int curl_submit(Node *n, BlkReq *r)
{
    Http *h = n->opaque;
    uint64_t end = r->off + r->len;

    if (r->op != BLK_READ)
        return r->op == BLK_FLUSH || r->op == BLK_STATUS ? 0 : r->op == BLK_WRITE ? -EACCES : -ENOTSUP;
    for (uint64_t at = r->off, part; at < end; at += part) {
        Piece *p;
        int ret = piece_with(h, at, end, &p);

        if (ret)
            return ret;
        part = MIN(end, p->from + p->got) - at;
        iov_scatter(r->iov, r->niov, at - r->off, p->buf + (at - p->from), part);
    }
    return 0;
}

static void curl_limits(Node *n, BlkLimits *l) { l->max_transfer = PIECE_MAX; }

/* ---- opening ---- */
static bool options(Http *h, Opts *o, Error **err)
{
    const char *url = opts_get(o, "url"), *filename = opts_get(o, "filename"), *kind = h->n->drv->name;
    g_autofree char *scheme = g_strconcat(kind, "://", NULL);

    h->url = g_strdup(url ? url : filename);
    h->user = g_strdup(opts_get(o, "username"));
    h->proxy_user = g_strdup(opts_get(o, "proxy-username"));
    h->cookie = g_strdup(opts_get(o, "cookie"));
    h->verify = true;
    if (!h->url)
        return fail(err, "%s block driver requires an 'url' option", kind);
    if (g_ascii_strncasecmp(h->url, scheme, strlen(scheme)))
        return fail(err, "%s curl driver cannot handle the URL '%s' (does not start with '%s')", kind, h->url, scheme);
    if (!opts_get_bool(o, "sslverify", true, &h->verify, err) || !opts_get_size(o, "readahead", READAHEAD, &h->readahead, err) ||
        !opts_get_u64(o, "timeout", TIMEOUT, &h->timeout, err) || !remote_take_secret(&h->password, h->n->loop, o, "password-secret", err) ||
        !remote_take_secret(&h->proxy_password, h->n->loop, o, "proxy-password-secret", err) || !remote_take_secret(&h->cookie, h->n->loop, o, "cookie-secret", err))
        return false;
    if (h->readahead & 511)
        return fail(err, "HTTP_READAHEAD_SIZE %" PRIu64 " is not a multiple of 512", h->readahead);
    return h->timeout <= 10000 || fail(err, "timeout parameter is too large or negative");
}

static CO_FN bool ask_size(Http *h, Error **err)
{
    Piece *p = &h->piece[0];
    curl_off_t size = -1;
    bool http = g_str_has_prefix(h->n->drv->name, "http");

    if (!prepare(h, p))
        return fail(err, "CURL: Error opening file: no memory");
    lib.curl_easy_setopt(p->easy, CURLOPT_NOBODY, 1L);
    if (begin(h, p))
        return fail(err, "CURL: Error opening file: libcurl takes no more");
    wait_for(h, p, UINT64_MAX);
    if (p->ret)
        return fail(err, "CURL: Error opening file: %s", p->why[0] ? p->why : g_strerror(-p->ret));
    lib.curl_easy_getinfo(p->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &size);
    if (size < 0)
        return fail(err, "CURL: Error opening file: Server didn't report file size.");
    if (http && !h->ranges)
        return fail(err, "CURL: Error opening file: Server does not support 'range' (byte ranges).");
    h->n->size = (uint64_t)size;
    return true;
}

static void end_all(Http *h)
{
    for (unsigned i = 0; i < PIECES; i++) {
        Piece *p = &h->piece[i];

        if (p->busy)
            lib.curl_multi_remove_handle(h->multi, p->easy);
        if (p->easy)
            lib.curl_easy_cleanup(p->easy);
        g_free(p->buf);
    }
    if (h->multi)
        lib.curl_multi_cleanup(h->multi);
    if (h->timer)
        loop_unwatch(h->n->loop, h->timer);
    g_hash_table_destroy(h->watches);
    for (char **text[] = { &h->url, &h->user, &h->password, &h->proxy_user, &h->proxy_password, &h->cookie }, ***t = text; t < text + G_N_ELEMENTS(text); t++)
        remote_wipe(*t);
}

static gpointer global_init(gpointer unused) { return GINT_TO_POINTER(lib.curl_global_init(CURL_GLOBAL_DEFAULT)); }

static CO_FN bool curl_open(Node *n, Opts *o, Error **err)
{
    static GOnce once = G_ONCE_INIT;
    Http *h = n->opaque;
    bool ok;

    if (!remote_load(LIBCURL_SONAME, lib_names, &lib, err))
        return false;
    g_once(&once, global_init, NULL);
    h->n = n;
    h->watches = g_hash_table_new(NULL, NULL);
    g_queue_init(&h->waiters);
    ok = options(h, o, err);
    h->multi = lib.curl_multi_init();
    ok = ok && (h->multi || fail(err, "CURL: no memory"));
    ok = ok && (n->readonly || n->auto_readonly || fail(err, "curl driver does not support writes"));
    if (ok) {
        lib.curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
        lib.curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
        lib.curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, want_timer);
        lib.curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
        ok = ask_size(h, err);
    }
    if (!ok) {
        end_all(h);
        return false;
    }
    n->readonly = true;
    n->filename = g_strdup(h->url);
    return true;
}

static CO_FN void curl_close(Node *n) { end_all(n->opaque); }
static bool stays_readonly(Node *n, bool readonly, Error **err) { return readonly || fail(err, "curl driver does not support writes"); }

#define KIND(id, text) \
    static const BlkDriver id = { .name = text, .schemes = text, .size = sizeof(Http), .protocol = true, .open = curl_open, .close = curl_close, \
                                  .submit = curl_submit, .limits = curl_limits, .set_readonly = stays_readonly }; \
    BLK_DRIVER(id)
KIND(http, "http");
KIND(https, "https");
KIND(ftp, "ftp");
KIND(ftps, "ftps");
