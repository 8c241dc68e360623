/* block/graph.c - finding nodes, and putting one in the place of another. */
#include "block/graph.h"
#include "block/disk-priv.h"

enum { CHILDREN = 3 };

static Node **child(Node *n, unsigned i) { return i == 0 ? &n->file : i == 1 ? &n->backing : &n->data; }

typedef struct RootWalk {
    void (*fn)(Node **root, void *arg);
    void *arg;
} RootWalk;

static void root_of(const char *id, void *p, void *arg)
{
    const RootWalk *w = arg;
    Disk *d = p;

    if (d->node)
        w->fn(&d->node, w->arg);
}

void graph_foreach_root(Vm *vm, void (*fn)(Node **root, void *arg), void *arg)
{
    RootWalk w = { fn, arg };

    vm_registry_foreach(vm, "drive", root_of, &w);
    export__foreach_root(vm, fn, arg);
}

/* ---- finding ---- */
typedef struct Search {
    const char *name;
    Node *found;
} Search;

static Node *below(Node *n, const char *name)
{
    Node *found = n->name && !strcmp(n->name, name) ? n : NULL;

    for (unsigned i = 0; i < CHILDREN && !found; i++)
        if (*child(n, i))
            found = below(*child(n, i), name);
    return found;
}

static void search(Node **root, void *arg)
{
    Search *s = arg;

    if (!s->found)
        s->found = below(*root, s->name);
}

Node *graph_find(Vm *vm, const char *name)
{
    Search s = { name, NULL };

    graph_foreach_root(vm, search, &s);
    return s.found;
}

Node *graph_lookup(Vm *vm, const char *device, Error **err)
{
    Disk *d = vm_lookup(vm, "node", device) ? NULL : vm_lookup(vm, "drive", device);
    Node *n = d ? d->node : graph_find(vm, device);

    if (d && !n) {
        fail(err, "Device '%s' has no medium", device);
        return NULL;
    }
    if (!n)
        fail(err, "Cannot find device='%s' nor node-name='%s'", device, device);
    return n;
}

typedef struct DiskSearch {
    const Node *n;
    Disk *found;
} DiskSearch;

static void match_disk(const char *id, void *p, void *arg)
{
    DiskSearch *s = arg;
    Disk *d = p;

    if (d->node == s->n && (!s->found || d->attached))
        s->found = d;
}

Disk *graph_disk_of(Vm *vm, const Node *n)
{
    DiskSearch s = { n, NULL };

    vm_registry_foreach(vm, "drive", match_disk, &s);
    return s.found;
}

bool graph_is_below(const Node *top, const Node *n)
{
    for (const Node *b = top->backing; b; b = b->backing)
        if (b == n)
            return true;
    return false;
}

/* ---- replacing ---- */
typedef struct Replace {
    Node *from, *to;
} Replace;

static void put(Node **at, const Replace *r)
{
    *at = node_ref(r->to);
    node_unref(r->from);
}

static void replace_below(Node *n, const Replace *r)
{
    if (n == r->to) /* it may stand on `from`, and goes on to */
        return;
    for (unsigned i = 0; i < CHILDREN; i++) {
        if (*child(n, i) == r->from)
            put(child(n, i), r);
        else if (*child(n, i))
            replace_below(*child(n, i), r);
    }
}

static void replace_in(Node **root, void *arg) { replace_below(*root, arg); }

static void replace_export(Node **root, void *arg)
{
    const Replace *r = arg;

    if (*root == r->from)
        put(root, r);
}

typedef struct Users {
    Node *from;
    GPtrArray *disks;
} Users;

static void note_user(const char *id, void *p, void *arg)
{
    Users *u = arg;
    Disk *d = p;

    if (d->node == u->from && (d->attached || !vm_lookup(d->vm, "node", d->id)))
        g_ptr_array_add(u->disks, d);
}

static bool move_disk(Disk *d, const Replace *r, Error **err)
{
    if (d->attached)
        disk__give_permissions(r->from);
    d->node = r->to;
    if (d->attached && !disk__take_permissions(d, err)) {
        d->node = r->from;
        disk__take_permissions(d, NULL);
        return false;
    }
    node_ref(r->to);
    node_unref(r->from);
    d->snapshot = false;
    d->readonly = r->to->readonly;
    disk__renamed(d, r->from, r->to);
    return true;
}

bool graph_replace(Vm *vm, Node *from, Node *to, Error **err)
{
    g_autoptr(GPtrArray) disks = g_ptr_array_new();
    Users u = { from, disks };
    Replace r = { from, to };
    bool ok = true;

    node_ref(from);
    vm_registry_foreach(vm, "drive", note_user, &u);
    for (guint i = 0; i < disks->len && ok; i++)
        ok = disk__may_move(disks->pdata[i], to, err);
    for (guint i = 0; i < disks->len && ok; i++)
        ok = move_disk(disks->pdata[i], &r, err);
    if (ok) {
        node__move_claims(from, to);
        export__foreach_root(vm, replace_export, &r);
        graph_foreach_root(vm, replace_in, &r);
        from->forward = to;
    }
    for (guint i = 0; i < disks->len && ok; i++)
        disk__moved(disks->pdata[i]);
    node_unref(from);
    return ok;
}
