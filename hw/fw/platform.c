/*
 * hw/fw/platform.c - everything firmware asks fw_cfg for: sizes, CPUs, boot order, memory map, tables, files of
 * the command line. The names and keys are those that SeaBIOS, OVMF and Linux read.
 */
#include "core/topology.h"
#include "core/machine.h"
#include "hw/fw/acpi-priv.h"

unsigned fw_e820(const FwPlatform *p, uint64_t acpi_at, FwE820 *v)
{
    unsigned n = 0;
    uint64_t top = acpi_at ? acpi_at : p->below_4g;

    v[n++] = (FwE820){ 0, 0x9fc00, 1 };
    v[n++] = (FwE820){ 0x9fc00, 0x400, 2 };
    v[n++] = (FwE820){ 0xf0000, 0x10000, 2 };
    v[n++] = (FwE820){ 0x100000, top - 0x100000, 1 };
    if (acpi_at)
        v[n++] = (FwE820){ acpi_at, p->below_4g - acpi_at, 3 };
    if (p->q35 && fw__ecam(p))
        v[n++] = (FwE820){ fw__ecam(p), 256 * MiB, 2 };
    if (p->above_4g)
        v[n++] = (FwE820){ 1ull << 32, p->above_4g, 1 };
    return n;
}

typedef struct Installed {
    FwPlatform p;
    VmListener listener;
    bool built; /* since the reset */
} Installed;

/*
 * Tables that depend on what the firmware programmed: built when it selects the first of the three files after a reset,
 * then left alone. OVMF reads the script while all devices decode and the tables after it turned them off again: the
 * offsets of the script have to hold for the tables.
 */
static void refresh(void *arg)
{
    Installed *me = arg;
    const FwPlatform *p = &me->p;
    FwLinker *l = me->built ? NULL : fw_acpi_build(p);

    if (!l)
        return;
    me->built = true;

    fw_cfg_set_file(p->fw_cfg, "etc/acpi/tables", l->tables->data, l->tables->len, &abort_on_error);
    fw_cfg_set_file(p->fw_cfg, "etc/acpi/rsdp", l->rsdp->data, l->rsdp->len, &abort_on_error);
    fw_cfg_set_file(p->fw_cfg, "etc/table-loader", l->commands->data, l->commands->len, &abort_on_error);
    fw_linker_free(l);
}

static void add_tables(Installed *me)
{
    FwPlatform *p = &me->p;
    static const char *const files[] = { "etc/acpi/tables", "etc/acpi/rsdp", "etc/table-loader" };
    GByteArray *t = g_byte_array_new(), *a = g_byte_array_new();

    refresh(me);
    me->built = false;
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
        fw_cfg_on_select(p->fw_cfg, files[i], refresh, me);
    fw_smbios_build(p, t, a);
    fw_cfg_set_file(p->fw_cfg, "etc/smbios/smbios-tables", t->data, t->len, &abort_on_error);
    fw_cfg_set_file(p->fw_cfg, "etc/smbios/smbios-anchor", a->data, a->len, &abort_on_error);
    g_byte_array_unref(t);
    g_byte_array_unref(a);
}

/* RAM and reservations, 20 bytes each; firmware adds its own. */
static void add_e820(const FwPlatform *p)
{
    uint8_t v[3 * 20];
    unsigned n = 0;

    le64_store(v, 0);
    le64_store(v + 8, p->below_4g);
    le32_store(v + 16, 1);
    n++;
    if (p->above_4g) {
        le64_store(v + 20, 1ull << 32);
        le64_store(v + 28, p->above_4g);
        le32_store(v + 36, 1);
        n++;
    }
    fw_cfg_set_file(p->fw_cfg, "etc/e820", v, n * 20, &abort_on_error);
}

static void add_numbers(const FwPlatform *p)
{
    const VmConfig *c = &p->vm->cfg;
    FwCfg *f = p->fw_cfg;
    unsigned cpus = MAX(c->cpus, 1), ids = cpu_apic_id(c, MAX(c->max_cpus, cpus) - 1) + 1;
    static const uint8_t sleep_states[6] = { 128, 0, 0, 129, 128 | 2, 128 };

    fw_cfg_set(f, FW_CFG_UUID, c->uuid, 16);
    fw_cfg_set_int(f, FW_CFG_RAM_SIZE, 8, p->below_4g + p->above_4g);
    fw_cfg_set_int(f, FW_CFG_NOGRAPHIC, 2, c->nographic);
    fw_cfg_set_int(f, FW_CFG_NB_CPUS, 2, cpus);
    fw_cfg_set_int(f, FW_CFG_MAX_CPUS, 2, ids); /* APIC ids are below it */
    fw__add_numa(p, ids);
    fw_cfg_set_int(f, FW_CFG_BOOT_MENU, 2, c->boot_menu);
    fw_cfg_set_int(f, FW_CFG_BOOT_DEVICE, 2, c->boot_order ? (uint8_t)c->boot_order[0] : 'c');
    fw_cfg_set_int(f, FW_CFG_IRQ0_OVERRIDE, 4, p->irq0_override);
    fw_cfg_set_file(f, "etc/system-states", sleep_states, sizeof(sleep_states), &abort_on_error);
    if (p->hole64_len) { /* where 64-bit BARs may begin */
        uint8_t end[8];

        le64_store(end, p->hole64);
        fw_cfg_set_file(f, "etc/reserved-memory-end", end, 8, &abort_on_error);
    }
}

/* How long firmware shows its menu, and after how long it tries again when nothing boots (all ones: never). */
static bool add_boot_times(const FwPlatform *p, Error **err)
{
    const VmConfig *c = &p->vm->cfg;
    uint8_t wait[2], retry[4];
    g_autofree char *picture = NULL;
    g_autoptr(GError) why = NULL;
    gsize n = 0;

    le16_store(wait, (uint16_t)c->boot_splash_ms);
    le32_store(retry, (uint32_t)c->boot_retry_ms);
    if (c->boot_splash_ms >= 0 && !fw_cfg_set_file(p->fw_cfg, "etc/boot-menu-wait", wait, 2, err))
        return false;
    if (!fw_cfg_set_file(p->fw_cfg, "etc/boot-fail-wait", retry, 4, err) || !c->boot_splash)
        return !c->boot_splash;
    if (!g_file_get_contents(c->boot_splash, &picture, &n, &why))
        return fail(err, "-boot splash: %s", why->message);
    if (n > 2 && !memcmp(picture, "\xff\xd8", 2))
        return fw_cfg_set_file(p->fw_cfg, "bootsplash.jpg", picture, n, err);
    if (n > 54 && !memcmp(picture, "BM", 2) && le16_load(picture + 28) == 24)
        return fw_cfg_set_file(p->fw_cfg, "bootsplash.bmp", picture, n, err);
    return fail(err, "-boot splash=%s: neither JPEG nor a BMP of 24 bits a pixel, which is what firmware shows", c->boot_splash);
}

/* HPET timer blocks as SeaBIOS and OVMF read them: count, then id, address, tick, flags of each. */
static void add_hpet(const FwPlatform *p)
{
    uint8_t v[121] = { 0 };

    v[0] = 1;
    le32_store(v + 1, 0x8086a201);
    le64_store(v + 5, 0xfed00000);
    le16_store(v + 13, 0x80);
    fw_cfg_set(p->fw_cfg, FW_CFG_HPET, v, sizeof(v));
}

/* -fw_cfg name=opt/x,file=PATH or ,string=TEXT */
static bool add_user_file(FwCfg *f, const char *textual, Error **err)
{
    g_autoptr(Opts) o = opts_parse(textual, "name", err);
    const char *name, *file, *string;
    g_autofree char *data = NULL;
    gsize len = 0;
    g_autoptr(GError) why = NULL;

    if (!o)
        return false;
    name = opts_get(o, "name");
    file = opts_get(o, "file");
    string = opts_get(o, "string");
    if (!name || !file == !string)
        return fail(err, "-fw_cfg %s: name= and one of file= and string= are needed", textual);
    if (!opts_all_used(o, "-fw_cfg", err))
        return false;
    if (file && !g_file_get_contents(file, &data, &len, &why))
        return fail(err, "-fw_cfg: %s", why->message);
    return string ? fw_cfg_set_file(f, name, string, strlen(string), err) : fw_cfg_set_file(f, name, data, len, err);
}

static void set_blob(FwCfg *f, uint16_t size_key, uint16_t data_key, const char *p, gsize n)
{
    fw_cfg_set_int(f, size_key, 4, n);
    fw_cfg_set(f, data_key, p, n);
}

/* For a firmware that starts kernels itself (OVMF): the setup part and the rest, initrd, command line. */
static bool add_kernel(const FwPlatform *p, Error **err)
{
    const VmConfig *c = &p->vm->cfg;
    g_autofree char *k = NULL, *rd = NULL;
    g_autoptr(GError) why = NULL;
    gsize n = 0, setup = 0;

    if (!c->kernel || !p->firmware)
        return true; /* entered directly: direct.c */
    if (!g_file_get_contents(c->kernel, &k, &n, &why))
        return fail(err, "-kernel: %s", why->message);
    if (n > 0x260 && le32_load(k + 0x202) == 0x53726448)
        setup = MIN(n, ((uint8_t)k[0x1f1] ? (uint8_t)k[0x1f1] + 1u : 5u) * 512);
    set_blob(p->fw_cfg, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA, k, setup);
    set_blob(p->fw_cfg, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA, k + setup, n - setup);
    if (c->append) {
        fw_cfg_set_int(p->fw_cfg, FW_CFG_CMDLINE_SIZE, 4, strlen(c->append) + 1);
        fw_cfg_set(p->fw_cfg, FW_CFG_CMDLINE_DATA, c->append, strlen(c->append) + 1);
    }
    if (c->initrd) {
        if (!g_file_get_contents(c->initrd, &rd, &n, &why))
            return fail(err, "-initrd: %s", why->message);
        set_blob(p->fw_cfg, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA, rd, n);
    }
    return true;
}

static void at_reset(void *self)
{
    Installed *me = self;

    me->built = false;
    fw__device_roms(&me->p);
    fw__bootorder(&me->p);
}

static void installed_free(void *self)
{
    vm_unlisten(((Installed *)self)->p.vm, &((Installed *)self)->listener);
    g_free(self);
}

bool fw_platform_install(const FwPlatform *given, Error **err)
{
    Installed *me = own(given->vm->machine, g_new0(Installed, 1), installed_free);
    FwPlatform *p = &me->p;
    GPtrArray *files = given->vm->cfg.fw_cfg;

    *p = *given;
    me->listener = (VmListener){ .reset = at_reset, .self = me };
    vm_listen(p->vm, &me->listener);
    add_numbers(p);
    if (!add_boot_times(p, err))
        return false;
    add_e820(p);
    if (p->hpet)
        add_hpet(p);
    add_tables(me);
    for (guint i = 0; files && i < files->len; i++)
        if (!add_user_file(p->fw_cfg, files->pdata[i], err))
            return false;
    return fw__option_roms(p, err) && add_kernel(p, err);
}
