/* app/opt-process.c - options about this process, and those that name what this build does not have. */
#include "app/opt.h"
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>

bool o_nothing(App *a, const Option *o, const char *v, Error **err) { return true; }

bool o_pidfile(App *a, const Option *o, const char *v, Error **err)
{
    g_free(a->pidfile);
    a->pidfile = g_canonicalize_filename(v, NULL); /* -daemonize leaves the folder */
    return true;
}

bool o_daemonize(App *a, const Option *o, const char *v, Error **err) { return a->daemonize = true; }

bool o_name(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "guest", err);
    const char *process;
    bool threads; /* they are named anyway */

    if (!p || !opts_get_bool(p, "debug-threads", true, &threads, err))
        return false;
    process = opts_get(p, "process");
    if (process)
        prctl(PR_SET_NAME, process, 0, 0, 0);
    if (opts_peek(p, "guest")) {
        opt__set(&a->vm->cfg.name, opts_get(p, "guest"));
        a->vm->cfg.named = true;
    }
    return opts_all_used(p, "-name", err);
}

bool o_msg(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, NULL, err);
    bool stamp, guest;

    if (!p || !opts_get_bool(p, "timestamp", false, &stamp, err) || !opts_get_bool(p, "guest-name", false, &guest, err) ||
        !opts_all_used(p, "-msg", err))
        return false;
    error_style(NULL, stamp, guest ? a->vm->cfg.name : NULL);
    return true;
}

/* allow, deny, or for privileges: children, which no-new-privileges sees to anyway. */
static bool sandbox_group(App *a, Opts *p, const char *key, bool deny, unsigned bit, Error **err)
{
    const char *v = opts_get(p, key);

    if (v && strcmp(v, "allow") && strcmp(v, "deny") && strcmp(v, "children"))
        return fail(err, "%s=%s: want allow or deny", key, v);
    if (v ? !strcmp(v, "deny") : deny)
        a->sandbox |= bit;
    return true;
}

bool o_sandbox(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "enable", err);
    bool on;

    if (!p || !opts_get_bool(p, "enable", false, &on, err))
        return false;
    a->sandbox = on ? SANDBOX_ON : 0;
    if (!sandbox_group(a, p, "obsolete", true, SANDBOX_OBSOLETE, err) || !sandbox_group(a, p, "elevateprivileges", false, SANDBOX_ELEVATE, err) ||
        !sandbox_group(a, p, "spawn", false, SANDBOX_SPAWN, err) || !sandbox_group(a, p, "resourcecontrol", false, SANDBOX_RESOURCE, err))
        return false;
    a->sandbox = on ? a->sandbox : 0;
    return opts_all_used(p, "-sandbox", err);
}

/* Sugar for a memory backend: objects.c. */
bool o_mem(App *a, const Option *o, const char *v, Error **err)
{
    if (v)
        opt__set(&a->mem_path, v);
    else
        a->mem_prealloc = true;
    return true;
}

bool o_overcommit(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, NULL, err);
    bool pm, lock;

    if (!p || !opts_get_bool(p, "mem-lock", false, &lock, err) || !opts_get_bool(p, "cpu-pm", false, &pm, err) ||
        !opts_all_used(p, "-overcommit", err))
        return false;
    if (pm)
        return fail(err, "cpu-pm=on: the guest cannot be given the host's power management here");
    return !lock || !mlockall(MCL_CURRENT | MCL_FUTURE) || fail_errno(err, "mem-lock=on: the memory cannot be locked");
}

/* The only sound there is: none. What a driver would do with its streams has no meaning for it. */
bool o_audiodev(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opt__is_help(v) ? NULL : opts_parse_any(v, "driver", err);
    const char *driver = p ? opts_get(p, "driver") : NULL, *id = p ? opts_get(p, "id") : NULL;

    if (opt__is_help(v))
        return opt__shown(a, g_string_new("Available audio drivers:\nnone\n"));
    if (!p)
        return false;
    if (g_strcmp0(driver, "none")) {
        fail(err, "there is no audio driver '%s'", driver ? driver : "(missing)");
        return error_hint(err, "none is the only one of this build");
    }
    for (guint i = 0; i < p->v->len; i++) {
        Opt *x = p->v->pdata[i];

        x->used |= g_str_has_prefix(x->key, "in.") || g_str_has_prefix(x->key, "out.") || !strcmp(x->key, "timer-period");
    }
    return (id || fail(err, "the id is missing")) && opts_all_used(p, "-audiodev", err);
}
