/* app/opt-device.c - options that add devices and what is behind them. */
#include "app/opt.h"
#include "chr/chr.h"
#include "ui/front.h"

static bool add_pair(App *a, const char *name, const char *v)
{
    char **pair = g_new0(char *, 3);

    pair[0] = g_strdup(name);
    pair[1] = g_strdup(v);
    g_ptr_array_add(a->drives, pair);
    return true;
}

bool o_drive(App *a, const Option *o, const char *v, Error **err) { return add_pair(a, o->name, v); }
bool o_disk(App *a, const Option *o, const char *v, Error **err) { return add_pair(a, o->name, v); }

bool o_snapshot(App *a, const Option *o, const char *v, Error **err) { return a->snapshot = true; }

bool o_device(App *a, const Option *o, const char *v, Error **err)
{
    if (opt__is_help(v)) {
        GString *s = g_string_new(NULL);

        dev_help_list(s);
        return opt__shown(a, s);
    }
    if (g_str_has_suffix(v, ",help") || g_str_has_suffix(v, ",?")) {
        g_autofree char *driver = g_strndup(v, strcspn(v, ","));
        GString *s = g_string_new(NULL);

        if (dev_help(driver, s, err))
            return opt__shown(a, s);
        g_string_free(s, TRUE);
        return false;
    }
    return opt__later(a, o, v, "driver", err);
}

bool o_chardev(App *a, const Option *o, const char *v, Error **err)
{
    GString *s;

    if (opt__wants_props(v)) {
        g_autofree char *backend = g_strndup(v, strcspn(v, ","));

        s = g_string_new(NULL);
        if (chr_help_of(g_str_has_prefix(backend, "backend=") ? backend + 8 : backend, s, err))
            return opt__shown(a, s);
        g_string_free(s, TRUE);
        return false;
    }
    if (!opt__is_help(v))
        return opt__later(a, o, v, "backend", err);
    s = g_string_new(NULL);
    chr_help(s);
    return opt__shown(a, s);
}

bool o_blockdev(App *a, const Option *o, const char *v, Error **err) { return opt__later(a, o, v, "driver", err); }
bool o_serial(App *a, const Option *o, const char *v, Error **err) { return opt__push(a->serials, v); }
bool o_parallel(App *a, const Option *o, const char *v, Error **err) { return opt__push(a->parallels, v); }
bool o_mon(App *a, const Option *o, const char *v, Error **err) { return opt__push(a->mons, v); }
bool o_gdb(App *a, const Option *o, const char *v, Error **err) { return opt__push(a->gdbs, v); }
bool o_gdb_default(App *a, const Option *o, const char *v, Error **err) { return opt__push(a->gdbs, "tcp::1234"); }

bool o_monitor(App *a, const Option *o, const char *v, Error **err)
{
    opt__push(a->monitors, o->name);
    return opt__push(a->monitors, v);
}

bool o_debugcon(App *a, const Option *o, const char *v, Error **err)
{
    opt__set(&a->debugcon, v);
    return true;
}

bool o_nodefaults(App *a, const Option *o, const char *v, Error **err) { return a->nodefaults = a->vm->cfg.nodefaults = true; }
bool o_nographic(App *a, const Option *o, const char *v, Error **err) { return a->nographic = a->vm->cfg.nographic = true; }
bool o_stopped(App *a, const Option *o, const char *v, Error **err) { return a->paused = true; }

bool o_display(App *a, const Option *o, const char *v, Error **err)
{
    GString *s;

    if (!opt__is_help(v)) {
        opt__set(&a->display, v);
        return true;
    }
    s = g_string_new(NULL);
    ui_display_help(s);
    return opt__shown(a, s);
}
