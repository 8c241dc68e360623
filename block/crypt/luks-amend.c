/* block/crypt/luks-amend.c - passwords added and removed. The last one stays unless forced. */
#include "block/crypt/luks.h"
#include "core/secret.h"
#include <errno.h>

enum { ITER_TIME = 2000 };
typedef struct Change {
    bool active, force, has_slot;
    uint64_t slot, ms;
    const char *old, *new;
} Change;

static unsigned active_slots(const Luks *l)
{
    unsigned n = 0;

    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        n += l->slots[i].active;
    return n;
}

static bool parse(Change *c, Opts *o, Error **err)
{
    const char *state = opts_get(o, "state");

    c->old = opts_get(o, "old-secret");
    c->new = opts_get(o, "new-secret");
    c->has_slot = opts_peek(o, "keyslot");
    if (!state)
        return fail(err, "Parameter 'state' is missing");
    if (strcmp(state, "active") && strcmp(state, "inactive"))
        return fail(err, "Invalid parameter '%s' for state: active or inactive", state);
    c->active = !strcmp(state, "active");
    if (!c->active && opts_peek(o, "iter-time"))
        return fail(err, "'iter-time' must not be given when erasing keyslots");
    if (!opts_get_u64(o, "keyslot", 0, &c->slot, err) || !opts_get_u64(o, "iter-time", ITER_TIME, &c->ms, err))
        return false;
    if (c->slot >= LUKS_SLOTS)
        return fail(err, "Invalid keyslot %" PRIu64 " specified, must be between 0 and %d", c->slot, LUKS_SLOTS - 1);
    if (!c->ms || c->ms > 3600000)
        return fail(err, "iter-time must be 1 to 3600000 milliseconds");
    return true;
}

static CO_FN bool activate(Luks *l, const Change *c, Error **err)
{
    unsigned slot = (unsigned)c->slot;
    uint8_t *pass;
    size_t n;
    bool ok;

    if (!c->new)
        return fail(err, "'new-secret' is required to activate a keyslot");
    if (c->old)
        return fail(err, "'old-secret' must not be given when activating keyslots");
    while (!c->has_slot && slot < LUKS_SLOTS && l->slots[slot].active)
        slot++;
    if (slot == LUKS_SLOTS)
        return fail(err, "Can't add a keyslot - all keyslots are in use");
    if (l->slots[slot].active && !c->force)
        return fail(err, "Refusing to overwrite active keyslot %u - please erase it first", slot);
    if (!secret_get(l->file->loop, c->new, &pass, &n, err))
        return false;
    ok = luks_set_slot(l, slot, pass, n, c->ms, err);
    secret_wipe(pass, n);
    return ok;
}

/* A bit for each slot that opens with it. */
static CO_FN bool slots_with(Luks *l, const char *secret, unsigned *out, Error **err)
{
    uint8_t *pass;
    size_t n;
    int ret = 0;

    *out = 0;
    if (!secret_get(l->file->loop, secret, &pass, &n, err))
        return false;
    for (unsigned i = 0; i < LUKS_SLOTS && ret >= 0; i++) {
        ret = luks_try(l, i, pass, n, NULL);
        *out |= ret == 1 ? 1u << i : 0;
    }
    secret_wipe(pass, n);
    return ret >= 0 || fail_errno_is(err, -ret, "cannot read the keys of '%s'", l->file->filename);
}

static CO_FN bool deactivate(Luks *l, const Change *c, Error **err)
{
    unsigned which = c->has_slot ? 1u << c->slot : 0, with = which;
    bool ok = true;

    if (c->new)
        return fail(err, "'new-secret' must not be given when erasing keyslots");
    if (!c->has_slot && !c->old)
        return fail(err, "To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given");
    if (c->old && !slots_with(l, c->old, &with, err))
        return false;
    if (c->has_slot && !(with & which))
        return fail(err, "This keyslot doesn't contain the given (old) password");
    which = c->has_slot ? which : with;
    if (!which)
        return fail(err, "No keyslots match given (old) password for erase operation");
    if (c->has_slot && !l->slots[c->slot].active && !c->force)
        return fail(err, "Given keyslot %" PRIu64 " is already erased (inactive)", c->slot);
    if (c->has_slot && active_slots(l) == 1 && l->slots[c->slot].active && !c->force)
        return fail(err, "Attempt to erase the only active keyslot %" PRIu64 " which will erase all the data in the image irreversibly - refusing operation", c->slot);
    if ((unsigned)__builtin_popcount(which) >= active_slots(l) && !c->has_slot && !c->force)
        return fail(err, "All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation");
    for (unsigned i = 0; i < LUKS_SLOTS && ok; i++)
        if (which >> i & 1)
            ok = luks_erase_slot(l, i, err);
    return ok;
}

CO_FN bool luks_amend(Luks *l, Opts *o, bool force, Error **err)
{
    Change c = { .force = force };

    if (!parse(&c, o, err) || !opts_all_used(o, "amend", err))
        return false;
    if (!l->unlocked)
        return fail(err, "Parameter 'key-secret' is required for cipher");
    return c.active ? activate(l, &c, err) : deactivate(l, &c, err);
}
