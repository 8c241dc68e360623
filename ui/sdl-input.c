/*
 * ui/sdl-input.c - keys by position (scancode, never by symbol) and the pointer. Absolute devices
 * follow the host's pointer without a grab; relative ones need it, Ctrl-Alt-G lets go.
 */
#include "ui/sdl.h"

#define NOSDL                                  SDL_SCANCODE_UNKNOWN
#define KEY(code, qcode, set1, set2, usb, sdl) [sdl] = code,
static const uint16_t by_scancode[SDL_NUM_SCANCODES] = {
#include "ui/keys.def"
};
#undef KEY

static void send(SdlWindow *s, const UiEvent *v, unsigned n)
{
    lock_take(&s->vm->lock);
    ui_input_send(s->vm, v, n);
    lock_drop(&s->vm->lock);
}

static bool hot_key(SdlWindow *s, const SDL_KeyboardEvent *e)
{
    bool both = (e->keysym.mod & KMOD_CTRL) && (e->keysym.mod & KMOD_ALT);
    SDL_Scancode code = e->keysym.scancode;

    if (code != SDL_SCANCODE_G && code != SDL_SCANCODE_F)
        return false;
    if (e->type == SDL_KEYUP) {
        both = s->grab_keys_held;
        s->grab_keys_held = false;
        return both;
    }
    if (!both || e->repeat)
        return s->grab_keys_held;
    s->grab_keys_held = true;
    lock_take(&s->vm->lock);
    ui_release_all(s->vm); /* the guest saw Ctrl and Alt go down */
    lock_drop(&s->vm->lock);
    if (code == SDL_SCANCODE_G)
        sdl__grab(s, !s->grabbed);
    else
        sdl__fullscreen(s, !s->fullscreen);
    return true;
}

void sdl__key(SdlWindow *s, const SDL_KeyboardEvent *e)
{
    UiEvent v = { .kind = UI_KEY, .down = e->type == SDL_KEYDOWN };

    if (hot_key(s, e) || e->keysym.scancode == NOSDL || e->keysym.scancode >= SDL_NUM_SCANCODES)
        return;
    v.key = by_scancode[e->keysym.scancode];
    if (v.key)
        send(s, &v, 1);
}

/* ---- pointer ---- */
static bool absolute(SdlWindow *s)
{
    bool abs;

    lock_take(&s->vm->lock);
    abs = ui_wants_abs(s->vm);
    lock_drop(&s->vm->lock);
    return abs;
}

static int32_t to_abs(int at, int start, int size)
{
    return size > 1 ? (int32_t)CLAMP((int64_t)(at - start) * 0x7fff / (size - 1), 0, 0x7fff) : 0;
}

static void motion(SdlWindow *s, const SDL_MouseMotionEvent *e)
{
    UiEvent v[2] = { { .kind = UI_REL, .axis = 0, .value = e->xrel },
                     { .kind = UI_REL, .axis = 1, .value = e->yrel } };
    SDL_Rect at;

    if (absolute(s)) {
        sdl__place(s, &at);
        v[0] = (UiEvent){ .kind = UI_ABS,
                          .axis = 0,
                          .value = to_abs(e->x, at.x, at.w),
                          .console = ui_view_console(s->view) };
        v[1] = (UiEvent){ .kind = UI_ABS,
                          .axis = 1,
                          .value = to_abs(e->y, at.y, at.h),
                          .console = ui_view_console(s->view) };
    } else if (!s->grabbed) {
        return;
    }
    send(s, v, 2);
}

static void button(SdlWindow *s, const SDL_MouseButtonEvent *e)
{
    static const uint8_t map[] = { [SDL_BUTTON_LEFT] = UI_LEFT,
                                   [SDL_BUTTON_MIDDLE] = UI_MIDDLE,
                                   [SDL_BUTTON_RIGHT] = UI_RIGHT,
                                   [SDL_BUTTON_X1] = UI_SIDE,
                                   [SDL_BUTTON_X2] = UI_EXTRA };
    UiEvent v = { .kind = UI_BUTTON, .down = e->type == SDL_MOUSEBUTTONDOWN };

    if (e->button < 1 || e->button >= G_N_ELEMENTS(map))
        return;
    if (!s->grabbed && !absolute(s)) { /* the first click only takes the pointer */
        if (e->type == SDL_MOUSEBUTTONDOWN)
            sdl__grab(s, true);
        return;
    }
    v.button = map[e->button];
    send(s, &v, 1);
}

static void wheel(SdlWindow *s, const SDL_MouseWheelEvent *e)
{
    int y = e->direction == SDL_MOUSEWHEEL_FLIPPED ? -e->y : e->y;
    UiEvent v = { .kind = UI_BUTTON, .button = y > 0 ? UI_WHEEL_UP : UI_WHEEL_DOWN };

    if (!y)
        v.button = e->x > 0 ? UI_WHEEL_RIGHT : UI_WHEEL_LEFT;
    for (int i = MIN(ABS(y ? y : e->x), 10); i > 0; i--) {
        v.down = true;
        send(s, &v, 1);
        v.down = false;
        send(s, &v, 1);
    }
}

void sdl__pointer(SdlWindow *s, const SDL_Event *e)
{
    if (!s->view)
        return;
    if (e->type == SDL_MOUSEMOTION)
        motion(s, &e->motion);
    else if (e->type == SDL_MOUSEWHEEL)
        wheel(s, &e->wheel);
    else
        button(s, &e->button);
}
