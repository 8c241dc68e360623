/*
 * hw/intc/ioapic.c - the I/O APIC (82093AA with version 0x20: an EOI register). Source: Intel 82093AA data sheet
 * (290566), ICH9 data sheet 13.5. Each pin becomes a message to the local APICs.
 */
#include "core/irqchip.h"
#include "core/vm.h"

enum { PINS = 24, TICK_PIN = 2 /* where PCs wire IRQ 0, the 8254's or the HPET's in its place */, REMOTE = 1 << 14, LEVEL = 1 << 15, MASK = 1 << 16 };

typedef struct Ioapic {
    Dev dev;
    uint8_t select, id;
    uint32_t irr; /* pins that ask */
    uint32_t lines;
    uint64_t entry[PINS];
} Ioapic;
#define IOAPIC(d) ((Ioapic *)(d))

static uint64_t message_addr(uint64_t e) { return 0xfee00000 | (e >> 56) << 12 | (e >> 11 & 1) << 2; }
static uint32_t message_data(uint64_t e) { return (uint32_t)((e & 0xff) | (e & 0x700) | (e & LEVEL ? 0xc000 : 0)); }

/* An accelerator with the local APICs wants to know where pins go: EOIs of level pins come back from it by vector. */
static void routes_changed(Ioapic *s, unsigned from, unsigned to)
{
    Vm *vm = dev_vm(&s->dev);

    for (unsigned i = from; i < to && vm->irq && vm->irq->route_update; i++) {
        uint64_t e = s->entry[i];
        MsiRoute r = { .addr = message_addr(e), .data = message_data(e), .valid = true, .masked = e & MASK, .level = e & LEVEL };

        vm->irq->route_update(vm, i, &r);
    }
}

static void service(Ioapic *s)
{
    for (unsigned i = 0; i < PINS; i++) {
        uint64_t e = s->entry[i];

        if (!(s->irr >> i & 1) || e & MASK)
            continue;
        if (e & LEVEL) {
            /* Set when a local APIC accepts the message (3.2.4); one that none takes is sent again with the next look. */
            if (!(e & REMOTE) && vm_msi(dev_vm(&s->dev), message_addr(e), message_data(e)))
                s->entry[i] |= REMOTE;
            continue;
        }
        s->irr &= ~(1u << i);
        (i == TICK_PIN ? vm_tick : vm_msi)(dev_vm(&s->dev), message_addr(e), message_data(e));
    }
}

static void set_pin(Dev *d, unsigned n, bool level)
{
    Ioapic *s = IOAPIC(d);
    uint32_t bit = 1u << n;
    bool was = s->lines & bit;

    s->lines = level ? s->lines | bit : s->lines & ~bit;
    if (vm_chips_in_kernel(dev_vm(d))) {
        dev_vm(d)->irq->pin_set(dev_vm(d), GSI_IOAPIC + n, level);
        return;
    }
    if (s->entry[n] & LEVEL)
        s->irr = level ? s->irr | bit : s->irr & ~bit;
    else if (level && !was)
        s->irr |= bit;
    service(s);
}

static void eoi(void *chip, uint8_t vector)
{
    Ioapic *s = chip;

    dev_enter(&s->dev);
    for (unsigned i = 0; i < PINS; i++)
        if ((s->entry[i] & 0xff) == vector && s->entry[i] & LEVEL)
            s->entry[i] &= ~(uint64_t)REMOTE;
    service(s);
    dev_leave(&s->dev);
}

static uint32_t indexed_read(const Ioapic *s)
{
    unsigned n = s->select;

    if (n == 0 || n == 2)
        return (uint32_t)s->id << 24;
    if (n == 1)
        return (PINS - 1) << 16 | 0x20;
    if (n >= 0x10 && n < 0x10 + 2 * PINS)
        return (uint32_t)(s->entry[(n - 0x10) / 2] >> (n & 1 ? 32 : 0));
    return 0;
}

static void indexed_write(Ioapic *s, uint32_t v)
{
    unsigned n = s->select, i = (n - 0x10) / 2;
    uint64_t *e;

    if (n == 0)
        s->id = v >> 24 & 15;
    if (n < 0x10 || n >= 0x10 + 2 * PINS)
        return;
    e = &s->entry[i];
    if (n & 1)
        *e = (*e & 0xffffffff) | (uint64_t)v << 32;
    else
        *e = (*e & ~0xffffffffull) | (v & 0x1afff) | (*e & (REMOTE | 1 << 12));
    if (!(*e & LEVEL)) {
        *e &= ~(uint64_t)REMOTE;
        if (!(s->lines >> i & 1))
            s->irr &= ~(1u << i);
    } else {
        s->irr = s->lines >> i & 1 ? s->irr | 1u << i : s->irr & ~(1u << i);
    }
    routes_changed(s, i, i + 1);
    service(s);
}

static MemResult mmio_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    Ioapic *s = o;

    *val = off == 0 ? s->select : off == 0x10 ? indexed_read(s) : 0;
    return MEM_OK;
}

static MemResult mmio_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    Ioapic *s = o;

    if (off == 0)
        s->select = (uint8_t)val;
    else if (off == 0x10)
        indexed_write(s, (uint32_t)val);
    else if (off == 0x40)
        eoi(s, (uint8_t)val);
    return MEM_OK;
}
static const RegionOps ops = { .read = mmio_read, .write = mmio_write, .takes = { 1, 4, true }, .does = { 4, 4, false } };

static void get(Obj *chip, void *state)
{
    const Ioapic *s = IOAPIC(chip);
    IoapicState *p = state;

    *p = (IoapicState){ .select = s->select, .id = s->id, .irr = s->irr, .lines = s->lines };
    memcpy(p->entry, s->entry, sizeof(p->entry));
}

static void set(Obj *chip, const void *state)
{
    Ioapic *s = IOAPIC(chip);
    const IoapicState *p = state;

    s->select = p->select;
    s->id = p->id;
    s->irr = p->irr;
    memcpy(s->entry, p->entry, sizeof(s->entry));
}

static void all_routes(Dev *d) { routes_changed(IOAPIC(d), 0, PINS); }

static bool init(Obj *o, Error **err)
{
    Dev *d = (Dev *)o;
    Region *r = dev_region_io(d, "ioapic", 0x1000, &ops);

    region_map(o->vm->sysmem, 0xfec00000, r, 0);
    vm_set_eoi_handler(o->vm, eoi, d);
    chip_port_new(o, "ioapic", get, set);
    return true;
}

static void fini(Obj *o) { vm_set_eoi_handler(o->vm, NULL, NULL); }

/* clang-format off */
static const Field state[] = {
    FIELD(Ioapic, select), FIELD(Ioapic, id), FIELD(Ioapic, irr), FIELD(Ioapic, lines, .keep = true), ARRAY_FIELD(Ioapic, entry, .reset = MASK),
};
static const In ins[] = { { "irq", PINS, set_pin } };
static const DevClass ioapic = {
    .obj = { .name = "ioapic", .desc = "I/O interrupt controller", .size = sizeof(Ioapic), .init = init, .fini = fini },
    .bus = "System", .no_user = true, .state = TABLE(state), .ins = ins, .nins = 1,
    .on_reset = all_routes, .loaded = all_routes,
};
DEVICE(Ioapic, ioapic);
/* clang-format on */
