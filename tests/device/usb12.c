/* tests/device/usb12.c - USB 1 and 2 controllers as a driver sees them: lists in memory, ports, companions. Source: UHCI 1.1, EHCI 1.0. */
#include "tests/device/pcihost.h"
#include "ui/ui.h"

enum { IO = 0xc000, BAR = 0xe0000000, OP = BAR + 0x20, LIST = 0x10000, QH = 0x20000, TDS = 0x21000, SETUP = 0x22000, DATA = 0x23000 };
enum { UHCI_OUT = 0xe1, UHCI_IN = 0x69, UHCI_SETUP = 0x2d, ACTIVE = 1 << 23 };

/* ---- UHCI ---- */
static void uhci_td(Vm *vm, unsigned n, bool last, unsigned pid, unsigned addr, unsigned len, uint32_t buf)
{
    uint32_t at = TDS + 16 * n;

    t_st(vm, at, 4, last ? 1 : (at + 16) | 4);
    t_st(vm, at + 4, 4, ACTIVE | 3 << 27 | (last ? 1 << 24 : 0));
    t_st(vm, at + 8, 4, ((len - 1) & 0x7ff) << 21 | addr << 8 | pid);
    t_st(vm, at + 12, 4, buf);
}

static uint32_t uhci_status(Vm *vm, unsigned n) { return (uint32_t)t_ld(vm, TDS + 16 * n + 4, 4); }

static Dev *uhci(Vm *vm, const char *device)
{
    Dev *d;

    t_pci(vm);
    d = dev_plug(vm, NULL, "piix3-usb-uhci,id=u", &abort_on_error);
    t_enable(d, 4, IO);
    dev_plug(vm, bus_find(vm, "u.0"), device, &abort_on_error);
    t_out(vm, IO + 0x10, 2, 0x200);
    t_out(vm, IO + 0x10, 2, 0);
    t_out(vm, IO + 0x10, 2, 6);
    check_eq(t_in(vm, IO + 0x10, 2), 0x85);
    for (unsigned i = 0; i < 1024; i++)
        t_st(vm, LIST + 4 * i, 4, QH | 2);
    t_st(vm, QH, 4, 1);
    t_st(vm, QH + 4, 4, TDS);
    t_out(vm, IO + 8, 4, LIST);
    t_out(vm, IO + 4, 2, 15);
    return d;
}

static void uhci_descriptor(Vm *vm)
{
    uhci_td(vm, 0, false, UHCI_SETUP, 0, 8, SETUP);
    uhci_td(vm, 1, false, UHCI_IN, 0, 8, DATA);
    uhci_td(vm, 2, false, UHCI_IN, 0, 8, DATA + 8);
    uhci_td(vm, 3, false, UHCI_IN, 0, 8, DATA + 16);
    uhci_td(vm, 4, true, UHCI_OUT, 0, 0, 0);
    t_st(vm, SETUP, 8, 0x0012000001000680);
}

static void uhci_control(Vm *vm)
{
    uhci(vm, "usb-tablet");
    uhci_descriptor(vm);
    t_out(vm, IO, 2, 1);
    t_step(vm, 3 * MS);
    check_eq(t_ld(vm, DATA, 4), 0x02000112);
    check_eq(t_ld(vm, DATA + 8, 4), 0x00010627);
    check_eq(uhci_status(vm, 1) & 0xff07ff, 7);
    check_eq(uhci_status(vm, 3) & 0xff07ff, 1);
    check_eq(uhci_status(vm, 4) & 0xff07ff, 0x7ff);
    check_eq(t_ld(vm, QH + 4, 4), 1);
    check_eq(t_in(vm, IO + 2, 2), 1);
    check(t_pci_irqs());
    t_out(vm, IO + 2, 2, 1);
    check(!t_pci_irqs());
    check_eq(t_in(vm, IO + 6, 2), 3);
    /* nobody has that address */
    uhci_td(vm, 0, true, UHCI_IN, 9, 8, DATA);
    t_st(vm, QH + 4, 4, TDS);
    t_step(vm, 1 * MS);
    check_eq(uhci_status(vm, 0) & 0xff0000, 0x440000);
    check_eq(t_in(vm, IO + 2, 2), 3);
}
TEST("uhci/control", uhci_control);

/* A stage of a control transfer is state. */
static void uhci_moved(Vm *vm)
{
    g_autoptr(GByteArray) s = g_byte_array_new();

    uhci(vm, "usb-tablet");
    uhci_descriptor(vm);
    t_st(vm, TDS + 16, 4, 1); /* only so far */
    t_out(vm, IO, 2, 1);
    t_step(vm, 2 * MS);
    check_eq(t_ld(vm, QH + 4, 4), 1);
    check(vm_save_state(vm, s, &abort_on_error));
    vm_reset(vm, CAUSE_NONE);
    check(vm_load_state(vm, s->data, s->len, &abort_on_error));
    t_st(vm, QH + 4, 4, TDS + 32);
    t_step(vm, 2 * MS);
    check_eq(t_ld(vm, DATA + 8, 4), 0x00010627);
    check_eq(uhci_status(vm, 4) & 0xff07ff, 0x7ff);
}
TEST("uhci/moved", uhci_moved);

static void uhci_loops(Vm *vm)
{
    uhci(vm, "usb-tablet");
    t_st(vm, QH, 4, QH | 2); /* queues in a ring, as drivers do */
    t_st(vm, TDS, 4, TDS);   /* a descriptor that follows itself */
    t_st(vm, TDS + 4, 4, 0);
    t_out(vm, IO, 2, 1);
    t_step(vm, 20 * MS);
    for (unsigned i = 0; i < 1024; i++)
        t_st(vm, LIST + 4 * i, 4, TDS);
    t_step(vm, 20 * MS);
    check_eq(t_in(vm, IO + 6, 2), 40);
}
TEST("uhci/loops", uhci_loops);

/* ---- EHCI ---- */
static void ehci_td(Vm *vm, unsigned n, bool last, unsigned pid, unsigned len, uint32_t buf)
{
    uint32_t at = TDS + 64 * n;

    t_st(vm, at, 4, last ? 1 : at + 64);
    t_st(vm, at + 4, 4, 1);
    t_st(vm, at + 8, 4, 0x80 | pid << 8 | 3 << 10 | (last ? 1 << 15 : 0) | len << 16);
    t_st(vm, at + 12, 4, buf);
    for (unsigned i = 1; i < 5; i++)
        t_st(vm, at + 12 + 4 * i, 4, (buf & ~0xfffu) + 0x1000 * i);
}

static uint32_t ehci_token(Vm *vm, unsigned n) { return (uint32_t)t_ld(vm, TDS + 64 * n + 8, 4); }

static void ehci(Vm *vm, const char *controller)
{
    t_pci(vm);
    t_enable(dev_plug(vm, NULL, controller, &abort_on_error), 0, BAR);
    t_st(vm, OP + 8, 4, 0x37);
    t_st(vm, OP + 0x40, 4, 1);
}

static void ehci_queue(Vm *vm, unsigned addr)
{
    t_st(vm, QH, 4, QH | 2);
    t_st(vm, QH + 4, 4, addr | 2 << 12 | 1 << 15 | 64 << 16);
    t_st(vm, QH + 8, 4, 1u << 30);
    t_st(vm, QH + 12, 4, 0);
    t_st(vm, QH + 16, 4, TDS);
    t_st(vm, QH + 20, 4, 1);
    t_st(vm, QH + 24, 4, 0);
    t_st(vm, OP + 0x18, 4, QH);
}

static void ehci_control(Vm *vm)
{
    ehci(vm, "usb-ehci,id=e");
    dev_plug(vm, bus_find(vm, "e.0"), "usb-kbd", &abort_on_error);
    check_eq(t_ld(vm, OP + 0x44, 4), 0x1003);
    t_st(vm, OP + 0x44, 4, 0x1102);
    t_st(vm, OP + 0x44, 4, 0x1000);
    check_eq(t_ld(vm, OP + 0x44, 4), 0x1005);
    ehci_queue(vm, 0);
    ehci_td(vm, 0, false, 2, 8, SETUP);
    ehci_td(vm, 1, false, 1, 64, DATA + 0xff8); /* over the end of a page */
    ehci_td(vm, 2, true, 0, 0, 0);
    t_st(vm, SETUP, 8, 0x0040000001000680);
    t_st(vm, OP, 4, 0x80021);
    t_step(vm, 3 * MS);
    check_eq(t_ld(vm, DATA + 0xff8, 8), 0x4000000002000112);
    check_eq(t_ld(vm, DATA + 0x1000, 4), 0x00010627);
    check_eq(ehci_token(vm, 1) & 0x7fff00ff, (64 - 18) << 16);
    check_eq(ehci_token(vm, 2) & 0xff, 0);
    check_eq(t_ld(vm, OP + 4, 4) & 0xf03f, 0x8005);
    check(t_pci_irqs());
    /* a stall stops the queue */
    ehci_queue(vm, 0);
    ehci_td(vm, 0, false, 2, 8, SETUP);
    ehci_td(vm, 1, false, 1, 8, DATA);
    ehci_td(vm, 2, true, 0, 0, 0);
    t_st(vm, SETUP, 8, 0x0008000099000680);
    t_step(vm, 3 * MS);
    check_eq(ehci_token(vm, 1) & 0xff, 0x40);
    check_eq(ehci_token(vm, 2) & 0xff, 0x80);
    check(t_ld(vm, OP + 4, 4) & 2);
    t_st(vm, OP, 4, 0x80061); /* the doorbell of the asynchronous list */
    check(t_ld(vm, OP + 4, 4) & 32);
    /* rings that lead nowhere */
    t_st(vm, TDS, 4, TDS);
    t_st(vm, TDS + 8, 4, 0x80 | 1 << 8);
    ehci_queue(vm, 77);
    t_st(vm, OP + 0x14, 4, LIST);
    for (unsigned i = 0; i < 1024; i++)
        t_st(vm, LIST + 4 * i, 4, (LIST + 32 * 4) | 4);
    t_st(vm, OP, 4, 0x80031);
    t_step(vm, 20 * MS);
}
TEST("ehci/control", ehci_control);

static void companion(Vm *vm)
{
    Dev *u;

    ehci(vm, "ich9-usb-ehci1,id=e");
    u = dev_plug(vm, NULL, "ich9-usb-uhci2,masterbus=e.0,firstport=2", &abort_on_error);
    t_enable(u, 4, IO);
    check(!dev_plug(vm, NULL, "ich9-usb-uhci1,masterbus=e.0,firstport=3", NULL));
    check(!dev_plug(vm, NULL, "ich9-usb-uhci1,masterbus=nobody", NULL));
    check(!dev_plug(vm, bus_find(vm, "e.0"), "usb-tablet,usb_version=1,port=1", NULL)); /* full speed finds no companion there */
    dev_plug(vm, bus_find(vm, "e.0"), "usb-tablet,usb_version=1,port=3", &abort_on_error);
    check_eq(t_ld(vm, OP + 0x4c, 4), 0x1003);
    t_st(vm, OP + 0x4c, 4, 0x1102);
    t_st(vm, OP + 0x4c, 4, 0x1000);
    check_eq(t_ld(vm, OP + 0x4c, 4), 0x1001); /* not enabled: not high speed */
    check_eq(t_in(vm, IO + 0x10, 2), 0x80);
    t_st(vm, OP + 0x4c, 4, 0x3000);
    check_eq(t_ld(vm, OP + 0x4c, 4), 0x3002);
    check_eq(t_in(vm, IO + 0x10, 2), 0x83);
    t_st(vm, OP + 0x40, 4, 0); /* all go */
    check_eq(t_ld(vm, OP + 0x50, 4) & 0x2000, 0x2000);
    t_st(vm, OP + 0x40, 4, 1); /* and come back */
    check_eq(t_ld(vm, OP + 0x4c, 4) & 0x2001, 1);
    check_eq(t_in(vm, IO + 0x10, 2) & 1, 0);
}
TEST("ehci/companion", companion);
