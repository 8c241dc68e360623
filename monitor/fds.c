/* monitor/fds.c - file descriptors that come with a command, as SCM_RIGHTS of the same write (schema/fds.json). */
#include "core/fds.h"
#include "core/api/fds.h"
#include "monitor/priv.h"
#include <unistd.h>

static int passed(Monitor *m, Error **err)
{
    int fd = m ? chr_take_fd(m->chr) : -1;

    if (fd < 0)
        fail(err, "No file descriptor supplied via SCM_RIGHTS");
    return fd;
}

bool qmp_getfd(Vm *vm, Monitor *m, const GetfdArgs *args, Error **err)
{
    int fd = passed(m, err);

    if (fd < 0)
        return false;
    if (g_ascii_isdigit(*args->fdname)) {
        close(fd);
        return fail(err, "Parameter 'fdname' expects a name not starting with a digit");
    }
    fd_put(vm, args->fdname, fd);
    return true;
}

bool qmp_closefd(Vm *vm, const ClosefdArgs *args, Error **err)
{
    int fd = fd_take(vm, args->fdname, err);

    return fd >= 0 && !close(fd);
}

bool qmp_add_fd(Vm *vm, Monitor *m, const AddFdArgs *args, AddfdInfo *ret, Error **err)
{
    int fd = passed(m, err);

    if (fd < 0)
        return false;
    if (args->has_fdset_id && args->fdset_id < 0) {
        close(fd);
        return fail(err, "Parameter 'fdset-id' expects a non-negative value");
    }
    ret->fd = fd;
    ret->fdset_id = args->has_fdset_id ? args->fdset_id : -1;
    return fdset_add(vm, &ret->fdset_id, fd, args->opaque, err);
}

bool qmp_remove_fd(Vm *vm, const RemoveFdArgs *args, Error **err)
{
    return fdset_remove(vm, args->fdset_id, args->has_fd ? (int)CLAMP(args->fd, 0, INT32_MAX) : -1, err);
}

static void list_one(int64_t set, int fd, const char *opaque, void *arg)
{
    FdsetInfoList *l = arg;
    FdsetInfo *s = l->n && l->v[l->n - 1].fdset_id == set ? &l->v[l->n - 1] : API_ADD(l); /* they come in order */
    FdsetFdInfo *f = API_ADD(&s->fds);

    s->fdset_id = set;
    f->fd = fd;
    f->opaque = g_strdup(opaque);
}

bool qmp_query_fdsets(Vm *vm, FdsetInfoList *ret, Error **err)
{
    fdset_foreach(vm, list_one, ret);
    return true;
}
