/*
 * block/open.c - building the graph from options: driver look-up, protocol prefixes, probing of the
 * format, children by name or by nested options.
 */
#include "block/priv.h"
#include <errno.h>

extern const BlkDriver *const __start_blkdrivers[], *const __stop_blkdrivers[];
enum { PROBE_BYTES = 2048 };

const BlkDriver *blk_driver_find(const char *name)
{
    for (const BlkDriver *const *d = __start_blkdrivers; d < __stop_blkdrivers; d++)
        if (!strcmp((*d)->name, name))
            return *d;
    return NULL;
}

void blk_driver_foreach(void (*fn)(const BlkDriver *d, void *arg), void *arg)
{
    for (const BlkDriver *const *d = __start_blkdrivers; d < __stop_blkdrivers; d++)
        fn(*d, arg);
}

/* Formats we know by sight but cannot open: better one clear line than a disk of garbage. */
static const struct {
    unsigned at;
    const char *magic;
    unsigned len;
    const char *name;
} foreign[] = {
    { 0, "QFI\xfb", 4, "qcow" },
    { 0, "COWD", 4, "vmdk (COWD)" },
};

static const char *foreign_of(const uint8_t *head, size_t n)
{
    for (size_t i = 0; i < G_N_ELEMENTS(foreign); i++)
        if (foreign[i].at + foreign[i].len <= n && !memcmp(head + foreign[i].at, foreign[i].magic, foreign[i].len))
            return foreign[i].name;
    return NULL;
}

static const BlkDriver *best_of(const uint8_t *head, size_t n)
{
    const BlkDriver *best = NULL;
    int score = 0;

    for (const BlkDriver *const *d = __start_blkdrivers; d < __stop_blkdrivers; d++) {
        int s = (*d)->probe ? (*d)->probe(head, n) : 0;

        if (s > score) {
            best = *d;
            score = s;
        }
    }
    return best;
}

const char *block__format_of(const uint8_t *head, size_t n)
{
    const BlkDriver *d = best_of(head, n);

    return d ? d->name : foreign_of(head, n);
}

static const BlkDriver *by_name(const char *filename)
{
    for (const BlkDriver *const *d = __start_blkdrivers; d < __stop_blkdrivers; d++)
        if ((*d)->suffix && g_str_has_suffix(filename, (*d)->suffix))
            return *d;
    return NULL;
}

static const BlkDriver *probe(const uint8_t *head, size_t n, const char *filename, Error **err)
{
    const BlkDriver *told = best_of(head, n), *best = told ? told : by_name(filename);
    const char *other = best ? NULL : foreign_of(head, n);

    if (other) {
        fail(err, "'%s' looks like a %s image, a format that is not supported", filename, other);
        error_hint(err,
                   "convert it: qemu-img convert -O raw '%s' NEW.img, or say format=raw if it is a "
                   "plain disk",
                   filename);
        return NULL;
    }
    return best ? best : &block__raw;
}

static Node *node_alloc(Loop *loop, const BlkDriver *drv, bool readonly)
{
    static gint serial; /* names only: no two nodes of a process have the same */
    Node *n = g_new0(Node, 1);

    n->loop = loop;
    n->drv = drv;
    n->readonly = readonly;
    n->refs = 1;
    n->opaque = g_malloc0(MAX(drv->size, 1));
    n->own_share = PERM_ALL;
    n->name = g_strdup_printf("#block%03d", g_atomic_int_add(&serial, 1));
    g_queue_init(&n->rmw.waiters);
    g_queue_init(&n->gate);
    g_queue_init(&n->quiescers);
    return n;
}

static bool onoff(Opts *o, const char *key, bool *out, Error **err)
{
    return opts_get_bool(o, key, *out, out, err);
}

static bool detect_zeroes(Node *n, const char *v, Error **err)
{
    static const char *const names[] = { "off", "on", "unmap" };

    for (unsigned i = 0; v && i < G_N_ELEMENTS(names); i++) {
        if (!strcmp(v, names[i])) {
            n->detect_zeroes = (uint8_t)i;
            return true;
        }
    }
    return !v || fail(err, "detect-zeroes=%s: must be off, on or unmap", v);
}

bool block__common(Node *n, Opts *o, Error **err)
{
    const char *v;

    if ((v = opts_get(o, "node-name"))) {
        g_free(n->name);
        n->name = g_strdup(v);
        n->named = true;
    }
    if ((v = opts_get(o, "discard"))) {
        if (strcmp(v, "ignore") && strcmp(v, "off") && strcmp(v, "unmap") && strcmp(v, "on"))
            return fail(err, "discard=%s: must be ignore or unmap", v);
        n->unmap = !strcmp(v, "unmap") || !strcmp(v, "on");
    }
    return detect_zeroes(n, opts_get(o, "detect-zeroes"), err) &&
           onoff(o, "read-only", &n->readonly, err) && onoff(o, "auto-read-only", &n->auto_readonly, err) &&
           onoff(o, "cache.direct", &n->direct, err) &&
           onoff(o, "cache.no-flush", &n->no_flush, err) &&
           onoff(o, "force-share", &n->force_share, err);
}

static const BlkDriver *by_scheme(const char *word)
{
    for (const BlkDriver *const *d = __start_blkdrivers; d < __stop_blkdrivers; d++) {
        g_auto(GStrv) words = g_strsplit((*d)->schemes ? (*d)->schemes : "", " ", -1);

        if (g_strv_contains((const char *const *)words, word))
            return *d;
    }
    return NULL;
}

/* "file:PATH", "json:{..}", "null-co://": what the name itself says. */
static bool split_protocol(Opts *o, bool child, Error **err)
{
    const char *f = opts_peek(o, "filename"), *colon = f ? strchr(f, ':') : NULL;
    g_autofree char *copy = NULL, *proto = NULL;

    if (!colon || memchr(f, '/', (size_t)(colon - f)))
        return true;
    copy = g_strdup(f);
    proto = g_strndup(f, (gsize)(colon - f));
    if (!strcmp(proto, "file")) {
        opts_set(o, "filename", copy + 5);
    } else if (!strcmp(proto, "json")) {
        Opts *more = opts_parse_any(copy + 5, NULL, err);

        if (!more)
            return false;
        g_free(opts_take(o, "filename"));
        for (guint i = 0; i < more->v->len; i++)
            opts_set(o, ((Opt *)more->v->pdata[i])->key, ((Opt *)more->v->pdata[i])->value);
        opts_free(more);
    } else if (!strcmp(proto, "null-co") || !strcmp(proto, "null-aio")) {
        g_free(opts_take(o, "filename"));
        opts_set(o, "driver", proto);
    } else if (by_scheme(proto)) {
        if (child) /* a format is looked for on top */
            opts_set(o, "driver", by_scheme(proto)->name);
    } else if (!g_file_test(f, G_FILE_TEST_EXISTS)) {
        fail(err, "unknown protocol '%s' in '%s'", proto, copy);
        return error_hint(err, "for a file of that name write file=./%s", copy);
    }
    return true;
}

void block__inherit(const Opts *o, Opts *child)
{
    static const char *const inherited[] = { "cache.direct", "cache.no-flush",
                                             "read-only",    "auto-read-only",
                                             "aio",          "locking",
                                             "force-share" };

    for (size_t i = 0; i < G_N_ELEMENTS(inherited); i++) {
        const char *v = opts_peek(o, inherited[i]);

        if (v && !opts_peek(child, inherited[i]))
            opts_set(child, inherited[i], v);
    }
}

/* Formats hand it on to their file. */
bool blk_takes_aio(const char *driver)
{
    const BlkDriver *d = blk_driver_find(driver);

    return !d || !d->protocol || d->open == block__file.open;
}

/* The child "file": given, by nested options, or by our own filename. */
static Node *open_file_child(Loop *loop, Opts *o, bool readonly, Error **err)
{
    g_autoptr(Opts) sub = opts_sub(o, "file");
    g_autofree char *filename = opts_take(o, "filename");

    if (filename)
        opts_set(sub, "filename", filename);
    block__inherit(o, sub);
    g_free(opts_take(o, "aio"));
    g_free(opts_take(o, "locking"));
    if (!opts_peek(sub, "driver") && !split_protocol(sub, true, err))
        return NULL;
    if (!opts_peek(sub, "driver"))
        opts_set(sub, "driver", "file");
    if (!blk_takes_aio(opts_peek(sub, "driver")))
        g_free(opts_take(sub, "aio"));
    return block__open(loop, sub, readonly, NULL, NULL, NULL, err);
}

static const BlkDriver *choose(Loop *loop, Node *file, Error **err)
{
    g_autofree uint8_t *head = g_malloc0(PROBE_BYTES);
    size_t n = MIN(PROBE_BYTES, file->size);
    struct iovec one = { head, n };
    BlkReq r = { .op = BLK_READ, .len = n, .iov = &one, .niov = 1 };
    int ret = n ? blk_submit(file, &r) : 0;

    if (ret) {
        fail_errno_is(err, -ret, "cannot read '%s' to find its format", file->filename);
        return NULL;
    }
    return probe(head, n, file->filename ? file->filename : "the image", err);
}

CO_FN const char *blk_guess_format(Loop *loop, const char *filename, bool force_share, Error **err)
{
    g_autoptr(Opts) o = opts_new();
    const BlkDriver *d;
    Node *file;

    if (g_str_has_prefix(filename, "json:"))
        return "";
    opts_set(o, "filename", filename);
    if (force_share)
        opts_set(o, "force-share", "on");
    file = open_file_child(loop, o, true, err);
    d = file ? choose(loop, file, err) : NULL;
    node_unref(file);
    return d ? d->name : NULL;
}

static const BlkDriver *named(const char *name, Error **err)
{
    const BlkDriver *d = blk_driver_find(name);

    if (d)
        return d;
    fail(err, "format or driver '%s' is not supported", name);
    error_hint(err, "convert the image with qemu-img convert -O raw, then use format=raw");
    return NULL;
}

/* The driver that the options name, or the one that the child's first bytes ask for. */
static const BlkDriver *find_driver(Loop *loop, const char *name, Node **child, Opts *o, bool readonly, Error **err)
{
    const BlkDriver *d = name ? named(name, err) : NULL;

    if (name && !d)
        return NULL;
    if (d && d->protocol)
        return d;
    if (!*child && !(*child = open_file_child(loop, o, readonly, err)))
        return NULL;
    return d ? d : choose(loop, *child, err);
}

static void warn_of_guess(const Node *n)
{
    warn_report("image format was not specified for '%s' and probing guessed raw: automatically detecting the format "
                "is dangerous for raw images, write operations on block 0 will be restricted; specify the 'raw' "
                "format explicitly to remove the restrictions",
                n->filename);
}

static CO_FN bool set_up(Node *n, Opts *o, Error **err)
{
    if (n->file)
        n->filename = g_strdup(n->file->filename);
    if (block__common(n, o, err) && n->drv->open(n, o, err))
        return true;
    n->drv = &block__raw; /* nothing of the driver's to close */
    return false;
}

/* "image.x" is "file.x" inside. */
static void rename_key(Opts *o, const char *from, const char *to)
{
    size_t n = from ? strlen(from) : 0;

    for (guint i = 0; from && i < o->v->len; i++) {
        Opt *x = o->v->pdata[i];

        if (!strncmp(x->key, from, n) && (!x->key[n] || x->key[n] == '.')) {
            char *key = g_strconcat(to, x->key + n, NULL);

            g_free(x->key);
            x->key = key;
        }
    }
}

void block__own_keys(Opts *o)
{
    const char *name = opts_peek(o, "driver");
    const BlkDriver *d = name ? blk_driver_find(name) : NULL;

    if (!d)
        return;
    rename_key(o, d->file_key, "file");
    rename_key(o, d->backing_key, "backing");
}

static CO_FN Node *open_node(Loop *loop, Opts *o, bool readonly, Node *file, Node *backing, Node *data, const Node *upper, Error **err)
{
    g_autofree char *driver = NULL;
    const BlkDriver *d = NULL;
    Node *n, *child = file ? node_ref(file) : NULL;
    bool ok;

    block__own_keys(o);
    if (!split_protocol(o, false, err) || !(driver = opts_take(o, "driver"), d = find_driver(loop, driver, &child, o, readonly, err))) {
        node_unref(child);
        return NULL;
    }
    n = node_alloc(loop, d, readonly);
    n->file = child;
    n->backing = backing ? node_ref(backing) : NULL;
    n->data = data ? node_ref(data) : NULL;
    n->upper = upper;
    n->probed = !driver;
    ok = set_up(n, o, err);
    n->upper = NULL;
    if (ok) {
        block__limits(n);
        ok = opts_all_used(o, driver ? driver : "the drive", err);
    }
    if (!ok) {
        node_unref(n);
        return NULL;
    }
    if (n->probed && d == &block__raw && !n->readonly)
        warn_of_guess(n);
    return n;
}

CO_FN Node *block__open(Loop *loop, Opts *o, bool readonly, Node *file, Node *backing, const Node *upper, Error **err)
{
    return open_node(loop, o, readonly, file, backing, NULL, upper, err);
}

typedef struct Opening {
    Loop *loop;
    Opts *o;
    bool readonly;
    Node *file, *backing, *data, *made;
    Error **err;
} Opening;

static void open_body(void *arg)
{
    Opening *p = arg;

    p->made = open_node(p->loop, p->o, p->readonly, p->file, p->backing, p->data, NULL, p->err);
}

Node *node_open_parts(Loop *loop, Opts *o, bool readonly, Node *file, Node *backing, Node *data, Error **err)
{
    Opening p = { loop, o, readonly, file, backing, data, NULL, err };

    block__run(loop, open_body, &p);
    return p.made;
}

Node *node_open_on(Loop *loop, Opts *o, bool readonly, Node *file, Node *backing, Error **err)
{
    return node_open_parts(loop, o, readonly, file, backing, NULL, err);
}

Node *node_open(Loop *loop, Opts *o, bool readonly, Error **err)
{
    return node_open_on(loop, o, readonly, NULL, NULL, err);
}

CO_FN bool blk_reopen_plain(Node *n, Opts *o, bool apply, Error **err) { return true; }
