/*
 * hw/isa/isa.c - the ISA bus: ports from the class's table, interrupt lines shared by counting.
 * Left out: memory of ISA cards below 16 MiB (cards map it themselves).
 */
#include "hw/isa/isa.h"

static const BusClass isa_bus_class = { .obj = { .name = "ISA", .desc = "ISA bus", .size = sizeof(IsaBus) }, .type = "ISA" };

/* A line is high while any of its users drives it. */
static void line_set(void *chip, unsigned n, bool level)
{
    IsaBus *b = chip;
    unsigned *users = &b->irq_users[n];

    if (!level && !*users)
        return;
    *users += level ? 1u : -1u;
    irq_set(&b->irq[n], *users != 0);
}

IsaBus *isa_bus_new(Dev *bridge, Region *ports, Region *mem, const Irq *irqs)
{
    IsaBus *b = (IsaBus *)(void *)bus_new(&isa_bus_class, bridge, "isa.0");

    b->ports = ports;
    b->mem = mem;
    for (unsigned i = 0; irqs && i < 16; i++)
        b->irq[i] = irqs[i];
    return b;
}

static uint32_t prop_u32(const Dev *d, uint32_t at) { return *(const uint32_t *)(const void *)((const char *)d + at); }

static bool map_ports(Dev *d, const IsaClass *c, IsaBus *b)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(c->port); i++) {
        const IsaPort *p = &c->port[i];
        uint32_t base = p->base_at ? prop_u32(d, p->base_at) + p->base : p->base;
        Region *r;

        if (!p->bank && !p->ops)
            break;
        r = p->bank ? dev_region_bank(d, p->bank) : dev_region_io(d, p->name ? p->name : c->dev.obj.name, p->size, p->ops);
        if (base < 0x10000)
            region_map(b->ports, base, r, 0);
    }
    return true;
}

static bool isa_plug(Dev *d, Error **err)
{
    static const char *const outs[] = { "irq", "irq1" };
    const IsaClass *c = (const IsaClass *)(const void *)d->cls;
    IsaBus *b = isa_bus(d);

    map_ports(d, c, b);
    for (unsigned i = 0; i < 2; i++) {
        uint32_t n = c->irq_at[i] ? prop_u32(d, c->irq_at[i]) : 0;

        if (!c->irq_at[i])
            continue;
        if (n > 15)
            return fail(err, "%s: irq %u does not exist on the ISA bus (0..15)", c->dev.obj.name, n);
        dev_wire(d, outs[i], 0, (Irq){ line_set, b, n, false });
    }
    return true;
}

/* Registers behind ports are state too. */
static const Bank *port_bank(const DevClass *c, unsigned i) { return ((const IsaClass *)(const void *)c)->port[i].bank; }

const DevClass isa_base = { .obj = { .name = "isa-device", .size = sizeof(Dev) }, .bus = "ISA", .plug = isa_plug,
                            .bank_at = port_bank, .nbank_at = 6 };
