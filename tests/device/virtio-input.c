/* tests/device/virtio-input.c - keyboard, mouse and tablet: what they say of themselves, and events on their way to a driver. */
#include "tests/device/pcihost.h"
#include "ui/ui.h"
#include <linux/input-event-codes.h>

enum { BAR = 0xe0000000, CFG = BAR + 0x2000, SIZE = 64, DESC = 0x1000, AVAIL = 0x2000, USED = 0x3000, DATA = 0x10000 };

static void setup(Vm *vm, const char *device)
{
    t_pci(vm);
    t_enable(dev_plug(vm, NULL, device, &abort_on_error), 4, BAR);
}

static void drive(Vm *vm, unsigned buffers)
{
    t_st(vm, BAR + 0x14, 1, 3);
    t_st(vm, BAR + 8, 4, 1);
    t_st(vm, BAR + 0xc, 4, 1);
    t_st(vm, BAR + 0x14, 1, 11);
    t_st(vm, BAR + 0x16, 2, 0);
    t_st(vm, BAR + 0x20, 8, DESC);
    t_st(vm, BAR + 0x28, 8, AVAIL);
    t_st(vm, BAR + 0x30, 8, USED);
    t_st(vm, BAR + 0x1c, 2, 1);
    for (unsigned i = 0; i < SIZE; i++) {
        t_st(vm, DESC + 16 * i, 8, DATA + 8 * i);
        t_st(vm, DESC + 16 * i + 8, 8, 8 | 2ull << 32);
        t_st(vm, AVAIL + 4 + 2 * i, 2, i);
    }
    t_st(vm, AVAIL + 2, 2, buffers);
    t_st(vm, BAR + 0x14, 1, 15);
}

static unsigned ask(Vm *vm, unsigned select, unsigned subsel)
{
    t_st(vm, CFG, 1, select);
    t_st(vm, CFG + 1, 1, subsel);
    return (unsigned)t_ld(vm, CFG + 2, 1);
}

static unsigned events(Vm *vm) { return (unsigned)t_ld(vm, USED + 2, 2); }

static void expect(Vm *vm, unsigned i, unsigned type, unsigned code, int value)
{
    check_eq(t_ld(vm, DATA + 8 * i, 2), type);
    check_eq(t_ld(vm, DATA + 8 * i + 2, 2), code);
    check_eq(t_ld(vm, DATA + 8 * i + 4, 4), (uint32_t)value);
}

static void test_says(Vm *vm)
{
    setup(vm, "virtio-tablet-pci,serial=xy");
    check_eq(ask(vm, 2, 0), 2);
    check_eq(t_ld(vm, CFG + 8, 2), 'x' | 'y' << 8);
    check_eq(ask(vm, 0x11, EV_ABS), 1);
    check_eq(t_ld(vm, CFG + 8, 1), 3);
    check_eq(ask(vm, 0x12, ABS_Y), 20);
    check_eq(t_ld(vm, CFG + 12, 4), 0x7fff);
    check_eq(ask(vm, 0x12, 2), 0);
    check(ask(vm, 0x11, EV_KEY) >= BTN_LEFT / 8 + 1);
    check(t_ld(vm, CFG + 8 + BTN_LEFT / 8, 1) & 1 << BTN_LEFT % 8);
    check(!(t_ld(vm, CFG + 8 + KEY_A / 8, 1) & 1 << KEY_A % 8));
    check_eq(ask(vm, 0x11, EV_REP), 0);
    check_eq(ask(vm, 0x77, 0), 0);
}

static void test_keys(Vm *vm)
{
    UiEvent e = { .kind = UI_KEY, .key = KEY_A, .down = true };

    setup(vm, "virtio-keyboard-pci");
    ui_input_send(vm, &e, 1); /* nobody is there yet */
    drive(vm, 4);
    ui_input_send(vm, &e, 1);
    e.down = false;
    ui_input_send(vm, &e, 1);
    check_eq(events(vm), 4);
    expect(vm, 0, EV_KEY, KEY_A, 1);
    expect(vm, 1, EV_SYN, 0, 0);
    expect(vm, 2, EV_KEY, KEY_A, 0);
    check(t_pci_irqs());
    e.down = true; /* no buffers: it waits */
    ui_input_send(vm, &e, 1);
    check_eq(events(vm), 4);
    t_st(vm, AVAIL + 2, 2, 8);
    t_st(vm, BAR + 0x3000, 2, 0);
    check_eq(events(vm), 6);
    expect(vm, 4, EV_KEY, KEY_A, 1);
    check_eq(ask(vm, 0x11, EV_LED), 1);
    check(ask(vm, 0x11, EV_KEY) > KEY_A / 8);
}

static void test_tablet(Vm *vm)
{
    const UiEvent v[] = { { .kind = UI_ABS, .axis = 0, .value = 0x4000 }, { .kind = UI_ABS, .axis = 1, .value = 7 },
                          { .kind = UI_BUTTON, .button = UI_LEFT, .down = true }, { .kind = UI_BUTTON, .button = UI_WHEEL_DOWN, .down = true } };

    setup(vm, "virtio-tablet-pci");
    check(!ui_wants_abs(vm));
    drive(vm, SIZE);
    check(ui_wants_abs(vm)); /* a pointer without grab */
    ui_input_send(vm, v, 4);
    check_eq(events(vm), 5);
    expect(vm, 0, EV_ABS, ABS_X, 0x4000);
    expect(vm, 1, EV_ABS, ABS_Y, 7);
    expect(vm, 2, EV_KEY, BTN_LEFT, 1);
    expect(vm, 3, EV_REL, REL_WHEEL, -1);
    expect(vm, 4, EV_SYN, 0, 0);
    t_st(vm, BAR + 0x14, 1, 0);
    check(!ui_wants_abs(vm));
}

/* A mouse that nobody reads loses whole packets, and goes on in step. */
static void test_overrun(Vm *vm)
{
    UiEvent e = { .kind = UI_REL, .axis = 0, .value = 1 };

    setup(vm, "virtio-mouse-pci");
    drive(vm, 0);
    for (int i = 0; i < 1000; i++) {
        e.value = i;
        ui_input_send(vm, &e, 1);
    }
    t_st(vm, AVAIL + 2, 2, SIZE);
    t_st(vm, BAR + 0x3000, 2, 0);
    check_eq(events(vm), SIZE);
    for (unsigned i = 0; i < SIZE; i += 2) {
        expect(vm, i, EV_REL, REL_X, (int)i / 2);
        expect(vm, i + 1, EV_SYN, 0, 0);
    }
}

TEST("virtio-input/says", test_says);
TEST("virtio-input/keys", test_keys);
TEST("virtio-input/tablet", test_tablet);
TEST("virtio-input/overrun", test_overrun);
