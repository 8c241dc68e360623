/*
 * block/chain.c - what an image names outside of itself: its backing file and its external data
 * file. A relative name is beside the image that says it. Chains end: an image that is met twice
 * and more than MAX_DEPTH layers are refused.
 */
#include "block/priv.h"
#include <sys/stat.h>

enum { MAX_DEPTH = 200 }; /* coroutine stacks hold a request through that many layers */

static bool has_protocol(const char *name)
{
    const char *colon = strchr(name, ':');

    return colon && !memchr(name, '/', (size_t)(colon - name));
}

char *block__beside(const char *image, const char *name)
{
    g_autofree char *dir = NULL;

    if (!image || g_path_is_absolute(name) || has_protocol(name) || has_protocol(image))
        return g_strdup(name);
    dir = g_path_get_dirname(image);
    return !strcmp(dir, ".") && !g_str_has_prefix(image, "./") ? g_strdup(name)
                                                                : g_build_filename(dir, name, NULL);
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;

    return a && b && !stat(a, &x) && !stat(b, &y) && S_ISREG(x.st_mode) && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

static bool chain_ends(const Node *n, const char *name, Error **err)
{
    unsigned depth = 0;

    for (const Node *u = n; u; u = u->upper) {
        if (same_file(u->filename, name)) {
            fail(err, "'%s' is its own backing file, directly or through others", name);
            return error_hint(err, "mend the chain: menura-img rebase -u -b BASE '%s'", name);
        }
        if (++depth > MAX_DEPTH)
            return fail(err, "more than %d backing files below each other", MAX_DEPTH);
    }
    return true;
}

/* "backing" alone: null or empty, meaning none. (A node's name was looked up before.) */
static bool says_none(Opts *o)
{
    for (guint i = 0; i < o->v->len; i++) {
        Opt *x = o->v->pdata[i];

        if (!strcmp(x->key, "backing") && (!x->value || !*x->value))
            return x->used = true;
    }
    return false;
}

static void inherit(Opts *sub, const Node *n)
{
    if (n->direct && !opts_peek(sub, "cache.direct"))
        opts_set(sub, "cache.direct", "on");
    if (n->no_flush && !opts_peek(sub, "cache.no-flush"))
        opts_set(sub, "cache.no-flush", "on");
    if (n->force_share && !opts_peek(sub, "force-share"))
        opts_set(sub, "force-share", "on");
}

CO_FN bool block__open_backing(Node *n, Opts *o, const char *name, const char *format, Error **err)
{
    g_autoptr(Opts) sub = opts_sub(o, "backing");
    g_autofree char *path = name && *name ? block__beside(n->filename, name) : NULL;
    bool named = opts_peek(sub, "filename") || opts_peek(sub, "file.filename") || opts_peek(sub, "file.driver");
    Error *why = NULL;

    if (n->backing || says_none(o) || (!path && !named))
        return true;
    if (!named)
        opts_set(sub, "filename", path);
    if (!named && format && *format && !opts_peek(sub, "driver"))
        opts_set(sub, "driver", format);
    inherit(sub, n);
    if (chain_ends(n, opts_peek(sub, "filename"), &why))
        n->backing = block__open(n->loop, sub, true, NULL, NULL, n, &why);
    if (n->backing)
        return true;
    if (n->upper) /* of a long chain only the two ends are named */
        return error_pass(err, why);
    return fail_because(err, why, "cannot open the backing file of '%s'", n->filename);
}

CO_FN bool block__open_data(Node *n, Opts *o, const char *name, Error **err)
{
    g_autoptr(Opts) sub = opts_sub(o, "data-file");
    g_autofree char *path = name && *name ? block__beside(n->filename, name) : NULL;
    Error *why = NULL;

    if (!opts_peek(sub, "filename") && !opts_peek(sub, "driver")) {
        if (!path) {
            fail(err, "'%s' keeps its data in another file, which it does not name", n->filename);
            return error_hint(err, "say data-file.filename=PATH");
        }
        opts_set(sub, "filename", path);
    }
    if (!opts_peek(sub, "driver"))
        opts_set(sub, "driver", "file");
    inherit(sub, n);
    if (chain_ends(n, opts_peek(sub, "filename"), &why))
        n->data = block__open(n->loop, sub, n->readonly, NULL, NULL, n, &why);
    if (n->data)
        return true;
    return fail_because(err, why, "cannot open the data file of '%s'", n->filename);
}
