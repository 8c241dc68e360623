/*
 * chr/null.c - back ends without an outside: null, ringbuf (keeps the last bytes for the monitor),
 * vc (a text console; without a window it is a ringbuf).
 */
#include "chr/priv.h"

typedef struct Ring {
    uint8_t *data;
    uint64_t size, put, got; /* counts of bytes; size is a power of two */
} Ring;

static bool null_open(Chr *c, Opts *o, Error **err) { return true; }
static size_t null_write(Chr *c, const void *p, size_t n) { return n; }

/* By name: the chardev may be gone when its turn comes. */
typedef struct Later {
    Vm *vm;
    char *id;
} Later;

static void arm_now(void *arg)
{
    Later *l = arg;
    Chr *c = vm_lookup(l->vm, "chardev", l->id);

    if (c)
        chr__writable(c);
    g_free(l->id);
    g_free(l);
}

static void null_arm(Chr *c)
{
    Later *l = g_new(Later, 1);

    *l = (Later){ c->vm, g_strdup(c->id) };
    loop_post(c->vm->loop, arm_now, l);
}

static const ChrOps null_chr = {
    .name = "null", .open = null_open, .write = null_write, .arm = null_arm
};
CHR_BACKEND(null_chr);

static bool ring_open(Chr *c, Opts *o, Error **err)
{
    Ring *r = c->opaque;

    if (!opts_get_size(o, "size", 65536, &r->size, err))
        return false;
    if (!is_pow2(r->size) || r->size > 64 * MiB)
        return fail(err, "chardev %s: size of a ringbuf must be a power of two up to 64M", c->id);
    r->data = g_malloc0(r->size);
    return true;
}

static bool vc_open(Chr *c, Opts *o, Error **err)
{
    static const char *const keys[] = { "width", "height", "cols", "rows", "size" };
    Ring *r = c->opaque;

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
        opts_get(o, keys[i]);
    r->size = 65536;
    r->data = g_malloc0(r->size);
    return true;
}

static void ring_close(Chr *c) { g_free(((Ring *)c->opaque)->data); }

static size_t ring_write(Chr *c, const void *p, size_t n)
{
    Ring *r = c->opaque;

    for (size_t i = 0; i < n; i++)
        r->data[r->put++ & (r->size - 1)] = ((const uint8_t *)p)[i];
    if (r->put - r->got > r->size)
        r->got = r->put - r->size;
    return n;
}

bool chr_is_ring(const Chr *c) { return c->ops->write == ring_write; }

GByteArray *chr_ring_read(Chr *c, size_t max)
{
    Ring *r = c->opaque;
    GByteArray *out;

    if (!chr_is_ring(c))
        return NULL;
    out = g_byte_array_new();
    for (; max && r->got != r->put; max--, r->got++)
        g_byte_array_append(out, &r->data[r->got & (r->size - 1)], 1);
    return out;
}

static const ChrOps ringbuf = { .name = "ringbuf",
                                .keys = "size=SIZE",
                                .alias = "memory",
                                .size = sizeof(Ring),
                                .open = ring_open,
                                .close = ring_close,
                                .write = ring_write,
                                .arm = null_arm };
CHR_BACKEND(ringbuf);
static const ChrOps vc = { .name = "vc",
                           .size = sizeof(Ring),
                           .open = vc_open,
                           .close = ring_close,
                           .write = ring_write,
                           .arm = null_arm };
CHR_BACKEND(vc);
