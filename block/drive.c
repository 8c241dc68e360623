/* block/drive.c - -drive's placement: interface, bus, unit, default ids as QEMU numbers them. */
#include "block/drive.h"
#include "block/disk-priv.h"

typedef struct Iface {
    const char *name;
    unsigned units; /* per bus; 0: one bus of any number */
    bool media;     /* ids carry hd or cd */
} Iface;
static const Iface ifaces[] = {
    { "ide", 2, true },     { "scsi", 7, true }, { "floppy", 0, false }, { "pflash", 0, false },
    { "virtio", 0, false }, { "mtd", 0, false }, { "sd", 0, false },     { "none", 0, false },
};

static void info_free(gpointer p)
{
    DriveInfo *i = p;

    g_free(i->id); /* the disk is the VM's */
    g_free(i->iface);
    g_free(i);
}

static void release(void *disk) { disk_free(disk); }

static const Iface *find_iface(const char *name, Error **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(ifaces); i++)
        if (!strcmp(ifaces[i].name, name))
            return &ifaces[i];
    fail(err, "-drive if=%s: there is no such interface", name);
    error_hint(err, "one of ide, scsi, virtio, floppy, pflash, none");
    return NULL;
}

static bool number(Opts *o, const char *key, int *out, Error **err)
{
    uint64_t v;

    if (!opts_get_u64(o, key, UINT64_MAX, &v, err))
        return false;
    if (v != UINT64_MAX && v > 1023)
        return fail(err, "-drive %s=%" PRIu64 ": too large", key, v);
    *out = v == UINT64_MAX ? -1 : (int)v;
    return true;
}

static bool taken(const Vm *vm, const char *iface, int bus, int unit)
{
    for (guint i = 0; vm->cfg.drives && i < vm->cfg.drives->len; i++) {
        const DriveInfo *d = vm->cfg.drives->pdata[i];

        if (!strcmp(d->iface, iface) && d->bus == bus && d->unit == unit)
            return true;
    }
    return false;
}

static bool place(Vm *vm, DriveInfo *d, unsigned units, Error **err)
{
    if (d->index >= 0 && (d->bus >= 0 || d->unit >= 0))
        return fail(err, "-drive index=%d cannot be combined with bus and unit", d->index);
    if (d->index >= 0) {
        d->bus = units ? d->index / (int)units : 0;
        d->unit = units ? d->index % (int)units : d->index;
    }
    if (d->bus < 0)
        d->bus = 0;
    if (units && d->unit >= (int)units)
        return fail(err, "-drive unit=%d is too large for if=%s (at most %u)", d->unit, d->iface,
                    units - 1);
    if (d->unit < 0) {
        for (d->unit = 0;
             taken(vm, d->iface, d->bus, d->unit);) { /* at most the number of drives */
            d->unit++;
            if (units && d->unit == (int)units) {
                d->unit = 0;
                d->bus++;
            }
        }
    } else if (taken(vm, d->iface, d->bus, d->unit)) {
        fail(err, "-drive if=%s,bus=%d,unit=%d: there is a drive already", d->iface, d->bus,
             d->unit);
        return error_hint(err, "give each drive its own index=");
    }
    d->index = units ? d->bus * (int)units + d->unit : d->unit;
    return true;
}

static char *default_id(const DriveInfo *d, const Iface *f, unsigned units)
{
    if (f->media && units)
        return g_strdup_printf("%s%d-%s%d", f->name, d->bus, d->cdrom ? "cd" : "hd", d->unit);
    if (f->media)
        return g_strdup_printf("%s%s%d", f->name, d->cdrom ? "-cd" : "-hd", d->unit);
    return g_strdup_printf("%s%d", f->name, d->unit);
}

static bool fill(Vm *vm, const MachineClass *mc, DriveInfo *d, Opts *o, Error **err)
{
    g_autofree char *iface = opts_take(o, "if");
    const char *media = opts_peek(o, "media");
    const char *name = iface ? iface : mc->default_bus_type ? mc->default_bus_type : "ide";
    const Iface *f = find_iface(name, err);
    unsigned units;

    if (!f)
        return false;
    units = !strcmp(name, "ide") && mc->ide_units ? mc->ide_units : f->units;
    d->iface = g_strdup(name);
    d->cdrom = media && !strcmp(media, "cdrom");
    if (!number(o, "index", &d->index, err) || !number(o, "bus", &d->bus, err) ||
        !number(o, "unit", &d->unit, err))
        return false;
    g_free(opts_take(o, "index"));
    g_free(opts_take(o, "bus"));
    g_free(opts_take(o, "unit"));
    if (!place(vm, d, units, err))
        return false;
    d->id = opts_take(o, "id");
    if (!d->id)
        d->id = default_id(d, f, units);
    if (vm_lookup(vm, "drive", d->id))
        return fail(err, "-drive id=%s: there is a drive of that id already", d->id);
    d->disk = disk_new(vm, d->id, o, err);
    if (d->disk) {
        d->readonly = disk_readonly(own(&vm->root, d->disk, release));
        ((Disk *)d->disk)->with_device = true;
    }
    return d->disk;
}

DriveInfo *drive_add(Vm *vm, const MachineClass *mc, Opts *o, Error **err)
{
    DriveInfo *d = g_new0(DriveInfo, 1);
    bool ok = fill(vm, mc, d, o, err);

    opts_free(o);
    if (!ok) {
        info_free(d);
        return NULL;
    }
    if (!vm->cfg.drives)
        vm->cfg.drives = g_ptr_array_new_with_free_func(info_free);
    g_ptr_array_add(vm->cfg.drives, d);
    return d;
}

void drive_remove(Disk *disk)
{
    Vm *vm = disk->vm;

    for (guint i = 0; vm->cfg.drives && i < vm->cfg.drives->len; i++)
        if (((DriveInfo *)vm->cfg.drives->pdata[i])->disk == disk) {
            g_ptr_array_remove_index(vm->cfg.drives, i);
            break;
        }
    disown(&vm->root, disk);
    disk_free(disk);
}

DriveInfo *drive_add_simple(Vm *vm, const MachineClass *mc, char letter, const char *file,
                            Error **err)
{
    Opts *o = opts_new();
    g_autofree char *index = NULL;
    bool cd = letter == 'r';

    index = g_strdup_printf("%d", cd ? 2 : letter - 'a');
    opts_set(o, "file", file);
    opts_set(o, "media", cd ? "cdrom" : "disk");
    opts_set(o, "index", index);
    return drive_add(vm, mc, o, err);
}
