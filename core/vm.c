/*
 * core/vm.c - making and unmaking a VM, its registry of named things, events and doors.
 */
#include "core/priv.h"
#include <errno.h>
#include <stdarg.h>
#include <sys/random.h>

static const ObjClass vm_class = { .name = "vm", .desc = "a virtual machine", .size = sizeof(Vm) };

static VmPriv *priv_new(void)
{
    VmPriv *p = g_new0(VmPriv, 1);

    p->registry = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    p->cpu_classes = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
    p->listeners = g_ptr_array_new();
    p->spaces = g_ptr_array_new();
    p->rams = g_ptr_array_new();
    p->sections = g_array_new(FALSE, FALSE, sizeof(void *));
    p->cpus_stopped = true;
    g_cond_init(&p->parked);
    g_cond_init(&p->resumed);
    g_cond_init(&p->exit_cond);
    g_mutex_init(&p->exit_lock);
    return p;
}

static void priv_free(VmPriv *p)
{
    g_hash_table_destroy(p->registry);
    g_hash_table_destroy(p->cpu_classes);
    g_ptr_array_free(p->listeners, TRUE);
    g_ptr_array_free(p->spaces, TRUE);
    g_ptr_array_free(p->rams, TRUE);
    if (p->buses)
        g_ptr_array_free(p->buses, TRUE);
    g_array_free(p->sections, TRUE);
    g_cond_clear(&p->parked);
    g_cond_clear(&p->resumed);
    g_cond_clear(&p->exit_cond);
    g_mutex_clear(&p->exit_lock);
    g_free(p);
}

Vm *vm_new(const char *name)
{
    Vm *vm = g_new0(Vm, 1);

    vm->root.cls = &vm_class;
    vm->root.name = g_strdup("");
    vm->root.vm = vm;
    vm->cfg.name = g_strdup(name);
    vm->cfg.cpus = vm->cfg.max_cpus = 1;
    vm->cfg.boot_splash_ms = vm->cfg.boot_retry_ms = -1;
    vm->cfg.on_panic = PANIC_SHUTDOWN;
    lock_init(&vm->lock, RANK_VM, "vm");
    vm->priv = priv_new();
    vm->loop = loop_new("vm", &vm->lock);
    vm->clock = core__clock_new(vm);
    vm->state = RUN_PRELAUNCH;
    if (getrandom(&vm->rng.s, sizeof(vm->rng.s), 0) < 0)
        vm->rng.s = (uint64_t)host_now();
    return vm;
}

static void free_strings(GPtrArray *a)
{
    if (a)
        g_ptr_array_free(a, TRUE);
}

static void cfg_free(VmConfig *c)
{
    char *const text[] = { c->name, c->uuid_text, c->ram_backend, c->cpu_model, c->machine_opts_left, c->kernel,
                           c->initrd, c->append, c->dtb, c->bios, c->boot_order, c->boot_once, c->vga, c->boot_splash,
                           c->rtc_base, c->rtc_clock, c->rtc_driftfix };

    for (size_t i = 0; i < G_N_ELEMENTS(text); i++)
        g_free(text[i]);
    free_strings(c->firmware_dirs);
    free_strings(c->options);
    free_strings(c->globals);
    free_strings(c->drives);
    free_strings(c->smbios);
    free_strings(c->fw_cfg);
    free_strings(c->option_roms);
}

static void end_requests(Vm *vm)
{
    lock_take(&vm->lock);
    for (guint i = 0; i < vm->priv->listeners->len; i++) {
        const VmListener *l = vm->priv->listeners->pdata[i];

        if (l->ending)
            l->ending(l->self);
    }
    lock_drop(&vm->lock);
}

void vm_free(Vm *vm)
{
    VmPriv *priv = vm->priv;
    VmClock *clock = vm->clock;
    Loop *loop = vm->loop;
    VmConfig cfg = vm->cfg;

    core__cpu_join(vm);
    vm->ending = true;
    end_requests(vm);
    loop_stop(loop);
    lock_take(&vm->lock);
    core__clock_stop(vm);
    mem_begin(vm); /* no view is rendered while the tree goes */
    if (vm->machine)
        obj_free(vm->machine);
    vm->machine = NULL;
    vm->ncpus = 0; /* they went with it */
    if (vm->accel && vm->accel->vm_exit && priv->powered)
        vm->accel->vm_exit(vm);
    lock_drop(&vm->lock);
    g_free(vm->cpus);
    obj_free(&vm->root); /* frees vm itself */
    core__clock_free(clock);
    loop_free(loop);
    cfg_free(&cfg);
    priv_free(priv);
    rcu_drain();
}

bool vm_set_accel(Vm *vm, const char *name, Opts *props, Error **err)
{
    const Accel *a = accel_find(name);
    Region *smm_all;

    if (!a) {
        fail(err, "-accel %s: there is no such accelerator", name);
        return error_hint(err, "-accel help lists them");
    }
    if (a->probe && !a->probe(err))
        return false;
    if (a->props) {
        vm->accel_obj = obj_new(a->props, &vm->root, "accel", props, err);
        if (!vm->accel_obj)
            return false;
    } else if (props && !opts_all_used(props, "-accel", err)) {
        return false;
    }
    vm->sysmem = region_box(&vm->root, "system", UINT64_MAX);
    vm->smmmem = region_box(&vm->root, "smm", UINT64_MAX);
    vm->sysports = region_box(&vm->root, "io", 65536);
    smm_all = region_alias(&vm->root, "smm-system", vm->sysmem, 0, UINT64_MAX);
    region_map(vm->smmmem, 0, smm_all, 0);
    vm->mem = as_new(&vm->root, "memory", vm->sysmem);
    vm->smm = as_new(&vm->root, "cpu-smm", vm->smmmem);
    vm->ports = as_new(&vm->root, "I/O", vm->sysports);
    vm->accel = a;
    if (a->vm_init && !a->vm_init(vm, err))
        return false;
    return vm->priv->powered = true;
}

bool vm_init_machine(Vm *vm, const char *machine, Opts *machine_props, Error **err)
{
    const MachineClass *mc = machine_find(machine);
    bool ok;

    if (!mc) {
        fail(err, "-machine %s: there is no such machine", machine ? machine : "(default)");
        return error_hint(err, "-machine help lists them");
    }
    vm->mc = mc;
    if (mc->max_cpus && vm->cfg.cpus > mc->max_cpus)
        return fail(err, "-smp %u: machine %s has at most %u CPUs", vm->cfg.cpus, mc->name, mc->max_cpus);
    lock_take(&vm->lock);
    vm->objects = obj_container(&vm->root, "objects");
    vm->machine = obj_new(&mc->props, &vm->root, "machine", machine_props, err);
    ok = vm->machine;
    if (ok) {
        vm->unattached = obj_container(vm->machine, "unattached");
        vm->peripheral = obj_container(vm->machine, "peripheral");
        vm->peripheral_anon = obj_container(vm->machine, "peripheral-anon");
        mem_begin(vm);
        ok = !mc->init || mc->init(vm, err);
        mem_commit(vm);
    }
    lock_drop(&vm->lock);
    return ok;
}

/* ---- listeners, events ---- */
void vm_listen(Vm *vm, const VmListener *l)
{
    lock_take(&vm->lock);
    g_ptr_array_add(vm->priv->listeners, (gpointer)l);
    lock_drop(&vm->lock);
}

void vm_unlisten(Vm *vm, const VmListener *l)
{
    lock_take(&vm->lock);
    g_ptr_array_remove(vm->priv->listeners, (gpointer)l);
    lock_drop(&vm->lock);
}

void vm_event(Vm *vm, const char *name, const char *json_fmt, ...)
{
    g_autofree char *json = NULL;
    va_list ap;

    if (json_fmt) {
        va_start(ap, json_fmt);
        json = g_strdup_vprintf(json_fmt, ap);
        va_end(ap);
    }
    lock_take(&vm->lock);
    for (guint i = 0; i < vm->priv->listeners->len; i++) {
        const VmListener *l = vm->priv->listeners->pdata[i];

        if (l->event)
            l->event(l->self, name, json);
    }
    lock_drop(&vm->lock);
}

/* ---- registry: "space/id" -> pointer ---- */
static char *registry_key(const char *space, const char *id) { return g_strconcat(space, "/", id, NULL); }

void vm_register(Vm *vm, const char *space, const char *id, void *p)
{
    g_hash_table_replace(vm->priv->registry, registry_key(space, id), p);
}

void vm_unregister(Vm *vm, const char *space, const char *id)
{
    g_autofree char *k = registry_key(space, id);

    g_hash_table_remove(vm->priv->registry, k);
}

void *vm_lookup(Vm *vm, const char *space, const char *id)
{
    g_autofree char *k = registry_key(space, id);

    return g_hash_table_lookup(vm->priv->registry, k);
}

static gint by_text(gconstpointer a, gconstpointer b) { return strcmp(a, b); }

void vm_registry_foreach(Vm *vm, const char *space, void (*fn)(const char *id, void *p, void *arg), void *arg)
{
    g_autofree char *prefix = registry_key(space, "");
    GList *keys = g_list_sort(g_hash_table_get_keys(vm->priv->registry), by_text);

    for (GList *k = keys; k; k = k->next)
        if (g_str_has_prefix(k->data, prefix))
            fn((const char *)k->data + strlen(prefix), g_hash_table_lookup(vm->priv->registry, k->data), arg);
    g_list_free(keys);
}

/* ---- doors ---- */
void door_random(Vm *vm, void *buf, size_t len)
{
    uint8_t *p = buf;

    while (len) {
        ssize_t n = getrandom(p, MIN(len, 256), 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            g_error("getrandom: %s", g_strerror(errno));
        p += n;
        len -= (size_t)n;
    }
}

void door_call(Vm *vm, const char *door, void (*fn)(void *arg, const void *data, size_t len), void *arg, const void *data,
               size_t len)
{
    fn(arg, data, len);
}

/* ---- firmware files ---- */
static const char *const builtin_dirs[] = { MENURA_DATADIR, "/usr/share/seabios", "/usr/share/qemu", "/usr/share/OVMF",
                                            "/usr/share/ovmf", "/usr/lib/ipxe/qemu", "/usr/share/ipxe" };

static char *try_dir(const char *dir, const char *name)
{
    char *path = g_build_filename(dir, name, NULL);

    if (g_file_test(path, G_FILE_TEST_EXISTS))
        return path;
    g_free(path);
    return NULL;
}

char *vm_find_firmware(Vm *vm, const char *name, Error **err)
{
    char *path;
    GString *tried = g_string_new(NULL);
    guint own = vm->cfg.firmware_dirs ? vm->cfg.firmware_dirs->len : 0;

    if (strchr(name, '/') || g_file_test(name, G_FILE_TEST_EXISTS)) {
        g_string_free(tried, TRUE);
        return g_strdup(name);
    }
    for (guint i = 0; i < own + G_N_ELEMENTS(builtin_dirs); i++) {
        const char *dir = i < own ? vm->cfg.firmware_dirs->pdata[i] : builtin_dirs[i - own];

        path = try_dir(dir, name);
        if (path) {
            g_string_free(tried, TRUE);
            return path;
        }
        g_string_append_printf(tried, "%s%s", tried->len ? ", " : "", dir);
    }
    fail(err, "cannot find firmware file '%s' (looked in %s)", name, tried->str);
    error_hint(err, "install the package that has it (seabios, ovmf) or name its folder with -L");
    g_string_free(tried, TRUE);
    return NULL;
}
