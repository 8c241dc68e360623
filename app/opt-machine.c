/* app/opt-machine.c - options that say what the machine is and does. */
#include "app/opt.h"
#include "core/numa.h"
#include "target/x86/models.h"

static void list_machine(const MachineClass *m, void *arg)
{
    GString *s = arg;

    if (m->alias)
        g_string_append_printf(s, "%-20s %s (alias of %s)\n", m->alias, m->desc, m->name);
    g_string_append_printf(s, "%-20s %s%s\n", m->name, m->desc, m->is_default ? " (default)" : "");
}

static bool machine_props(App *a, const char *v, Error **err)
{
    g_autofree char *name = g_strndup(v, strcspn(v, ","));
    const MachineClass *m = machine_find(g_str_has_prefix(name, "type=") ? name + 5 : name);

    return m ? opt__props(a, m->name, &m->props) : fail(err, "there is no such machine");
}

bool o_machine(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) new = NULL;

    if (opt__is_help(v)) {
        GString *s = g_string_new("Supported machines are:\n");

        machine_foreach(list_machine, s);
        return opt__shown(a, s);
    }
    if (opt__wants_props(v))
        return machine_props(a, v, err);
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

bool o_usb(App *a, const Option *o, const char *v, Error **err)
{
    opts_set(a->machine, "usb", "on");
    return true;
}

bool o_usbdevice(App *a, const Option *o, const char *v, Error **err)
{
    static const struct {
        const char *name, *driver;
    } rows[] = { { "mouse", "usb-mouse" }, { "tablet", "usb-tablet" }, { "keyboard", "usb-kbd" } };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        if (!strcmp(rows[i].name, v))
            return o_usb(a, o, v, err) && opt__take(a, "device", rows[i].driver, err);
    fail(err, "could not add USB device '%s'", v);
    return error_hint(err, g_str_has_prefix(v, "disk") ? "-drive if=none,id=stick,file=.. -device usb-storage,drive=stick" : "there are mouse, tablet and keyboard");
}

static void list_accel(const Accel *c, void *arg) { g_string_append_printf(arg, "%-8s %s\n", c->name, c->desc); }

bool o_accel(App *a, const Option *o, const char *v, Error **err)
{
    if (opt__is_help(v)) {
        GString *s = g_string_new("Accelerators:\n");

        accel_foreach(list_accel, s);
        return opt__shown(a, s);
    }
    if (opt__wants_props(v)) {
        g_autofree char *name = g_strndup(v, strcspn(v, ","));
        const Accel *c = accel_find(name);

        return c ? opt__props(a, c->name, c->props) : fail(err, "there is no such accelerator");
    }
    g_ptr_array_add(a->accels, g_strdup(v));
    return true;
}

bool o_enable_kvm(App *a, const Option *o, const char *v, Error **err)
{
    g_ptr_array_add(a->accels, g_strdup("kvm"));
    return true;
}

bool o_cpu(App *a, const Option *o, const char *v, Error **err)
{
    if (opt__is_help(v)) {
        GString *s = g_string_new(NULL);

        x86_models_help(s);
        return opt__shown(a, s);
    }
    g_free(a->vm->cfg.cpu_model);
    a->vm->cfg.cpu_model = g_strdup(v);
    return true;
}

static bool count_of(Opts *o, const char *key, unsigned *out, Error **err)
{
    uint64_t n;

    if (!opts_peek(o, key))
        return true;
    if (!opts_get_u64(o, key, *out, &n, err))
        return false;
    if (n < 1 || n > 255)
        return fail(err, "-smp %s=%" PRIu64 ": want 1 to 255", key, n);
    *out = (unsigned)n;
    return true;
}

/* What is not given follows from the rest: cores first, as QEMU does since 6.2. 0: not given. */
static bool fill_topology(VmConfig *c, Error **err)
{
    unsigned rest = c->dies * c->modules, all;

    if (!c->cores) {
        c->sockets = MAX(c->sockets, 1);
        c->threads = MAX(c->threads, 1);
        c->cores = c->max_cpus / (c->sockets * rest * c->threads);
    } else if (!c->sockets) {
        c->threads = MAX(c->threads, 1);
        c->sockets = c->max_cpus / (rest * c->cores * c->threads);
    } else if (!c->threads) {
        c->threads = c->max_cpus / (c->sockets * rest * c->cores);
    }
    all = c->sockets * rest * c->cores * c->threads;
    if (all != c->max_cpus)
        return fail(err, "Invalid CPU topology: product of the hierarchy must match maxcpus: sockets (%u) * dies (%u) * modules (%u) * "
                         "cores (%u) * threads (%u) != maxcpus (%u)", c->sockets, c->dies, c->modules, c->cores, c->threads, c->max_cpus);
    return c->cpus <= c->max_cpus || fail(err, "Invalid CPU topology: maxcpus must be equal to or greater than smp");
}

bool o_smp(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "cpus", err);
    VmConfig *c = &a->vm->cfg;
    unsigned none[3] = { 1, 1, 1 };
    static const char *const not_here[] = { "drawers", "books", "clusters" }; /* levels that PCs do not have */

    c->cpus = c->max_cpus = c->sockets = c->cores = c->threads = 0;
    c->dies = c->modules = 1;
    if (!p || !count_of(p, "sockets", &c->sockets, err) || !count_of(p, "dies", &c->dies, err) || !count_of(p, "modules", &c->modules, err) ||
        !count_of(p, "cores", &c->cores, err) || !count_of(p, "threads", &c->threads, err) || !count_of(p, "cpus", &c->cpus, err) ||
        !count_of(p, "maxcpus", &c->max_cpus, err))
        return false;
    for (unsigned i = 0; i < G_N_ELEMENTS(not_here); i++) {
        if (!count_of(p, not_here[i], &none[i], err))
            return false;
        if (none[i] > 1)
            return fail(err, "%s > 1 not supported by this machine's CPU topology", not_here[i]);
    }
    if (!opts_all_used(p, "-smp", err))
        return false;
    if (!c->max_cpus)
        c->max_cpus = c->cpus ? c->cpus : MAX(c->sockets, 1) * c->dies * c->modules * MAX(c->cores, 1) * MAX(c->threads, 1);
    if (!c->cpus)
        c->cpus = c->max_cpus;
    return fill_topology(c, err);
}

bool o_memory(App *a, const Option *o, const char *v, Error **err)
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

bool o_numa(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "type", err);

    return p && numa_option(a->vm, p, err);
}

static bool drives_ok(const char *key, const char *drives, Error **err)
{
    for (const char *t = drives; t && *t; t++)
        if (!strchr("abcdefghijklmnop", *t))
            return fail(err, "%s=%s: '%c' is no drive (a floppy, c disk, d CD, n network)", key, drives, *t);
    return true;
}

/* Firmware has 16 bits for it; -1 as when it is not given. */
static bool milliseconds(Opts *o, const char *key, int *out, Error **err)
{
    const char *v = opts_peek(o, key);
    uint64_t ms;

    if (!v || !strcmp(v, "-1")) {
        *out = v && opts_get(o, key) ? -1 : *out;
        return true;
    }
    if (!opts_get_u64(o, key, 0, &ms, err))
        return false;
    *out = (int)MIN(ms, 0x10000);
    return ms <= 0xffff || fail(err, "%s=%s: want -1 to 65535 ms", key, v);
}

bool o_boot(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "order", err);
    VmConfig *c = &a->vm->cfg;

    if (!p)
        return false;
    if (opts_peek(p, "splash"))
        opt__set(&c->boot_splash, opts_get(p, "splash"));
    if (opts_peek(p, "order"))
        opt__set(&c->boot_order, opts_get(p, "order"));
    if (opts_peek(p, "once"))
        opt__set(&c->boot_once, opts_get(p, "once"));
    if (!opts_get_bool(p, "menu", c->boot_menu, &c->boot_menu, err) || !opts_get_bool(p, "strict", c->boot_strict, &c->boot_strict, err) ||
        !milliseconds(p, "splash-time", &c->boot_splash_ms, err) || !milliseconds(p, "reboot-timeout", &c->boot_retry_ms, err))
        return false;
    return drives_ok("order", c->boot_order, err) && drives_ok("once", c->boot_once, err) && opts_all_used(p, "-boot", err);
}

bool o_vga(App *a, const Option *o, const char *v, Error **err)
{
    static const char *const names[] = { "std", "none" };

    if (opt__is_help(v))
        return opt__shown(a, g_string_new("none                 no graphic card\nstd                  standard VGA (default)\n"));
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (!strcmp(v, names[i])) {
            opt__set(&a->vm->cfg.vga, v);
            return true;
        }
    fail(err, "this build has no such card");
    return error_hint(err, "std and none are what there is");
}

bool o_text(App *a, const Option *o, const char *v, Error **err)
{
    VmConfig *c = &a->vm->cfg;
    const struct {
        const char *name;
        char **at;
    } where[] = { { "bios", &c->bios }, { "kernel", &c->kernel }, { "initrd", &c->initrd }, { "append", &c->append } };

    for (size_t i = 0; i < G_N_ELEMENTS(where); i++)
        if (!strcmp(o->name, where[i].name))
            opt__set(where[i].at, v);
    return true;
}

bool o_firmware_dir(App *a, const Option *o, const char *v, Error **err)
{
    g_ptr_array_add(a->vm->cfg.firmware_dirs, g_strdup(v));
    return true;
}

/* Takes the texts. */
static void add_global(App *a, char *driver, char *prop, char *value)
{
    char **row = g_new0(char *, 4);

    row[0] = driver;
    row[1] = prop;
    row[2] = value;
    g_ptr_array_add(a->vm->cfg.globals, row);
}

/* DRIVER.PROP=VALUE, or driver=,property=,value= */
bool o_global(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = NULL;
    const char *dot = strchr(v, '.'), *eq = strchr(v, '=');
    g_autofree char *driver = NULL, *prop = NULL, *value = NULL;

    if (dot && eq && dot < eq) {
        driver = g_strndup(v, (gsize)(dot - v));
        prop = g_strndup(dot + 1, (gsize)(eq - dot - 1));
        value = g_strdup(eq + 1);
    } else {
        p = opts_parse_any(v, NULL, err);
        if (!p)
            return false;
        driver = opts_take(p, "driver");
        prop = opts_take(p, "property");
        value = opts_take(p, "value");
        if (!opts_all_used(p, "-global", err))
            return false;
    }
    if (!driver || !prop || !value || !*driver || !*prop)
        return fail(err, "not of the form DRIVER.PROPERTY=VALUE");
    add_global(a, g_steal_pointer(&driver), g_steal_pointer(&prop), g_steal_pointer(&value));
    return true;
}

bool o_rtc(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "base", err);
    const char *clock, *fix;

    if (!p)
        return false;
    if (opts_peek(p, "base"))
        opt__set(&a->vm->cfg.rtc_base, opts_get(p, "base"));
    clock = opts_get(p, "clock");
    fix = opts_get(p, "driftfix");
    if (clock && strcmp(clock, "host") && strcmp(clock, "rt") && strcmp(clock, "vm"))
        return fail(err, "clock=%s: want host, rt or vm", clock);
    opt__set(&a->vm->cfg.rtc_clock, clock);
    if (fix && strcmp(fix, "none") && strcmp(fix, "slew"))
        return fail(err, "driftfix=%s: want none or slew", fix);
    if (fix && !strcmp(fix, "slew"))
        add_global(a, g_strdup("mc146818rtc"), g_strdup("lost_tick_policy"), g_strdup(fix));
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

static bool watchdog_action(VmConfig *c, const char *v, Error **err)
{
    for (int i = 0; api_WatchdogAction.names[i]; i++)
        if (!strcmp(v, api_WatchdogAction.names[i])) {
            c->on_watchdog = (WatchdogAction)i;
            return true;
        }
    return fail(err, "no such action of a watchdog");
}

bool o_watchdog(App *a, const Option *o, const char *v, Error **err) { return watchdog_action(&a->vm->cfg, v, err); }

bool o_action(App *a, const Option *o, const char *v, Error **err)
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
    if (opts_peek(p, "watchdog") && !watchdog_action(c, opts_get(p, "watchdog"), err))
        return false;
    if (opts_peek(p, "panic")) {
        if (!one_of("panic", opts_get(p, "panic"), panic, 4, &n, err))
            return false;
        c->on_panic = (PanicAction)n;
    }
    return opts_all_used(p, "-action", err);
}

bool o_no_reboot(App *a, const Option *o, const char *v, Error **err)
{
    a->vm->cfg.on_reboot = REBOOT_SHUTDOWN;
    return true;
}

bool o_no_shutdown(App *a, const Option *o, const char *v, Error **err)
{
    a->vm->cfg.on_shutdown = SHUTDOWN_PAUSE;
    return true;
}

/* Names from before these were properties of the machine. */
bool o_no_part(App *a, const Option *o, const char *v, Error **err)
{
    opts_set(a->machine, o->name + strlen("no-"), "off");
    return true;
}

bool o_uuid(App *a, const Option *o, const char *v, Error **err)
{
    unsigned n = 0;

    if (!g_uuid_string_is_valid(v))
        return fail(err, "-uuid %s: not a UUID", v);
    opt__set(&a->vm->cfg.uuid_text, v);
    for (const char *c = v; *c && n < 32; c++)
        if (*c != '-') {
            uint8_t *b = &a->vm->cfg.uuid[n / 2];

            *b = (uint8_t)(*b << 4 | g_ascii_xdigit_value(*c));
            n++;
        }
    return a->vm->cfg.uuid_set = true;
}
