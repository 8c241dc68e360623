/*
 * ui/input.c - events from front ends and monitors to input devices. Keys go through one queue that
 * is paced by the device's room and by the holds of send-key, so typing is never lost or reordered;
 * pointer events are delivered at once.
 */
#include "ui/priv.h"

typedef struct Queued { /* a key, or a pause */
    UiEvent key;
    int64_t pause; /* ns of VM time; 0: it is a key */
} Queued;

static UiInput *handler(Ui *ui, UiEventKind kind)
{
    for (guint i = ui->inputs->len; i-- > 0;) {
        UiInput *in = ui->inputs->pdata[i];

        if (in->takes & 1u << kind)
            return in;
    }
    return NULL;
}

void ui_input_add(Vm *vm, const UiInput *i)
{
    UiInput *in = g_memdup2(i, sizeof(*i));

    in->id = ui__of(vm)->next_input++;
    g_ptr_array_add(ui__of(vm)->inputs, in);
}

static guint index_of(Ui *ui, void *o)
{
    for (guint i = 0; i < ui->inputs->len; i++)
        if (((UiInput *)ui->inputs->pdata[i])->o == o)
            return i;
    return G_MAXUINT;
}

void ui_input_del(Vm *vm, void *o)
{
    Ui *ui = ui__of(vm);
    guint i = index_of(ui, o);

    if (i != G_MAXUINT)
        g_ptr_array_remove_index(ui->inputs, i);
}

void ui_input_activate(Vm *vm, void *o)
{
    Ui *ui = ui__of(vm);
    guint i = index_of(ui, o);
    UiInput *in = i == G_MAXUINT ? NULL : g_memdup2(ui->inputs->pdata[i], sizeof(*in));

    if (!in)
        return;
    g_ptr_array_remove_index(ui->inputs, i);
    g_ptr_array_add(ui->inputs, in);
}

bool ui_takes(Vm *vm, UiEventKind kind) { return handler(ui__of(vm), kind); }

bool ui_wants_abs(Vm *vm)
{
    Ui *ui = ui__of(vm);
    UiInput *abs = handler(ui, UI_ABS), *rel = handler(ui, UI_REL);

    return abs && (!rel || index_of(ui, abs->o) >= index_of(ui, rel->o));
}

/* ---- keys ---- */
static void flush(Ui *ui);
static void pace_fired(void *owner, unsigned n) { flush(owner); }

static bool send_key(Ui *ui, const UiEvent *v)
{
    UiInput *in = handler(ui, UI_KEY);

    if (in && in->room && !in->room(in->o))
        return false;
    if (v->key < UI_KEYS)
        ui->down[v->key] = v->down;
    if (in) {
        in->event(in->o, v);
        if (in->sync)
            in->sync(in->o);
    }
    return true;
}

static void flush(Ui *ui)
{
    Queued *q;

    if (ui->flushing || timer_pending(&ui->pace))
        return;
    ui->flushing = true; /* a device may say it has room from inside event() */
    while ((q = g_queue_peek_head(&ui->keys))) { /* at most UI_QUEUE entries */
        if (!q->pause && !send_key(ui, &q->key))
            break;
        g_queue_pop_head(&ui->keys);
        if (q->pause) {
            if (!ui->pace.vm)
                timer_init(&ui->pace, ui->vm, CLOCK_VM, pace_fired, ui);
            timer_in(&ui->pace, q->pause);
            g_free(q);
            break;
        }
        g_free(q);
    }
    ui->flushing = false;
}

static void enqueue(Ui *ui, const UiEvent *v, int64_t pause)
{
    Queued *q;

    if (g_queue_get_length(&ui->keys) >= UI_QUEUE && (!v || v->down))
        return; /* nobody reads: new presses are dropped, releases never */
    q = g_new0(Queued, 1);
    q->pause = pause;
    if (v)
        q->key = *v;
    g_queue_push_tail(&ui->keys, q);
}

void ui_input_room(Vm *vm, void *o) { flush(ui__of(vm)); }

/* ---- a packet ---- */
static void pointer(Ui *ui, const UiEvent *v, GPtrArray *touched)
{
    UiInput *in =
        v->kind == UI_BUTTON && ui_wants_abs(ui->vm) ? handler(ui, UI_ABS) : handler(ui, v->kind);

    if (in && !(in->takes & 1u << v->kind))
        in = handler(ui, v->kind);
    if (v->kind == UI_BUTTON && v->button < UI_BUTTONS)
        ui->buttons = v->down ? ui->buttons | 1u << v->button : ui->buttons & ~(1u << v->button);
    if (!in)
        return;
    in->event(in->o, v);
    if (!g_ptr_array_find(touched, in, NULL))
        g_ptr_array_add(touched, in);
}

static void packet(void *arg, const void *data, size_t len)
{
    Ui *ui = arg;
    const UiEvent *v = data;
    g_autoptr(GPtrArray) touched = g_ptr_array_new();

    for (size_t i = 0; i < len / sizeof(*v); i++) {
        if (v[i].kind == UI_KEY)
            enqueue(ui, &v[i], 0);
        else
            pointer(ui, &v[i], touched);
    }
    for (guint i = 0; i < touched->len; i++) {
        UiInput *in = touched->pdata[i];

        if (in->sync)
            in->sync(in->o);
    }
    flush(ui);
}

void ui_input_send(Vm *vm, const UiEvent *v, unsigned n)
{
    door_call(vm, "input", packet, ui__of(vm), v, n * sizeof(*v));
}

void ui_release_all(Vm *vm)
{
    Ui *ui = ui__of(vm);

    for (unsigned k = 0; k < UI_KEYS; k++)
        if (ui->down[k])
            ui_input_send(vm, &(UiEvent){ .kind = UI_KEY, .key = (uint16_t)k }, 1);
    for (unsigned b = 0; b < UI_BUTTONS; b++)
        if (ui->buttons & 1u << b)
            ui_input_send(vm, &(UiEvent){ .kind = UI_BUTTON, .button = (uint8_t)b }, 1);
}

/* ---- typing ---- */
void ui_send_keys(Vm *vm, const uint16_t *keys, unsigned n, int64_t hold_ns)
{
    Ui *ui = ui__of(vm);

    for (unsigned i = 0; i < n; i++)
        enqueue(ui, &(UiEvent){ .kind = UI_KEY, .key = keys[i], .down = true }, 0);
    enqueue(ui, NULL, MAX(hold_ns, MS));
    for (unsigned i = n; i-- > 0;)
        enqueue(ui, &(UiEvent){ .kind = UI_KEY, .key = keys[i] }, 0);
    flush(ui);
}

/* clang-format off */
static const struct { char ch; const char *qcode; bool shift; } us_keys[] = {
    { ' ', "spc", 0 }, { '\n', "ret", 0 }, { '\t', "tab", 0 }, { '-', "minus", 0 }, { '_', "minus", 1 },
    { '=', "equal", 0 }, { '+', "equal", 1 }, { '[', "bracket_left", 0 }, { '{', "bracket_left", 1 },
    { ']', "bracket_right", 0 }, { '}', "bracket_right", 1 }, { ';', "semicolon", 0 }, { ':', "semicolon", 1 },
    { '\'', "apostrophe", 0 }, { '"', "apostrophe", 1 }, { '`', "grave_accent", 0 }, { '~', "grave_accent", 1 },
    { '\\', "backslash", 0 }, { '|', "backslash", 1 }, { ',', "comma", 0 }, { '<', "comma", 1 }, { '.', "dot", 0 },
    { '>', "dot", 1 }, { '/', "slash", 0 }, { '?', "slash", 1 }, { '!', "1", 1 }, { '@', "2", 1 }, { '#', "3", 1 },
    { '$', "4", 1 }, { '%', "5", 1 }, { '^', "6", 1 }, { '&', "7", 1 }, { '*', "8", 1 }, { '(', "9", 1 }, { ')', "0", 1 },
};
/* clang-format on */

static int key_of(char ch, bool *shift)
{
    char name[2] = { g_ascii_tolower(ch), 0 };

    *shift = g_ascii_isupper(ch);
    if (g_ascii_isalnum(ch))
        return ui_key_by_qcode(name);
    for (size_t i = 0; i < G_N_ELEMENTS(us_keys); i++) {
        if (us_keys[i].ch == ch) {
            *shift = us_keys[i].shift;
            return ui_key_by_qcode(us_keys[i].qcode);
        }
    }
    return -1;
}

bool ui_type(Vm *vm, const char *text, Error **err)
{
    bool shift;

    for (const char *p = text; *p; p++)
        if (key_of(*p, &shift) < 0)
            return fail(err, "there is no key for character 0x%02x", (uint8_t)*p);
    for (; *text; text++) {
        uint16_t code = (uint16_t)key_of(*text, &shift), both[2] = { KEY_LEFTSHIFT, code };

        ui_send_keys(vm, shift ? both : &code, shift ? 2 : 1, 20 * MS);
    }
    return true;
}

/* ---- LEDs ---- */
void ui_set_leds(Vm *vm, unsigned leds) { ui__of(vm)->leds = leds; }
unsigned ui_leds(Vm *vm) { return ui__of(vm)->leds; }
