/* tests/device/usb.c - USB devices behind an xHCI controller: HID, bulk-only storage, hub. Source: USB 2.0, HID 1.11, Bulk-Only Transport 1.0. */
#include "hw/usb/xhci.h"
#include "tests/device/xhcidrv.h"
#include "ui/ui.h"
#include <linux/input-event-codes.h>

enum { SUPER_PORT = 1, HIGH_PORT = 5, IN1 = 3, OUT2 = 4, CBW = X_DATA + 0x10000, CSW = X_DATA + 0x11000 };
enum { GET_DESCRIPTOR = 6, SET_CONFIGURATION = 9, STD_IN = 0x80, CLASS_OUT = 0x21, CLASS_IN = 0xa1 };

static unsigned plug(Vm *vm, const char *device, unsigned port)
{
    unsigned slot;

    if (!bus_find(vm, "x.0"))
        x_start(vm, "");
    dev_plug(vm, bus_find(vm, "x.0"), device, &abort_on_error);
    slot = x_attach(vm, port, 0);
    check_eq(x_control(vm, slot, x_setup(0, SET_CONFIGURATION, 1, 0, 0), 0).code, CC_SUCCESS);
    return slot;
}

/* ---- descriptors ---- */
static void descriptors(Vm *vm)
{
    unsigned slot = plug(vm, "usb-kbd,serial=xyz,port=1", HIGH_PORT), n;

    check_eq(x_control(vm, slot, x_setup(STD_IN, GET_DESCRIPTOR, 0x200, 0, 255), 255).code, CC_SUCCESS);
    n = (unsigned)t_ld(vm, X_DATA + 2, 2);
    check_eq(n, 9 + 9 + 9 + 7);
    check_eq(t_ld(vm, X_DATA + 9 + 5, 4) & 0xffffff, 0x010103); /* HID, boot, keyboard */
    check_eq(t_ld(vm, X_DATA + 27, 8) & 0xffffffffffffff, 0x06000803810507); /* interval 2^5 microframes */
    x_control(vm, slot, x_setup(STD_IN, GET_DESCRIPTOR, 0x303, 0x409, 255), 255);
    check_eq(t_ld(vm, X_DATA, 8), 0x007a007900780308);
    x_control(vm, slot, x_setup(STD_IN, GET_DESCRIPTOR, 0x600, 0, 10), 10); /* what it would be at full speed */
    check_eq(t_ld(vm, X_DATA + 7, 1), 8);
    x_control(vm, slot, x_setup(0x81, GET_DESCRIPTOR, 0x2200, 0, 255), 255);
    check_eq(t_ld(vm, X_DATA, 4), 0x06090105);
    check_eq(x_control(vm, slot, x_setup(0, SET_CONFIGURATION, 2, 0, 0), 0).code, CC_STALL);
}
TEST("usb/descriptors", descriptors);

static void super(Vm *vm)
{
    unsigned slot;

    t_disk(vm, "d0", 1, NULL);
    slot = plug(vm, "usb-storage,drive=d0", SUPER_PORT);
    x_control(vm, slot, x_setup(STD_IN, GET_DESCRIPTOR, 0x100, 0, 18), 18);
    check_eq(t_ld(vm, X_DATA, 8), 0x0900000003000112);
    x_control(vm, slot, x_setup(STD_IN, GET_DESCRIPTOR, 0xf00, 0, 255), 255);
    check_eq(t_ld(vm, X_DATA, 5), 0x0200160f05 & ones(40));
    x_control(vm, slot, x_setup(STD_IN, GET_DESCRIPTOR, 0x200, 0, 255), 255);
    check_eq(t_ld(vm, X_DATA + 2, 2), 9 + 9 + 2 * (7 + 6));
    check_eq(t_ld(vm, X_DATA + 18 + 7, 4), 0x000f3006); /* companion: burst of 16 */
}
TEST("usb/super", super);

/* ---- keyboard ---- */
static void key(Vm *vm, uint16_t code, bool down) { ui_input_send(vm, &(UiEvent){ .kind = UI_KEY, .key = code, .down = down }, 1); }

static uint64_t poll(Vm *vm, unsigned slot)
{
    XEvent e;

    t_step(vm, 10 * MS);
    t_st(vm, X_DATA, 8, 0);
    x_put(vm, slot, IN1, X_DATA, 8, 1 << 10 | 1 << 5);
    x_bell(vm, slot, IN1);
    check(x_event(vm, &e));
    check_eq(e.code, CC_SUCCESS);
    return t_ld(vm, X_DATA, 8);
}

static void keyboard(Vm *vm)
{
    unsigned slot;
    XEvent e;

    check(!ui_takes(vm, UI_KEY));
    slot = plug(vm, "usb-kbd", HIGH_PORT);
    check(ui_takes(vm, UI_KEY));
    check_eq(x_add_ep(vm, slot, IN1, EPT_INTERRUPT_IN, 8, 4), CC_SUCCESS);
    key(vm, KEY_LEFTSHIFT, true);
    key(vm, KEY_A, true);
    key(vm, KEY_A, false);
    check_eq(poll(vm, slot), 0x02);
    check_eq(poll(vm, slot), 0x040002);
    check_eq(poll(vm, slot), 0x02);
    for (unsigned i = 0; i < 7; i++)
        key(vm, (uint16_t)(KEY_1 + i), true);
    for (unsigned i = 0; i < 6; i++)
        poll(vm, slot);
    check_eq(poll(vm, slot), 0x0101010101010002); /* too many at once */
    /* idle: every 8 ms again */
    check_eq(x_control(vm, slot, x_setup(CLASS_OUT, 10, 2 << 8, 0, 0), 0).code, CC_SUCCESS);
    x_put(vm, slot, IN1, X_DATA, 8, 1 << 10 | 1 << 5);
    x_bell(vm, slot, IN1);
    t_step(vm, 7 * MS);
    check(!x_event(vm, &e));
    t_step(vm, 2 * MS);
    check(x_event(vm, &e));
    /* LEDs */
    t_st(vm, X_DATA, 1, 2);
    check_eq(x_control(vm, slot, x_setup(CLASS_OUT, 9, 0x200, 0, 1), 1).code, CC_SUCCESS);
    check_eq(x_control(vm, slot, x_setup(CLASS_OUT, 11, 0, 0, 0), 0).code, CC_SUCCESS);
    check_eq(x_control(vm, slot, x_setup(CLASS_IN, 3, 0, 0, 1), 1).code, CC_SUCCESS);
    check_eq(t_ld(vm, X_DATA, 1), 0);
    check_eq(x_control(vm, slot, x_setup(0, SET_CONFIGURATION, 0, 0, 0), 0).code, CC_SUCCESS);
    check(!ui_takes(vm, UI_KEY));
}
TEST("usb/keyboard", keyboard);

static void mouse(Vm *vm)
{
    unsigned slot = plug(vm, "usb-mouse", HIGH_PORT);

    x_add_ep(vm, slot, IN1, EPT_INTERRUPT_IN, 8, 4);
    ui_input_send(vm, (UiEvent[]){ { .kind = UI_REL, .value = 200 }, { .kind = UI_REL, .axis = 1, .value = -3 } }, 2);
    ui_input_send(vm, &(UiEvent){ .kind = UI_BUTTON, .button = UI_RIGHT, .down = true }, 1);
    ui_input_send(vm, &(UiEvent){ .kind = UI_BUTTON, .button = UI_WHEEL_DOWN, .down = true }, 1);
    t_st(vm, X_DATA, 8, 0);
    check_eq(x_transfer(vm, slot, IN1, X_DATA, 4).code, CC_SUCCESS);
    check_eq(t_ld(vm, X_DATA, 4), 0x00fd7f00); /* 127 of 200 */
    t_step(vm, 10 * MS);
    x_transfer(vm, slot, IN1, X_DATA, 4);
    check_eq(t_ld(vm, X_DATA, 4), 0x00004900);
    t_step(vm, 10 * MS);
    x_transfer(vm, slot, IN1, X_DATA, 4);
    check_eq(t_ld(vm, X_DATA, 4), 0xff000002);
}
TEST("usb/mouse", mouse);

/* ---- storage ---- */
static unsigned tag;

static void send_cbw(Vm *vm, unsigned slot, bool in, uint32_t len, const uint8_t *cdb, unsigned n)
{
    t_st(vm, CBW, 4, 0x43425355);
    t_st(vm, CBW + 4, 4, ++tag);
    t_st(vm, CBW + 8, 4, len);
    t_st(vm, CBW + 12, 4, (in ? 0x80u : 0) | n << 16);
    for (unsigned i = 0; i < 16; i++)
        t_st(vm, CBW + 15 + i, 1, i < n ? cdb[i] : 0);
    check_eq(x_transfer(vm, slot, OUT2, CBW, 31).code, CC_SUCCESS);
}

static unsigned get_csw(Vm *vm, unsigned slot, uint32_t *residue)
{
    check_eq(x_transfer(vm, slot, IN1, CSW, 13).code, CC_SUCCESS);
    check_eq(t_ld(vm, CSW, 4), 0x53425355);
    check_eq(t_ld(vm, CSW + 4, 4), tag);
    if (residue)
        *residue = (uint32_t)t_ld(vm, CSW + 8, 4);
    return (unsigned)t_ld(vm, CSW + 12, 1);
}

static unsigned command_in(Vm *vm, unsigned slot, uint32_t len, const uint8_t *cdb, unsigned n, uint32_t *residue)
{
    send_cbw(vm, slot, true, len, cdb, n);
    if (len)
        x_transfer(vm, slot, IN1, X_DATA, len);
    return get_csw(vm, slot, residue);
}

static uint32_t be32_swapped(Vm *vm, uint64_t at) { return GUINT32_SWAP_LE_BE((uint32_t)t_ld(vm, at, 4)); }

static unsigned disk(Vm *vm, const char *device)
{
    unsigned slot = plug(vm, device, SUPER_PORT);
    uint8_t ready[6] = { 0 };

    check_eq(x_add_ep(vm, slot, IN1, EPT_BULK_IN, 1024, 0), CC_SUCCESS);
    check_eq(x_add_ep(vm, slot, OUT2, EPT_BULK_OUT, 1024, 0), CC_SUCCESS);
    check_eq(command_in(vm, slot, 0, ready, 6, NULL), 1); /* power on */
    check_eq(command_in(vm, slot, 18, (uint8_t[]){ 3, 0, 0, 0, 18, 0 }, 6, NULL), 0);
    check_eq(t_ld(vm, X_DATA + 2, 1), 6);
    check_eq(t_ld(vm, X_DATA + 12, 1), 0x29);
    check_eq(command_in(vm, slot, 0, ready, 6, NULL), 0);
    return slot;
}

static void storage(Vm *vm)
{
    unsigned slot;
    uint32_t residue;

    t_disk(vm, "d0", 1, NULL);
    slot = disk(vm, "usb-storage,drive=d0,serial=S1");
    check_eq(command_in(vm, slot, 255, (uint8_t[]){ 0x12, 0, 0, 0, 36, 0 }, 6, &residue), 0); /* INQUIRY: less than asked for */
    check_eq(residue, 255 - 36);
    check_eq(command_in(vm, slot, 8, (uint8_t[10]){ 0x25 }, 10, NULL), 0);
    check_eq(t_ld(vm, X_DATA, 8), 0x00020000ff070000);
    check_eq(command_in(vm, slot, 1024, (uint8_t[]){ 0x28, 0, 0, 0, 0, 7, 0, 0, 2, 0 }, 10, &residue), 0);
    check_eq(residue, 0);
    check_eq(t_ld(vm, X_DATA, 4), 7);
    check_eq(t_ld(vm, X_DATA + 512, 4), 8);
    /* in two pieces */
    send_cbw(vm, slot, true, 1024, (uint8_t[]){ 0x28, 0, 0, 0, 0, 20, 0, 0, 2, 0 }, 10);
    check_eq(x_transfer(vm, slot, IN1, X_DATA, 512).code, CC_SUCCESS);
    check_eq(x_transfer(vm, slot, IN1, X_DATA + 0x1000, 512).code, CC_SUCCESS);
    check_eq(t_ld(vm, X_DATA + 0x1000, 4), 21);
    check_eq(get_csw(vm, slot, NULL), 0);
    /* written, and read again */
    t_st(vm, X_DATA, 8, 0x1122334455667788);
    send_cbw(vm, slot, false, 512, (uint8_t[]){ 0x2a, 0, 0, 0, 0, 9, 0, 0, 1, 0 }, 10);
    check_eq(x_transfer(vm, slot, OUT2, X_DATA, 512).code, CC_SUCCESS);
    check_eq(get_csw(vm, slot, NULL), 0);
    t_st(vm, X_DATA, 8, 0);
    check_eq(command_in(vm, slot, 512, (uint8_t[]){ 0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0 }, 10, NULL), 0);
    check_eq(t_ld(vm, X_DATA, 8), 0x1122334455667788);
}
TEST("usb/storage", storage);

/* Its SCSI disk is told the sizes. */
static void storage_sizes(Vm *vm)
{
    unsigned slot;

    t_disk(vm, "d0", 1, NULL);
    t_disk(vm, "d1", 1, NULL);
    slot = disk(vm, "usb-storage,drive=d0,logical_block_size=4096,physical_block_size=16K,discard_granularity=64K");
    check_eq(command_in(vm, slot, 32, (uint8_t[16]){ 0x9e, 0x10, [13] = 32 }, 16, NULL), 0);
    check_eq(be32_swapped(vm, X_DATA + 4), 255);
    check_eq(be32_swapped(vm, X_DATA + 8), 4096);
    check_eq(t_ld(vm, X_DATA + 13, 2), 0x8002);
    check_eq(command_in(vm, slot, 64, (uint8_t[]){ 0x12, 1, 0xb0, 0, 64, 0 }, 6, NULL), 0);
    check_eq(be32_swapped(vm, X_DATA + 28), 16);
    t_refused(vm, NULL, "usb-storage,drive=d1,logical_block_size=1000", "logical_block_size=1000: must be a power of two from 512 to 2097152");
}
TEST("usb/storage-sizes", storage_sizes);

static void storage_mistakes(Vm *vm)
{
    unsigned slot;
    uint32_t residue;

    t_disk(vm, "d0", 1, NULL);
    slot = disk(vm, "usb-storage,drive=d0");
    /* beyond the end: no data, and a reason */
    check_eq(command_in(vm, slot, 512, (uint8_t[]){ 0x28, 0, 0, 1, 0, 0, 0, 0, 1, 0 }, 10, &residue), 1);
    check_eq(residue, 512);
    check_eq(command_in(vm, slot, 18, (uint8_t[]){ 3, 0, 0, 0, 18, 0 }, 6, NULL), 0);
    check_eq(t_ld(vm, X_DATA + 2, 1), 5);
    check_eq(t_ld(vm, X_DATA + 12, 1), 0x21);
    /* more than the host expects, and in the other direction */
    check_eq(command_in(vm, slot, 512, (uint8_t[]){ 0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0 }, 10, NULL), 2);
    send_cbw(vm, slot, false, 512, (uint8_t[]){ 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0 }, 10);
    x_transfer(vm, slot, OUT2, X_DATA, 512);
    check_eq(get_csw(vm, slot, NULL), 2);
    check_eq(command_in(vm, slot, 0, (uint8_t[]){ 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0 }, 10, NULL), 2);
    /* a wrapper that is none: both stall until a reset */
    t_st(vm, CBW, 4, 0);
    check_eq(x_transfer(vm, slot, OUT2, CBW, 31).code, CC_STALL);
    check_eq(t_ld(vm, X_CTX + 0x800 * slot + 32 * OUT2, 4) & 7, EP_HALTED);
    check_eq(x_transfer(vm, slot, IN1, CSW, 13).code, CC_STALL);
    check_eq(x_control(vm, slot, x_setup(CLASS_OUT, 0xff, 0, 0, 0), 0).code, CC_SUCCESS);
    check_eq(x_control(vm, slot, x_setup(2, 1, 0, 0x81, 0), 0).code, CC_SUCCESS);
    check_eq(x_control(vm, slot, x_setup(2, 1, 0, 2, 0), 0).code, CC_SUCCESS);
    check_eq(x_add_ep(vm, slot, IN1, EPT_BULK_IN, 1024, 0), CC_PARAMETER); /* is there */
    check_eq(x_command(vm, 0, 0, 12 << 10 | 1 << 9 | slot << 24).code, CC_SUCCESS); /* deconfigure */
    check_eq(x_add_ep(vm, slot, IN1, EPT_BULK_IN, 1024, 0), CC_SUCCESS);
    check_eq(x_add_ep(vm, slot, OUT2, EPT_BULK_OUT, 1024, 0), CC_SUCCESS);
    check_eq(command_in(vm, slot, 512, (uint8_t[]){ 0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0 }, 10, NULL), 0);
    check_eq(t_ld(vm, X_DATA, 4), 3);
}
TEST("usb/storage-mistakes", storage_mistakes);

/* Saved between command and status, with the data half moved. */
static void storage_moved(Vm *vm)
{
    g_autoptr(GByteArray) s = g_byte_array_new();
    unsigned slot;

    t_disk(vm, "d0", 1, NULL);
    slot = disk(vm, "usb-storage,drive=d0,id=st");
    send_cbw(vm, slot, true, 1024, (uint8_t[]){ 0x28, 0, 0, 0, 0, 20, 0, 0, 2, 0 }, 10);
    x_transfer(vm, slot, IN1, X_DATA, 512);
    check(vm_save_state(vm, s, &abort_on_error));
    vm_reset(vm, CAUSE_NONE);
    check(vm_load_state(vm, s->data, s->len, &abort_on_error));
    x_transfer(vm, slot, IN1, X_DATA, 512);
    check_eq(t_ld(vm, X_DATA, 4), 21);
    check_eq(get_csw(vm, slot, NULL), 0);
}
TEST("usb/storage-moved", storage_moved);

/* ---- hub ---- */
static void hub(Vm *vm)
{
    unsigned slot = plug(vm, "usb-hub,id=h,port=1", HIGH_PORT), behind;
    Dev *t;
    XEvent e;

    check_eq(x_add_ep(vm, slot, IN1, EPT_INTERRUPT_IN, 2, 4), CC_SUCCESS);
    x_control(vm, slot, x_setup(0xa0, 6, 0x2900, 0, 255), 255);
    check_eq(t_ld(vm, X_DATA, 3), 0x08290b & ones(24));
    t = dev_plug(vm, bus_find(vm, "x.0"), "usb-tablet,port=1.3", &abort_on_error);
    x_control(vm, slot, x_setup(0xa3, 0, 0, 3, 4), 4);
    check_eq(t_ld(vm, X_DATA, 4), 0); /* no power yet */
    check_eq(x_control(vm, slot, x_setup(0x23, 3, 8, 3, 0), 0).code, CC_SUCCESS);
    x_transfer(vm, slot, IN1, X_DATA, 2);
    check_eq(t_ld(vm, X_DATA, 2), 1 << 3);
    x_control(vm, slot, x_setup(0xa3, 0, 0, 3, 4), 4);
    check_eq(t_ld(vm, X_DATA, 4), 0x10501);
    x_control(vm, slot, x_setup(0x23, 1, 16, 3, 0), 0);
    x_control(vm, slot, x_setup(0x23, 3, 4, 3, 0), 0);
    x_control(vm, slot, x_setup(0xa3, 0, 0, 3, 4), 4);
    check_eq(t_ld(vm, X_DATA, 4), 0x100503);
    x_control(vm, slot, x_setup(0x23, 1, 20, 3, 0), 0);
    behind = x_attach(vm, HIGH_PORT, 3);
    x_control(vm, behind, x_setup(STD_IN, GET_DESCRIPTOR, 0x100, 0, 18), 18);
    check_eq(t_ld(vm, X_DATA + 8, 4), 0x00010627);
    t_step(vm, 100 * MS);
    x_put(vm, slot, IN1, X_DATA, 2, 1 << 10 | 1 << 5);
    x_bell(vm, slot, IN1);
    check(!x_event(vm, &e));
    dev_unplug_now(t);
    check(x_event(vm, &e));
    check_eq(t_ld(vm, X_DATA, 2), 1 << 3);
    dev_plug(vm, bus_find(vm, "x.0"), "usb-tablet,id=t2,port=1.4", &abort_on_error);
    dev_unplug_now(vm_find_dev(vm, "h")); /* and what is behind it */
    check(!vm_find_dev(vm, "t2"));
    check(!dev_plug(vm, bus_find(vm, "x.0"), "usb-tablet,port=1.4", NULL));
}
TEST("usb/hub", hub);

static void depth(Vm *vm)
{
    x_start(vm, "");
    for (unsigned n = 1; n <= USB_DEPTH; n++) {
        g_autofree char *text = g_strdup_printf("usb-hub,port=%.*s", 2 * (int)n - 1, "1.1.1.1.1");

        check(dev_plug(vm, bus_find(vm, "x.0"), text, NULL));
    }
    check(!dev_plug(vm, bus_find(vm, "x.0"), "usb-hub,port=1.1.1.1.1.1", NULL));
    check(dev_plug(vm, bus_find(vm, "x.0"), "usb-kbd,port=1.1.1.1.1.8", NULL));
}
TEST("usb/depth", depth);
