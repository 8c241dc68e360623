/* tests/contract/checks.c - the checks. */
#include "core/priv.h"
#include "tests/contract/contract.h"
#include <stdio.h>

enum { ROUNDS = 60, POKES = 60 };

static unsigned broken(const DevClass *c, const char *what)
{
    fprintf(stderr, "%s: %s\n", c->obj.name, what);
    return 1;
}

static unsigned covered(Vm *vm, const DevEntry *e, Rng *r)
{
    GString *s = g_string_new(NULL);
    unsigned n = dev_uncovered(e, s);

    fputs(s->str, stderr);
    g_string_free(s, TRUE);
    return n;
}

static bool same_bytes(const GByteArray *a, const GByteArray *b)
{
    return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

/* Names of the records that differ, for the message. */
static void say_differences(const DevClass *c, const GByteArray *x, const GByteArray *y)
{
    StateIn a = { .p = x->data, .n = x->len }, b = { .p = y->data, .n = y->len };

    while (a.at < a.n && b.at < b.n) {
        g_autofree char *na = get_str(&a), *nb = get_str(&b);
        uint32_t la, lb;

        get_u8(&a);
        get_u8(&b);
        la = get_u32(&a);
        lb = get_u32(&b);
        if (la != lb || g_strcmp0(na, nb) || memcmp(a.p + a.at, b.p + b.at, la))
            fprintf(stderr, "%s:   %s differs\n", c->obj.name, na);
        a.at += la;
        b.at += lb;
    }
}

static unsigned same_outputs(const DevClass *c, Dev *a, Dev *b)
{
    for (unsigned i = 0; i < a->nout; i++)
        if (a->out[i].level != b->out[i].level)
            return broken(c, "an output is lost in migration");
    return 0;
}

static void same_time(Vm *a, Vm *b)
{
    if (vm_now(a) > vm_now(b))
        t_step(b, vm_now(a) - vm_now(b));
}

/* Two devices in the same state answer alike: what is not saved shows here. */
static unsigned behave_alike(const DevClass *c, Dev *a, Dev *b, Rng *r)
{
    Rng twin = *r;
    GByteArray *sa, *sb;
    unsigned bad = 0;

    contract_poke(a, r, 40);
    contract_poke(b, &twin, 40);
    sa = dev_save(a);
    sb = dev_save(b);
    if (!same_bytes(sa, sb)) {
        bad = broken(c, "behaves differently after a load: something is not saved");
        say_differences(c, sa, sb);
    }
    g_byte_array_unref(sa);
    g_byte_array_unref(sb);
    return bad;
}

static void same_memory(Vm *a, Vm *b)
{
    RamBlock *x = a->priv->rams->pdata[0], *y = b->priv->rams->pdata[0];

    memcpy(y->host, x->host, x->size);
}

static unsigned save_load_save(Dev *a, Dev *b, Rng *r)
{
    const DevClass *c = a->cls;
    GByteArray *s1, *s2;
    Error *err = NULL;
    unsigned bad = 0;

    same_time(a->obj.vm, b->obj.vm);
    s1 = dev_save(a);
    if (!dev_load(b, s1->data, s1->len, &err)) {
        fprintf(stderr, "%s\n", error_text(err));
        error_free(err);
        bad = broken(c, "refuses its own state");
    } else {
        s2 = dev_save(b);
        if (!same_bytes(s1, s2)) {
            bad = broken(c, "save, load, save differs");
            say_differences(c, s1, s2);
        }
        bad += same_outputs(c, a, b);
        g_byte_array_unref(s2);
    }
    g_byte_array_unref(s1);
    return bad;
}

static unsigned state(Vm *vm, const DevEntry *e, Rng *r)
{
    Vm *other = t_vm();
    Dev *a = contract_plug(vm, e->cls, &abort_on_error), *b = contract_plug(other, e->cls, &abort_on_error);
    unsigned bad = 0;

    for (unsigned i = 0; i < ROUNDS && !bad; i++) {
        contract_poke(a, r, POKES);
        bad += save_load_save(a, b, r);
        if (!bad && i % 4 == 0 && !dev_class_bus(e->cls)) {
            same_memory(vm, other);
            bad += behave_alike(e->cls, a, b, r);
        }
    }
    vm_free(other);
    return bad;
}

static void corrupt(GByteArray *s, Rng *r)
{
    for (unsigned i = 0; i < 4 && s->len; i++)
        s->data[rng_next(r) % s->len] = (uint8_t)rng_value(r);
    if (rng_next(r) % 4 == 0)
        g_byte_array_set_size(s, (guint)(rng_next(r) % (s->len + 1)));
}

/* A hostile stream is refused without a trace, or survived. */
static unsigned hostile(Vm *vm, const DevEntry *e, Rng *r)
{
    Dev *d = contract_plug(vm, e->cls, &abort_on_error);
    unsigned bad = 0;

    for (unsigned i = 0; i < 4 * ROUNDS && !bad; i++) {
        GByteArray *before = dev_save(d), *s = dev_save(d), *after;
        bool ok;

        corrupt(s, r);
        ok = dev_load(d, s->data, s->len, NULL);
        after = dev_save(d);
        if (!ok && !same_bytes(before, after)) {
            bad = broken(e->cls, "a refused load changed it");
            say_differences(e->cls, before, after);
        }
        contract_poke(d, r, 20);
        g_byte_array_unref(before);
        g_byte_array_unref(after);
        g_byte_array_unref(s);
    }
    return bad;
}

static GHashTable *records(const GByteArray *s)
{
    GHashTable *h = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
    StateIn in = { .p = s->data, .n = s->len };

    while (in.at < in.n) {
        char *name = get_str(&in);
        uint32_t n;

        get_u8(&in);
        n = get_u32(&in);
        g_hash_table_insert(h, name, g_bytes_new(in.p + in.at, n));
        in.at += n;
    }
    return h;
}

/* Records of slots that reset may not keep. */
static unsigned compare_reset(Dev *used, Dev *fresh)
{
    const Layout *l = core__layout(used->cls);
    GByteArray *s1 = dev_save(used), *s2 = dev_save(fresh);
    GHashTable *h1 = records(s1), *h2 = records(s2);
    unsigned bad = 0;

    for (unsigned i = 0; i < l->n; i++) {
        GBytes *a = g_hash_table_lookup(h1, l->v[i].name), *b = g_hash_table_lookup(h2, l->v[i].name);

        if (l->v[i].keep || !a || !b || g_bytes_equal(a, b))
            continue;
        bad = broken(used->cls, "reset is not the fresh state");
        fprintf(stderr, "%s:   %s differs\n", used->cls->obj.name, l->v[i].name);
    }
    g_hash_table_destroy(h1);
    g_hash_table_destroy(h2);
    g_byte_array_unref(s1);
    g_byte_array_unref(s2);
    return bad;
}

static unsigned reset(Vm *vm, const DevEntry *e, Rng *r)
{
    Dev *d = contract_plug(vm, e->cls, &abort_on_error);
    unsigned bad = 0;

    for (unsigned i = 0; i < ROUNDS / 4 && !bad; i++) {
        Vm *other = t_vm();
        Dev *fresh;

        contract_poke(d, r, POKES);
        vm_reset(vm, CAUSE_NONE);
        same_time(vm, other);
        fresh = contract_plug(other, e->cls, &abort_on_error);
        vm_reset(other, CAUSE_NONE);
        bad += compare_reset(d, fresh) + same_outputs(e->cls, d, fresh);
        vm_free(other);
    }
    return bad;
}

static unsigned unplug(Vm *vm, const DevEntry *e, Rng *r)
{
    for (unsigned i = 0; i < ROUNDS / 4; i++) {
        Dev *d = contract_plug(vm, e->cls, &abort_on_error), *witness;

        contract_poke(d, r, (unsigned)(rng_next(r) % POKES));
        dev_unplug_now(d);
        t_step(vm, (int64_t)(rng_value(r) % SEC));
        __atomic_store_n(&vm->requests, 0, __ATOMIC_RELEASE); /* resets and panics it asked for are not the point */
        for (unsigned k = 0; k < 10; k++)
            loop_iterate(vm->loop, false);
        witness = contract_plug(vm, e->cls, &abort_on_error); /* what it held is free again */
        contract_poke(witness, r, 10);
        dev_unplug_now(witness);
    }
    return 0;
}

const ContractCheck contract_checks[CHECKS] = {
    [CHECK_COVERED] = { "every byte is in a table", covered }, [CHECK_STATE] = { "state survives a move", state },
    [CHECK_HOSTILE] = { "hostile state", hostile },            [CHECK_RESET] = { "reset is complete", reset },
    [CHECK_UNPLUG] = { "unplug at any time", unplug },
};
