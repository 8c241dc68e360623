/*
 * block/filelock.c - who may use an image file, across processes: open-file-description locks on
 * single bytes. Byte 100 + p is held by who uses permission p, byte 200 + p by who does not share
 * it; the numbers are QEMU's, so that its programs and we refuse each other.
 * A killed process' locks outlive it for as long as io_uring still writes for it, which is right: nobody else may write then. So
 * who opens an image waits that moment before it is refused.
 */
#include "block/priv.h"
#include <errno.h>
#include <fcntl.h>

enum { USED_AT = 100, UNSHARED_AT = 200, PERMS = 4, PATIENCE_MS = 300, LOOK_AGAIN_MS = 5 };
static const char *const names[PERMS] = { "consistent read", "write", "write unchanged", "resize" };

static int lock_byte(int fd, int cmd, short type, unsigned at, struct flock *out)
{
    *out = (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };
    return fcntl(fd, cmd, out) < 0 ? -errno : 0;
}

static int set_bytes(int fd, unsigned bits, unsigned base, short type)
{
    struct flock fl;
    int ret = 0;

    for (unsigned p = 0; p < PERMS && !ret; p++)
        if (bits & 1u << p)
            ret = lock_byte(fd, F_OFD_SETLK, type, base + p, &fl);
    return ret;
}

/* Does anybody else hold one of these bytes? */
static int first_held(int fd, unsigned bits, unsigned base)
{
    struct flock fl;

    for (unsigned p = 0; p < PERMS; p++)
        if ((bits & 1u << p) && !lock_byte(fd, F_OFD_GETLK, F_WRLCK, base + p, &fl) &&
            fl.l_type != F_UNLCK)
            return (int)p;
    return -1;
}

/* The first permission of `want` that another one does not share, or that another one uses and `unshared` has (*shared); -1: none. */
static int conflict(int fd, unsigned want, unsigned unshared, bool *shared)
{
    int p = first_held(fd, want, UNSHARED_AT);

    *shared = p < 0;
    return p >= 0 ? p : first_held(fd, unshared, USED_AT);
}

static bool refuse(const char *filename, bool shared, int p, unsigned want, Error **err)
{
    fail(err, "'%s': failed to get %s\"%s\" lock: another process uses the image", filename,
         shared ? "shared " : "", names[p]);
    if (want & PERM_WRITE)
        return error_hint(
            err, "stop the other VM or tool; to run from it without changing it use snapshot=on "
                 "(and file.locking=off while the other one writes)");
    return error_hint(
        err, "stop the program that writes to it, or read it anyway with file.locking=off");
}

/* 0 with *p -1: taken; with a permission: refused for it, nothing was taken. -errno: cannot lock. */
static int take(int fd, unsigned want, unsigned unshared, int *p, bool *shared)
{
    int ret = set_bytes(fd, want, USED_AT, F_RDLCK);

    *p = -1;
    if (!ret)
        ret = set_bytes(fd, unshared, UNSHARED_AT, F_RDLCK);
    if (!ret)
        *p = conflict(fd, want, unshared, shared);
    if (ret || *p >= 0) {
        set_bytes(fd, want, USED_AT, F_UNLCK);
        set_bytes(fd, unshared, UNSHARED_AT, F_UNLCK);
    }
    return ret;
}

bool block__file_lock(int fd, const char *filename, unsigned want, unsigned unshared,
                      unsigned had_want, unsigned had_unshared, Error **err)
{
    unsigned patience = had_want | had_unshared ? 0 : PATIENCE_MS / LOOK_AGAIN_MS;
    bool shared;
    int p, ret;

    while (!(ret = take(fd, want & ~had_want, unshared & ~had_unshared, &p, &shared)) && p >= 0 && patience--)
        g_usleep(LOOK_AGAIN_MS * 1000);
    if (ret == -EINVAL || ret == -ENOLCK || ret == -EOPNOTSUPP)
        return true; /* this file system has no locks: locking=auto */
    if (ret)
        return fail_errno_is(err, -ret, "'%s': cannot lock the image", filename);
    if (p >= 0)
        return refuse(filename, shared, p, want, err);
    set_bytes(fd, had_want & ~want, USED_AT, F_UNLCK); /* what is no longer asked for goes last */
    set_bytes(fd, had_unshared & ~unshared, UNSHARED_AT, F_UNLCK);
    return true;
}

void block__file_unlock(int fd)
{
    struct flock fl = { .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = USED_AT, .l_len = UNSHARED_AT + PERMS - USED_AT };

    fcntl(fd, F_OFD_SETLK, &fl);
}
