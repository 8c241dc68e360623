/* ui/display.c - -display: which front end, and the one that shows nothing. */
#include "ui/priv.h"

extern const UiDisplay *const __start_uidisplays[], *const __stop_uidisplays[];

static bool none_open(Vm *vm, Opts *o, Error **err) { return true; }
static const UiDisplay none = { "none", none_open, vm_wait };
UI_DISPLAY(none);

static const UiDisplay *find(const char *name)
{
    for (const UiDisplay *const *d = __start_uidisplays; d < __stop_uidisplays; d++)
        if (!strcmp((*d)->name, name))
            return *d;
    return NULL;
}

void ui_display_help(GString *out)
{
    g_string_append(out, "Available display backend types:\n");
    for (const UiDisplay *const *d = __start_uidisplays; d < __stop_uidisplays; d++)
        g_string_append_printf(out, "%s\n", (*d)->name);
}

static const char *default_display(void)
{
    bool screen = g_getenv("DISPLAY") || g_getenv("WAYLAND_DISPLAY");

    return screen && find("sdl") ? "sdl" : "none";
}

/* Front ends QEMU has and we do not; a window is a window. */
static const char *canonical(const char *name)
{
    if (!strcmp(name, "gtk") || !strcmp(name, "cocoa"))
        return "sdl";
    return !strcmp(name, "egl-headless") ? "none" : name;
}

const UiDisplay *ui_display_open(Vm *vm, const char *text, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(text ? text : default_display(), "type", err);
    const char *type = o ? opts_get(o, "type") : NULL;
    const UiDisplay *d = type ? find(canonical(type)) : NULL;

    if (!o)
        return NULL;
    if (!d) {
        fail(err, "-display %s: there is no such display here", type ? type : "");
        error_hint(err,
                   find("sdl")
                       ? "use sdl or none"
                       : "this build has only none; install libsdl2-dev and build again for sdl");
        return NULL;
    }
    if (!d->open(vm, o, err)) {
        if (!text && strcmp(d->name, "none")) { /* nobody asked for a window: do without */
            error_free(err ? *err : NULL);
            if (err)
                *err = NULL;
            return &none;
        }
        return NULL;
    }
    return opts_all_used(o, "-display", err) ? d : NULL;
}
