/*
 * hw/virtio/input.c - virtio keyboard, mouse and tablet. Source: virtio 1.2 section 5.8; codes are Linux's
 * (input-event-codes.h), which are also the key space of ui/ui.h. Left out: force feedback, multitouch.
 * A device takes part in the user's input only while a driver listens, so that firmware and boot loaders keep the PS/2
 * devices. Events wait in a bounded queue until the driver gives buffers; of a pointer that nobody reads whole packets
 * are lost, keys never: typing is paced by the room.
 */
#include "hw/virtio/virtio.h"
#include "ui/ui.h"
#include <linux/input-event-codes.h>

enum { CFG_UNSET, CFG_ID_NAME, CFG_ID_SERIAL, CFG_ID_DEVIDS, CFG_PROP_BITS = 0x10, CFG_EV_BITS, CFG_ABS_INFO };
enum { SELECT, SUBSEL, SIZE, DATA = 8, DATA_MAX = 128, CONFIG_SIZE = DATA + DATA_MAX };
enum { EVENTS = 0, STATUS = 1, QUEUE = 64, WAITING = 128, EVENT_BYTES = 8, ABS_LAST = 0x7fff, VENDOR_ID = 0x0627, BUS_VIRTUAL_ID = 6 };

typedef struct InputEvent {
    uint16_t type, code;
    uint32_t value;
} InputEvent;
typedef struct VirtioInput {
    Virtio v;
    char *serial;
    UiInput in;
    InputEvent wait[WAITING];
    uint32_t head, used, packet; /* of `wait`; packet: events of the one that is not whole yet */
    uint8_t select, subsel, leds;
    bool overrun; /* the packet does not fit and is dropped */
} VirtioInput;
#define I(d) ((VirtioInput *)(void *)(d))

typedef struct InputKind {
    const char *name;
    uint16_t product;
    unsigned takes; /* bits of UiEventKind */
    uint8_t axis;   /* EV_REL or EV_ABS */
} InputKind;
static const InputKind kinds[] = {
    { "QEMU Virtio Keyboard", 1, 1 << UI_KEY, 0 },
    { "QEMU Virtio Mouse", 2, 1 << UI_REL | 1 << UI_BUTTON, EV_REL },
    { "QEMU Virtio Tablet", 3, 1 << UI_ABS | 1 << UI_BUTTON, EV_ABS },
};
typedef struct InputClass {
    VirtioClass virtio; /* first */
    unsigned kind;
} InputClass;
static const InputKind *kind(const Virtio *v) { return &kinds[((const InputClass *)(const void *)virtio_class(v))->kind]; }

static const uint16_t button_codes[UI_BUTTONS] = {
    [UI_LEFT] = BTN_LEFT, [UI_MIDDLE] = BTN_MIDDLE, [UI_RIGHT] = BTN_RIGHT, [UI_SIDE] = BTN_SIDE, [UI_EXTRA] = BTN_EXTRA,
};

/* ---- to the driver ---- */
/* Bounded: what waits. */
static void flush(VirtioInput *s)
{
    while (s->used > s->packet) {
        const InputEvent *e = &s->wait[s->head];
        VirtioChain *c = virtio_pop(&s->v, EVENTS);
        uint8_t b[EVENT_BYTES];

        if (!c)
            return;
        le16_store(b, e->type);
        le16_store(b + 2, e->code);
        le32_store(b + 4, e->value);
        virtio_push(&s->v, c, virtio_in(&s->v, c, 0, b, sizeof(b)) ? sizeof(b) : 0);
        s->head = (s->head + 1) % WAITING;
        s->used--;
    }
}

static void put(VirtioInput *s, unsigned type, unsigned code, int32_t value)
{
    if (s->used + 1 >= WAITING || s->overrun) { /* the last place is the packet's end's */
        s->used -= s->packet;
        s->packet = 0;
        s->overrun = true;
        return;
    }
    s->wait[(s->head + s->used) % WAITING] = (InputEvent){ (uint16_t)type, (uint16_t)code, (uint32_t)value };
    s->used++;
    s->packet++;
}

static void wheel(VirtioInput *s, const UiEvent *e)
{
    static const struct {
        uint8_t button, code;
        int8_t step;
    } rows[] = { { UI_WHEEL_UP, REL_WHEEL, 1 }, { UI_WHEEL_DOWN, REL_WHEEL, -1 }, { UI_WHEEL_LEFT, REL_HWHEEL, -1 }, { UI_WHEEL_RIGHT, REL_HWHEEL, 1 } };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        if (rows[i].button == e->button && e->down)
            put(s, EV_REL, rows[i].code, rows[i].step);
}

static void event(void *o, const UiEvent *e)
{
    VirtioInput *s = o;

    switch (e->kind) {
    case UI_KEY: put(s, EV_KEY, e->key, e->down); break;
    case UI_REL: put(s, EV_REL, e->axis ? REL_Y : REL_X, e->value); break;
    case UI_ABS: put(s, EV_ABS, e->axis ? ABS_Y : ABS_X, CLAMP(e->value, 0, ABS_LAST)); break;
    case UI_BUTTON:
        if (e->button < UI_BUTTONS && button_codes[e->button])
            put(s, EV_KEY, button_codes[e->button], e->down);
        else
            wheel(s, e);
    }
}

static void packet_ended(void *o)
{
    VirtioInput *s = o;

    WITH_DEV(&s->v.pci.dev) {
        if (s->packet) {
            s->wait[(s->head + s->used) % WAITING] = (InputEvent){ EV_SYN, SYN_REPORT, 0 };
            s->used++;
        }
        s->packet = 0;
        s->overrun = false;
        flush(s);
    }
}

static unsigned room(void *o) { return (WAITING - ((const VirtioInput *)o)->used) / 4; }

static void live(Virtio *v, bool on)
{
    VirtioInput *s = I(v);

    if (on)
        ui_input_add(v->pci.dev.obj.vm, &s->in);
    else
        ui_input_del(v->pci.dev.obj.vm, s);
}

/* ---- from the driver ---- */
static void leds(VirtioInput *s, const uint8_t *b)
{
    static const uint8_t bit[] = { [LED_NUML] = 2, [LED_CAPSL] = 1, [LED_SCROLLL] = 4 };
    Vm *vm = s->v.pci.dev.obj.vm;
    unsigned code = le16_load(b + 2);

    if (le16_load(b) != EV_LED || code >= sizeof(bit))
        return;
    s->leds = (uint8_t)(le32_load(b + 4) ? s->leds | bit[code] : s->leds & ~bit[code]);
    ui_set_leds(vm, s->leds);
}

static void notified(Virtio *v, unsigned queue)
{
    VirtioChain *c;

    if (queue == EVENTS) {
        flush(I(v));
        ui_input_room(v->pci.dev.obj.vm, I(v));
        return;
    }
    for (unsigned i = 0; (c = virtio_take(v, STATUS, QUEUE, &i));) {
        uint8_t b[EVENT_BYTES];

        if (virtio_out(v, c, 0, b, sizeof(b)))
            leds(I(v), b);
        virtio_push(v, c, 0);
    }
}

/* ---- configuration: what `select` and `subsel` ask for ---- */
static unsigned text(uint8_t *out, const char *s)
{
    unsigned n = s ? (unsigned)MIN(strlen(s), DATA_MAX) : 0;

    memcpy(out, s ? s : "", n);
    return n;
}

static unsigned set_bit(uint8_t *out, unsigned code, unsigned len)
{
    out[code / 8] |= (uint8_t)(1u << code % 8);
    return MAX(len, code / 8 + 1);
}

static unsigned key_bits(const InputKind *k, uint8_t *out)
{
    unsigned n = 0;

    for (unsigned key = 1; k->takes & 1 << UI_KEY && key < KEY_MAX && key / 8 < DATA_MAX; key++)
        if (ui_qcode((uint16_t)key))
            n = set_bit(out, key, n);
    for (unsigned i = 0; k->takes & 1 << UI_BUTTON && i < UI_BUTTONS; i++)
        if (button_codes[i])
            n = set_bit(out, button_codes[i], n);
    return n;
}

static unsigned event_bits(const InputKind *k, unsigned type, uint8_t *out)
{
    unsigned n = 0;

    if (type == EV_KEY)
        return key_bits(k, out);
    if (type == EV_REL && k->takes & 1 << UI_BUTTON)
        n = set_bit(out, REL_HWHEEL, set_bit(out, REL_WHEEL, n));
    if (type == k->axis && k->axis) /* X and Y are 0 and 1 of either */
        n = set_bit(out, 1, set_bit(out, 0, n));
    if (k->takes & 1 << UI_KEY && type == EV_REP)
        n = set_bit(out, REP_PERIOD, set_bit(out, REP_DELAY, n));
    if (k->takes & 1 << UI_KEY && type == EV_LED)
        n = set_bit(out, LED_SCROLLL, set_bit(out, LED_CAPSL, set_bit(out, LED_NUML, n)));
    return n;
}

static unsigned device_ids(const InputKind *k, uint8_t *out)
{
    le16_store(out, BUS_VIRTUAL_ID);
    le16_store(out + 2, VENDOR_ID);
    le16_store(out + 4, k->product);
    le16_store(out + 6, 1);
    return 8;
}

static unsigned axis_info(const InputKind *k, unsigned axis, uint8_t *out)
{
    if (k->axis != EV_ABS || axis > ABS_Y)
        return 0;
    le32_store(out + 4, ABS_LAST);
    return 20;
}

static void config(const Virtio *v, uint8_t *out)
{
    const VirtioInput *s = (const VirtioInput *)(const void *)v;
    unsigned n = 0;

    switch (s->select) {
    case CFG_ID_NAME: n = text(out + DATA, kind(v)->name); break;
    case CFG_ID_SERIAL: n = text(out + DATA, s->serial); break;
    case CFG_ID_DEVIDS: n = device_ids(kind(v), out + DATA); break;
    case CFG_EV_BITS: n = event_bits(kind(v), s->subsel, out + DATA); break;
    case CFG_ABS_INFO: n = axis_info(kind(v), s->subsel, out + DATA); break;
    default: break;
    }
    out[SELECT] = s->select;
    out[SUBSEL] = s->subsel;
    out[SIZE] = (uint8_t)n;
}

static void config_w(Virtio *v, unsigned off, uint8_t val)
{
    if (off == SELECT)
        I(v)->select = val;
    else if (off == SUBSEL)
        I(v)->subsel = val;
}

/* ---- life ---- */
static void reset(Virtio *v)
{
    VirtioInput *s = I(v);

    s->select = s->subsel = s->leds = 0;
    s->head = s->used = s->packet = 0;
    s->overrun = false;
    memset(s->wait, 0, sizeof(s->wait));
}

static bool init(Obj *o, Error **err)
{
    VirtioInput *s = I(o);

    s->in = (UiInput){ .name = kind(&s->v)->name, .takes = kind(&s->v)->takes, .event = event, .sync = packet_ended, .o = s };
    if (s->in.takes & 1 << UI_KEY)
        s->in.room = room;
    return true;
}

static void fini(Obj *o) { ui_input_del(o->vm, o); }
static void unplug(Dev *d) { ui_input_del(dev_vm(d), d); }

static bool check(const Dev *d, Error **err)
{
    const VirtioInput *s = (const VirtioInput *)(const void *)d;

    return (s->head < WAITING && s->used <= WAITING && s->packet <= s->used) || fail(err, "a queue of events cannot be in that state");
}

/* clang-format off */
static const Prop props[] = { PROP_STR(VirtioInput, serial, "serial", NULL, "what the guest reads as its serial number") };
static const Field event_fields[] = { FIELD(InputEvent, type), FIELD(InputEvent, code), FIELD(InputEvent, value) };
static const FieldTable event_table = TABLE(event_fields);
static const Field fields[] = {
    FIELD(VirtioInput, select), FIELD(VirtioInput, subsel), FIELD(VirtioInput, leds), FIELD(VirtioInput, head), FIELD(VirtioInput, used), FIELD(VirtioInput, packet),
    FIELD(VirtioInput, overrun), STRUCTS(VirtioInput, wait, &event_table), TRANSIENT(VirtioInput, in, "registration", .keep = true),
};
#define INPUT(c, nm, dsc, k)                                                                                              \
    static const InputClass c = { .virtio = {                                                                              \
        VIRTIO_DEVICE(VirtioInput, nm, dsc, 18), .pci.class_id = 0x098000, .pci.dev.category = "Input devices",            \
        .pci.dev.obj.props = TABLE(props), .pci.dev.obj.init = init, .pci.dev.obj.fini = fini, .pci.dev.state = TABLE(fields), \
        .pci.dev.check = check, .pci.dev.unplug = unplug, .pci.dev.hotplug = true, .form = VIRTIO_MODERN, .queues = 2, .queue_size = QUEUE, \
        .config_size = CONFIG_SIZE, .config = config, .config_w = config_w, .notified = notified, .reset = reset, .live = live, \
    }, .kind = (k) };                                                                                                     \
    DEVICE_OF(VirtioInput, c, &c.virtio.pci.dev)
INPUT(keyboard, "virtio-keyboard-pci", "virtio keyboard", 0);
INPUT(mouse, "virtio-mouse-pci", "virtio mouse", 1);
INPUT(tablet, "virtio-tablet-pci", "virtio tablet: a pointer without grab", 2);
/* clang-format on */
