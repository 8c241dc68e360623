/*
 * tools/storage/main.c - menura-storage: disk images served, copied and changed without a machine. Options and texts are
 * qemu-storage-daemon's: they are done in their order, so that what is referred to comes first.
 */
#include "tools/storage/storage.h"
#include "util/daemon.h"
#include <glib-unix.h>
#include <getopt.h>
#include <stdio.h>
#include <signal.h>
#include <unistd.h>

static const StorageOption options[] = {
#define O(name, arg, fn, help) { name, arg, fn, help },
#include "tools/storage/options.def"
#undef O
};
enum { SHORT_HELP = 0, SHORT_VERSION = 1, SHORT_TRACE = 2 }; /* their rows */

bool o_help(Storage *s, const char *v, Error **err)
{
    printf("Usage: menura-storage [options]\nDisk images served over NBD, copied and changed, without a machine\n\n");
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        printf("  %s--%s%s%s\n                         %s\n", i == SHORT_HELP ? "-h, " : i == SHORT_VERSION ? "-V, " : i == SHORT_TRACE ? "-T, " : "",
               options[i].name, options[i].arg ? " " : "", options[i].arg ? options[i].arg : "", options[i].help);
    return s->help_shown = true;
}

bool o_version(Storage *s, const char *v, Error **err)
{
    printf("menura-storage %s\n", MENURA_VERSION);
    return s->help_shown = true;
}

bool o_daemonize(Storage *s, const char *v, Error **err) { return s->daemonize = true; }

bool o_pidfile(Storage *s, const char *v, Error **err)
{
    g_free(s->pidfile);
    s->pidfile = g_canonicalize_filename(v, NULL); /* --daemonize leaves the folder */
    return true;
}

/* ---- the command line ---- */
static bool take(Storage *s, const StorageOption *o, const char *v, Error **err)
{
    Error *why = NULL;

    if (o->fn(s, v, &why))
        return true;
    if (g_str_has_prefix(error_text(why), "-")) /* it says which option */
        return error_pass(err, why);
    return fail_because(err, why, "--%s%s%s", o->name, v ? " " : "", v ? v : "");
}

/* Before anything is opened. */
static bool is_early(const StorageOption *o) { return o->fn == o_help || o->fn == o_version || o->fn == o_daemonize || o->fn == o_pidfile; }

static bool parse(Storage *s, int argc, char **argv, bool early, Error **err)
{
    static struct option longs[G_N_ELEMENTS(options) + 1];
    int k;

    for (int i = 0; i < (int)G_N_ELEMENTS(options); i++)
        longs[i] = (struct option){ options[i].name, options[i].arg ? required_argument : no_argument, NULL, 256 + i };
    optind = 0; /* from the start */
    while ((k = getopt_long(argc, argv, "-hVT:", longs, NULL)) != -1 && !s->help_shown) {
        const StorageOption *o = k == 'h' ? &options[SHORT_HELP] : k == 'V' ? &options[SHORT_VERSION] : k == 'T' ? &options[SHORT_TRACE] : NULL;

        if (k == 1)
            return fail(err, "%s: Unexpected argument", optarg);
        if (!o && k < 256)
            return fail(err, "Try 'menura-storage --help' for more information.");
        o = o ? o : &options[k - 256];
        if (is_early(o) == early && !take(s, o, optarg, err))
            return false;
    }
    return true;
}

static bool make_monitors(Storage *s, Error **err)
{
    for (guint i = 0; i < s->monitors->len; i++) {
        const StorageOption o = { "monitor", "", storage_make_monitor, NULL };

        if (!take(s, &o, s->monitors->pdata[i], err))
            return false;
    }
    return true;
}

/* ---- the process ---- */
static gboolean on_signal(gpointer vm)
{
    vm_exit_code(vm, 0);
    return G_SOURCE_CONTINUE;
}

static void watch_signals(Vm *vm)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
        GSource *src = g_unix_signal_source_new(signals[i]);

        g_source_set_callback(src, on_signal, vm, NULL);
        g_source_attach(src, loop_context(vm->loop));
        g_source_unref(src);
    }
}

static bool run(Storage *s, int argc, char **argv, Error **err)
{
    int word = -1;

    if (!parse(s, argc, argv, true, err))
        return false;
    if (s->help_shown)
        return true;
    if (s->daemonize && (word = daemon_begin(err)) < 0)
        return false;
    watch_signals(s->vm);
    if (!parse(s, argc, argv, false, err) || s->help_shown)
        return s->help_shown;
    if (!make_monitors(s, err))
        return false;
    if (s->pidfile && !(s->has_pidfile = pidfile_take(s->pidfile, err)))
        return false;
    vm_start_loop(s->vm);
    if (word >= 0 && !daemon_ready(word, true, err))
        return false;
    vm_wait(s->vm);
    return true;
}

int main(int argc, char **argv)
{
    Storage s = { .vm = vm_new("menura-storage") };
    Error *err = NULL;
    bool ok;

    error_style("menura-storage", false, NULL);
    s.monitors = g_ptr_array_new_with_free_func(g_free);
    s.vm->cfg.commands = storage_commands;
    ok = run(&s, argc, argv, &err);
    if (!ok)
        error_report_free(err);
    vm_free(s.vm); /* exports, jobs, nodes: all that was written is in the images */
    if (s.has_pidfile)
        unlink(s.pidfile);
    g_ptr_array_free(s.monitors, TRUE);
    g_free(s.pidfile);
    return ok ? 0 : 1;
}
