/*
 * hw/isa/misc.c - single-purpose ports: system control port A (92h: A20 gate, fast reset), coprocessor error, debug console,
 * debug exit, pvpanic. Source: PS/2 technical reference (port 92), Intel ICH9 data sheet
 * (port F0, FERR# and IGNNE#), Bochs' port E9/402 convention, the pvpanic
 * specification (bit 0: panicked, bit 1: crash loaded).
 */
#include "chr/chr.h"
#include "core/irqchip.h"
#include "hw/isa/isa.h"

/* ---- port 92 ---- */
typedef struct Port92 {
    Dev dev;
    uint8_t outport;
} Port92;
#define PORT92(d) ((Port92 *)(d))

static bool a20(const Dev *d) { return PORT92(d)->outport & 2; }

static void control_written(Dev *d, uint64_t old)
{
    if (PORT92(d)->outport & ~old & 1)
        irq_pulse(dev_out(d, "init", 0));
}

/* clang-format off */
static const Reg port92_regs[] = {
    { .name = "control", .off = 0, REG(Port92, outport), .rw = 0x0b, .write = control_written,
      .doc = "bit 0: INIT of the CPUs, bit 1: A20 open" },
};
static const Bank port92_bank = { "port92", 1, TABLE(port92_regs) };
static const Out port92_outs[] = { { "a20", a20 }, { "init" } };
static const IsaClass port92 = {
    ISA_DEVICE(Port92, "port92", "System control port A"), .dev.no_user = true,
    .dev.outs = port92_outs, .dev.nouts = 2, .dev.banks = &port92_bank,
    .port[0] = { .base = 0x92, .bank = &port92_bank },
};
DEVICE_OF(Port92, port92, &port92.dev);
/* clang-format on */

/* ---- coprocessor error (port F0): FERR# of the CPU becomes line 13; a write ends it and holds IGNNE# while FERR# lasts ---- */
typedef struct Ferr {
    Dev dev;
    uint8_t ferr, ignne, irq;
} Ferr;
#define FERR(d) ((Ferr *)(void *)(d))

static bool ferr_irq(const Dev *d) { return FERR(d)->irq; }

static bool ferr_pin(void *chip, bool level)
{
    Ferr *s = chip;

    dev_enter(&s->dev);
    if (level && !s->ferr)
        s->irq = 1;
    if (!level)
        s->ignne = s->irq = 0;
    s->ferr = level;
    dev_leave(&s->dev);
    return s->ignne;
}

static void coproc_err(Dev *d, uint64_t val, unsigned lanes)
{
    FERR(d)->irq = 0;
    FERR(d)->ignne = FERR(d)->ferr;
}

static bool ferr_init(Obj *o, Error **err)
{
    vm_set_ferr_handler(o->vm, ferr_pin, o);
    return true;
}

static void ferr_fini(Obj *o) { vm_set_ferr_handler(o->vm, NULL, NULL); }

/* clang-format off */
static const Field ferr_state[] = { FIELD(Ferr, ferr), FIELD(Ferr, ignne), FIELD(Ferr, irq) };
static const Reg ferr_regs[] = {
    { .name = "COPROC_ERR", .off = 0, NOFIELD(1), .wrote = coproc_err, .doc = "a write: interrupt off, IGNNE# while FERR# is on" },
};
static const Bank ferr_bank = { "coproc-err", 1, TABLE(ferr_regs) };
static const Out ferr_outs[] = { { "irq", ferr_irq } };
static const IsaClass ferr = {
    ISA_DEVICE(Ferr, "coproc-err", "Coprocessor error"), .dev.no_user = true, .dev.obj.init = ferr_init, .dev.obj.fini = ferr_fini,
    .dev.state = TABLE(ferr_state), .dev.outs = ferr_outs, .dev.nouts = 1, .dev.banks = &ferr_bank,
    .port[0] = { .base = 0xf0, .bank = &ferr_bank },
};
DEVICE_OF(Ferr, ferr, &ferr.dev);
/* clang-format on */

/* ---- isa-debugcon ---- */
typedef struct Debugcon {
    Dev dev;
    uint32_t iobase, readback;
    void *chr;
} Debugcon;
#define DEBUGCON(d) ((Debugcon *)(d))

static void put(Dev *d, uint64_t val, unsigned lanes)
{
    uint8_t c = (uint8_t)val;

    if (DEBUGCON(d)->chr)
        chr_write_all(DEBUGCON(d)->chr, &c, 1);
}
static uint64_t answer(const Dev *d) { return DEBUGCON(d)->readback; }

/* clang-format off */
static const Reg debugcon_regs[] = {
    { .name = "data", .off = 0, NOFIELD(1), .wrote = put, .value = answer, .doc = "write: a character; read: presence" },
};
static const Bank debugcon_bank = { "debugcon", 1, TABLE(debugcon_regs) };
static const Prop debugcon_props[] = {
    PROP(Debugcon, iobase, "iobase", 0xe9, "port"),
    PROP(Debugcon, readback, "readback", 0xe9, "value read from the port"),
    PROP_LINK(Debugcon, chr, "chardev", "chardev", "where characters go"),
};
static const IsaClass debugcon = {
    ISA_DEVICE(Debugcon, "isa-debugcon", "Debug console port"), .dev.category = "Misc devices",
    .dev.obj.props = TABLE(debugcon_props), .dev.banks = &debugcon_bank,
    .port[0] = { .base_at = offsetof(Debugcon, iobase), .bank = &debugcon_bank },
};
DEVICE_OF(Debugcon, debugcon, &debugcon.dev);
/* clang-format on */

/* ---- isa-debug-exit ---- */
typedef struct DebugExit {
    Dev dev;
    uint32_t iobase, iosize;
} DebugExit;

static void quit(Dev *d, uint64_t val, unsigned lanes) { vm_exit_code(dev_vm(d), (int)(((val & 0x7f) << 1) | 1)); }

/* clang-format off */
static const Reg exit_regs[] = { { .name = "exit", .off = 0, NOFIELD(4), .wrote = quit, .doc = "ends the process with (value << 1) | 1" } };
static const Bank exit_bank = { "debug-exit", 4, TABLE(exit_regs) };
static const Prop exit_props[] = {
    PROP(DebugExit, iobase, "iobase", 0x501, "port"), PROP(DebugExit, iosize, "iosize", 2, "ports"),
};
static const IsaClass debug_exit = {
    ISA_DEVICE(DebugExit, "isa-debug-exit", "Ends the emulator with a status"), .dev.category = "Misc devices",
    .dev.obj.props = TABLE(exit_props), .dev.banks = &exit_bank,
    .port[0] = { .base_at = offsetof(DebugExit, iobase), .bank = &exit_bank },
};
DEVICE_OF(DebugExit, debug_exit, &debug_exit.dev);
/* clang-format on */

/* ---- pvpanic ---- */
typedef struct Pvpanic {
    Dev dev;
    uint32_t ioport;
    uint8_t events;
} Pvpanic;
#define PVPANIC(d) ((Pvpanic *)(d))

static void panic(Dev *d, uint64_t val, unsigned lanes)
{
    if (val & 1)
        vm_request(dev_vm(d), VM_PANIC, CAUSE_GUEST_PANIC);
    else if (val & 2)
        event_guest_crashloaded(dev_vm(d), &(EventGuestCrashloaded){ GUEST_PANIC_ACTION_RUN });
    else
        guest_error(d, "event %#x is not defined", (unsigned)val);
}
static uint64_t events(const Dev *d) { return PVPANIC(d)->events; }

/* clang-format off */
static const Reg pvpanic_regs[] = { { .name = "events", .off = 0, NOFIELD(1), .wrote = panic, .value = events, .doc = "read: events known; write: they happened" } };
static const Bank pvpanic_bank = { "pvpanic", 1, TABLE(pvpanic_regs) };
static const Prop pvpanic_props[] = {
    PROP(Pvpanic, ioport, "ioport", 0x505, "port"), PROP(Pvpanic, events, "events", 3, "events offered"),
};
static const IsaClass pvpanic = {
    ISA_DEVICE(Pvpanic, "pvpanic", "Tells the host that the guest panicked"), .dev.category = "Misc devices",
    .dev.obj.props = TABLE(pvpanic_props), .dev.banks = &pvpanic_bank,
    .port[0] = { .base_at = offsetof(Pvpanic, ioport), .bank = &pvpanic_bank },
};
DEVICE_OF(Pvpanic, pvpanic, &pvpanic.dev);
/* clang-format on */
