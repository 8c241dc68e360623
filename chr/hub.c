/*
 * chr/hub.c - one user, several back ends: what it writes goes to all of them, what any of them brings is its input.
 * The first one sets the pace; what another cannot take waits in its queue, and is lost when that is full.
 */
#include "chr/priv.h"

enum { SPOKES = 4 };
typedef struct Spoke {
    Chr *hub, *chr;
} Spoke;
typedef struct Hub {
    Spoke spoke[SPOKES];
    unsigned n;
    guint want; /* waits for the first one's room */
} Hub;

static size_t spoke_room(void *o) { return chr__room(((Spoke *)o)->hub); }
static void spoke_take(void *o, const uint8_t *p, size_t n) { chr__pass(((Spoke *)o)->hub, p, n); }

static void spoke_event(void *o, ChrEvent e)
{
    if (e == CHR_BREAK)
        chr__event(((Spoke *)o)->hub, e);
}

static bool hub_add(Hub *h, Chr *hub, const char *id, Error **err)
{
    Spoke *s = &h->spoke[h->n];
    Chr *c = vm_lookup(hub->vm, "chardev", id);

    if (h->n == SPOKES)
        return fail(err, "chardev %s: a hub has at most %d back ends", hub->id, SPOKES);
    if (!c)
        return fail(err, "chardev %s: chardev '%s' not found", hub->id, id);
    if (c->ops == hub->ops)
        return fail(err, "chardev %s: '%s' is a hub itself", hub->id, id);
    *s = (Spoke){ hub, c };
    if (!chr_attach(c, &(ChrUser){ spoke_room, spoke_take, spoke_event, s, &s->chr }, err))
        return false;
    h->n++;
    return true;
}

static bool hub_open(Chr *c, Opts *o, Error **err)
{
    Hub *h = c->opaque;

    for (unsigned i = 0; i <= SPOKES; i++) {
        g_autofree char *key = g_strdup_printf("chardevs.%u", i);
        const char *id = opts_get(o, key);

        if (id && !hub_add(h, c, id, err))
            return false;
    }
    return h->n || fail(err, "chardev %s: hub needs chardevs.0=ID", c->id);
}

static void hub_close(Chr *c)
{
    Hub *h = c->opaque;

    if (h->want)
        chr_cancel_write(h->spoke[0].chr, h->want);
    for (unsigned i = 0; i < h->n; i++)
        chr_detach(h->spoke[i].chr, &h->spoke[i]);
}

static size_t hub_write(Chr *c, const void *p, size_t n)
{
    Hub *h = c->opaque;
    size_t k = chr_write(h->spoke[0].chr, p, n);

    for (unsigned i = 1; i < h->n; i++)
        if (h->spoke[i].chr->opened)
            chr_write_all(h->spoke[i].chr, p, k);
    return k;
}

static void again(void *arg)
{
    Chr *c = arg;

    ((Hub *)c->opaque)->want = 0;
    chr__writable(c);
}

static void hub_arm(Chr *c)
{
    Hub *h = c->opaque;

    h->want = chr_want_write(h->spoke[0].chr, again, c);
}

static void hub_input(Chr *c)
{
    Hub *h = c->opaque;

    for (unsigned i = 0; i < h->n; i++)
        chr_accept_input(h->spoke[i].chr);
}

static const ChrOps hub = { .name = "hub",
                            .keys = "chardevs.0=ID chardevs.1=ID chardevs.2=ID chardevs.3=ID",
                            .size = sizeof(Hub),
                            .open = hub_open,
                            .close = hub_close,
                            .write = hub_write,
                            .input = hub_input,
                            .arm = hub_arm };
CHR_BACKEND(hub);

bool chr__is_hub(const Chr *c) { return c->ops == &hub; }
