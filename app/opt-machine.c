/* app/opt-machine.c - options that say what the machine is and does. */
#include "app/opt.h"
#include "target/x86/models.h"

static void list_machine(const MachineClass *m, void *arg)
{
    GString *s = arg;

    if (m->alias)
        g_string_append_printf(s, "%-20s %s (alias of %s)\n", m->alias, m->desc, m->name);
    g_string_append_printf(s, "%-20s %s%s\n", m->name, m->desc, m->is_default ? " (default)" : "");
}

bool o_machine(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) new = NULL;

    if (opt__is_help(v)) {
        GString *s = g_string_new("Supported machines are:\n");

        machine_foreach(list_machine, s);
        return opt__shown(a, s);
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

bool o_accel(App *a, const Option *o, const char *v, Error **err)
{
    if (opt__is_help(v)) {
        GString *s = g_string_new("Accelerators:\n");

        accel_foreach(list_accel, s);
        return opt__shown(a, s);
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

    if (!opts_get_u64(o, key, *out, &n, err))
        return false;
    if (n < 1 || n > 255)
        return fail(err, "-smp %s=%" PRIu64 ": want 1 to 255", key, n);
    *out = (unsigned)n;
    return true;
}

bool o_smp(App *a, const Option *o, const char *v, Error **err)
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

bool o_boot(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "order", err);
    VmConfig *c = &a->vm->cfg;
    uint64_t ms = 0;

    if (!p)
        return false;
    if (opts_peek(p, "order"))
        opt__set(&c->boot_order, opts_get(p, "order"));
    if (opts_peek(p, "once"))
        opt__set(&c->boot_once, opts_get(p, "once"));
    if (!opts_get_bool(p, "menu", c->boot_menu, &c->boot_menu, err) || !opts_get_bool(p, "strict", false, &c->boot_strict, err) ||
        !opts_get_u64(p, "splash-time", 0, &ms, err))
        return false;
    c->boot_splash_ms = (int)MIN(ms, 60000);
    for (const char *t = c->boot_order; t && *t; t++)
        if (!strchr("acdn", *t))
            return fail(err, "-boot order=%s: '%c' is no drive (a floppy, c disk, d CD, n network)", c->boot_order, *t);
    return opts_all_used(p, "-boot", err);
}

bool o_text(App *a, const Option *o, const char *v, Error **err)
{
    VmConfig *c = &a->vm->cfg;
    const struct {
        const char *name;
        char **at;
    } where[] = { { "bios", &c->bios }, { "kernel", &c->kernel }, { "initrd", &c->initrd }, { "append", &c->append }, { "vga", &c->vga } };

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

bool o_global(App *a, const Option *o, const char *v, Error **err)
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

bool o_rtc(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "base", err);

    if (!p)
        return false;
    if (opts_peek(p, "base"))
        opt__set(&a->vm->cfg.rtc_base, opts_get(p, "base"));
    if (opts_peek(p, "clock"))
        opt__set(&a->vm->cfg.rtc_clock, opts_get(p, "clock"));
    if (opts_peek(p, "driftfix"))
        opt__set(&a->vm->cfg.rtc_driftfix, opts_get(p, "driftfix"));
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
