/*
 * chr/chr.c - the middle of a character device: who sits in front, what waits to be written, input
 * with back-pressure, the registry. Back ends are in files of their own.
 */
#include "chr/priv.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { OUT_MAX = 1024 * 1024 };
extern const ChrOps *const __start_chrbackends[], *const __stop_chrbackends[];
typedef struct Waiter {
    guint id;
    void (*ready)(void *arg);
    void *arg;
} Waiter;

/* ---- making ---- */
static const ChrOps *find_backend(const char *name)
{
    for (const ChrOps *const *b = __start_chrbackends; b < __stop_chrbackends; b++)
        if (!strcmp((*b)->name, name) || (!(*b)->alias ? false : !strcmp((*b)->alias, name)))
            return *b;
    return NULL;
}

void chr_backend_foreach(void (*fn)(const char *name, void *arg), void *arg)
{
    for (const ChrOps *const *b = __start_chrbackends; b < __stop_chrbackends; b++)
        fn((*b)->name, arg);
}

void chr_help(GString *out)
{
    g_string_append(out, "Available chardev backend types:\n");
    for (const ChrOps *const *b = __start_chrbackends; b < __stop_chrbackends; b++)
        g_string_append_printf(out, "  %s\n", (*b)->name);
}

bool chr_help_of(const char *backend, GString *out, Error **err)
{
    const ChrOps *ops = find_backend(backend);
    g_auto(GStrv) keys = NULL;

    if (!ops)
        return fail(err, "there is no chardev back end '%s'", backend);
    keys = g_strsplit(ops->keys ? ops->keys : "", " ", -1);
    g_string_append_printf(out, "%s options:\n  id=ID\n  mux=on|off\n  logfile=FILE\n  logappend=on|off\n", ops->name);
    for (char **k = keys; *k; k++)
        if (**k)
            g_string_append_printf(out, "  %s\n", *k);
    return true;
}

/* What devices left while the machine's state was still to come. */
static void state_changed(void *self, RunState now)
{
    if (now != RUN_INMIGRATE)
        chr_accept_input(self);
}

static void destroy(void *arg)
{
    Chr *c = arg;

    if (c->listener.self)
        vm_unlisten(c->vm, &c->listener);
    if (c->ops->close)
        c->ops->close(c);
    if (vm_lookup(c->vm, "chardev", c->id) == c)
        vm_unregister(c->vm, "chardev", c->id);
    chr__drop_fds(c);
    if (c->mux)
        chr__mux_free(c->mux);
    if (c->log >= 0)
        close(c->log);
    g_array_free(c->users, TRUE);
    g_array_free(c->waiters, TRUE);
    g_byte_array_free(c->out, TRUE);
    g_free(c->opaque);
    g_free(c->id);
    g_free(c);
}

void chr_free(Chr *c)
{
    if (!c)
        return;
    disown(&c->vm->root, c);
    destroy(c);
}

static bool open_log(Chr *c, Opts *o, Error **err)
{
    const char *path = opts_get(o, "logfile");
    bool append;

    if (!opts_get_bool(o, "logappend", false, &append, err))
        return false;
    if (!path)
        return true;
    c->log = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0644);
    return c->log >= 0 || fail_errno(err, "chardev %s: cannot open logfile '%s'", c->id, path);
}

static Chr *alloc(Vm *vm, const char *id, const ChrOps *ops)
{
    Chr *c = g_new0(Chr, 1);

    c->vm = vm;
    c->id = g_strdup(id);
    c->ops = ops;
    c->opaque = g_malloc0(MAX(ops->size, 1));
    c->users = g_array_new(FALSE, TRUE, sizeof(ChrUser));
    c->waiters = g_array_new(FALSE, TRUE, sizeof(Waiter));
    c->out = g_byte_array_new();
    c->log = -1;
    g_queue_init(&c->fds);
    return c;
}

static bool fill(Chr *c, Opts *o, Error **err)
{
    g_autofree char *what = g_strdup_printf("chardev %s", c->id);
    bool mux;

    if (!opts_get_bool(o, "mux", false, &mux, err) || !open_log(c, o, err) ||
        !c->ops->open(c, o, err) || !opts_all_used(o, what, err))
        return false;
    if (mux)
        c->mux = chr__mux_new(c);
    return true;
}

static Chr *make(Vm *vm, Opts *o, Error **err)
{
    const char *id = opts_get(o, "id"), *backend = opts_get(o, "backend");
    const ChrOps *ops = backend ? find_backend(backend) : NULL;
    Chr *c;

    if (!id || !backend) {
        fail(err, "-chardev needs %s", backend ? "id=" : "a back end");
        error_hint(err, "for instance -chardev stdio,id=c0; -chardev help lists the back ends");
        return NULL;
    }
    if (!ops) {
        fail(err, "-chardev %s: there is no such back end", backend);
        error_hint(err, "-chardev help lists them");
        return NULL;
    }
    c = alloc(vm, id, ops);
    if (!fill(c, o, err)) {
        destroy(c);
        return NULL;
    }
    if (!ops->starts_closed)
        c->opened = true;
    return c;
}

static Chr *publish(Chr *c)
{
    vm_register(c->vm, "chardev", c->id, c);
    c->listener = (VmListener){ .state = state_changed, .self = c };
    vm_listen(c->vm, &c->listener);
    return own(&c->vm->root, c, destroy);
}

Chr *chr_add(Vm *vm, Opts *o, Error **err)
{
    const char *id = opts_peek(o, "id");
    Chr *c;

    if (id && vm_lookup(vm, "chardev", id)) {
        fail(err, "-chardev id=%s: there is a chardev of that id already", id);
        return NULL;
    }
    c = make(vm, o, err);
    return c ? publish(c) : NULL;
}

Chr *chr_new(Vm *vm, Opts *o, Error **err)
{
    Chr *c = chr_add(vm, o, err);

    if (c && chr_pty_path(c)) {
        printf("char device redirected to %s (label %s)\n", chr_pty_path(c), c->id);
        fflush(stdout);
    }
    return c;
}

/* ---- users ---- */
bool chr_attach(Chr *c, const ChrUser *u, Error **err)
{
    if (c->users->len && !c->mux) {
        fail(err, "chardev '%s' is already in use", c->id);
        return error_hint(err, "add mux=on to the chardev to share it (mon:stdio does so)");
    }
    g_array_append_val(c->users, *u);
    if (c->mux)
        chr__mux_focus(c->mux, c->users->len - 1);
    if (c->opened && u->event)
        u->event(u->o, CHR_OPENED);
    if (c->ops->input)
        c->ops->input(c);
    return true;
}

void chr_detach(Chr *c, void *o)
{
    for (guint i = 0; i < c->users->len; i++) {
        if (g_array_index(c->users, ChrUser, i).o != o)
            continue;
        g_array_remove_index(c->users, i);
        if (c->mux) {
            chr__mux_removed(c->mux, i);
            chr__mux_focus(c->mux, c->users->len ? c->users->len - 1 : 0);
        }
        return;
    }
}

size_t chr__room(Chr *c)
{
    ChrUser *u;

    if (c->mux)
        return chr__mux_room(c->mux);
    if (!c->users->len)
        return 0; /* kept in the kernel until somebody reads */
    u = &g_array_index(c->users, ChrUser, 0);
    return u->can_take ? u->can_take(u->o) : 0;
}

static void deliver(void *arg, const void *p, size_t n)
{
    Chr *c = arg;
    ChrUser *u;

    if (c->mux) {
        chr__mux_take(c->mux, p, n);
    } else if (c->users->len) {
        u = &g_array_index(c->users, ChrUser, 0);
        u->take(u->o, p, n);
    }
}

void chr__pass(Chr *c, const uint8_t *p, size_t n) { deliver(c, p, n); }
void chr__take(Chr *c, const uint8_t *p, size_t n) { door_call(c->vm, "chr", deliver, c, p, n); }

void chr__event(Chr *c, ChrEvent e)
{
    if (e == CHR_OPENED || e == CHR_CLOSED) {
        if (c->opened == (e == CHR_OPENED))
            return;
        c->opened = e == CHR_OPENED;
        if (e == CHR_CLOSED) {
            g_byte_array_set_size(c->out, 0);
            chr__drop_fds(c);
        }
    }
    for (guint i = 0; i < c->users->len; i++) {
        ChrUser u = g_array_index(c->users, ChrUser, i);

        if (u.event && (!c->mux || e != CHR_BREAK || i == chr__mux_focused(c->mux)))
            u.event(u.o, e);
    }
    if (e == CHR_CLOSED)
        chr__writable(c);
}

void chr_accept_input(Chr *c)
{
    if (c->mux)
        chr__mux_flush(c->mux);
    if (c->ops->input && chr__room(c))
        c->ops->input(c);
}

/* ---- output ---- */
static void log_bytes(Chr *c, const void *p, size_t n)
{
    ssize_t k = c->log < 0 || !n ? 0 : write(c->log, p, n);

    if (k < 0 && errno != EINTR && errno != EAGAIN) { /* a full disk must not stop the guest */
        close(c->log);
        c->log = -1;
    }
}

static void arm(Chr *c)
{
    if (!c->arming && c->ops->arm) {
        c->arming = true;
        c->ops->arm(c);
    }
}

static size_t write_now(Chr *c, const void *p, size_t n)
{
    size_t k = c->out->len ? 0 : c->ops->write(c, p, n);

    log_bytes(c, p, k);
    return k;
}

size_t chr_write(Chr *c, const void *p, size_t n)
{
    GByteArray *stamped = c->mux ? chr__mux_stamp(c->mux, p, n) : NULL;

    if (stamped) { /* its length differs from n: all or nothing, through the queue */
        chr_write_all(c, stamped->data, stamped->len);
        g_byte_array_free(stamped, TRUE);
        return n;
    }
    return write_now(c, p, n);
}

void chr_write_all(Chr *c, const void *p, size_t n)
{
    size_t k = write_now(c, p, n);

    if (k == n)
        return;
    n = MIN(n - k,
            OUT_MAX - MIN(c->out->len, OUT_MAX)); /* the reader is too slow: the rest is lost */
    log_bytes(c, (const char *)p + k, n);
    g_byte_array_append(c->out, (const uint8_t *)p + k, (guint)n);
    arm(c);
}

void chr__writable(Chr *c)
{
    g_autoptr(GArray) now = NULL;

    c->arming = false;
    if (c->out->len) {
        size_t k = c->ops->write(c, c->out->data, c->out->len);

        g_byte_array_remove_range(c->out, 0, (guint)k);
        if (c->out->len) {
            arm(c);
            return;
        }
    }
    now = c->waiters;
    c->waiters = g_array_new(FALSE, TRUE, sizeof(Waiter));
    for (guint i = 0; i < now->len; i++) {
        Waiter *w = &g_array_index(now, Waiter, i);

        w->ready(w->arg);
    }
}

guint chr_want_write(Chr *c, void (*ready)(void *arg), void *arg)
{
    Waiter w = { ++c->next_waiter, ready, arg };

    g_array_append_val(c->waiters, w);
    arm(c);
    return w.id;
}

void chr_cancel_write(Chr *c, guint id)
{
    for (guint i = 0; i < c->waiters->len; i++) {
        if (g_array_index(c->waiters, Waiter, i).id == id) {
            g_array_remove_index(c->waiters, i);
            return;
        }
    }
}

/* ---- another one in its place ---- */
/* What waits, and whoever sits in front, go over. */
static void take_over(Chr *c, Chr *old)
{
    bool was_open = old->opened;
    GArray *users = c->users, *waiters = c->waiters;
    GByteArray *out = c->out;

    c->users = old->users;
    c->waiters = old->waiters;
    c->out = old->out;
    c->next_waiter = old->next_waiter;
    old->users = users;
    old->waiters = waiters;
    old->out = out;
    for (guint i = 0; i < c->users->len; i++)
        *(Chr **)g_array_index(c->users, ChrUser, i).slot = c;
    chr_free(old);
    publish(c);
    for (guint i = 0; i < c->users->len; i++) {
        ChrUser u = g_array_index(c->users, ChrUser, i);

        if (u.event && (c->opened || was_open))
            u.event(u.o, c->opened ? CHR_OPENED : CHR_CLOSED);
    }
}

/* QEMU's words for what it cannot do either: clients look for them. */
static bool is_single(const Chr *c, Error **err)
{
    return (!c->mux && !chr__is_hub(c)) || fail(err, "For mux or hub device hotswap is not supported yet");
}

Chr *chr_change(Chr *old, Opts *o, Error **err)
{
    Chr *c;

    if (!is_single(old, err))
        return NULL;
    for (guint i = 0; i < old->users->len; i++)
        if (!g_array_index(old->users, ChrUser, i).slot) {
            fail(err, "Chardev user does not support chardev hotswap");
            return NULL;
        }
    c = make(old->vm, o, err);
    if (!c)
        return NULL;
    if (!is_single(c, err)) {
        destroy(c);
        return NULL;
    }
    take_over(c, old);
    if (c->out->len || c->waiters->len)
        arm(c);
    if (c->ops->input)
        c->ops->input(c);
    return c;
}

/* ---- facts ---- */
bool chr_is_open(const Chr *c) { return c->opened; }
const char *chr_id(const Chr *c) { return c->id; }
const char *chr_backend(const Chr *c) { return c->ops->name; }
bool chr_in_use(const Chr *c) { return c->users->len; }

char *chr_describe(const Chr *c)
{
    char *t = c->ops->describe ? c->ops->describe(c) : g_strdup(c->ops->name);
    char *full;

    if (c->opened || !c->ops->starts_closed)
        return t;
    full = g_strconcat("disconnected:", t, NULL);
    g_free(t);
    return full;
}

int chr_take_fd(Chr *c)
{
    return g_queue_is_empty(&c->fds) ? -1 : GPOINTER_TO_INT(g_queue_pop_head(&c->fds));
}

void chr__drop_fds(Chr *c)
{
    while (!g_queue_is_empty(&c->fds))
        close(GPOINTER_TO_INT(g_queue_pop_head(&c->fds)));
}
