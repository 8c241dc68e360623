/*
 * block/reopen.c - blockdev-reopen: other options for nodes that are in use, all of them or none. First everything is looked
 * at and the new children are found; then node by node is brought to rest, changed and let go; a failure puts back those
 * that were changed. Options that are not named get their defaults, but the children stay named: what the image's header
 * says of its backing file is not looked up again.
 */
#include "block/disk-priv.h"
#include "block/priv.h"
#include "block/reopen.h"

typedef struct Wish {
    Node *n;
    Opts *o;            /* what is left for the driver; its own copy */
    Node look;          /* only the common options in it: as they are to be */
    bool has_backing;
    Node *file, *backing; /* to be; not referenced */
} Wish;
struct Reopen {
    Vm *vm;
    GPtrArray *wishes; /* of Wish *, parents before their files */
};

/* ---- looking ---- */
static void wish_free(gpointer p)
{
    Wish *w = p;

    opts_free(w->o);
    g_free(w->look.name);
    g_free(w);
}

static bool has_key(const Opts *o, const char *key)
{
    for (guint i = 0; i < o->v->len; i++)
        if (!strcmp(((const Opt *)o->v->pdata[i])->key, key))
            return true;
    return false;
}

static bool may_write(const Wish *w, Error **err)
{
    const Node *n = w->n;

    if (w->look.readonly && n->perm & (PERM_WRITE | PERM_RESIZE))
        return fail(err, "Read-only block node '%s' cannot support read-write users", n->name);
    if (w->look.detect_zeroes == DETECT_UNMAP && !w->look.unmap)
        return fail(err, "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap");
    return w->look.force_share == n->force_share || fail(err, "Cannot change the option 'force-share'");
}

static bool reaches(const Node *from, const Node *to)
{
    return from && (from == to || reaches(from->file, to) || reaches(from->backing, to) || reaches(from->data, to));
}

static Node *child_of(const Reopen *x, const Wish *w, const char *key, const char *name, Error **err)
{
    Node *c = graph_find(x->vm, name);

    if (!c)
        fail(err, "Cannot find device='' nor node-name='%s'", name);
    if (c && reaches(c, w->n)) {
        fail(err, "Making '%s' a %s child of '%s' would create a cycle", c->name, key, w->n->name);
        return NULL;
    }
    return c;
}

/* own: a file that the node above opened for itself, and changes its access. */
static bool look(Reopen *x, Node *n, Opts *o, bool own, Error **err);

/* "file" by name, or the options of the file that the node opened for itself. */
static bool look_at_file(Reopen *x, Wish *w, Error **err)
{
    g_autofree char *name = opts_take(w->o, "file");
    g_autoptr(Opts) sub = NULL;

    if (w->n->drv->protocol)
        return true;
    w->file = w->n->file;
    if (name) {
        w->file = child_of(x, w, "file", name, err);
        return w->file && (w->file == w->n->file || !w->n->drv->image || fail(err, "Cannot change the option 'file' of format '%s'", w->n->drv->name));
    }
    sub = opts_sub(w->o, "file");
    if (!sub->v->len)
        return fail(err, "Parameter 'options.file' is missing");
    if (opts_peek(sub, "node-name") && strcmp(opts_peek(sub, "node-name"), w->n->file->name))
        return fail(err, "Cannot change the option 'node-name'");
    block__inherit(w->o, sub);
    return look(x, w->n->file, sub, true, err);
}

static bool look_at_backing(Reopen *x, Wish *w, Error **err)
{
    g_autofree char *name = NULL;

    w->backing = w->n->backing;
    w->has_backing = has_key(w->o, "backing");
    if (!w->has_backing)
        return !w->n->backing || fail(err, "backing is missing for '%s'", w->n->name);
    if (!w->n->drv->has_backing)
        return fail(err, "driver '%s' has no backing file", w->n->drv->name);
    name = opts_take(w->o, "backing");
    w->backing = name && *name ? child_of(x, w, "backing", name, err) : NULL;
    return w->backing || !name || !*name;
}

static bool look(Reopen *x, Node *n, Opts *o, bool own, Error **err)
{
    Wish *w = g_new0(Wish, 1);
    g_autofree char *driver = NULL;

    *w = (Wish){ .n = n, .o = opts_new(), .look = { .name = NULL } };
    for (guint i = 0; i < o->v->len; i++)
        opts_set(w->o, ((Opt *)o->v->pdata[i])->key, ((Opt *)o->v->pdata[i])->value);
    g_ptr_array_add(x->wishes, w);
    driver = opts_take(w->o, "driver");
    if (!driver || strcmp(driver, n->drv->name))
        return fail(err, driver ? "Cannot change the option 'driver'" : "Parameter 'driver' is missing");
    if (!n->drv->reopen)
        return fail(err, "Block format '%s' used by node '%s' does not support reopening files", n->drv->name, n->name);
    return block__common(&w->look, w->o, err) && (own || may_write(w, err)) && look_at_file(x, w, err) && look_at_backing(x, w, err) &&
           n->drv->reopen(n, w->o, false, err) && opts_all_used(w->o, driver, err);
}

/* ---- changing ---- */
/* The permissions that a user has through n, with its present children. */
static bool renew(Node *n, Error **err) { return node_permissions(n, n->own_want, n->own_share, err); }

static bool swap_child(Node *n, Node **at, Node *to, Error **err)
{
    Node *old = *at;

    if (old == to)
        return true;
    if (old)
        node_permissions(old, 0, PERM_ALL, NULL);
    *at = to;
    if (!renew(n, err)) {
        if (to)
            node_permissions(to, 0, PERM_ALL, NULL);
        *at = old;
        renew(n, NULL);
        return false;
    }
    if (to)
        node_ref(to);
    node_unref(old);
    return true;
}

/* A file's descriptor says whether it writes and whether the host's cache is used: it needs another one. */
static CO_FN bool new_access(Node *n, const Node *to, Error **err)
{
    bool direct = n->direct;

    n->direct = to->direct;
    if (n->drv->protocol && n->drv->set_readonly && (direct != to->direct || n->readonly != to->readonly)) {
        if (n->drv->set_readonly(n, to->readonly, err))
            return true;
    } else if (n->drv->protocol || node_set_readonly(n, to->readonly, err)) {
        n->readonly = to->readonly;
        return true;
    }
    n->direct = direct;
    return false;
}

static void tell_disk(Reopen *x, Node *n)
{
    Disk *d = graph_disk_of(x->vm, n);

    if (!d)
        return;
    d->unmap = n->unmap;
    d->detect_zeroes = n->detect_zeroes;
    d->direct = n->direct;
    d->no_flush = n->no_flush;
}

static CO_FN bool change(Reopen *x, Wish *w, Error **err)
{
    Node *n = w->n;

    if (!new_access(n, &w->look, err) || (w->file && !swap_child(n, &n->file, w->file, err)) ||
        (w->has_backing && !swap_child(n, &n->backing, w->backing, err)) || !n->drv->reopen(n, w->o, true, err))
        return false;
    n->unmap = w->look.unmap;
    n->detect_zeroes = w->look.detect_zeroes;
    n->no_flush = w->look.no_flush;
    n->auto_readonly = w->look.auto_readonly;
    block__limits(n);
    tell_disk(x, n);
    return true;
}

/* What `change` needs to get back to the present state but for the driver's own options. */
static Wish present(const Node *n)
{
    return (Wish){ .n = (Node *)(uintptr_t)n, .has_backing = n->drv->has_backing, .file = n->file, .backing = n->backing,
                   .look = { .readonly = n->readonly, .direct = n->direct, .unmap = n->unmap, .detect_zeroes = n->detect_zeroes,
                             .no_flush = n->no_flush, .auto_readonly = n->auto_readonly } };
}

static CO_FN void put_back(Reopen *x, const Wish *was)
{
    Node *n = was->n;

    new_access(n, &was->look, NULL);
    if (was->file)
        swap_child(n, &n->file, was->file, NULL);
    if (was->has_backing)
        swap_child(n, &n->backing, was->backing, NULL);
    n->unmap = was->look.unmap;
    n->detect_zeroes = was->look.detect_zeroes;
    n->no_flush = was->look.no_flush;
    n->auto_readonly = was->look.auto_readonly;
    block__limits(n);
    tell_disk(x, n);
}

/* ---- the command ---- */
Reopen *reopen_new(Vm *vm)
{
    Reopen *x = g_new0(Reopen, 1);

    x->vm = vm;
    x->wishes = g_ptr_array_new_with_free_func(wish_free);
    return x;
}

void reopen_free(Reopen *x)
{
    g_ptr_array_free(x->wishes, TRUE);
    g_free(x);
}

bool reopen_add(Reopen *x, Opts *o, Error **err)
{
    const char *name = opts_peek(o, "node-name");
    Node *n = name ? graph_find(x->vm, name) : NULL;

    if (!name)
        return fail(err, "node-name not specified");
    return n ? look(x, n, o, false, err) : fail(err, "Failed to find node with node-name='%s'", name);
}

CO_FN bool reopen_do(Reopen *x, Error **err)
{
    g_autofree Wish *was = g_new0(Wish, x->wishes->len);
    guint done = 0;
    bool ok = true;

    for (guint i = 0; i < x->wishes->len; i++) { /* children that go are wanted for the way back */
        was[i] = present(((Wish *)x->wishes->pdata[i])->n);
        node_ref(was[i].n);
        if (was[i].file)
            node_ref(was[i].file);
        if (was[i].backing)
            node_ref(was[i].backing);
    }
    while (ok && done < x->wishes->len) {
        Wish *w = x->wishes->pdata[done];

        node_quiesce(w->n);
        ok = change(x, w, err);
        if (!ok)
            put_back(x, &was[done]);
        node_release(w->n);
        done += ok;
    }
    while (!ok && done-- > 0) {
        node_quiesce(was[done].n);
        put_back(x, &was[done]);
        node_release(was[done].n);
    }
    for (guint i = 0; i < x->wishes->len; i++) {
        node_unref(was[i].file);
        node_unref(was[i].backing);
        node_unref(was[i].n);
    }
    return ok;
}
