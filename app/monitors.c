/*
 * app/monitors.c - -monitor, -qmp, -qmp-pretty, -mon and "mon:" in front of a character device. They are made before the
 * machine: on a shared terminal the last one attached gets the keyboard, and that is to be the serial port.
 */
#include "app/ctl.h"
#include "app/opt.h"
#include "core/fds.h"
#include "monitor/monitor.h"
#include <fcntl.h>

static bool mode_of(const char *mode, bool pretty, MonitorMode *out, Error **err)
{
    if (mode && strcmp(mode, "readline") && strcmp(mode, "control"))
        return fail(err, "-mon mode=%s: want readline or control", mode);
    *out = !mode || *mode == 'r' ? MONITOR_HMP : pretty ? MONITOR_QMP_PRETTY : MONITOR_QMP;
    return !pretty || *out != MONITOR_HMP || fail(err, "-mon pretty=on is only for mode=control");
}

static bool make_mon(App *a, const char *text, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(text, "chardev", err);
    const char *id = o ? opts_get(o, "chardev") : NULL;
    Chr *c = id ? vm_lookup(a->vm, "chardev", id) : NULL;
    MonitorMode mode = MONITOR_HMP;
    bool pretty;

    if (!o || !opts_get_bool(o, "pretty", false, &pretty, err) || !mode_of(opts_get(o, "mode"), pretty, &mode, err))
        return false;
    opts_get(o, "id"); /* a name that nothing refers to */
    if (!opts_all_used(o, "-mon", err))
        return false;
    if (!c)
        return fail(err, "-mon chardev=%s: there is no such chardev", id ? id : "(missing)");
    return monitor_new(a->vm, c, mode, err);
}

static bool make_compat(App *a, unsigned n, const char *option, const char *where, Error **err)
{
    g_autofree char *id = g_strdup_printf("compat_monitor%u", n);
    MonitorMode mode = !strcmp(option, "qmp") ? MONITOR_QMP : !strcmp(option, "qmp-pretty") ? MONITOR_QMP_PRETTY : MONITOR_HMP;
    Error *why = NULL;
    Chr *c = chr_new_short(a->vm, id, where, &why);

    if (!c)
        return !why || error_pass(err, why);
    return monitor_new(a->vm, c, mode, err);
}

/* "mon:stdio" for a serial or parallel port. */
static bool make_shared(App *a, const GPtrArray *texts, void *const *chrs, Error **err)
{
    for (guint i = 0; i < texts->len && chrs[i]; i++)
        if (g_str_has_prefix(texts->pdata[i], "mon:") && !monitor_new(a->vm, chrs[i], MONITOR_HMP, err))
            return false;
    return true;
}

/* A machine that nobody can reach with menura ctl runs all the same. */
static void make_ctl(App *a)
{
    g_auto(GStrv) parts = a->ctl ? g_strsplit(a->ctl, ",", -1) : NULL;
    g_autofree char *path = parts ? g_strjoinv(",,", parts) : NULL, *where = path ? g_strdup_printf("unix:%s,server=on,wait=off", path) : NULL;
    Error *why = NULL;
    Chr *c = where ? chr_new_short(a->vm, "menura-ctl", where, &why) : NULL;

    if (c)
        monitor_new(a->vm, c, MONITOR_QMP, &why);
    if (why)
        warn_report("menura ctl will not find this machine: %s", error_text(why));
    error_free(why);
}

static Chr *make_hub(App *a, Chr *own, const char *path, Error **err)
{
    g_auto(GStrv) parts = g_strsplit(path, ",", -1);
    g_autofree char *escaped = g_strjoinv(",,", parts), *where = g_strdup_printf("unix:%s,server=on,wait=off", escaped);
    g_autoptr(Opts) o = opts_new();

    if (!chr_new_short(a->vm, "menura-console", where, err))
        return NULL;
    opts_set(o, "backend", "hub");
    opts_set(o, "id", "menura-serial0");
    opts_set(o, "chardevs.0", chr_id(own));
    opts_set(o, "chardevs.1", "menura-console");
    return chr_new(a->vm, o, err);
}

/* The first serial port of a machine that menura ctl finds is where it was, and at a socket. Last: it gets the focus of a terminal. */
static void make_console(App *a)
{
    Chr *own = a->ctl ? a->vm->cfg.serial[0] : NULL, *hub;
    g_autofree char *path = own ? ctl_console_path(a->ctl) : NULL;
    Error *why = NULL;

    if (!own)
        return;
    hub = make_hub(a, own, path, &why);
    if (hub)
        a->vm->cfg.serial[0] = hub;
    else
        warn_report("menura ctl console will not reach this machine: %s", error_text(why));
    error_free(why);
}

static bool make_defaults(App *a, Error **err)
{
    bool asked = a->monitors->len || a->mons->len;

    return asked || a->nodefaults || a->serial_shared || make_compat(a, 0, "monitor", a->nographic ? "stdio" : "vc", err);
}

bool app_make_monitors(App *a, Error **err)
{
    make_ctl(a);
    for (guint i = 0; i + 1 < a->monitors->len; i += 2)
        if (!make_compat(a, i / 2, a->monitors->pdata[i], a->monitors->pdata[i + 1], err))
            return false;
    for (guint i = 0; i < a->mons->len; i++)
        if (!make_mon(a, a->mons->pdata[i], err))
            return false;
    if (!make_shared(a, a->serials, a->vm->cfg.serial, err) || !make_shared(a, a->parallels, a->vm->cfg.parallel, err))
        return false;
    if (!make_defaults(a, err))
        return false;
    make_console(a);
    return true;
}

bool o_add_fd(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, NULL, err);
    uint64_t fd, set;
    int64_t id;
    int copy;

    if (!p || !opts_get_u64(p, "fd", UINT64_MAX, &fd, err) || !opts_get_u64(p, "set", UINT64_MAX, &set, err))
        return false;
    if (fd > INT32_MAX || set > INT32_MAX)
        return fail(err, "-add-fd: it needs fd= and set=");
    if (fd <= 2)
        return fail(err, "-add-fd fd=%" PRIu64 ": a standard stream cannot be handed over", fd);
    copy = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return fail_errno(err, "-add-fd fd=%" PRIu64, fd);
    fcntl((int)fd, F_SETFD, FD_CLOEXEC); /* no process of ours is to keep it open */
    id = (int64_t)set;
    return fdset_add(a->vm, &id, copy, opts_get(p, "opaque"), err) && opts_all_used(p, "-add-fd", err);
}
