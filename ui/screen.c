/*
 * ui/screen.c - reading the screen and waiting for what it shows (schema/screen.json). A wait looks again when something was
 * drawn, ten times a second of the host's time; it lives on the VM loop and ends with the VM.
 */
#include "core/api/screen.h"
#include "ui/priv.h"

enum { LOOK_MS = 100, TIMEOUT_MS = 60 * 1000, WAITS = 64, PATTERN_MAX = 4096 };

typedef struct Wait {
    Vm *vm;
    char *id, *sha256; /* or text */
    GRegex *text;
    UiRect part; /* w 0: all of it */
    bool differs, looked;
    int64_t until; /* host_now() */
    UiView *view;
    guint timer;
} Wait;

static void wait_free(gpointer p)
{
    Wait *w = p;

    if (w->timer)
        loop_unwatch(w->vm->loop, w->timer);
    if (w->text)
        g_regex_unref(w->text);
    if (w->view)
        ui_view_free(w->view);
    g_free(w->id);
    g_free(w->sha256);
    g_free(w);
}

/* ---- looking ---- */
static UiRect whole(UiConsole *c)
{
    return (UiRect){ 0, 0, pixman_image_get_width(ui_surface(c)), pixman_image_get_height(ui_surface(c)) };
}

static bool inside(UiConsole *c, const UiRect *r)
{
    UiRect all = whole(c);

    return r->x >= 0 && r->y >= 0 && r->w > 0 && r->h > 0 && r->x <= all.w - r->w && r->y <= all.h - r->h;
}

/* A region beyond the screen is no error while waiting: the mode may change. */
static bool as_wanted(Wait *w, UiConsole *c, char **match)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GMatchInfo) info = NULL;
    UiRect part = w->part.w ? w->part : whole(c);
    g_autofree char *sum = NULL;
    bool is;

    if (!w->text) {
        sum = inside(c, &part) ? ui_hash(c, &part) : NULL;
        return sum && !g_ascii_strcasecmp(sum, w->sha256) != w->differs;
    }
    ui_read_text(w->vm, c, text);
    is = g_regex_match(w->text, text->str, 0, &info);
    if (is)
        *match = g_match_info_fetch(info, 0);
    return is != w->differs;
}

static void end(Wait *w, ScreenWaitResult how, char *match)
{
    event_screen_wait(w->vm, &(EventScreenWait){ .id = w->id, .result = how, .match = match });
    g_free(match);
    g_hash_table_remove(ui__of(w->vm)->waits, w->id);
}

static bool look(void *arg)
{
    Wait *w = arg;
    UiConsole *c = ui_view_console(w->view);
    char *match = NULL;
    UiRect r;
    bool drawn;

    if (!c) {
        end(w, SCREEN_WAIT_GONE, NULL);
        return true; /* the source is destroyed already */
    }
    ui_view_refresh(w->view);
    drawn = ui_view_take(w->view, &r) || !w->looked;
    w->looked = true;
    if (drawn && as_wanted(w, c, &match))
        end(w, SCREEN_WAIT_FOUND, match);
    else if (host_now() >= w->until)
        end(w, SCREEN_WAIT_TIMEOUT, match);
    else
        g_free(match);
    return true;
}

/* ---- commands ---- */
static bool region_of(UiConsole *c, const ScreenRegion *in, UiRect *out, Error **err)
{
    UiRect all = whole(c);

    if (!in) {
        *out = all;
        return true;
    }
    if (in->width < 1 || in->height < 1 || in->x < 0 || in->y < 0 || in->width > all.w || in->height > all.h || in->x > all.w - in->width ||
        in->y > all.h - in->height)
        return fail(err, "the region is not on the screen, which has %d x %d pixels", all.w, all.h);
    *out = (UiRect){ (int)in->x, (int)in->y, (int)in->width, (int)in->height };
    return true;
}

static UiConsole *drawn(Vm *vm, const char *device, bool has_head, int64_t head, Error **err)
{
    UiConsole *c = ui__console_of(vm, device, has_head ? head : 0, err);
    UiView *v = c ? ui_view_new(c) : NULL;

    if (v) {
        ui_view_refresh(v);
        ui_view_free(v);
    }
    return c;
}

bool qmp_screen_text(Vm *vm, const ScreenTextArgs *args, ScreenText *ret, Error **err)
{
    static const ScreenTextKind kinds[] = { [UI_TEXT_NONE] = SCREEN_TEXT_NONE, [UI_TEXT_MODE] = SCREEN_TEXT_MODE, [UI_TEXT_PIXELS] = SCREEN_TEXT_PIXELS };
    UiConsole *c = drawn(vm, args->device, args->has_head, args->head, err);
    g_autoptr(GString) text = g_string_new(NULL);
    g_auto(GStrv) lines = NULL;

    if (!c)
        return false;
    ret->kind = kinds[ui_read_text(vm, c, text)];
    if (text->len)
        g_string_truncate(text, text->len - 1);
    lines = g_strsplit(text->str, "\n", -1);
    API_EMPTY(&ret->lines);
    for (char **l = lines; *l; l++)
        *API_ADD(&ret->lines) = g_strdup(*l);
    return true;
}

void hmp_info_screen(Hmp *h)
{
    Error *err = NULL;
    UiConsole *c = drawn(h->vm, NULL, false, 0, &err);

    if (c && ui_read_text(h->vm, c, h->out) == UI_TEXT_NONE)
        g_string_append(h->out, "no text that is known\n");
    hmp_say_error(h, err);
}

bool qmp_screen_hash(Vm *vm, const ScreenHashArgs *args, ScreenHash *ret, Error **err)
{
    UiConsole *c = drawn(vm, args->device, args->has_head, args->head, err);
    UiRect r;

    if (!c || !region_of(c, args->region, &r, err))
        return false;
    ret->region = (ScreenRegion){ .x = r.x, .y = r.y, .width = r.w, .height = r.h };
    ret->sha256 = ui_hash(c, &r);
    return true;
}

static bool wait_fill(Wait *w, UiConsole *c, const ScreenWaitArgs *args, Error **err)
{
    g_autoptr(GError) why = NULL;

    if (!args->text == !args->sha256)
        return fail(err, "screen-wait wants either text or sha256");
    if (args->region && !args->sha256)
        return fail(err, "screen-wait: region goes with sha256");
    if (args->text && strlen(args->text) > PATTERN_MAX)
        return fail(err, "screen-wait: text is longer than %d bytes", PATTERN_MAX);
    if (args->text && !(w->text = g_regex_new(args->text, G_REGEX_MULTILINE | G_REGEX_OPTIMIZE, 0, &why)))
        return fail(err, "screen-wait: text: %s", why->message);
    if (args->region && (args->region->width < 1 || args->region->width > INT16_MAX || args->region->height < 1 || args->region->height > INT16_MAX ||
                         args->region->x < 0 || args->region->x > INT16_MAX || args->region->y < 0 || args->region->y > INT16_MAX))
        return fail(err, "screen-wait: there is no such region");
    if (args->region)
        w->part = (UiRect){ (int)args->region->x, (int)args->region->y, (int)args->region->width, (int)args->region->height };
    w->sha256 = g_strdup(args->sha256);
    w->differs = args->has_differs && args->differs;
    w->until = host_now() + CLAMP(args->has_timeout ? args->timeout : TIMEOUT_MS, 0, 7 * 24 * 3600 * INT64_C(1000)) * MS;
    w->view = ui_view_new(c);
    return true;
}

bool qmp_screen_wait(Vm *vm, const ScreenWaitArgs *args, Error **err)
{
    Ui *ui = ui__of(vm);
    UiConsole *c = ui__console_of(vm, args->device, args->has_head ? args->head : 0, err);
    Wait *w;

    if (!c)
        return false;
    if (!ui->waits)
        ui->waits = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, wait_free);
    if (g_hash_table_contains(ui->waits, args->id))
        return fail(err, "screen-wait id=%s: there is a wait of that id already", args->id);
    if (g_hash_table_size(ui->waits) >= WAITS)
        return fail(err, "screen-wait: at most %d at once", WAITS);
    w = g_new0(Wait, 1);
    w->vm = vm;
    w->id = g_strdup(args->id);
    if (!wait_fill(w, c, args, err)) {
        wait_free(w);
        return false;
    }
    g_hash_table_insert(ui->waits, w->id, w);
    w->timer = loop_after(vm->loop, LOOK_MS * MS, look, w);
    return true;
}

bool qmp_screen_wait_cancel(Vm *vm, const ScreenWaitCancelArgs *args, Error **err)
{
    Ui *ui = ui__of(vm);
    Wait *w = ui->waits ? g_hash_table_lookup(ui->waits, args->id) : NULL;

    if (!w)
        return fail(err, "there is no wait '%s'", args->id);
    end(w, SCREEN_WAIT_CANCELLED, NULL);
    return true;
}
