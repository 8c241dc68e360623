/* core/rngdev.c - sources of entropy: small objects that the user names with -object. */
#include "core/rngdev.h"
#include "core/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

typedef struct RngDev {
    Obj obj;
    char *filename;
    int fd; /* -1: the host's generator */
} RngDev;
#define RNGDEV(o) ((RngDev *)(o))

/* A file that has no more just now is helped out by the host's generator: a device must not wait. */
void rngdev_fill(void *rng, void *buf, size_t n)
{
    RngDev *r = rng;
    ssize_t got = r->fd >= 0 ? read(r->fd, buf, n) : 0;
    size_t have = got > 0 ? (size_t)got : 0;

    door_random(r->obj.vm, (char *)buf + have, n - have);
}

static bool init_builtin(Obj *o, Error **err)
{
    RNGDEV(o)->fd = -1;
    vm_register(o->vm, "rng", o->name, o);
    return true;
}

static bool init_random(Obj *o, Error **err)
{
    RngDev *r = RNGDEV(o);

    r->fd = own_fd(o, open(r->filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (r->fd < 0)
        return fail_errno(err, "filename=%s: cannot open it", r->filename);
    vm_register(o->vm, "rng", o->name, o);
    return true;
}

static void rng_fini(Obj *o) { vm_unregister(o->vm, "rng", o->name); }

/* clang-format off */
static const Prop random_props[] = { PROP_STR(RngDev, filename, "filename", "/dev/urandom", "what to read") };
static const ObjClass rng_builtin = { .name = "rng-builtin", .desc = "entropy of the host", .size = sizeof(RngDev), .init = init_builtin,
    .fini = rng_fini, .user_creatable = true };
static const ObjClass rng_random = { .name = "rng-random", .desc = "entropy from a file", .size = sizeof(RngDev), .props = TABLE(random_props),
    .init = init_random, .fini = rng_fini, .user_creatable = true };
OBJECT(rng_builtin);
OBJECT(rng_random);
/* clang-format on */
