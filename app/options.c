/* app/options.c - the command line, from the table of options.def. Values are checked where they are used. */
#include "app/app.h"
#include "core/version.h"
#include "migrate/migrate.h"
#include "target/x86/models.h"
#include "util/trace.h"
#include <stdio.h>

typedef struct Option Option;
typedef bool (*Handler)(App *a, const Option *o, const char *v, Error **err);
struct Option {
    const char *name, *arg;
    Handler fn;
    const char *help;
};
typedef enum Stop { GO_ON, HELP_SHOWN } Stop;
static _Thread_local Stop stop; /* set by handlers that showed something */

static bool shown(GString *s)
{
    fputs(s->str, stdout);
    g_string_free(s, TRUE);
    stop = HELP_SHOWN;
    return true;
}

static bool is_help(const char *v) { return !strcmp(v, "help") || !strcmp(v, "?"); }

static bool o_help(App *a, const Option *o, const char *v, Error **err)
{
    GString *s = g_string_new(NULL);

    app_help(s);
    return shown(s);
}

static bool o_version(App *a, const Option *o, const char *v, Error **err)
{
    printf("QEMU emulator version " QEMU_VERSION " (Menura %s)\n", MENURA_VERSION);
    stop = HELP_SHOWN;
    return true;
}

static void list_machine(const MachineClass *m, void *arg)
{
    GString *s = arg;

    if (m->alias)
        g_string_append_printf(s, "%-20s %s (alias of %s)\n", m->alias, m->desc, m->name);
    g_string_append_printf(s, "%-20s %s%s\n", m->name, m->desc, m->is_default ? " (default)" : "");
}

static bool o_machine(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) new = NULL;

    if (is_help(v)) {
        GString *s = g_string_new("Supported machines are:\n");

        machine_foreach(list_machine, s);
        return shown(s);
    }
    new = opts_parse_any(v, "type", err);
    if (!new)
        return false;
    for (guint i = 0; i < new->v->len; i++) {
        Opt *p = new->v->pdata[i];

        if (!strcmp(p->key, "accel")) {
            g_auto(GStrv) names = g_strsplit(p->value, ":", -1);

            for (char **n = names; *n; n++)
                g_ptr_array_add(a->accels, g_strdup(*n));
        } else {
            opts_set(a->machine, p->key, p->value);
        }
    }
    return true;
}

static void list_accel(const Accel *c, void *arg) { g_string_append_printf(arg, "%-8s %s\n", c->name, c->desc); }

static bool o_accel(App *a, const Option *o, const char *v, Error **err)
{
    if (is_help(v)) {
        GString *s = g_string_new("Accelerators:\n");

        accel_foreach(list_accel, s);
        return shown(s);
    }
    g_ptr_array_add(a->accels, g_strdup(v));
    return true;
}

static bool o_enable_kvm(App *a, const Option *o, const char *v, Error **err)
{
    g_ptr_array_add(a->accels, g_strdup("kvm"));
    return true;
}

static bool o_cpu(App *a, const Option *o, const char *v, Error **err)
{
    if (is_help(v)) {
        GString *s = g_string_new(NULL);

        x86_models_help(s);
        return shown(s);
    }
    g_free(a->vm->cfg.cpu_model);
    a->vm->cfg.cpu_model = g_strdup(v);
    return true;
}

static bool count_of(Opts *o, const char *key, unsigned *out, Error **err)
{
    uint64_t n;

    if (!opts_get_u64(o, key, *out, &n, err))
        return false;
    if (n < 1 || n > 255)
        return fail(err, "-smp %s=%" PRIu64 ": want 1 to 255", key, n);
    *out = (unsigned)n;
    return true;
}

static bool o_smp(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "cpus", err);
    VmConfig *c = &a->vm->cfg;
    unsigned sockets = 1, dies = 1, clusters = 1, cores = 1, threads = 1;

    if (!p || !count_of(p, "sockets", &sockets, err) || !count_of(p, "dies", &dies, err) || !count_of(p, "clusters", &clusters, err) ||
        !count_of(p, "cores", &cores, err) || !count_of(p, "threads", &threads, err))
        return false;
    c->cpus = MIN(sockets * dies * clusters * cores * threads, 255);
    if (!count_of(p, "cpus", &c->cpus, err))
        return false;
    c->max_cpus = MAX(c->cpus, 1);
    if (!count_of(p, "maxcpus", &c->max_cpus, err) || !opts_all_used(p, "-smp", err))
        return false;
    c->max_cpus = MAX(c->max_cpus, c->cpus);
    return true;
}

static bool o_memory(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "size", err);
    const char *size;
    uint64_t slots;

    if (!p)
        return false;
    size = opts_get(p, "size");
    if (size && !parse_size(size, 'M', &a->vm->cfg.ram_size, err))
        return false;
    if (!opts_get_u64(p, "slots", 0, &slots, err) || !opts_get_size(p, "maxmem", 0, &a->vm->cfg.ram_max, err))
        return false;
    if (a->vm->cfg.ram_size > 32 * GiB || a->vm->cfg.ram_size < MiB) {
        fail(err, "-m %s: the guest can have 1 MiB to 32 GiB", v);
        return error_hint(err, "a number without suffix is in MiB");
    }
    return opts_all_used(p, "-m", err);
}

static bool add_pair(App *a, const char *name, const char *v)
{
    char **pair = g_new0(char *, 3);

    pair[0] = g_strdup(name);
    pair[1] = g_strdup(v);
    g_ptr_array_add(a->drives, pair);
    return true;
}

static bool o_drive(App *a, const Option *o, const char *v, Error **err) { return add_pair(a, o->name, v); }
static bool o_disk(App *a, const Option *o, const char *v, Error **err) { return add_pair(a, o->name, v); }

static bool o_snapshot(App *a, const Option *o, const char *v, Error **err) { return a->snapshot = true; }

static void set_text(char **at, const char *v)
{
    g_free(*at);
    *at = g_strdup(v);
}

static bool o_boot(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "order", err);
    VmConfig *c = &a->vm->cfg;
    uint64_t ms = 0;

    if (!p)
        return false;
    if (opts_peek(p, "order"))
        set_text(&c->boot_order, opts_get(p, "order"));
    if (opts_peek(p, "once"))
        set_text(&c->boot_once, opts_get(p, "once"));
    if (!opts_get_bool(p, "menu", c->boot_menu, &c->boot_menu, err) || !opts_get_bool(p, "strict", false, &c->boot_strict, err) ||
        !opts_get_u64(p, "splash-time", 0, &ms, err))
        return false;
    c->boot_splash_ms = (int)MIN(ms, 60000);
    for (const char *t = c->boot_order; t && *t; t++)
        if (!strchr("acdn", *t))
            return fail(err, "-boot order=%s: '%c' is no drive (a floppy, c disk, d CD, n network)", c->boot_order, *t);
    return opts_all_used(p, "-boot", err);
}

static bool o_text(App *a, const Option *o, const char *v, Error **err)
{
    VmConfig *c = &a->vm->cfg;
    const struct {
        const char *name;
        char **at;
    } where[] = { { "bios", &c->bios }, { "kernel", &c->kernel }, { "initrd", &c->initrd }, { "append", &c->append }, { "vga", &c->vga } };

    for (size_t i = 0; i < G_N_ELEMENTS(where); i++)
        if (!strcmp(o->name, where[i].name))
            set_text(where[i].at, v);
    return true;
}

static bool o_firmware_dir(App *a, const Option *o, const char *v, Error **err)
{
    g_ptr_array_add(a->vm->cfg.firmware_dirs, g_strdup(v));
    return true;
}

static bool o_device(App *a, const Option *o, const char *v, Error **err)
{
    if (is_help(v)) {
        GString *s = g_string_new(NULL);

        dev_help_list(s);
        return shown(s);
    }
    if (g_str_has_suffix(v, ",help") || g_str_has_suffix(v, ",?")) {
        g_autofree char *driver = g_strndup(v, strcspn(v, ","));
        GString *s = g_string_new(NULL);

        if (dev_help(driver, s, err))
            return shown(s);
        g_string_free(s, TRUE);
        return false;
    }
    g_ptr_array_add(a->devices, g_strdup(v));
    return true;
}

static bool o_global(App *a, const Option *o, const char *v, Error **err)
{
    const char *dot = strchr(v, '.'), *eq = dot ? strchr(dot, '=') : NULL;
    char **g;

    if (!eq) {
        fail(err, "-global %s: not of the form DRIVER.PROPERTY=VALUE", v);
        return false;
    }
    g = g_new0(char *, 4);
    g[0] = g_strndup(v, (gsize)(dot - v));
    g[1] = g_strndup(dot + 1, (gsize)(eq - dot - 1));
    g[2] = g_strdup(eq + 1);
    g_ptr_array_add(a->vm->cfg.globals, g);
    return true;
}

static bool push(GPtrArray *v, const char *text)
{
    g_ptr_array_add(v, g_strdup(text));
    return true;
}
static bool o_chardev(App *a, const Option *o, const char *v, Error **err) { return push(a->chardevs, v); }
static bool o_serial(App *a, const Option *o, const char *v, Error **err) { return push(a->serials, v); }
static bool o_parallel(App *a, const Option *o, const char *v, Error **err) { return push(a->parallels, v); }
static bool o_mon(App *a, const Option *o, const char *v, Error **err) { return push(a->mons, v); }
static bool o_gdb(App *a, const Option *o, const char *v, Error **err) { return push(a->gdbs, v); }
static bool o_gdb_default(App *a, const Option *o, const char *v, Error **err) { return push(a->gdbs, "tcp::1234"); }

static bool o_monitor(App *a, const Option *o, const char *v, Error **err)
{
    push(a->monitors, o->name);
    return push(a->monitors, v);
}

static bool o_debugcon(App *a, const Option *o, const char *v, Error **err)
{
    set_text(&a->debugcon, v);
    return true;
}

static bool only_none(const Option *o, const char *v, const char *what, Error **err)
{
    return !strcmp(v, "none") || fail(err, "-%s %s: this build has no %s; only -%s none is possible", o->name, v, what, o->name);
}
static bool o_nic(App *a, const Option *o, const char *v, Error **err) { return only_none(o, v, "network cards", err); }
static bool o_nodefaults(App *a, const Option *o, const char *v, Error **err) { return a->nodefaults = a->vm->cfg.nodefaults = true; }
static bool o_nothing(App *a, const Option *o, const char *v, Error **err) { return true; }
static bool o_nographic(App *a, const Option *o, const char *v, Error **err) { return a->nographic = a->vm->cfg.nographic = true; }
static bool o_stopped(App *a, const Option *o, const char *v, Error **err) { return a->paused = true; }

static bool o_display(App *a, const Option *o, const char *v, Error **err)
{
    set_text(&a->display, v);
    return true;
}

static bool o_rtc(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "base", err);

    if (!p)
        return false;
    if (opts_peek(p, "base"))
        set_text(&a->vm->cfg.rtc_base, opts_get(p, "base"));
    if (opts_peek(p, "clock"))
        set_text(&a->vm->cfg.rtc_clock, opts_get(p, "clock"));
    if (opts_peek(p, "driftfix"))
        set_text(&a->vm->cfg.rtc_driftfix, opts_get(p, "driftfix"));
    return opts_all_used(p, "-rtc", err);
}

static bool one_of(const char *what, const char *v, const char *const *names, unsigned n, int *out, Error **err)
{
    for (unsigned i = 0; i < n; i++)
        if (!strcmp(v, names[i])) {
            *out = (int)i;
            return true;
        }
    return fail(err, "-action %s=%s: no such action", what, v);
}

static bool o_action(App *a, const Option *o, const char *v, Error **err)
{
    static const char *const reboot[] = { "reset", "shutdown" }, *const down[] = { "poweroff", "pause" },
                      *const panic[] = { "pause", "shutdown", "exit-failure", "none" };
    g_autoptr(Opts) p = opts_parse_any(v, NULL, err);
    VmConfig *c = &a->vm->cfg;
    int n = 0;

    if (!p)
        return false;
    if (opts_peek(p, "reboot")) {
        if (!one_of("reboot", opts_get(p, "reboot"), reboot, 2, &n, err))
            return false;
        c->on_reboot = (RebootAction)n;
    }
    if (opts_peek(p, "shutdown")) {
        if (!one_of("shutdown", opts_get(p, "shutdown"), down, 2, &n, err))
            return false;
        c->on_shutdown = (ShutdownAction)n;
    }
    if (opts_peek(p, "panic")) {
        if (!one_of("panic", opts_get(p, "panic"), panic, 4, &n, err))
            return false;
        c->on_panic = (PanicAction)n;
    }
    return opts_all_used(p, "-action", err);
}

static bool o_no_reboot(App *a, const Option *o, const char *v, Error **err)
{
    a->vm->cfg.on_reboot = REBOOT_SHUTDOWN;
    return true;
}

static bool o_no_shutdown(App *a, const Option *o, const char *v, Error **err)
{
    a->vm->cfg.on_shutdown = SHUTDOWN_PAUSE;
    return true;
}

static bool o_name(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "guest", err);

    if (!p)
        return false;
    set_text(&a->vm->cfg.name, opts_peek(p, "guest"));
    return true;
}

static bool o_uuid(App *a, const Option *o, const char *v, Error **err)
{
    unsigned n = 0;

    if (!g_uuid_string_is_valid(v))
        return fail(err, "-uuid %s: not a UUID", v);
    set_text(&a->vm->cfg.uuid_text, v);
    for (const char *c = v; *c && n < 32; c++)
        if (*c != '-') {
            uint8_t *b = &a->vm->cfg.uuid[n / 2];

            *b = (uint8_t)(*b << 4 | g_ascii_xdigit_value(*c));
            n++;
        }
    return a->vm->cfg.uuid_set = true;
}

static bool o_log(App *a, const Option *o, const char *v, Error **err)
{
    if (is_help(v)) {
        GString *s = g_string_new(log_items_help());

        return shown(s);
    }
    return log_set(v, err);
}
static bool o_log_file(App *a, const Option *o, const char *v, Error **err) { return log_open(v, err); }

static bool o_trace(App *a, const Option *o, const char *v, Error **err)
{
    if (is_help(v)) {
        GString *s = g_string_new(NULL);

        trace_list(s);
        return shown(s);
    }
    return trace_enable(g_str_has_prefix(v, "enable=") ? v + 7 : v, true) || fail(err, "-trace %s: no trace point has such a name", v);
}

static bool o_pidfile(App *a, const Option *o, const char *v, Error **err)
{
    set_text(&a->pidfile, v);
    return true;
}

static bool o_qtest(App *a, const Option *o, const char *v, Error **err)
{
    set_text(!strcmp(o->name, "qtest") ? &a->qtest : &a->qtest_log, v);
    return true;
}

static bool o_incoming(App *a, const Option *o, const char *v, Error **err)
{
    set_text(&a->incoming, v);
    return !strcmp(v, "defer") || migrate_uri_check(v, err);
}

static bool o_list(App *a, const Option *o, const char *v, Error **err)
{
    g_ptr_array_add(!strcmp(o->name, "smbios") ? a->vm->cfg.smbios : a->vm->cfg.fw_cfg, g_strdup(v));
    return true;
}

static const Option options[] = {
#define O(n, a, f, h) { n, a, f, h },
#include "app/options.def"
#undef O
};

void app_help(GString *out)
{
    g_string_append_printf(out, "QEMU emulator version " QEMU_VERSION " (Menura %s)\nusage: menura-system-x86_64 [options] [disk_image]\n"
                                "       menura run IMAGE [options]\n\n", MENURA_VERSION);
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        g_string_append_printf(out, "-%s%s%s\n                %s\n", options[i].name, options[i].arg ? " " : "",
                               options[i].arg ? options[i].arg : "", options[i].help);
}

static const Option *find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        if (!strcmp(options[i].name, name))
            return &options[i];
    return NULL;
}

static bool parse_one(App *a, int argc, char **argv, int *i, Error **err)
{
    const char *name = argv[*i];
    const Option *o;

    if (*name != '-' || !name[1])
        return add_pair(a, "hda", name);
    name += name[1] == '-' ? 2 : 1;
    o = find(name);
    if (!o) {
        fail(err, "%s: there is no such option", argv[*i]);
        return error_hint(err, "-help lists all options");
    }
    if (o->arg && *i + 1 >= argc)
        return fail(err, "%s: wants an argument: %s", argv[*i], o->arg);
    return o->fn(a, o, o->arg ? argv[++*i] : NULL, err);
}

bool app_parse(App *a, int argc, char **argv, int *status)
{
    Error *err = NULL;

    stop = GO_ON;
    for (int i = 1; i < argc; i++) {
        if (!parse_one(a, argc, argv, &i, &err)) {
            error_report_free(err);
            *status = STATUS_USAGE;
            return false;
        }
        if (stop == HELP_SHOWN) {
            *status = STATUS_OK;
            return false;
        }
    }
    return true;
}
