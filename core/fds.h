/*
 * core/fds.h - file descriptors that clients hand us: by name, to be used once (getfd, "fd:NAME"), and in sets, as
 * "/dev/fdset/N" (-add-fd, add-fd). VM lock.
 */
#ifndef CORE_FDS_H
#define CORE_FDS_H
#include "core/vm.h"

void fd_put(Vm *vm, const char *name, int fd);        /* takes fd; closes what had that name */
int fd_take(Vm *vm, const char *name, Error **err);   /* the caller owns it; -1: there is none */
/* set < 0: a new one. Takes fd also when it fails. *set: where it is. */
bool fdset_add(Vm *vm, int64_t *set, int fd, const char *opaque, Error **err);
bool fdset_remove(Vm *vm, int64_t set, int fd /* -1: all */, Error **err);
/* open() that knows "/dev/fdset/N": there a copy of the first descriptor with the access mode of flags. -1 and err. */
int fdset_open(Vm *vm, const char *path, int flags, mode_t mode, Error **err);
void fdset_foreach(Vm *vm, void (*fn)(int64_t set, int fd, const char *opaque, void *arg), void *arg);
#endif
