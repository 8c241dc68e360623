/* block/qmp-export.c - the monitor's commands that serve nodes over NBD (schema/export.json). */
#include "block/disk-priv.h"
#include "block/graph.h"
#include "block/image.h"
#include "block/nbd/server.h"
#include "core/api/export.h"
#include "core/fds.h"

typedef struct Exports { /* the VM's, while its server runs or an export lasts */
    Vm *vm;
    NbdServer *server; /* NULL: stopped, or stopping */
    unsigned ending;   /* servers that still end */
    VmListener listener;
} Exports;
typedef struct Served {
    Exports *all;
    char *id, *who;
    NodeClaim claim;
} Served;

static void stopped(void *arg) { ((Exports *)arg)->ending--; }

static void stop(Exports *x)
{
    NbdServer *s = x->server;

    if (!s)
        return;
    x->server = NULL;
    x->ending++;
    nbd_server_stop(s);
}

static void let_go(NbdExport *e, void *arg) { blk_unthrottle(*nbd_export_node(e), true); }

static void end_now(Exports *x)
{
    if (x->server)
        nbd_export_foreach(x->server, let_go, NULL);
    stop(x);
}

static void end_there(void *arg)
{
    Exports *x = arg;

    end_now(x);
    x->ending--;
}

/* The loop's thread may be another; it needs the lock now and then. */
static void on_ending(void *self)
{
    Exports *x = self;
    bool mine = loop_is_mine(x->vm->loop);

    if (mine) {
        end_now(x);
    } else {
        x->ending++;
        loop_post(x->vm->loop, end_there, x);
    }
    while (x->ending) {
        unsigned depth;

        if (mine) {
            loop_iterate(x->vm->loop, true);
            continue;
        }
        depth = lock_drop_all(&x->vm->lock);
        g_usleep(1000);
        lock_retake(&x->vm->lock, depth);
    }
}

static void exports_free(void *p)
{
    Exports *x = p;

    vm_unlisten(x->vm, &x->listener);
    g_free(x);
}

static Exports *exports_of(Vm *vm)
{
    Exports *x = vm_lookup(vm, "exports", "");

    if (x)
        return x;
    x = g_new0(Exports, 1);
    x->vm = vm;
    x->listener = (VmListener){ .ending = on_ending, .self = x };
    vm_listen(vm, &x->listener);
    vm_register(vm, "exports", "", x);
    return own(&vm->root, x, exports_free);
}

typedef struct RootWalk {
    void (*fn)(Node **root, void *arg);
    void *arg;
} RootWalk;

static void root_of(NbdExport *e, void *arg)
{
    const RootWalk *w = arg;

    w->fn(nbd_export_node(e), w->arg);
}

void export__foreach_root(Vm *vm, void (*fn)(Node **root, void *arg), void *arg)
{
    RootWalk w = { fn, arg };
    Exports *x = vm_lookup(vm, "exports", "");

    if (x && x->server)
        nbd_export_foreach(x->server, root_of, &w);
}

/* ---- the server ---- */
static bool address(const SocketAddressLegacy *a, NbdAddr *out, Error **err)
{
    *out = (NbdAddr){ 0 };
    switch (a->type) {
    case SOCKET_ADDRESS_INET:
        out->host = g_strdup(a->u.inet.data.host);
        out->port = g_strdup(a->u.inet.data.port);
        out->to = a->u.inet.data.has_to ? a->u.inet.data.to : 0;
        return true;
    case SOCKET_ADDRESS_UNIX_:
        out->path = g_strdup(a->u.unix_.data.path);
        out->abstract = a->u.unix_.data.has_abstract && a->u.unix_.data.abstract;
        return true;
    case SOCKET_ADDRESS_FD:
        out->fd = g_strdup(a->u.fd.data.str);
        return true;
    default:
        return fail(err, "that kind of address is not possible here");
    }
}

static int listening(Vm *vm, const SocketAddressLegacy *where, Error **err)
{
    NbdAddr a;
    int fd;

    if (!address(where, &a, err))
        return -1;
    fd = a.fd && !g_ascii_isdigit(*a.fd) ? fd_take(vm, a.fd, err) : nbd_addr_listen(&a, 16, err);
    nbd_addr_clear(&a);
    return fd;
}

bool qmp_nbd_server_start(Vm *vm, const NbdServerStartArgs *args, Error **err)
{
    Exports *x = exports_of(vm);
    NbdConfig c = { .handshake_s = args->has_handshake_max_seconds ? args->handshake_max_seconds : 10,
                    .max_clients = args->has_max_connections ? args->max_connections : 100, .stopped = stopped, .arg = x };
    int fd;

    if (x->server)
        return fail(err, "NBD server already running");
    if (args->tls_creds && !(c.tls = tls_creds_find(vm->loop, args->tls_creds)))
        return fail(err, "No TLS credentials with id '%s'", args->tls_creds);
    if (c.tls && !tls_creds_is_server(c.tls))
        return fail(err, "Expecting TLS credentials with a server endpoint");
    fd = listening(vm, &args->addr, err);
    if (fd < 0)
        return false;
    x->server = nbd_server_new(vm->loop, &c);
    nbd_server_listen(x->server, fd);
    return true;
}

bool qmp_nbd_server_stop(Vm *vm, Error **err)
{
    Exports *x = exports_of(vm);

    if (!x->server)
        return fail(err, "NBD server not running");
    stop(x);
    return true;
}

/* ---- exports ---- */
static void gone(void *arg)
{
    Served *s = arg;

    node_unclaim(&s->claim);
    event_block_export_deleted(s->all->vm, &(EventBlockExportDeleted){ .id = s->id });
    g_free(s->who);
    g_free(s->id);
    g_free(s);
}

typedef struct Load {
    Node *n;
    Error **err;
    bool ok;
} Load;

static void load_body(void *arg)
{
    Load *l = arg;

    l->ok = blk_bitmaps_load(l->n, l->err);
}

bool graph__load_bitmaps(Node *n, Error **err)
{
    Load l = { n, err, false };

    blk_run(n->loop, load_body, &l);
    return l.ok;
}

static DirtyBitmap *find_bitmap(Node *n, const char *name)
{
    DirtyBitmap *b = NULL;

    for (; n && !b; n = n->backing)
        b = dirty_find(n, name);
    return b;
}

static bool add_bitmap(Vm *vm, NbdExport *e, const char *node, const char *name, Error **err)
{
    Node *n = node ? graph_lookup(vm, node, err) : *nbd_export_node(e);
    DirtyBitmap *b;

    if (!n || !graph__load_bitmaps(n, err))
        return false;
    b = node ? dirty_find(n, name) : find_bitmap(n, name);
    if (!b)
        return fail(err, "Bitmap '%s' is not found", name);
    if (n != *nbd_export_node(e) && !graph_is_below(*nbd_export_node(e), b->n) && b->n->size != (*nbd_export_node(e))->size)
        return fail(err, "Bitmap '%s' is of a node of another size", name);
    return nbd_export_bitmap(e, b, err);
}

static NbdExport *add(Exports *x, const NbdExportSpec *what, Error **err)
{
    NbdExportSpec spec = *what;
    Served *s = g_new0(Served, 1);
    NbdExport *e = NULL;

    *s = (Served){ x, g_strdup(spec.id), g_strdup_printf("export '%s'", spec.id), { .who = NULL } };
    s->claim.who = s->who;
    s->claim.moves = true;
    spec.gone = gone;
    spec.arg = s;
    if (!x->server)
        fail(err, "NBD server not running");
    else if (nbd_export_find(x->server, spec.id, NULL))
        fail(err, "Block export id '%s' is already in use", spec.id);
    else if (node_claim(&s->claim, spec.node, PERM_CONSISTENT_READ | (spec.writable ? PERM_WRITE : 0), PERM_ALL, err))
        e = nbd_export_add(x->server, &spec, err);
    if (e)
        return e;
    node_unclaim(&s->claim);
    g_free(s->who);
    g_free(s->id);
    g_free(s);
    return NULL;
}

bool qmp_block_export_add(Vm *vm, const BlockExportOptions *args, Error **err)
{
    const BlockExportOptionsNbd *nbd = &args->u.nbd;
    Exports *x = exports_of(vm);
    NbdExportSpec spec = { .id = args->id, .name = nbd->name ? nbd->name : args->node_name, .description = nbd->description,
                           .node = graph_find(vm, args->node_name), .writable = args->writable, .writethrough = args->writethrough,
                           .depth = nbd->allocation_depth };
    NbdExport *e;
    bool ok = true;

    if (!spec.node)
        return fail(err, "Cannot find device='' nor node-name='%s'", args->node_name);
    if (spec.writable && spec.node->readonly)
        return fail(err, "Cannot export read-only node as writable");
    e = add(x, &spec, err);
    for (size_t i = 0; e && ok && i < nbd->bitmaps.n; i++) {
        const BlockDirtyBitmapOrStr *b = &nbd->bitmaps.v[i];

        ok = b->which == 0 ? add_bitmap(vm, e, NULL, b->local, err)
                                                         : add_bitmap(vm, e, b->external.node, b->external.name, err);
    }
    if (e && !ok)
        nbd_export_remove(e);
    return e && ok;
}

bool qmp_nbd_server_add(Vm *vm, const NbdServerAddArgs *args, Error **err)
{
    Exports *x = exports_of(vm);
    Node *n = graph_lookup(vm, args->device, err);
    const char *name = args->name ? args->name : args->device;
    NbdExportSpec spec = { .id = name, .name = name, .description = args->description, .node = n, .writable = args->writable && !(n && n->readonly) };
    NbdExport *e = n ? add(x, &spec, err) : NULL;

    if (!e || !args->bitmap || add_bitmap(vm, e, NULL, args->bitmap, err))
        return e;
    nbd_export_remove(e);
    return false;
}

static bool del(Exports *x, const char *id, bool hard, Error **err)
{
    NbdExport *e = x->server ? nbd_export_find(x->server, id, NULL) : NULL;

    if (!e)
        return fail(err, "Export '%s' is not found", id);
    if (!hard && nbd_export_has_clients(e)) {
        fail(err, "export '%s' still in use", id);
        return error_hint(err, "use mode='hard' to force client disconnect");
    }
    nbd_export_remove(e);
    return true;
}

bool qmp_block_export_del(Vm *vm, const BlockExportDelArgs *args, Error **err)
{
    return del(exports_of(vm), args->id, args->has_mode && args->mode == BLOCK_EXPORT_REMOVE_MODE_HARD, err);
}

bool qmp_nbd_server_remove(Vm *vm, const NbdServerRemoveArgs *args, Error **err)
{
    return del(exports_of(vm), args->name, args->has_mode && args->mode == BLOCK_EXPORT_REMOVE_MODE_HARD, err);
}

static void list_one(NbdExport *e, void *arg)
{
    BlockExportInfo *i = API_ADD((BlockExportInfoList *)arg);

    i->id = g_strdup(nbd_export_id(e));
    i->type = BLOCK_EXPORT_TYPE_NBD;
    i->node_name = g_strdup((*nbd_export_node(e))->name);
    i->shutting_down = nbd_export_closing(e);
}

bool qmp_query_block_exports(Vm *vm, BlockExportInfoList *ret, Error **err)
{
    Exports *x = exports_of(vm);

    if (x->server)
        nbd_export_foreach(x->server, list_one, ret);
    return true;
}
