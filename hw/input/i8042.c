/*
 * hw/input/i8042.c - the keyboard controller with a PS/2 keyboard (set 2, translated) and a PS/2 mouse with wheel.
 * Source: IBM PS/2 keyboard and auxiliary device controller technical reference; Microsoft's IntelliMouse note.
 * Left out: scan code sets 1 and 3 of the keyboard itself, typematic repeat (the host repeats), explorer buttons.
 */
#include "hw/isa/isa.h"
#include "ui/ui.h"

enum { ST_OBF = 1, ST_UNLOCK = 16, ST_AUX = 32 };
enum { M_KBD_IRQ = 1, M_AUX_IRQ = 2, M_SYS = 4, M_KBD_OFF = 16, M_AUX_OFF = 32, M_XLATE = 64 };
enum { QUEUE = 64 };

typedef struct Queue {
    uint8_t data[QUEUE], head, used;
} Queue;
typedef struct I8042 {
    Dev dev;
    uint32_t irq, irq_aux; /* properties */
    Queue kbd, aux;
    uint8_t mode, command /* of the controller, waiting for its byte */, outport, out /* a byte of the controller's own */, out_full;
    uint8_t kbd_cmd, kbd_on, leds, scancode_set, aux_cmd, aux_on, aux_wrap, resolution, rate, scaling, id, knock, buttons, remote;
    uint8_t between; /* the last byte was taken, the next is still on the wire: the line is low, so that it is an edge again */
    int32_t dx, dy, dz;
    Timer wire;
    UiInput in_kbd, in_mouse;
} I8042;
#define KBC(d) ((I8042 *)(d))

static void put(Queue *q, uint8_t v)
{
    if (q->used < QUEUE) {
        q->data[(q->head + q->used) % QUEUE] = v;
        q->used++;
    }
}

static uint8_t get(Queue *q)
{
    uint8_t v = q->data[q->head % QUEUE];

    if (!q->used)
        return 0;
    q->head = (uint8_t)((q->head + 1) % QUEUE);
    q->used--;
    return v;
}

static bool kbd_waits(const I8042 *s) { return s->kbd.used && !(s->mode & M_KBD_OFF); }
static bool aux_waits(const I8042 *s) { return s->aux.used && !(s->mode & M_AUX_OFF); }
/* What the data port shows: 1 the controller's byte, 2 the keyboard's, 3 the mouse's. */
static unsigned front(const I8042 *s) { return s->out_full ? s->out_full : s->between ? 0 : kbd_waits(s) ? 2 : aux_waits(s) ? 3 : 0; }

static bool kbd_irq(const Dev *d)
{
    unsigned f = front(KBC(d));

    return KBC(d)->mode & M_KBD_IRQ && (f == 1 || f == 2);
}
static bool aux_irq(const Dev *d) { return KBC(d)->mode & M_AUX_IRQ && (front(KBC(d)) == 3 || front(KBC(d)) == 4); }

static uint64_t status(const Dev *d)
{
    const I8042 *s = KBC(d);
    unsigned f = front(s);

    return ST_UNLOCK | (s->mode & M_SYS) | (f ? ST_OBF : 0) | (f >= 3 ? ST_AUX : 0);
}

/* Set 2 to set 1 as the controller translates; its table is the keys' two columns turned into bytes. */
static uint8_t translate(uint8_t v)
{
    static const uint8_t set1[128] = {
        0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, 0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10,
        0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, 0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21,
        0x14, 0x13, 0x06, 0x5d, 0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33,
        0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e,
        0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e,
        0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54 };

    return v == 0x83 ? 0x41 : v < 128 ? set1[v] : v;
}

/* Release prefixes (F0) vanish into bit 7 of the code behind them. */
static void key_bytes(I8042 *s, const uint8_t *p, unsigned n)
{
    uint8_t up = 0;

    for (unsigned i = 0; i < n; i++) {
        if (!(s->mode & M_XLATE))
            put(&s->kbd, p[i]);
        else if (p[i] == 0xf0)
            up = 0x80;
        else {
            put(&s->kbd, p[i] == 0xe0 || p[i] == 0xe1 ? p[i] : translate(p[i]) | up);
            up = p[i] == 0xe0 ? up : 0;
        }
    }
}

static void key_event(void *o, const UiEvent *e)
{
    I8042 *s = o;
    int code = ui_key_to_set2(e->key);
    uint8_t b[4];
    unsigned n = 0;

    if (code < 0 || !s->kbd_on)
        return;
    if (code > 0xff)
        b[n++] = 0xe0;
    if (!e->down)
        b[n++] = 0xf0;
    b[n++] = (uint8_t)code;
    WITH_DEV(&s->dev) {
        key_bytes(s, b, n);
    }
}

static unsigned key_room(void *o) { return (QUEUE - ((I8042 *)o)->kbd.used) / 4; }

/* ---- keyboard commands ---- */
static void kbd_byte(I8042 *s, uint8_t v)
{
    uint8_t cmd = s->kbd_cmd;

    s->kbd_cmd = 0;
    if (cmd) {
        put(&s->kbd, 0xfa);
        if (cmd == 0xed) {
            s->leds = v & 7;
            ui_set_leds(dev_vm(&s->dev), (unsigned)((v & 4 ? 1 : 0) | (v & 2 ? 2 : 0) | (v & 1 ? 4 : 0)));
        } else if (cmd == 0xf0 && !v) {
            put(&s->kbd, s->mode & M_XLATE ? translate(s->scancode_set) : s->scancode_set);
        } else if (cmd == 0xf0 && v <= 3) {
            s->scancode_set = v;
        }
        return;
    }
    switch (v) {
    case 0xed:
    case 0xf0:
    case 0xf3: s->kbd_cmd = v; break;
    case 0xf4: s->kbd_on = 1; break;
    case 0xf5: s->kbd_on = 0; break;
    case 0xf6: s->kbd_on = 1; break;
    case 0xee: put(&s->kbd, 0xee); return;
    case 0xfe: return;
    default: break;
    }
    put(&s->kbd, 0xfa);
    if (v == 0xf2) {
        put(&s->kbd, 0xab);
        put(&s->kbd, s->mode & M_XLATE ? 0x41 : 0x83);
    } else if (v == 0xff) {
        s->kbd_on = 1;
        s->scancode_set = 2;
        put(&s->kbd, 0xaa);
    }
}

/* ---- mouse ---- */
static void mouse_defaults(I8042 *s)
{
    s->aux_on = s->scaling = s->remote = s->aux_wrap = 0;
    s->resolution = 2;
    s->rate = 100;
}

static void mouse_packet(I8042 *s)
{
    int dx = CLAMP(s->dx, -255, 255), dy = CLAMP(-s->dy, -255, 255), dz = CLAMP(s->dz, -7, 7);

    if (s->aux.used > QUEUE - 8)
        return;
    s->dx -= dx;
    s->dy += dy;
    s->dz -= dz;
    put(&s->aux, (uint8_t)(8 | (s->buttons & 7) | (dx < 0 ? 16 : 0) | (dy < 0 ? 32 : 0)));
    put(&s->aux, (uint8_t)dx);
    put(&s->aux, (uint8_t)dy);
    if (s->id)
        put(&s->aux, (uint8_t)dz);
}

static void mouse_event(void *o, const UiEvent *e)
{
    static const uint8_t bit[UI_BUTTONS] = { [UI_LEFT] = 1, [UI_RIGHT] = 2, [UI_MIDDLE] = 4 };
    I8042 *s = o;

    if (e->kind == UI_REL && e->axis == 0)
        s->dx = CLAMP(s->dx + e->value, -4096, 4096);
    else if (e->kind == UI_REL)
        s->dy = CLAMP(s->dy + e->value, -4096, 4096);
    else if (e->kind == UI_BUTTON && e->button == UI_WHEEL_UP)
        s->dz -= e->down;
    else if (e->kind == UI_BUTTON && e->button == UI_WHEEL_DOWN)
        s->dz += e->down;
    else if (e->kind == UI_BUTTON && e->button < UI_BUTTONS)
        s->buttons = (uint8_t)(e->down ? s->buttons | bit[e->button] : s->buttons & ~bit[e->button]);
    s->dz = CLAMP(s->dz, -64, 64);
}

static void mouse_sync(void *o)
{
    I8042 *s = o;

    if (!s->aux_on || s->remote)
        return;
    WITH_DEV(&s->dev) {
        mouse_packet(s);
    }
}

static void mouse_argument(I8042 *s, uint8_t cmd, uint8_t v)
{
    if (cmd == 0xe8)
        s->resolution = v & 3;
    if (cmd != 0xf3)
        return;
    s->rate = v;
    s->knock = v == 200 ? 1 : v == 100 && s->knock == 1 ? 2 : v == 80 && s->knock == 2 ? 3 : 0; /* 200, 100, 80: a wheel mouse */
    if (s->knock == 3)
        s->id = 3;
}

static void aux_byte(I8042 *s, uint8_t v)
{
    uint8_t cmd = s->aux_cmd;

    s->aux_cmd = 0;
    if (s->aux_wrap && v != 0xff && v != 0xec) {
        put(&s->aux, v);
        return;
    }
    put(&s->aux, 0xfa);
    if (cmd) {
        mouse_argument(s, cmd, v);
        return;
    }
    switch (v) {
    case 0xe6: s->scaling = 0; break;
    case 0xe7: s->scaling = 1; break;
    case 0xe8:
    case 0xf3: s->aux_cmd = v; break;
    case 0xe9:
        put(&s->aux, (uint8_t)(s->remote << 6 | s->aux_on << 5 | s->scaling << 4 | (s->buttons & 7)));
        put(&s->aux, s->resolution);
        put(&s->aux, s->rate);
        break;
    case 0xea: s->remote = 0; break;
    case 0xeb: mouse_packet(s); break;
    case 0xec: s->aux_wrap = 0; break;
    case 0xee: s->aux_wrap = 1; break;
    case 0xf0: s->remote = 1; break;
    case 0xf2: put(&s->aux, s->id); break;
    case 0xf4: s->aux_on = 1; break;
    case 0xf5: s->aux_on = 0; break;
    case 0xf6: mouse_defaults(s); break;
    case 0xff:
        mouse_defaults(s);
        s->id = 0;
        put(&s->aux, 0xaa);
        put(&s->aux, 0);
        break;
    default: break;
    }
}

/* ---- the controller ---- */
static void answer(I8042 *s, uint8_t v)
{
    s->out = v;
    s->out_full = 1;
}

static void command(Dev *d, uint64_t val, unsigned lanes)
{
    I8042 *s = KBC(d);
    uint8_t v = (uint8_t)val;

    s->command = 0;
    switch (v) {
    case 0x20: answer(s, s->mode); break;
    case 0x60:
    case 0xd1:
    case 0xd2:
    case 0xd3:
    case 0xd4: s->command = v; break;
    case 0xa7: s->mode |= M_AUX_OFF; break;
    case 0xa8: s->mode &= (uint8_t)~M_AUX_OFF; break;
    case 0xa9: answer(s, 0); break;
    case 0xaa: answer(s, 0x55); break;
    case 0xab: answer(s, 0); break;
    case 0xad: s->mode |= M_KBD_OFF; break;
    case 0xae: s->mode &= (uint8_t)~M_KBD_OFF; break;
    case 0xc0: answer(s, 0x80); break;
    case 0xd0: answer(s, s->outport); break;
    case 0xdd: s->outport &= (uint8_t)~2; break;
    case 0xdf: s->outport |= 2; break;
    default:
        if ((v & 0xf1) == 0xf0) /* pulse the reset line */
            irq_pulse(dev_out(d, "init", 0));
        else if (v < 0xf0)
            guest_error(d, "command %#x is not defined", v);
    }
}

static void data_written(Dev *d, uint64_t val, unsigned lanes)
{
    I8042 *s = KBC(d);
    uint8_t v = (uint8_t)val, cmd = s->command;

    s->command = 0;
    switch (cmd) {
    case 0: kbd_byte(s, v); break;
    case 0x60: s->mode = v; break;
    case 0xd1:
        s->outport = v;
        if (!(v & 1))
            irq_pulse(dev_out(d, "init", 0));
        break;
    case 0xd2: answer(s, v); break;
    case 0xd3:
        s->out = v;
        s->out_full = 4;
        break;
    default: aux_byte(s, v);
    }
}

static uint64_t data_value(const Dev *d)
{
    const I8042 *s = KBC(d);

    switch (front(s)) {
    case 2: return s->kbd.data[s->kbd.head % QUEUE];
    case 3: return s->aux.data[s->aux.head % QUEUE];
    default: return s->out;
    }
}

static void arrived(Dev *d) { KBC(d)->between = 0; }

static void data_read(Dev *d, unsigned lanes)
{
    I8042 *s = KBC(d);
    unsigned f = front(s);

    if (f == 2 || f == 3) {
        s->between = 1;
        timer_in(&s->wire, 100 * US);
    }
    switch (f) {
    case 2:
        s->out = get(&s->kbd);
        ui_input_room(dev_vm(d), s);
        break;
    case 3: s->out = get(&s->aux); break;
    default: s->out_full = 0;
    }
}

static bool init(Obj *o, Error **err)
{
    I8042 *s = (I8042 *)o;

    s->in_mouse = (UiInput){ .name = "ps2-mouse", .takes = 1 << UI_REL | 1 << UI_BUTTON, .event = mouse_event, .sync = mouse_sync, .o = s };
    s->in_kbd = (UiInput){ .name = "ps2-kbd", .takes = 1 << UI_KEY, .event = key_event, .room = key_room, .o = s };
    ui_input_add(o->vm, &s->in_mouse);
    ui_input_add(o->vm, &s->in_kbd);
    return true;
}

static void fini(Obj *o) { ui_input_del(o->vm, o); }

static bool check_state(const Dev *d, Error **err)
{
    const I8042 *s = KBC(d);

    if (s->kbd.used > QUEUE || s->aux.used > QUEUE || s->kbd.head >= QUEUE || s->aux.head >= QUEUE || s->out_full > 4 || s->out_full == 2 ||
        s->out_full == 3)
        return fail(err, "a queue of the keyboard controller cannot be in that state");
    return true;
}

/* clang-format off */
static const Field queue_fields[] = { BYTES(Queue, data), FIELD(Queue, head), FIELD(Queue, used) };
static const FieldTable queue_table = TABLE(queue_fields);
static const Reg regs[] = {
    { .name = "data", .off = 0, NOFIELD(1), .value = data_value, .on_read = data_read, .wrote = data_written, .doc = "data of keyboard, mouse or controller" },
};
static const Reg ctl_regs[] = {
    { .name = "status", .off = 0, NOFIELD(1), .ro = true, .value = status, .doc = "what waits" },
    { .name = "command", .off = 0, NOFIELD(1), .wo = true, .wrote = command, .doc = "controller command" },
};
static const Field state[] = {
    STRUCT(I8042, kbd, &queue_table), STRUCT(I8042, aux, &queue_table), FIELD(I8042, mode, .reset = M_KBD_IRQ | M_AUX_IRQ | M_XLATE | M_SYS), FIELD(I8042, command),
    FIELD(I8042, outport, .reset = 0xcf), FIELD(I8042, out), FIELD(I8042, out_full), FIELD(I8042, kbd_cmd), FIELD(I8042, kbd_on, .reset = 1), FIELD(I8042, leds),
    FIELD(I8042, scancode_set, .reset = 2), FIELD(I8042, aux_cmd), FIELD(I8042, aux_on), FIELD(I8042, aux_wrap), FIELD(I8042, resolution, .reset = 2),
    FIELD(I8042, rate, .reset = 100), FIELD(I8042, scaling), FIELD(I8042, id), FIELD(I8042, knock), FIELD(I8042, buttons), FIELD(I8042, remote),
    FIELD(I8042, between), FIELD(I8042, dx), FIELD(I8042, dy), FIELD(I8042, dz),
    TIMER(I8042, wire, arrived, CLOCK_VM),
    TRANSIENT(I8042, in_kbd, "registration", .keep = true), TRANSIENT(I8042, in_mouse, "registration", .keep = true),
};
static const Bank banks[] = { { "i8042-data", 1, TABLE(regs) }, { "i8042-cmd", 1, TABLE(ctl_regs) } };
static bool a20(const Dev *d) { return KBC(d)->outport & 2; }
static const Out outs[] = { { "irq", kbd_irq }, { "irq1", aux_irq }, { "a20", a20 }, { "init" } };
static const Prop props[] = {
    PROP(I8042, irq, "kbd-irq", 1, "line of the keyboard"), PROP(I8042, irq_aux, "mouse-irq", 12, "line of the mouse"),
};
static const IsaClass i8042 = {
    ISA_DEVICE(I8042, "i8042", "Keyboard controller with keyboard and mouse"), .dev.category = "Input devices", .dev.no_user = true,
    .dev.obj.init = init, .dev.obj.fini = fini, .dev.obj.props = TABLE(props), .dev.state = TABLE(state), .dev.check = check_state,
    .dev.banks = banks, .dev.nbanks = 2, .dev.outs = outs, .dev.nouts = 4,
    .port[0] = { .base = 0x60, .bank = &banks[0] }, .port[1] = { .base = 0x64, .bank = &banks[1] },
    .irq_at = { offsetof(I8042, irq), offsetof(I8042, irq_aux) },
};
DEVICE_OF(I8042, i8042, &i8042.dev);
/* clang-format on */
