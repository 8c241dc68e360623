/* util/loop.c - event loops over GMainContext. */
#include "util/loop.h"
#include "util/shared.h"
#include <glib-unix.h>

struct Loop {
    char *name;
    Lock *lock;
    GMainContext *context;
    GMainLoop *main;
    GThread *thread;
    GThread *runner; /* who iterates it now; atomic */
    GHashTable *named;
    bool patient;
};

/* One callback of any kind; freed with its source. */
typedef struct Call {
    Loop *loop;
    void (*post)(void *arg);
    bool (*again)(void *arg);
    FdFn fd_fn;
    void *arg;
} Call;

static void call_enter(const Call *c)
{
    shared_after(c);
    if (c->loop->lock)
        lock_take(c->loop->lock);
}

static void call_leave(const Call *c)
{
    if (c->loop->lock)
        lock_drop(c->loop->lock);
    shared_before(c);
}

static void call_free(gpointer c)
{
    shared_after(c);
    g_free(c);
}

static gboolean call_post(gpointer arg)
{
    Call *c = arg;

    call_enter(c);
    c->post(c->arg);
    call_leave(c);
    return G_SOURCE_REMOVE;
}

static gboolean call_again(gpointer arg)
{
    Call *c = arg;
    bool more;

    call_enter(c);
    /* A source may have been removed by another thread while we waited for the lock. */
    more = !g_source_is_destroyed(g_main_current_source()) && c->again(c->arg);
    call_leave(c);
    return more;
}

static gboolean call_fd(gint fd, GIOCondition cond, gpointer arg)
{
    Call *c = arg;
    bool more;

    call_enter(c);
    more = !g_source_is_destroyed(g_main_current_source()) && c->fd_fn(c->arg, fd, cond);
    call_leave(c);
    return more;
}

static guint attach(Loop *l, GSource *s, GSourceFunc fn, Call call)
{
    Call *c = g_new(Call, 1);
    guint id;

    *c = call;
    c->loop = l;
    shared_before(c);
    g_source_set_callback(s, fn, c, call_free);
    id = g_source_attach(s, l->context);
    g_source_unref(s);
    return id;
}

static void quit(void *arg) { g_main_loop_quit(((Loop *)arg)->main); }

void loop_stop(Loop *l)
{
    if (!l->thread)
        return;
    g_assert(l->thread != g_thread_self());
    loop_post(l, quit, l);
    g_thread_join(l->thread);
    l->thread = NULL;
    __atomic_store_n(&l->runner, NULL, __ATOMIC_RELAXED);
}

Loop *loop_new(const char *name, Lock *lock)
{
    Loop *l = g_new0(Loop, 1);

    l->name = g_strdup(name);
    l->lock = lock;
    l->context = g_main_context_new();
    l->main = g_main_loop_new(l->context, FALSE);
    return l;
}

void loop_set_patient(Loop *l) { l->patient = true; }
bool loop_patient(const Loop *l) { return l->patient; }

void loop_free(Loop *l)
{
    if (!l)
        return;
    loop_stop(l);
    g_main_loop_unref(l->main);
    g_main_context_unref(l->context);
    if (l->named)
        g_hash_table_destroy(l->named);
    g_free(l->name);
    g_free(l);
}

static gpointer run(gpointer arg)
{
    Loop *l = arg;

    __atomic_store_n(&l->runner, g_thread_self(), __ATOMIC_RELAXED);
    g_main_context_push_thread_default(l->context);
    g_main_loop_run(l->main);
    g_main_context_pop_thread_default(l->context);
    return NULL;
}

void loop_start(Loop *l)
{
    g_assert(!l->thread);
    l->thread = g_thread_new(l->name, run, l);
}

void loop_iterate(Loop *l, bool may_block)
{
    g_assert(loop_is_mine(l) || !l->thread);
    GThread *before = __atomic_exchange_n(&l->runner, g_thread_self(), __ATOMIC_RELAXED);

    g_main_context_iteration(l->context, may_block);
    __atomic_store_n(&l->runner, before, __ATOMIC_RELAXED);
}

void loop_name(Loop *l, const char *name, void *p)
{
    if (!l->named)
        l->named = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (p)
        g_hash_table_insert(l->named, g_strdup(name), p);
    else
        g_hash_table_remove(l->named, name);
}

void *loop_named(const Loop *l, const char *name) { return l->named ? g_hash_table_lookup(l->named, name) : NULL; }

GMainContext *loop_context(Loop *l) { return l->context; }

bool loop_is_mine(const Loop *l)
{
    GThread *t = __atomic_load_n(&l->runner, __ATOMIC_RELAXED);

    return t == g_thread_self() || (!t && !l->thread);
}

void loop_post(Loop *l, void (*fn)(void *arg), void *arg)
{
    GSource *s = g_idle_source_new();

    g_source_set_priority(s, G_PRIORITY_DEFAULT);
    attach(l, s, call_post, (Call){ .post = fn, .arg = arg });
}

guint loop_watch_fd(Loop *l, int fd, GIOCondition cond, FdFn fn, void *arg)
{
    GSource *s = g_unix_fd_source_new(fd, cond);

    return attach(l, s, G_SOURCE_FUNC(call_fd), (Call){ .fd_fn = fn, .arg = arg });
}

guint loop_after(Loop *l, int64_t host_ns, bool (*fn)(void *arg), void *arg)
{
    GSource *s = g_timeout_source_new((guint)CLAMP((host_ns + 999999) / 1000000, 0, G_MAXINT));

    return attach(l, s, call_again, (Call){ .again = fn, .arg = arg });
}

void loop_unwatch(Loop *l, guint id)
{
    GSource *s = id ? g_main_context_find_source_by_id(l->context, id) : NULL;

    if (s)
        g_source_destroy(s);
}
