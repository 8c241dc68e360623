/* core/fds.c - see fds.h. */
#include "core/fds.h"
#include <fcntl.h>
#include <unistd.h>

typedef struct Named {
    char *name; /* NULL: in a set */
    char *opaque;
    int64_t set;
    int fd;
} Named;
typedef struct Fds {
    GArray *v; /* of Named; sets in order of number */
} Fds;

static void release(void *p)
{
    Fds *f = p;

    for (guint i = 0; i < f->v->len; i++) {
        Named *n = &g_array_index(f->v, Named, i);

        close(n->fd);
        g_free(n->name);
        g_free(n->opaque);
    }
    g_array_free(f->v, TRUE);
    g_free(f);
}

static Fds *fds_of(Vm *vm)
{
    Fds *f = vm_lookup(vm, "fds", "fds");

    if (f)
        return f;
    f = g_new0(Fds, 1);
    f->v = g_array_new(FALSE, FALSE, sizeof(Named));
    vm_register(vm, "fds", "fds", f);
    return own(&vm->root, f, release);
}

static Named *at(Fds *f, guint i) { return &g_array_index(f->v, Named, i); }

static int forget(Fds *f, guint i)
{
    int fd = at(f, i)->fd;

    g_free(at(f, i)->name);
    g_free(at(f, i)->opaque);
    g_array_remove_index(f->v, i);
    return fd;
}

int fd_take(Vm *vm, const char *name, Error **err)
{
    Fds *f = fds_of(vm);

    for (guint i = 0; i < f->v->len; i++)
        if (!g_strcmp0(at(f, i)->name, name))
            return forget(f, i);
    fail(err, "File descriptor named '%s' not found", name);
    return -1;
}

void fd_put(Vm *vm, const char *name, int fd)
{
    int old = fd_take(vm, name, NULL);
    Named n = { .name = g_strdup(name), .fd = fd };

    if (old >= 0)
        close(old);
    g_array_append_val(fds_of(vm)->v, n);
}

bool fdset_add(Vm *vm, int64_t *set, int fd, const char *opaque, Error **err)
{
    Fds *f = fds_of(vm);
    Named n = { .opaque = g_strdup(opaque), .set = *set, .fd = fd };
    guint i;

    if (*set < 0)
        n.set = 0;
    for (i = 0; i < f->v->len && (at(f, i)->name || at(f, i)->set <= n.set); i++)
        if (*set < 0 && !at(f, i)->name && at(f, i)->set == n.set)
            n.set++; /* the lowest number that is free */
    g_array_insert_val(f->v, i, n);
    *set = n.set;
    return true;
}

bool fdset_remove(Vm *vm, int64_t set, int fd, Error **err)
{
    Fds *f = fds_of(vm);
    bool found = false;

    for (guint i = f->v->len; i-- > 0;)
        if (!at(f, i)->name && at(f, i)->set == set && (fd < 0 || at(f, i)->fd == fd)) {
            close(forget(f, i));
            found = true;
        }
    if (found)
        return true;
    return fd < 0 ? fail(err, "File descriptor named 'fdset-id:%" PRId64 "' not found", set)
                  : fail(err, "File descriptor named 'fdset-id:%" PRId64 ", fd:%d' not found", set, fd);
}

static int copy_of(Fds *f, int64_t set, int flags)
{
    for (guint i = 0; i < f->v->len; i++) {
        const Named *n = at(f, i);

        if (!n->name && n->set == set && (fcntl(n->fd, F_GETFL) & O_ACCMODE) == (flags & O_ACCMODE))
            return fcntl(n->fd, F_DUPFD_CLOEXEC, 3);
    }
    return -1;
}

int fdset_open(Vm *vm, const char *path, int flags, mode_t mode, Error **err)
{
    static const char prefix[] = "/dev/fdset/";
    bool is_set = g_str_has_prefix(path, prefix);
    uint64_t set = 0;
    int fd;

    if (is_set && !parse_u64(path + strlen(prefix), &set, err))
        return -1;
    fd = is_set ? copy_of(fds_of(vm), (int64_t)set, flags) : open(path, flags | O_CLOEXEC, mode);
    if (fd < 0 && is_set)
        fail(err, "%s: no descriptor of this set was opened that way", path);
    else if (fd < 0)
        fail_errno(err, "cannot open '%s'", path);
    return fd;
}

void fdset_foreach(Vm *vm, void (*fn)(int64_t set, int fd, const char *opaque, void *arg), void *arg)
{
    Fds *f = fds_of(vm);

    for (guint i = 0; i < f->v->len; i++)
        if (!at(f, i)->name)
            fn(at(f, i)->set, at(f, i)->fd, at(f, i)->opaque, arg);
}
