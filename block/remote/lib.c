/* block/remote/lib.c - what drivers of other people's libraries share (block/remote/lib.h). Libraries stay loaded. */
#include "block/remote/lib.h"
#include "core/secret.h"
#include <dlfcn.h>

static bool find_all(void *library, const char *soname, const char *const *names, void **to, Error **err)
{
    for (size_t i = 0; names[i]; i++) {
        to[i] = dlsym(library, names[i]);
        if (!to[i])
            return fail(err, "library %s has no %s", soname, names[i]);
    }
    return true;
}

typedef struct Load {
    const char *soname;
    char *why;
} Load;

/* Constructors of C++ libraries want more stack than a coroutine has. */
static void *load(void *arg)
{
    Load *l = arg;
    void *library = dlopen(l->soname, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

    if (!library)
        l->why = g_strdup(dlerror());
    return library;
}

bool remote_load(const char *soname, const char *const *names, void *to, Error **err)
{
    static GMutex lock;
    Load l = { soname, NULL };
    void *library;
    bool ok;

    g_mutex_lock(&lock);
    library = g_thread_join(g_thread_new("load", load, &l));
    ok = library ? find_all(library, soname, names, to, err) : fail(err, "%s", l.why);
    if (library)
        dlclose(library);
    else
        error_hint(err, "install the package that has %s", soname);
    g_mutex_unlock(&lock);
    g_free(l.why);
    return ok;
}

void remote_wipe(char **text)
{
    if (*text)
        secret_wipe((uint8_t *)*text, strlen(*text));
    *text = NULL;
}

void remote_take(char **to, Opts *o, const char *key)
{
    const char *v = opts_get(o, key);

    if (!v)
        return;
    remote_wipe(to);
    *to = g_strdup(v);
}

bool remote_take_secret(char **to, Loop *loop, Opts *o, const char *key, Error **err)
{
    const char *id = opts_get(o, key);
    uint8_t *bytes;
    size_t n;

    if (!id)
        return true;
    if (!secret_get(loop, id, &bytes, &n, err))
        return false;
    remote_wipe(to);
    *to = (char *)bytes;
    return true;
}

static void ended(void *arg)
{
    RemoteWait *w = arg;

    w->done = true;
    co_wake(w->co);
}

void remote_done(RemoteWait *w) { loop_post(w->loop, ended, w); }

CO_FN void remote_wait(RemoteWait *w)
{
    while (!w->done)
        co_yield();
}
