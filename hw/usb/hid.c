/*
 * hw/usb/hid.c - keyboard, mouse and tablet. Source: HID 1.11 (report descriptors, section 7.2 requests, appendix B boot
 * protocol), HID Usage Tables 1.12. Left out: LEDs beyond the boot keyboard's, multimedia keys, horizontal wheels.
 * A device takes part in the user's input only while it is configured, so that before that the PS/2 devices are heard. What the user did
 * waits in a bounded queue, an entry for each report: motion adds up in the newest, keys are never lost (typing is paced by the room).
 */
#include "hw/usb/usb.h"
#include "ui/ui.h"

enum { GET_REPORT = 0xa101, GET_IDLE, GET_PROTOCOL, SET_REPORT = 0x2109, SET_IDLE, SET_PROTOCOL, GET_IFACE_DESCRIPTOR = 0x8106 };
enum { BOOT_PROTOCOL, REPORT_PROTOCOL, HID_DESCRIPTOR = 0x21, REPORT_DESCRIPTOR, HID_LEN = 9, INPUT_REPORT = 1, OUTPUT_REPORT };
enum { QUEUE = 64, ROLLOVER = 6, ROLLED_OVER = 1, FIRST_MODIFIER = 0xe0, REPORT_MAX = 8, IDLE_UNIT = 4 * MS, FAR = 0x7fff };
enum { KEYBOARD, MOUSE, TABLET };

typedef struct HidEvent { /* a key, or what a pointer did */
    int32_t x, y, z;
    uint16_t buttons; /* pressed; a keyboard: the usage */
    uint16_t down;
} HidEvent;
typedef struct Hid {
    UsbDev usb;
    UiInput in;
    uint32_t usb_version;
    uint8_t protocol, idle /* units of 4 ms, 0: only when something happens */, leds;
    bool due; /* the idle time has passed */
    bool listening;
    uint32_t head, used; /* of q; the entry behind them is being made */
    HidEvent now;        /* what was reported last */
    Timer idle_over;
    uint8_t down[32];    /* keys, by usage */
    HidEvent q[QUEUE];
} Hid;
#define H(d) ((Hid *)(void *)(d))

typedef struct HidClass {
    UsbClass usb; /* first */
    uint8_t kind;
    unsigned takes; /* bits of UiEventKind */
    const uint8_t *report;
    uint8_t report_len;
} HidClass;
static const HidClass *hid_class(const Hid *s) { return (const HidClass *)(const void *)s->usb.dev.cls; }
static Vm *vm_of(Hid *s) { return s->usb.dev.obj.vm; }

/* ---- what the user does ---- */
static HidEvent *entry(Hid *s, unsigned n) { return &s->q[(s->head + n) % QUEUE]; }

static const uint16_t button_bits[UI_BUTTONS] = { [UI_LEFT] = 1, [UI_RIGHT] = 2, [UI_MIDDLE] = 4, [UI_SIDE] = 8, [UI_EXTRA] = 16 };

static void pointer_event(Hid *s, const UiEvent *e)
{
    HidEvent *t = entry(s, s->used);

    if (e->kind == UI_REL || e->kind == UI_ABS) {
        int32_t *at = e->axis ? &t->y : &t->x;

        *at = e->kind == UI_ABS ? CLAMP(e->value, 0, FAR) : CLAMP(*at + e->value, -FAR, FAR);
    } else if (e->button == UI_WHEEL_UP || e->button == UI_WHEEL_DOWN) {
        t->z = CLAMP(t->z + (!e->down ? 0 : e->button == UI_WHEEL_UP ? 1 : -1), -127, 127);
    } else if (e->button < UI_BUTTONS) {
        t->buttons = (uint16_t)(e->down ? t->buttons | button_bits[e->button] : t->buttons & ~button_bits[e->button]);
    }
}

static void key_event(Hid *s, const UiEvent *e)
{
    int usage = ui_key_to_usb(e->key);

    if (usage <= ROLLED_OVER || usage > 0xff || s->used + 1 >= QUEUE)
        return;
    *entry(s, s->used++) = (HidEvent){ .buttons = (uint16_t)usage, .down = e->down };
}

static void event(void *o, const UiEvent *e)
{
    Hid *s = o;

    if (hid_class(s)->kind == KEYBOARD)
        key_event(s, e);
    else
        pointer_event(s, e);
}

/* Motion joins an entry that nobody has read, unless a button came between; with a full queue all does. */
static void pointer_done(Hid *s)
{
    HidEvent *t = entry(s, s->used), *last = s->used ? entry(s, s->used - 1) : NULL, next;
    bool tablet = hid_class(s)->kind == TABLET;

    next = (HidEvent){ .x = tablet ? t->x : 0, .y = tablet ? t->y : 0, .buttons = t->buttons };
    if (last && last->buttons == t->buttons && s->used > 1) {
        last->x = tablet ? t->x : CLAMP(last->x + t->x, -FAR, FAR);
        last->y = tablet ? t->y : CLAMP(last->y + t->y, -FAR, FAR);
        last->z = CLAMP(last->z + t->z, -127, 127);
    } else if (s->used + 2 < QUEUE) {
        s->used++;
    } else {
        return;
    }
    *entry(s, s->used) = next;
}

static void packet_ended(void *o)
{
    Hid *s = o;

    WITH_DEV(&s->usb.dev) {
        if (hid_class(s)->kind != KEYBOARD)
            pointer_done(s);
        usb_wakeup(&s->usb);
        usb_ready(&s->usb, USB_IN | 1);
    }
}

static unsigned room(void *o) { return QUEUE - 2 - MIN(((const Hid *)o)->used, QUEUE - 2u); }

/* ---- reports ---- */
static unsigned keyboard_report(const Hid *s, uint8_t *b)
{
    unsigned n = 2;

    for (unsigned u = 1; u < 256; u++) {
        if (!(s->down[u / 8] >> u % 8 & 1))
            continue;
        if (u >= FIRST_MODIFIER)
            b[0] |= (uint8_t)(u < FIRST_MODIFIER + 8 ? 1u << (u - FIRST_MODIFIER) : 0);
        else if (n < 2 + ROLLOVER)
            b[n++] = (uint8_t)u;
        else
            memset(b + 2, ROLLED_OVER, ROLLOVER);
    }
    return 2 + ROLLOVER;
}

static unsigned pointer_report(const Hid *s, uint8_t *b)
{
    const HidEvent *e = &s->now;

    b[0] = (uint8_t)e->buttons;
    if (hid_class(s)->kind == TABLET) {
        le16_store(b + 1, (uint16_t)e->x);
        le16_store(b + 3, (uint16_t)e->y);
        b[5] = (uint8_t)e->z;
        return 6;
    }
    b[1] = (uint8_t)e->x;
    b[2] = (uint8_t)e->y;
    b[3] = (uint8_t)e->z;
    return s->protocol == BOOT_PROTOCOL ? 3 : 4;
}

static unsigned report(const Hid *s, uint8_t b[REPORT_MAX])
{
    memset(b, 0, REPORT_MAX);
    return hid_class(s)->kind == KEYBOARD ? keyboard_report(s, b) : pointer_report(s, b);
}

/* The next entry becomes what is reported; a mouse's long way takes several reports. */
static void advance(Hid *s)
{
    HidEvent *e = entry(s, 0);

    s->now = *e;
    if (hid_class(s)->kind == KEYBOARD) {
        uint8_t bit = (uint8_t)(1u << (e->buttons & 7));

        s->down[e->buttons / 8 % 32] = (uint8_t)(e->down ? s->down[e->buttons / 8 % 32] | bit : s->down[e->buttons / 8 % 32] & ~bit);
    }
    if (hid_class(s)->kind == MOUSE) {
        s->now.x = CLAMP(e->x, -127, 127);
        s->now.y = CLAMP(e->y, -127, 127);
        e->x -= s->now.x;
        e->y -= s->now.y;
        e->z = 0;
        if (e->x || e->y)
            return;
    }
    s->head = (s->head + 1) % QUEUE;
    s->used--;
}

static void idle_start(Hid *s)
{
    s->due = false;
    if (s->idle)
        timer_at(&s->idle_over, clock_now(&s->usb.dev) + s->idle * IDLE_UNIT);
    else
        timer_del(&s->idle_over);
}

static void idle_over(Dev *d)
{
    H(d)->due = true;
    usb_ready(USB(d), USB_IN | 1);
}

static UsbStatus transfer(UsbDev *d, UsbXfer *x)
{
    Hid *s = H(d);
    uint8_t b[REPORT_MAX];
    unsigned n;

    if (!s->used && !s->due)
        return USB_NAK;
    if (s->used) {
        advance(s);
    } else if (hid_class(s)->kind != KEYBOARD) {
        s->now.z = 0;
        if (hid_class(s)->kind == MOUSE)
            s->now.x = s->now.y = 0;
    }
    n = report(s, b);
    if (x->len < n)
        return USB_BABBLE;
    usb_put(x, b, n);
    idle_start(s);
    if (hid_class(s)->kind == KEYBOARD)
        ui_input_room(vm_of(s), s);
    return USB_OK;
}

/* ---- requests ---- */
static UsbStatus get_descriptor(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    const HidClass *c = hid_class(H(d));

    if (q->index)
        return USB_STALL;
    if (q->value >> 8 == REPORT_DESCRIPTOR)
        return usb_answer(x, q, c->report, c->report_len);
    if (q->value >> 8 == HID_DESCRIPTOR)
        return usb_answer(x, q, c->usb.iface->extra, c->usb.iface->extra_len);
    return USB_STALL;
}

static UsbStatus get_report(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    uint8_t b[REPORT_MAX];
    unsigned n = report(H(d), b);

    if (q->value >> 8 == OUTPUT_REPORT)
        return usb_answer(x, q, &H(d)->leds, 1);
    return q->value >> 8 == INPUT_REPORT ? usb_answer(x, q, b, n) : USB_STALL;
}

static UsbStatus set_report(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    Hid *s = H(d);
    uint8_t b = 0;

    if (q->value >> 8 != OUTPUT_REPORT || hid_class(s)->kind != KEYBOARD || usb_get(x, &b, 1) != 1)
        return USB_STALL;
    s->leds = b;
    ui_set_leds(vm_of(s), (b & 2 ? 1u : 0) | (b & 1 ? 2u : 0) | (b & 4));
    return USB_OK;
}

static UsbStatus get_idle(UsbDev *d, UsbXfer *x, const UsbRequest *q) { return usb_answer(x, q, &H(d)->idle, 1); }

static UsbStatus set_idle(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    H(d)->idle = (uint8_t)(q->value >> 8);
    idle_start(H(d));
    return USB_OK;
}

static UsbStatus get_protocol(UsbDev *d, UsbXfer *x, const UsbRequest *q) { return usb_answer(x, q, &H(d)->protocol, 1); }

static UsbStatus set_protocol(UsbDev *d, UsbXfer *x, const UsbRequest *q)
{
    if (q->value > REPORT_PROTOCOL || !usb_class(d)->iface->subclass)
        return USB_STALL;
    H(d)->protocol = (uint8_t)q->value;
    return USB_OK;
}

/* ---- life ---- */
static void listen(Hid *s, bool on)
{
    if (on && !s->listening)
        ui_input_add(vm_of(s), &s->in);
    else if (!on && s->listening)
        ui_input_del(vm_of(s), s);
    s->listening = on;
}

static void empty(Hid *s)
{
    s->head = s->used = 0;
    memset(s->q, 0, sizeof(s->q));
    memset(s->down, 0, sizeof(s->down));
    s->now = (HidEvent){ .x = 0 };
}

static void configured(UsbDev *d)
{
    Hid *s = H(d);

    empty(s);
    s->protocol = REPORT_PROTOCOL;
    s->idle = 0;
    idle_start(s);
    listen(s, d->config);
}

static bool init(Obj *o, Error **err)
{
    Hid *s = H(o);

    if (s->usb_version != 1 && s->usb_version != 2)
        return fail(err, "usb_version=%u: must be 1 or 2", s->usb_version);
    if (s->usb_version == 1)
        s->usb.speeds = AT_FULL;
    s->in = (UiInput){ .name = usb_class(&s->usb)->name, .takes = hid_class(s)->takes, .event = event, .sync = packet_ended, .o = s };
    if (hid_class(s)->kind == KEYBOARD)
        s->in.room = room;
    return true;
}

static void fini(Obj *o) { ui_input_del(o->vm, o); }
static void on_reset(Dev *d) { listen(H(d), false); }
static void unplug(Dev *d) { listen(H(d), false); }
static void loaded(Dev *d) { listen(H(d), H(d)->usb.config); }

static bool check(const Dev *d, Error **err)
{
    const Hid *s = (const Hid *)(const void *)d;

    if (s->head >= QUEUE || s->used >= QUEUE - 1 || s->protocol > REPORT_PROTOCOL)
        return fail(err, "a queue of reports cannot be so");
    for (unsigned i = 0; i < QUEUE; i++)
        if (s->q[i].x < -FAR || s->q[i].x > FAR || s->q[i].y < -FAR || s->q[i].y > FAR)
            return fail(err, "a pointer cannot go so far");
    return true;
}

/* clang-format off */
static const uint8_t keyboard_desc[] = {
    0x05, 1, 0x09, 6, 0xa1, 1,                                          /* Generic Desktop, Keyboard: application */
    0x05, 7, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0, 0x25, 1, 0x75, 1, 0x95, 8, 0x81, 2, /* modifiers */
    0x75, 8, 0x95, 1, 0x81, 1,                                          /* a byte that is reserved */
    0x05, 8, 0x19, 1, 0x29, 5, 0x75, 1, 0x95, 5, 0x91, 2, 0x75, 3, 0x95, 1, 0x91, 1, /* LEDs, padding */
    0x05, 7, 0x19, 0, 0x29, 0xff, 0x15, 0, 0x26, 0xff, 0, 0x75, 8, 0x95, 6, 0x81, 0, /* keys */
    0xc0,
};
#define BUTTONS_ITEMS 0x05, 9, 0x19, 1, 0x29, 5, 0x15, 0, 0x25, 1, 0x75, 1, 0x95, 5, 0x81, 2, 0x75, 3, 0x95, 1, 0x81, 1
#define WHEEL_ITEMS 0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x35, 0, 0x45, 0, 0x75, 8, 0x95, 1, 0x81, 6
static const uint8_t mouse_desc[] = {
    0x05, 1, 0x09, 2, 0xa1, 1, 0x09, 1, 0xa1, 0,                        /* Generic Desktop, Mouse: Pointer */
    BUTTONS_ITEMS, 0x05, 1, 0x09, 0x30, 0x09, 0x31, 0x15, 0x81, 0x25, 0x7f, 0x75, 8, 0x95, 2, 0x81, 6, /* X, Y relative */
    WHEEL_ITEMS, 0xc0, 0xc0,
};
static const uint8_t tablet_desc[] = {
    0x05, 1, 0x09, 2, 0xa1, 1, 0x09, 1, 0xa1, 0,
    BUTTONS_ITEMS, 0x05, 1, 0x09, 0x30, 0x09, 0x31, 0x15, 0, 0x26, 0xff, 0x7f, 0x35, 0, 0x46, 0xff, 0x7f, 0x75, 16, 0x95, 2, 0x81, 2, /* absolute */
    WHEEL_ITEMS, 0xc0, 0xc0,
};
#define HID_EXTRA(desc) { HID_LEN, HID_DESCRIPTOR, 0x11, 0x01, 0, 1, REPORT_DESCRIPTOR, sizeof(desc), 0 }
static const uint8_t keyboard_extra[] = HID_EXTRA(keyboard_desc), mouse_extra[] = HID_EXTRA(mouse_desc), tablet_extra[] = HID_EXTRA(tablet_desc);
static const UsbEp hid_ep[] = { { .addr = USB_IN | 1, .type = USB_INTERRUPT, .packet = { 8, 8, 8, 8 }, .ms = 4 } };
#define IFACE(sub, prot, ex) { { .class_id = 3, .subclass = (sub), .protocol = (prot), .extra = (ex), .extra_len = sizeof(ex), .ep = hid_ep, .neps = 1 } }
static const UsbIface keyboard_if[] = IFACE(1, 1, keyboard_extra), mouse_if[] = IFACE(1, 2, mouse_extra), tablet_if[] = IFACE(0, 0, tablet_extra);
static const UsbOp ops[] = {
    { GET_IFACE_DESCRIPTOR, "GET_DESCRIPTOR (interface)", get_descriptor },
    { GET_REPORT, "GET_REPORT", get_report }, { SET_REPORT, "SET_REPORT", set_report }, { GET_IDLE, "GET_IDLE", get_idle },
    { SET_IDLE, "SET_IDLE", set_idle }, { GET_PROTOCOL, "GET_PROTOCOL", get_protocol }, { SET_PROTOCOL, "SET_PROTOCOL", set_protocol },
};
#define V(m) FIELD(HidEvent, m)
static const Field event_fields[] = { V(x), V(y), V(z), V(buttons), V(down) };
static const FieldTable event_table = TABLE(event_fields);
static const Field fields[] = {
    FIELD(Hid, protocol, .reset = REPORT_PROTOCOL), FIELD(Hid, idle), FIELD(Hid, leds), FIELD(Hid, due), FIELD(Hid, head), FIELD(Hid, used),
    STRUCT(Hid, now, &event_table), TIMER(Hid, idle_over, idle_over, CLOCK_VM), BYTES(Hid, down), STRUCTS(Hid, q, &event_table),
    TRANSIENT(Hid, in, "registration", .keep = true), TRANSIENT(Hid, listening, "follows the configuration", .keep = true),
};
static const Prop props[] = { PROP(Hid, usb_version, "usb_version", 2, "2: high speed where the port has it; 1: full speed") };
#define HID(c, nm, dsc, nme, kd, tk, ds, fc)                                                                                \
    static const HidClass c = { .usb = {                                                                                    \
        USB_DEVICE(Hid, nm, dsc), .dev.category = "Input devices", .dev.obj.props = TABLE(props), .dev.obj.init = init, .dev.obj.fini = fini, \
        .dev.state = TABLE(fields), .dev.on_reset = on_reset, .dev.unplug = unplug, .dev.loaded = loaded, .dev.check = check, \
        .vendor = 0x0627, .product = 1, .maker = "QEMU", .name = (nme), .speeds = AT_FULL | AT_HIGH, .packet0 = 8,           \
        .attributes = REMOTE_WAKEUP, .milliamps = 100, USB_IFACE_TABLE(fc), USB_OPS(ops), .transfer = transfer,      \
        .configured = configured,                                                                                           \
    }, .kind = (kd), .takes = (tk), .report = (ds), .report_len = sizeof(ds) };                                             \
    DEVICE_OF(Hid, c, &c.usb.dev)
HID(keyboard, "usb-kbd", "USB keyboard", "QEMU USB Keyboard", KEYBOARD, 1 << UI_KEY, keyboard_desc, keyboard_if);
HID(mouse, "usb-mouse", "USB mouse", "QEMU USB Mouse", MOUSE, 1 << UI_REL | 1 << UI_BUTTON, mouse_desc, mouse_if);
HID(tablet, "usb-tablet", "USB tablet: a pointer without grab", "QEMU USB Tablet", TABLET, 1 << UI_ABS | 1 << UI_BUTTON, tablet_desc, tablet_if);
/* clang-format on */
