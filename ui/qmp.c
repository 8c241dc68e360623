/* ui/qmp.c - the monitor's commands about screens, keyboards and pointers (schema/ui.json). */
#include "core/api/ui.h"
#include "ui/priv.h"

enum { KEYS_AT_ONCE = 16, EVENTS_AT_ONCE = 256 };

/* ---- screens ---- */
UiConsole *ui__console_of(Vm *vm, const char *device, int64_t head, Error **err)
{
    const Dev *d = device ? vm_find_dev(vm, device) : NULL;
    UiConsole *c;

    if (device && !d) {
        fail(err, "Device '%s' not found", device);
        error_class(err, "DeviceNotFound");
        return NULL;
    }
    for (unsigned i = 0; i < ui__of(vm)->consoles->len; i++) {
        c = ui_console(vm, i);
        if (c && (!d || ui_console_owner(c) == d) && !head--)
            return c;
    }
    fail(err, "There is no console to take a screendump from");
    return NULL;
}

bool qmp_screendump(Vm *vm, const ScreendumpArgs *args, Error **err)
{
    UiConsole *c;

    if (args->has_head && !args->device)
        return fail(err, "'head' must be specified together with 'device'");
    c = ui__console_of(vm, args->device, args->head, err);
    return c && ui_screendump(c, args->filename, args->has_format ? api_ImageFormat.names[args->format] : "ppm", err);
}

void hmp_screendump(Hmp *h, const HmpScreendumpArgs *args)
{
    const char *device = args->named ? args->device : args->format; /* without -f the second word is the device */
    UiConsole *c;
    Error *err = NULL;
    int format = args->named && args->format ? api_enum_find(&api_ImageFormat, args->format) : -1;

    if (args->named && format < 0)
        fail(&err, "Parameter 'format' does not accept value '%s'", args->format ? args->format : "");
    else if ((c = ui__console_of(h->vm, device, args->head, &err)))
        ui_screendump(c, args->filename, format < 0 ? NULL : args->format, &err);
    hmp_say_error(h, err);
}

/* ---- keys ---- */
static bool key_of(const KeyValue *k, uint16_t *out, Error **err)
{
    bool by_number = k->type == KEY_VALUE_KIND_NUMBER;
    int code = by_number ? ui_key_by_number((unsigned)k->u.number.data) : ui_key_by_qcode(k->u.qcode.data);

    if (code < 0 && by_number)
        return fail(err, "Parameter 'data' does not accept value '%" PRId64 "'", k->u.number.data);
    if (code < 0)
        return fail(err, "Parameter 'data' does not accept value '%s'", k->u.qcode.data);
    *out = (uint16_t)code;
    return true;
}

bool qmp_send_key(Vm *vm, const SendKeyArgs *args, Error **err)
{
    uint16_t keys[KEYS_AT_ONCE];

    if (args->keys.n > KEYS_AT_ONCE)
        return fail(err, "at most %d keys at once", KEYS_AT_ONCE);
    for (size_t i = 0; i < args->keys.n; i++)
        if (!key_of(&args->keys.v[i], &keys[i], err))
            return false;
    ui_send_keys(vm, keys, (unsigned)args->keys.n, CLAMP(args->has_hold_time ? args->hold_time : 100, 0, 60 * 1000) * MS);
    return true;
}

static int key_by_text(const char *name)
{
    uint64_t n;

    if (g_str_has_prefix(name, "0x") && parse_u64(name, &n, NULL))
        return ui_key_by_number((unsigned)n);
    return ui_key_by_qcode(!strcmp(name, "<") ? "less" : name);
}

void hmp_sendkey(Hmp *h, const HmpSendkeyArgs *args)
{
    g_auto(GStrv) names = g_strsplit(args->keys, "-", -1);
    uint16_t keys[KEYS_AT_ONCE];
    unsigned n = 0;

    for (char **k = names; *k; k++) {
        int code = key_by_text(*k);

        if (code < 0 || n == KEYS_AT_ONCE) {
            g_string_append_printf(h->out, code < 0 ? "invalid parameter: %s\n" : "too many keys: %s\n", *k);
            return;
        }
        keys[n++] = (uint16_t)code;
    }
    ui_send_keys(h->vm, keys, n, CLAMP(args->has_hold_time ? args->hold_time : 100, 0, 60 * 1000) * MS);
}

/* ---- events ---- */
static bool event_of(Vm *vm, const InputEvent *in, UiConsole *c, UiEvent *out, Error **err)
{
    static const UiEventKind kinds[] = { [INPUT_EVENT_KIND_KEY] = UI_KEY, [INPUT_EVENT_KIND_BTN] = UI_BUTTON,
                                         [INPUT_EVENT_KIND_REL] = UI_REL, [INPUT_EVENT_KIND_ABS] = UI_ABS };
    const InputMoveEvent *move = in->type == INPUT_EVENT_KIND_REL ? &in->u.rel.data : &in->u.abs.data;

    *out = (UiEvent){ .kind = kinds[in->type], .console = c };
    if (!ui_takes(vm, out->kind))
        return fail(err, "Input handler not found for event type %s", api_InputEventKind.names[in->type]);
    if (out->kind == UI_KEY) {
        out->down = in->u.key.data.down;
        return key_of(&in->u.key.data.key, &out->key, err);
    }
    if (out->kind == UI_BUTTON) {
        out->button = (uint8_t)in->u.btn.data.button; /* the same order: checked in a test */
        out->down = in->u.btn.data.down;
        return true;
    }
    out->axis = (uint8_t)move->axis;
    out->value = (int32_t)CLAMP(move->value, INT32_MIN, INT32_MAX);
    if (out->kind == UI_ABS)
        out->value = CLAMP(out->value, 0, 0x7fff);
    return true;
}

bool qmp_input_send_event(Vm *vm, const InputSendEventArgs *args, Error **err)
{
    UiConsole *c = args->device ? ui__console_of(vm, args->device, args->head, err) : NULL;
    UiEvent ev[EVENTS_AT_ONCE];

    if (args->device && !c)
        return false;
    if (args->events.n > EVENTS_AT_ONCE)
        return fail(err, "at most %d events at once", EVENTS_AT_ONCE);
    for (size_t i = 0; i < args->events.n; i++)
        if (!event_of(vm, &args->events.v[i], c, &ev[i], err))
            return false;
    ui_input_send(vm, ev, (unsigned)args->events.n);
    return true;
}

static void click(UiEvent *ev, unsigned *n, UiButton b, bool down) { ev[(*n)++] = (UiEvent){ .kind = UI_BUTTON, .button = b, .down = down }; }

void hmp_mouse_move(Hmp *h, const HmpMouseMoveArgs *args)
{
    UiEvent ev[4];
    unsigned n = 0;

    ev[n++] = (UiEvent){ .kind = UI_REL, .axis = 0, .value = (int32_t)CLAMP(args->dx, -10000, 10000) };
    ev[n++] = (UiEvent){ .kind = UI_REL, .axis = 1, .value = (int32_t)CLAMP(args->dy, -10000, 10000) };
    if (args->dz) {
        click(ev, &n, args->dz > 0 ? UI_WHEEL_UP : UI_WHEEL_DOWN, true);
        click(ev, &n, args->dz > 0 ? UI_WHEEL_UP : UI_WHEEL_DOWN, false);
    }
    ui_input_send(h->vm, ev, n);
}

void hmp_mouse_button(Hmp *h, const HmpMouseButtonArgs *args)
{
    static const UiButton order[] = { UI_LEFT, UI_MIDDLE, UI_RIGHT };
    UiEvent ev[G_N_ELEMENTS(order)];
    unsigned n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++)
        click(ev, &n, order[i], args->state >> i & 1);
    ui_input_send(h->vm, ev, n);
}

/* ---- mice ---- */
static bool points(const UiInput *in) { return in->takes & (1u << UI_REL | 1u << UI_ABS); }

/* The front is last; numbers stay with the device. */
bool qmp_query_mice(Vm *vm, MouseInfoList *ret, Error **err)
{
    const GPtrArray *v = ui__of(vm)->inputs;
    bool found = false;

    for (guint i = v->len; i-- > 0;) {
        const UiInput *in = v->pdata[i];
        MouseInfo *m = points(in) ? API_ADD(ret) : NULL;

        if (!m)
            continue;
        m->name = g_strdup(in->name);
        m->index = in->id;
        m->current = !found;
        m->absolute = in->takes & 1u << UI_ABS;
        found = true;
    }
    return true;
}

void hmp_info_mice(Hmp *h)
{
    MouseInfoList l = { NULL, 0 };

    qmp_query_mice(h->vm, &l, NULL);
    for (size_t i = 0; i < l.n; i++)
        g_string_append_printf(h->out, "%c Mouse #%" PRId64 ": %s%s\n", l.v[i].current ? '*' : ' ', l.v[i].index, l.v[i].name,
                               l.v[i].absolute ? " (absolute)" : "");
    if (!l.n)
        g_string_append(h->out, "No mouse devices connected\n");
    api_clear(&api_MouseInfoList, &l);
}

void hmp_mouse_set(Hmp *h, const HmpMouseSetArgs *args)
{
    const GPtrArray *v = ui__of(h->vm)->inputs;

    for (guint i = 0; i < v->len; i++) {
        const UiInput *in = v->pdata[i];

        if (points(in) && in->id == args->index) {
            ui_input_activate(h->vm, in->o);
            return;
        }
    }
    g_string_append_printf(h->out, "Error: Mouse at index '%" PRId64 "' not found\n", args->index);
}
