/* tests/device/xhci.c - an xHCI controller as a driver sees it: rings, events, contexts, ports; mistakes of drivers. Source: xHCI 1.1. */
#include "hw/usb/xhci.h"
#include "tests/device/xhcidrv.h"
#include "ui/ui.h"

enum { TABLET_PORT = 5 /* the first USB 2 port, behind four of USB 3 */, IN1 = 3 /* DCI of endpoint 1 IN */ };

static void capabilities(Vm *vm)
{
    x_start(vm, ",p2=3,p3=2");
    check_eq(t_ld(vm, X_BAR, 4), 0x01100040);
    check_eq(t_ld(vm, X_BAR + 2, 2), 0x0110);
    check_eq(t_ld(vm, X_BAR + 4, 4), 64 | 16 << 8 | 5u << 24);
    check_eq(t_ld(vm, X_BAR + 0x10, 4) >> 16, 8);
    check_eq(t_ld(vm, X_BAR + 0x28, 4), 3 | 3 << 8); /* USB 2: from port 3, three */
    check_eq(t_ld(vm, X_BAR + 0x38, 4), 1 | 2 << 8);
    check_eq(t_ld(vm, X_PORTS, 4), 0x2a0);
    check_eq(t_ld(vm, X_PORTS + 16 * 5, 4), 0);
    check_eq(t_ld(vm, X_OP + 4, 4) & 1, 0);
}
TEST("xhci/capabilities", capabilities);

static void ports(Vm *vm)
{
    Dev *t;
    XEvent e;

    x_start(vm, "");
    t = dev_plug(vm, bus_find(vm, "x.0"), "usb-tablet,port=2", &abort_on_error);
    e = x_wait(vm, 34);
    check_eq(e.param, 6u << 24);
    check_eq(t_ld(vm, X_PORTS + 16 * 5, 4), 0x20ee1); /* connected, high speed, polling, CSC */
    x_reset_port(vm, 6);
    check_eq(x_wait(vm, 34).param, 6u << 24);
    check_eq(t_ld(vm, X_PORTS + 16 * 5, 4), 0xe03);
    t_st(vm, X_PORTS + 16 * 5, 4, 0x10260 | 3 << 5); /* suspended */
    check_eq(t_ld(vm, X_PORTS + 16 * 5, 4), 0xe63);
    t_st(vm, X_PORTS + 16 * 5, 4, 0x10200);
    check_eq(t_ld(vm, X_PORTS + 16 * 5, 4), 0x400e03); /* PLC */
    dev_unplug_now(t);
    check_eq(x_wait(vm, 34).param, 6u << 24);
    check_eq(t_ld(vm, X_PORTS + 16 * 5, 4) & 3, 0);
}
TEST("xhci/ports", ports);

static void no_such_command(Vm *vm)
{
    x_start(vm, "");
    check_eq(x_command(vm, 0, 0, 23 << 10).code, CC_SUCCESS); /* No Op */
    check_eq(x_command(vm, 0, 0, 40 << 10).code, CC_TRB);
    check_eq(x_command(vm, 0, 0, 10 << 10 | 5u << 24).code, CC_SLOT);
    check_eq(x_command(vm, 0, 0, 10 << 10 | 200u << 24).code, CC_SLOT);
    check_eq(x_command(vm, 0, 0, 9 << 10).slot, 1);
    check_eq(x_command(vm, X_INPUT, 0, 12 << 10 | 1u << 24).code, CC_CONTEXT_STATE);
    check_eq(x_command(vm, 0, 0, 15 << 10 | 3 << 16 | 1u << 24).code, CC_ENDPOINT);
    check_eq(x_command(vm, X_INPUT, 0, 11 << 10 | 1u << 24).code, CC_PARAMETER);
    check_eq(x_command(vm, 0, 0, 10 << 10 | 1u << 24).code, CC_SUCCESS);
    for (unsigned i = 0; i < 100; i++) /* round both rings */
        check_eq(x_command(vm, 0, 0, 23 << 10).code, CC_SUCCESS);
    for (unsigned i = 0; i < 64; i++)
        check_eq(x_command(vm, 0, 0, 9 << 10).slot, i + 1);
    check_eq(x_command(vm, 0, 0, 9 << 10).code, CC_NO_SLOTS);
}
TEST("xhci/commands", no_such_command);

/* Ends in an error of the controller, not in a loop of ours. */
static void command_loop(Vm *vm)
{
    x_start(vm, "");
    t_st(vm, X_CMD, 8, X_CMD);
    t_st(vm, X_CMD + 8, 4, 0);
    t_st(vm, X_CMD + 12, 4, 6 << 10 | 1);
    t_st(vm, X_DB, 4, 0);
    check(t_ld(vm, X_OP + 4, 4) & STS_HCE);
    t_st(vm, X_OP, 4, 2);
    check_eq(t_ld(vm, X_OP + 4, 4), STS_HCH);
    x_rings(vm);
    check_eq(x_command(vm, 0, 0, 23 << 10).code, CC_SUCCESS);
}
TEST("xhci/command-loop", command_loop);

static unsigned tablet(Vm *vm)
{
    unsigned slot;

    x_start(vm, "");
    dev_plug(vm, bus_find(vm, "x.0"), "usb-tablet,id=t", &abort_on_error);
    slot = x_attach(vm, TABLET_PORT, 0);
    check_eq(x_control(vm, slot, x_setup(0, 9, 1, 0, 0), 0).code, CC_SUCCESS);
    check_eq(x_add_ep(vm, slot, IN1, EPT_INTERRUPT_IN, 8, 4), CC_SUCCESS);
    check_eq(t_ld(vm, X_CTX + 0x800 * slot + 32 * IN1, 4) & 7, EP_RUNNING);
    return slot;
}

static void control(Vm *vm)
{
    unsigned slot = tablet(vm);
    XEvent e = x_control(vm, slot, x_setup(0x80, 6, 0x100, 0, 18), 18);

    check_eq(e.code, CC_SUCCESS);
    check_eq(t_ld(vm, X_DATA, 8), 0x4000000002000112);
    check_eq(t_ld(vm, X_DATA + 8, 4), 0x00010627);
    /* A short data stage, whose TRB asks to be told of. */
    x_put(vm, slot, 1, x_setup(0x80, 6, 0x100, 0, 64), 8, 2 << 10 | 1 << 6 | 3 << 16);
    x_put(vm, slot, 1, X_DATA, 64, 3 << 10 | 1 << 16 | 1 << 2);
    x_put(vm, slot, 1, 0, 0, 4 << 10 | 1 << 5);
    x_bell(vm, slot, 1);
    e = x_wait(vm, 32);
    check_eq(e.code, CC_SHORT);
    check_eq(e.len, 64 - 18);
    check_eq(x_wait(vm, 32).code, CC_SUCCESS);
    /* What it does not know stalls; then the endpoint must be reset, and told where to go on. */
    e = x_control(vm, slot, x_setup(0x80, 6, 0x9900, 0, 8), 8);
    check_eq(e.code, CC_STALL);
    check_eq(t_ld(vm, X_CTX + 0x800 * slot + 32, 4) & 7, EP_HALTED);
    check_eq(x_command(vm, e.param | 1, 0, 16 << 10 | 1 << 16 | slot << 24).code, CC_CONTEXT_STATE);
    check_eq(x_command(vm, 0, 0, 14 << 10 | 1 << 16 | slot << 24).code, CC_SUCCESS);
    check_eq(x_command(vm, (e.param + 32) | 1, 0, 16 << 10 | 1 << 16 | slot << 24).code, CC_SUCCESS);
    check_eq(x_control(vm, slot, x_setup(0x80, 8, 0, 0, 1), 1).code, CC_SUCCESS);
    check_eq(t_ld(vm, X_DATA, 1), 1);
    /* Direction of the data stage against the request. */
    x_put(vm, slot, 1, x_setup(0x80, 6, 0x100, 0, 18), 8, 2 << 10 | 1 << 6 | 3 << 16);
    x_put(vm, slot, 1, X_DATA, 18, 3 << 10);
    x_put(vm, slot, 1, 0, 0, 4 << 10 | 1 << 5);
    x_bell(vm, slot, 1);
    check_eq(x_wait(vm, 32).code, CC_TRB);
    check_eq(t_ld(vm, X_CTX + 0x800 * slot + 32, 4) & 7, EP_ERROR);
}
TEST("xhci/control", control);

static void move_to(Vm *vm, int v)
{
    ui_input_send(vm, (UiEvent[]){ { .kind = UI_ABS, .axis = 0, .value = v }, { .kind = UI_ABS, .axis = 1, .value = v + 1 } }, 2);
}

static void interrupt_in(Vm *vm)
{
    unsigned slot = tablet(vm);
    XEvent e;

    x_put(vm, slot, IN1, X_DATA, 8, 1 << 10 | 1 << 5 | 1 << 2);
    x_bell(vm, slot, IN1);
    check(!x_event(vm, &e));
    move_to(vm, 0x1234);
    check(x_event(vm, &e));
    check_eq(e.code, CC_SHORT);
    check_eq(e.len, 2);
    check_eq(t_ld(vm, X_DATA, 8), 0x0000123512340000 >> 8);
    /* two transfers are an interval apart */
    x_put(vm, slot, IN1, X_DATA, 6, 1 << 10 | 1 << 5);
    x_put(vm, slot, IN1, X_DATA, 6, 1 << 10 | 1 << 5);
    x_bell(vm, slot, IN1);
    t_step(vm, 10 * MS);
    move_to(vm, 5);
    ui_input_send(vm, &(UiEvent){ .kind = UI_BUTTON, .button = UI_LEFT, .down = true }, 1);
    check(x_event(vm, &e));
    check_eq(e.code, CC_SUCCESS);
    t_step(vm, 3 * MS);
    check(x_event(vm, &e));
    check_eq(t_ld(vm, X_DATA, 1), 1);
    /* one that waits is stopped, and says where */
    x_put(vm, slot, IN1, X_DATA, 6, 1 << 10 | 1 << 5);
    x_bell(vm, slot, IN1);
    t_st(vm, X_CMD + 16 * 20, 4, 0);
    check_eq(x_command(vm, 0, 0, 15 << 10 | IN1 << 16 | slot << 24).code, CC_SUCCESS);
    check_eq(t_ld(vm, X_CTX + 0x800 * slot + 32 * IN1, 4) & 7, EP_STOPPED);
    move_to(vm, 7);
    check(!x_event(vm, &e));
    x_bell(vm, slot, IN1);
    check(x_event(vm, &e));
    check_eq(e.code, CC_SUCCESS);
}
TEST("xhci/interrupt-in", interrupt_in);

/* Event Data TRBs tell what was moved; a chain is one transfer. */
static void chains(Vm *vm)
{
    unsigned slot = tablet(vm);
    XEvent e;

    x_put(vm, slot, IN1, X_DATA, 4, 1 << 10 | 1 << 4);
    x_put(vm, slot, IN1, X_DATA + 0x100, 4, 1 << 10 | 1 << 4);
    x_put(vm, slot, IN1, 0x123456789abcdef0, 0, 7 << 10 | 1 << 5);
    x_bell(vm, slot, IN1);
    move_to(vm, 0x2222);
    check(x_event(vm, &e));
    check_eq(e.param, 0x123456789abcdef0);
    check_eq(e.code, CC_SHORT);
    check_eq(e.len, 6);
    check_eq(t_ld(vm, X_DATA, 4), 0x23222200);
    check_eq(t_ld(vm, X_DATA + 0x100, 2), 0x0022);
    /* memory that is not there */
    x_put(vm, slot, IN1, 0xf00000000000, 6, 1 << 10 | 1 << 5);
    x_bell(vm, slot, IN1);
    t_step(vm, 10 * MS);
    move_to(vm, 1);
    check(x_event(vm, &e));
    check_eq(e.code, CC_DATA_BUFFER);
}
TEST("xhci/chains", chains);

static void transfer_loop(Vm *vm)
{
    unsigned slot = tablet(vm);
    uint64_t ring;
    XEvent e;

    x_ring_at(slot, IN1, &ring);
    t_st(vm, ring, 8, ring);
    t_st(vm, ring + 12, 4, 6 << 10 | 1 << 4 | 1);
    x_bell(vm, slot, IN1);
    check(x_event(vm, &e));
    check_eq(e.code, CC_TRB);
    check_eq(t_ld(vm, X_CTX + 0x800 * slot + 32 * IN1, 4) & 7, EP_ERROR);
    /* a ring of transfers that never ends gets its time in slices */
    check_eq(x_command(vm, (ring + 0x100) | 1, 0, 16 << 10 | IN1 << 16 | slot << 24).code, CC_SUCCESS);
    t_st(vm, ring + 0x100 + 12, 4, 8 << 10 | 1);
    t_st(vm, ring + 0x110, 8, ring + 0x100);
    t_st(vm, ring + 0x110 + 12, 4, 6 << 10 | 1);
    x_bell(vm, slot, IN1);
    t_step(vm, 100 * MS);
    check_eq(x_command(vm, 0, 0, 15 << 10 | IN1 << 16 | slot << 24).code, CC_SUCCESS);
}
TEST("xhci/transfer-loop", transfer_loop);

static void unplugged(Vm *vm)
{
    unsigned slot = tablet(vm);
    XEvent e;

    x_put(vm, slot, IN1, X_DATA, 6, 1 << 10 | 1 << 5);
    x_bell(vm, slot, IN1);
    dev_unplug_now(vm_find_dev(vm, "t"));
    e = x_wait(vm, 32);
    check_eq(e.code, CC_TRANSACTION);
    check_eq(e.ep, IN1);
    check_eq(x_control(vm, slot, x_setup(0x80, 8, 0, 0, 1), 1).code, CC_TRANSACTION);
}
TEST("xhci/unplugged", unplugged);

static void ring_full(Vm *vm)
{
    XEvent e;
    unsigned n = 0;

    x_start(vm, "");
    for (unsigned i = 0; i < 0x100; i++) {
        t_st(vm, 0x40000 + 16 * i, 8, 0);
        t_st(vm, 0x40000 + 16 * i + 8, 8, (uint64_t)(23 << 10 | 1) << 32);
    }
    t_st(vm, X_OP, 4, 4);
    t_st(vm, X_OP + 0x18, 8, 0x40001);
    t_st(vm, X_OP, 4, 5);
    t_st(vm, X_DB, 4, 0);
    check_eq(t_ld(vm, X_EVENTS + 16 * (X_EVENT_N - 3) + 8, 4) >> 24, CC_EVENT_RING_FULL);
    check_eq(t_ld(vm, X_EVENTS + 16 * (X_EVENT_N - 1) + 12, 4) & 1, 0);
    for (unsigned i = 0; i < 0x120 && x_event(vm, &e); i++)
        n += e.type == 33;
    t_step(vm, 1 * MS);
    for (unsigned i = 0; i < 0x120 && x_event(vm, &e); i++)
        n += e.type == 33;
    check_eq(n, 0x100); /* none is lost */
}
TEST("xhci/ring-full", ring_full);

static void interrupts(Vm *vm)
{
    x_start(vm, "");
    t_st(vm, X_RT + 0x24, 4, 4000); /* 1 ms */
    check_eq(t_pci_irqs(), 0);
    x_command(vm, 0, 0, 23 << 10);
    check(t_pci_irqs());
    check_eq(t_ld(vm, X_RT + 0x20, 4), 3);
    t_st(vm, X_RT + 0x20, 4, 3);
    check_eq(t_pci_irqs(), 0);
    x_command(vm, 0, 0, 23 << 10);
    check_eq(t_pci_irqs(), 0); /* not so soon */
    t_step(vm, 2 * MS);
    check(t_pci_irqs());
    t_st(vm, X_OP, 4, 1); /* INTE off */
    check_eq(t_pci_irqs(), 0);
}
TEST("xhci/interrupts", interrupts);

/* Saved with a transfer that waits, loaded after a reset: it is answered. */
static void moved(Vm *vm)
{
    unsigned slot = tablet(vm);
    g_autoptr(GByteArray) s = g_byte_array_new();
    XEvent e;

    x_put(vm, slot, IN1, X_DATA, 6, 1 << 10 | 1 << 5);
    x_bell(vm, slot, IN1);
    check(vm_save_state(vm, s, &abort_on_error));
    vm_reset(vm, CAUSE_NONE);
    move_to(vm, 1);
    check(vm_load_state(vm, s->data, s->len, &abort_on_error));
    check(!x_event(vm, &e));
    move_to(vm, 0x3333);
    check(x_event(vm, &e));
    check_eq(e.code, CC_SUCCESS);
    check_eq(t_ld(vm, X_DATA, 4), 0x34333300);
}
TEST("xhci/moved", moved);
