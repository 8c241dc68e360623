/* tests/device/ioapic.c - the I/O APIC against the 82093AA's data sheet, where local APICs may refuse a message. */
#include "core/irqchip.h"
#include "tests/lib/t.h"

enum { IOREGSEL = 0x00, IOWIN = 0x10, EOI = 0x40, REDTBL = 0x10 };
enum { REMOTE_IRR = 1 << 14, LEVEL = 1 << 15, MASK = 1 << 16 };
static bool takes;
static unsigned sent;
static uint32_t last;

static bool hear(Vm *vm, uint64_t addr, uint32_t data)
{
    sent++;
    last = data;
    return takes;
}
static const IrqBackend ear = { .msi_send = hear };

static Dev *plug(Vm *vm)
{
    Dev *d = t_plug(vm, "ioapic");

    vm->irq = &ear;
    sent = 0;
    return d;
}

static void write32(Dev *d, uint64_t off, uint32_t v) { as_write(d->obj.vm->mem, 0xfec00000 + off, &v, 4, (MemAttrs){ 0 }); }

static uint32_t get(Dev *d, unsigned n)
{
    uint32_t v;

    write32(d, IOREGSEL, n);
    as_read(d->obj.vm->mem, 0xfec00000 + IOWIN, &v, 4, (MemAttrs){ 0 });
    return v;
}

static void put(Dev *d, unsigned n, uint32_t v)
{
    write32(d, IOREGSEL, n);
    write32(d, IOWIN, v);
}

static void level_taken(Vm *vm)
{
    Dev *d = plug(vm);
    Irq pin = dev_in(d, "irq", 5);

    takes = true;
    put(d, REDTBL + 10, LEVEL | 0x45);
    irq_set(&pin, true);
    check_eq(sent, 1);
    check_eq(last & 0xff, 0x45);
    check(get(d, REDTBL + 10) & REMOTE_IRR);
    put(d, REDTBL + 12, MASK); /* a look at the pins: it waits for its EOI */
    check_eq(sent, 1);
    write32(d, EOI, 0x45); /* the line is still up */
    check_eq(sent, 2);
    irq_set(&pin, false);
    write32(d, EOI, 0x45);
    check_eq(sent, 2);
    check(!(get(d, REDTBL + 10) & REMOTE_IRR));
}
TEST("ioapic/level", level_taken);

/* 3.2.4: Remote IRR is set when local APICs accept the message. */
static void level_refused(Vm *vm)
{
    Dev *d = plug(vm);
    Irq pin = dev_in(d, "irq", 5);

    takes = false;
    put(d, REDTBL + 10, LEVEL | 0x45);
    irq_set(&pin, true);
    check(sent);
    check(!(get(d, REDTBL + 10) & REMOTE_IRR));
    takes = true;
    sent = 0;
    put(d, REDTBL + 10, LEVEL | 0x46); /* now to somebody who is there */
    check_eq(sent, 1);
    check_eq(last & 0xff, 0x46);
    check(get(d, REDTBL + 10) & REMOTE_IRR);
}
TEST("ioapic/refused", level_refused);

static void edge(Vm *vm)
{
    Dev *d = plug(vm);
    Irq pin = dev_in(d, "irq", 5);

    takes = false;
    put(d, REDTBL + 10, MASK | 0x45);
    irq_set(&pin, true);
    check_eq(sent, 0);
    put(d, REDTBL + 10, 0x45); /* the edge was kept; whether anybody takes it or not, it is gone then */
    check_eq(sent, 1);
    put(d, REDTBL + 10, 0x45);
    check_eq(sent, 1);
}
TEST("ioapic/edge", edge);
