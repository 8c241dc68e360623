/*
 * hw/fw/optrom.c - option ROMs that firmware takes from fw_cfg: those of -option-rom, and those of devices whose ROM is hidden
 * (rombar=0). SeaBIOS runs what is in "genroms/", and what is in "vgaroms/" before anything is shown.
 */
#include "hw/fw/acpi-priv.h"
#include "hw/pci/pci.h"

static bool add(FwCfg *f, const char *folder, const char *path, Error **err)
{
    g_autofree char *base = g_path_get_basename(path), *name = g_strdup_printf("%s/%s", folder, base), *data = NULL;
    g_autoptr(GError) why = NULL;
    gsize len;

    if (!g_file_get_contents(path, &data, &len, &why))
        return fail(err, "option ROM: %s", why->message);
    return fw_cfg_set_file(f, name, data, len, err);
}

bool fw__option_roms(const FwPlatform *p, Error **err)
{
    GPtrArray *v = p->vm->cfg.option_roms;

    for (guint i = 0; v && i < v->len; i++) {
        g_autoptr(Opts) o = opts_parse(v->pdata[i], "romfile", err);
        const char *file = o ? opts_get(o, "romfile") : NULL;
        g_autofree char *path = NULL;
        uint64_t index;

        if (!o)
            return false;
        if (!file)
            return fail(err, "-option-rom %s: romfile= is missing", (char *)v->pdata[i]);
        path = vm_find_firmware(p->vm, file, err);
        if (!path || !opts_get_u64(o, "bootindex", 0, &index, err) || !opts_all_used(o, "-option-rom", err) || !add(p->fw_cfg, "genroms", path, err))
            return false;
    }
    return true;
}

/* The text was accepted above. */
char *fw__option_rom_path(const char *textual, long *bootindex)
{
    g_autoptr(Opts) o = opts_parse(textual, "romfile", NULL);
    g_autofree char *base = g_path_get_basename(opts_get(o, "romfile"));
    uint64_t index = 0;

    opts_get_u64(o, "bootindex", 0, &index, NULL);
    *bootindex = opts_peek(o, "bootindex") ? (long)MIN(index, INT32_MAX) : -1;
    return g_strdup_printf("/rom@genroms/%s", base);
}

static void hidden(Dev *d, void *arg)
{
    const FwPlatform *p = arg;
    g_autofree char *path = NULL;

    if (!d->bus || strcmp(d->bus->cls->type, "PCI") || PCI(d)->rombar_prop)
        return;
    path = pci_rom_file(PCI(d), NULL);
    if (path)
        add(p->fw_cfg, pci_class(PCI(d))->class_id >> 8 == 0x0300 ? "vgaroms" : "genroms", path, NULL);
}

void fw__device_roms(const FwPlatform *p) { vm_foreach_dev(p->vm, hidden, (void *)(uintptr_t)p); }
