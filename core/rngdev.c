/* core/rngdev.c - sources of entropy, and secrets: small objects that the user names with -object. */
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

/* ---- secrets ---- */
enum { SECRET_MAX = 1024 * 1024 };
typedef struct Secret {
    Obj obj;
    char *data, *file, *keyid, *iv;
    uint8_t format;
    uint8_t *bytes;
    gsize n;
} Secret;
#define SECRET(o) ((Secret *)(o))

static bool read_file(Secret *s, char **text, gsize *n, Error **err)
{
    g_autoptr(GError) why = NULL;

    if (!g_file_get_contents(s->file, text, n, &why))
        return fail(err, "file=%s: %s", s->file, why->message);
    return *n <= SECRET_MAX || fail(err, "file=%s: a secret has at most 1 MiB", s->file);
}

static bool init_secret(Obj *o, Error **err)
{
    Secret *s = SECRET(o);
    g_autofree char *text = NULL;
    gsize n = 0;

    if (!s->data == !s->file)
        return fail(err, "want one of data= and file=");
    if (s->keyid || s->iv)
        return fail(err, "keyid= and iv=: this build has no encrypted secrets");
    if (s->data) {
        text = g_strdup(s->data);
        n = strlen(text);
    } else if (!read_file(s, &text, &n, err)) {
        return false;
    }
    if (s->format == 1) {
        s->bytes = g_base64_decode(text, &s->n);
    } else {
        s->bytes = g_memdup2(text, n);
        s->n = n;
    }
    vm_register(o->vm, "secret", o->name, o);
    return true;
}

static void secret_fini(Obj *o)
{
    Secret *s = SECRET(o);

    vm_unregister(o->vm, "secret", o->name);
    if (s->bytes)
        explicit_bzero(s->bytes, s->n);
    g_free(s->bytes);
}

/* clang-format off */
static const char *const formats[] = { "raw", "base64", NULL };
static const Prop random_props[] = { PROP_STR(RngDev, filename, "filename", "/dev/urandom", "what to read") };
static const Prop secret_props[] = {
    PROP_STR(Secret, data, "data", NULL, "the secret itself"), PROP_STR(Secret, file, "file", NULL, "a file that holds it"),
    PROP_ENUM(Secret, format, "format", formats, "raw", "how it is written"), PROP_STR(Secret, keyid, "keyid", NULL, "not possible"),
    PROP_STR(Secret, iv, "iv", NULL, "not possible"),
};
static const ObjClass rng_builtin = { .name = "rng-builtin", .desc = "entropy of the host", .size = sizeof(RngDev), .init = init_builtin,
    .fini = rng_fini, .user_creatable = true };
static const ObjClass rng_random = { .name = "rng-random", .desc = "entropy from a file", .size = sizeof(RngDev), .props = TABLE(random_props),
    .init = init_random, .fini = rng_fini, .user_creatable = true };
static const ObjClass secret = { .name = "secret", .desc = "a password or key", .size = sizeof(Secret), .props = TABLE(secret_props),
    .init = init_secret, .fini = secret_fini, .user_creatable = true };
OBJECT(rng_builtin);
OBJECT(rng_random);
OBJECT(secret);
/* clang-format on */
