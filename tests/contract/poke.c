/*
 * tests/contract/poke.c - a guest without manners: log-uniform values, RAM and the device's own addresses as
 * DMA targets, every mapped range of both address spaces, inputs and time.
 */
#include "core/priv.h"
#include "tests/contract/contract.h"

enum { HERE = 0xe0000000u, STEP = 0x1000000u };

static void map_alone(void *p)
{
    Region *r = p;
    FlatView *v = r->vm->mem->view;
    uint64_t at = HERE;

    if (r->parent || r->kind == REGION_BOX || r->kind == REGION_ALIAS)
        return;
    for (unsigned i = 0; i < v->n; i++)
        if (v->v[i].at >= HERE)
            at = MAX(at, align_up(v->v[i].at + v->v[i].len, STEP));
    if (at < 1ull << 32)
        region_map(r->vm->sysmem, at, r, 1);
}

/* Regions that nobody maps here are put where DMA can aim at them. */
static void map_banks(Dev *d)
{
    if (dev_class_bus(d->cls))
        return; /* its bus does */
    for (unsigned i = 0; i < d->cls->nbanks; i++)
        map_alone(d->regions[i]);
}

static const char *null_backend(Vm *vm, const Prop *p)
{
    if (p->kind != P_LINK || !p->space || !vm_lookup(vm, p->space, "null0"))
        return NULL;
    return "null0";
}

typedef struct Links {
    Vm *vm;
    Opts *o;
} Links;

static void add_link(const Prop *p, void *arg)
{
    Links *l = arg;

    if (null_backend(l->vm, p))
        opts_set(l->o, p->name, "null0");
    if (p->kind == P_STR && !strcmp(p->name, "serial")) /* some cannot be made without */
        opts_set(l->o, p->name, "null0");
}

Dev *contract_plug(Vm *vm, const DevClass *c, Error **err)
{
    g_autoptr(Opts) o = opts_new();
    Links l = { vm, o };
    Dev *d;

    t_backends(vm);
    if (dev_class_bus(c) && !t_bus(vm, dev_class_bus(c))) {
        fail(err, "no %s bus in this build", dev_class_bus(c));
        return NULL;
    }
    obj_prop_foreach(&c->obj, add_link, &l);
    d = dev_new(vm, c->obj.name, NULL, NULL, NULL, o, err);
    if (d)
        map_banks(d);
    return d;
}

static uint64_t value(Dev *d, Rng *r)
{
    switch (rng_next(r) % 8) {
    case 0: return HERE + rng_next(r) % (4 * STEP); /* itself */
    case 1: return rng_next(r) % (16 * MiB);        /* RAM */
    case 2: return 16 * MiB - rng_next(r) % 64;
    default: return rng_value(r);
    }
}

static void one_access(AddrSpace *as, uint64_t at, Dev *d, Rng *r)
{
    unsigned size = 1u << rng_next(r) % 4;
    uint64_t v = value(d, r);

    if (as == d->obj.vm->ports && size == 8)
        size = 4;
    if (rng_next(r) % 2)
        as_store(as, at, size, v, MEM_CPU);
    else
        as_load(as, at, size, &v, MEM_CPU);
}

static void poke_space(Dev *d, Rng *r)
{
    AddrSpace *as = rng_next(r) % 2 ? d->obj.vm->ports : d->obj.vm->mem;
    const FlatView *v = as->view;
    const FlatRange *f;

    if (!v->n)
        return;
    f = &v->v[rng_next(r) % v->n];
    one_access(as, f->at + rng_next(r) % f->len, d, r);
}

static const Reg *pick(const Bank *b, Rng *r) { return b->regs.n ? &b->regs.v[rng_next(r) % b->regs.n] : NULL; }

static void poke_bank(Dev *d, Rng *r)
{
    const Bank *b;
    const Reg *reg;
    uint64_t off, v;
    unsigned size = 1u << rng_next(r) % 4;

    if (!t_banks(d))
        return;
    b = t_bank(d, (unsigned)(rng_next(r) % t_banks(d)));
    reg = pick(b, r);
    off = reg && rng_next(r) % 8 ? reg->off + (reg->count ? rng_next(r) % reg->count * reg->stride : 0)
                                 : rng_next(r) % MAX(b->size, 1);
    if (reg && rng_next(r) % 4)
        size = reg->size;
    if (rng_next(r) % 3)
        bank_write(d, b, off, size, value(d, r));
    else
        bank_read(d, b, off, size, &v);
}

static void poke_input(Dev *d, Rng *r)
{
    for (const DevClass *c = d->cls; c; c = c->base)
        if (c->nins && rng_next(r) % 2) {
            const In *in = &c->ins[rng_next(r) % c->nins];

            dev_enter(d);
            in->set(d, (unsigned)(rng_next(r) % MAX(in->count, 1)), rng_next(r) % 2);
            dev_leave(d);
        }
}

void contract_poke(Dev *d, Rng *r, unsigned n)
{
    Vm *vm = d->obj.vm;

    while (n--)
        switch (rng_next(r) % 16) {
        case 0: t_step(vm, (int64_t)(rng_value(r) % (100 * MS))); break;
        case 1: poke_input(d, r); break;
        case 2:
        case 3:
        case 4: poke_space(d, r); break;
        case 5: t_bus_poke(d, r); break;
        default: poke_bank(d, r); break;
        }
}
