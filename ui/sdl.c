/*
 * ui/sdl.c - a window (SDL 2): shows console 0 scaled to the window, takes keys and pointer.
 * Main thread; the VM lock is held only to copy what changed and to hand over input.
 *   Ctrl-Alt-G grab / let go     Ctrl-Alt-F full screen     close: power button, again: quit
 */
#include "ui/sdl.h"

enum { TICK_MS = 16, HIDDEN_TICK_MS = 200 };

void sdl__title(SdlWindow *s)
{
    g_autofree char *t = g_strdup_printf(
        "Menura%s%s%s%s%s", s->vm->cfg.name ? " (" : "", s->vm->cfg.name ? s->vm->cfg.name : "",
        s->vm->cfg.name ? ")" : "", s->state == RUN_RUNNING ? "" : " [stopped]",
        s->grabbed ? " - press Ctrl-Alt-G to let go" : "");

    SDL_SetWindowTitle(s->window, t);
}

void sdl__grab(SdlWindow *s, bool on)
{
    s->grabbed = on;
    SDL_SetRelativeMouseMode(on ? SDL_TRUE : SDL_FALSE);
    SDL_SetWindowKeyboardGrab(s->window, on ? SDL_TRUE : SDL_FALSE);
    sdl__title(s);
}

void sdl__fullscreen(SdlWindow *s, bool on)
{
    s->fullscreen = on;
    SDL_SetWindowFullscreen(s->window, on ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0);
    s->redraw = true;
}

void sdl__place(const SdlWindow *s, SDL_Rect *out)
{
    int ww = 1, wh = 1;

    SDL_GetWindowSize(s->window, &ww, &wh);
    if ((int64_t)ww * s->h > (int64_t)wh * s->w) {
        out->h = wh;
        out->w = (int)((int64_t)s->w * wh / MAX(s->h, 1));
    } else {
        out->w = ww;
        out->h = (int)((int64_t)s->h * ww / MAX(s->w, 1));
    }
    out->x = (ww - out->w) / 2;
    out->y = (wh - out->h) / 2;
}

/* The window as large as the picture, smaller when the screen is; around the same centre, but whole on the screen. */
static void fit_window(SdlWindow *s)
{
    SDL_Rect screen;
    int x, y, ow, oh, w = s->w, h = s->h, display = SDL_GetWindowDisplayIndex(s->window);

    if (display >= 0 && !SDL_GetDisplayUsableBounds(display, &screen) && screen.w > 0 && screen.h > 0) {
        if (w > screen.w) {
            h = (int)((int64_t)h * screen.w / w);
            w = screen.w;
        }
        if (h > screen.h) {
            w = (int)((int64_t)w * screen.h / h);
            h = screen.h;
        }
        SDL_GetWindowPosition(s->window, &x, &y);
        SDL_GetWindowSize(s->window, &ow, &oh);
        x += (ow - w) / 2;
        y += (oh - h) / 2;
        SDL_SetWindowPosition(s->window, CLAMP(x, screen.x, screen.x + screen.w - w), CLAMP(y, screen.y, screen.y + screen.h - h));
    }
    SDL_SetWindowSize(s->window, w, h);
}

/* ---- pictures ---- */
static void new_size(SdlWindow *s, pixman_image_t *im)
{
    s->w = pixman_image_get_width(im);
    s->h = pixman_image_get_height(im);
    if (s->texture)
        SDL_DestroyTexture(s->texture);
    s->texture = SDL_CreateTexture(s->renderer, SDL_PIXELFORMAT_RGB888, SDL_TEXTUREACCESS_STREAMING,
                                   s->w, s->h);
    if (s->texture)
        SDL_SetTextureScaleMode(s->texture, s->linear ? SDL_ScaleModeLinear : SDL_ScaleModeNearest);
    if (!s->fullscreen && !(SDL_GetWindowFlags(s->window) & SDL_WINDOW_MAXIMIZED))
        fit_window(s);
}

static void upload(SdlWindow *s, pixman_image_t *im, const UiRect *r)
{
    SDL_Rect at = { r->x, r->y, r->w, r->h };
    pixman_image_t *to;
    void *pixels;
    int pitch;

    if (!s->texture || SDL_LockTexture(s->texture, &at, &pixels, &pitch))
        return;
    to = pixman_image_create_bits_no_clear(PIXMAN_x8r8g8b8, r->w, r->h, pixels, pitch);
    pixman_image_composite32(PIXMAN_OP_SRC, im, NULL, to, r->x, r->y, 0, 0, 0, 0, r->w, r->h);
    pixman_image_unref(to);
    SDL_UnlockTexture(s->texture);
}

static void set_cursor(SdlWindow *s, const UiCursor *c)
{
    SDL_Surface *im;

    if (s->cursor)
        SDL_FreeCursor(s->cursor);
    s->cursor = NULL;
    if (!c->w) {
        SDL_SetCursor(SDL_GetDefaultCursor());
        return;
    }
    im = SDL_CreateRGBSurfaceWithFormatFrom(c->argb, c->w, c->h, 32, c->w * 4,
                                            SDL_PIXELFORMAT_ARGB8888);
    if (im)
        s->cursor = SDL_CreateColorCursor(im, c->hot_x, c->hot_y);
    SDL_FreeSurface(im);
    if (s->cursor)
        SDL_SetCursor(s->cursor);
}

static void find_console(SdlWindow *s)
{
    UiConsole *c;

    if (s->view && !ui_view_console(s->view)) {
        ui_view_free(s->view);
        s->view = NULL;
    }
    c = s->view ? NULL : ui_console(s->vm, 0);
    if (c)
        s->view = ui_view_new(c);
}

static void look(SdlWindow *s)
{
    UiCursor cursor;
    UiRect r;

    lock_take(&s->vm->lock);
    find_console(s);
    if (s->view) {
        pixman_image_t *im;

        ui_view_refresh(s->view);
        im = ui_surface(ui_view_console(s->view));
        if (ui_view_resized(s->view))
            new_size(s, im);
        if (ui_view_take(s->view, &r)) {
            upload(s, im, &r);
            s->redraw = true;
        }
        if (ui_view_cursor(s->view, &cursor))
            set_cursor(s, &cursor);
    }
    if (s->vm->state != s->state) {
        s->state = s->vm->state;
        sdl__title(s);
    }
    lock_drop(&s->vm->lock);
}

static void present(SdlWindow *s)
{
    SDL_Rect at;

    if (!s->redraw || s->hidden)
        return;
    s->redraw = false;
    sdl__place(s, &at);
    SDL_SetRenderDrawColor(s->renderer, 0, 0, 0, 255);
    SDL_RenderClear(s->renderer);
    if (s->texture)
        SDL_RenderCopy(s->renderer, s->texture, NULL, &at);
    SDL_RenderPresent(s->renderer);
}

/* ---- events ---- */
static void window_event(SdlWindow *s, const SDL_WindowEvent *e)
{
    switch (e->event) {
    case SDL_WINDOWEVENT_FOCUS_LOST:
        lock_take(&s->vm->lock);
        ui_release_all(s->vm);
        lock_drop(&s->vm->lock);
        if (s->grabbed)
            sdl__grab(s, false);
        break;
    case SDL_WINDOWEVENT_HIDDEN:
    case SDL_WINDOWEVENT_MINIMIZED:
        s->hidden = true;
        break;
    case SDL_WINDOWEVENT_SHOWN:
    case SDL_WINDOWEVENT_RESTORED:
    case SDL_WINDOWEVENT_EXPOSED:
    case SDL_WINDOWEVENT_SIZE_CHANGED:
        s->hidden = false;
        s->redraw = true;
        break;
    default:
        break;
    }
}

static void close_window(SdlWindow *s)
{
    if (s->close_asked) {
        vm_exit_code(s->vm, 0);
        vm_request(s->vm, VM_SHUTDOWN, CAUSE_HOST_UI);
        return;
    }
    s->close_asked = true;
    vm_request(s->vm, VM_POWERDOWN, CAUSE_HOST_UI);
    SDL_SetWindowTitle(s->window, "Menura - pressed the power button; close again to quit");
}

static void handle(SdlWindow *s, const SDL_Event *e)
{
    switch (e->type) {
    case SDL_KEYDOWN:
    case SDL_KEYUP:
        sdl__key(s, &e->key);
        break;
    case SDL_MOUSEMOTION:
    case SDL_MOUSEBUTTONDOWN:
    case SDL_MOUSEBUTTONUP:
    case SDL_MOUSEWHEEL:
        sdl__pointer(s, e);
        break;
    case SDL_WINDOWEVENT:
        if (e->window.event == SDL_WINDOWEVENT_CLOSE)
            close_window(s);
        else
            window_event(s, &e->window);
        break;
    case SDL_QUIT: /* a signal that SDL caught; a closed window came as its own event */
        break;
    default:
        break;
    }
}

static void close_sdl(void *arg)
{
    SdlWindow *s = arg;

    if (s->view)
        ui_view_free(s->view);
    if (s->cursor)
        SDL_FreeCursor(s->cursor);
    if (s->texture)
        SDL_DestroyTexture(s->texture);
    if (s->renderer)
        SDL_DestroyRenderer(s->renderer);
    if (s->window)
        SDL_DestroyWindow(s->window);
    SDL_QuitSubSystem(SDL_INIT_VIDEO);
    g_free(s);
}

static int sdl_run(Vm *vm)
{
    SdlWindow *s = vm_lookup(vm, "ui-display", "sdl");
    int status = 0;
    int64_t next = 0;
    SDL_Event e;

    while (!vm_wait_for(vm, 0, &status)) {
        int64_t tick = (s->hidden ? HIDDEN_TICK_MS : TICK_MS) * MS, left = next - host_now();

        if (SDL_WaitEventTimeout(&e, (int)CLAMP(left / MS, 1, HIDDEN_TICK_MS))) {
            handle(s, &e);
            while (SDL_PollEvent(&e)) /* drained each turn; the host makes them */
                handle(s, &e);
        }
        if (host_now() >= next) {
            next = host_now() + tick;
            look(s);
            present(s);
        }
    }
    vm_unregister(vm, "ui-display", "sdl");
    lock_take(&vm->lock);
    close_sdl(s);
    lock_drop(&vm->lock);
    return status;
}

static bool make_window(SdlWindow *s, Error **err)
{
    SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1");
    SDL_SetHint(SDL_HINT_QUIT_ON_LAST_WINDOW_CLOSE, "0");
    SDL_SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "1");
    SDL_SetHint(SDL_HINT_GRAB_KEYBOARD, "1");
    if (SDL_InitSubSystem(SDL_INIT_VIDEO)) {
        fail(err, "-display sdl: cannot open a screen: %s", SDL_GetError());
        return error_hint(err,
                          "is DISPLAY or WAYLAND_DISPLAY set? without a screen use -display none");
    }
    s->window = SDL_CreateWindow("Menura", SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED, 640,
                                 480, SDL_WINDOW_RESIZABLE);
    if (s->window)
        s->renderer = SDL_CreateRenderer(s->window, -1, 0);
    return s->renderer || fail(err, "-display sdl: cannot open a window: %s", SDL_GetError());
}

static bool sdl_open(Vm *vm, Opts *o, Error **err)
{
    static const char *const accepted[] = { "gl",           "grab-mod", "alt_grab",   "ctrl_grab",
                                            "window-close", "frame",    "zoom-to-fit" };
    SdlWindow *s = g_new0(SdlWindow, 1);
    const char *scale = opts_get(o, "scale");

    s->vm = vm;
    s->state = RUN_STATES;
    s->redraw = true;
    s->linear = scale && !strcmp(scale, "linear");
    for (size_t i = 0; i < G_N_ELEMENTS(accepted); i++)
        opts_get(o, accepted[i]); /* QEMU's; a window has one way to close and scales always */
    if (scale && !s->linear && strcmp(scale, "nearest"))
        fail(err, "-display sdl,scale=%s: must be nearest or linear", scale);
    else if (opts_get_bool(o, "full-screen", false, &s->fullscreen, err) &&
             opts_get_bool(o, "show-cursor", true, &s->show_cursor, err) && make_window(s, err)) {
        vm_register(vm, "ui-display", "sdl", s);
        if (s->fullscreen)
            sdl__fullscreen(s, true);
        return true;
    }
    close_sdl(s);
    return false;
}

static const UiDisplay sdl = { "sdl", sdl_open, sdl_run };
UI_DISPLAY(sdl);
