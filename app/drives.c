/* app/drives.c - -drive, its short forms, and the empty drives that machines have. */
#include "app/app.h"
#include "block/drive.h"

static bool has_drive(const Vm *vm, const char *iface, int index)
{
    for (guint i = 0; vm->cfg.drives && i < vm->cfg.drives->len; i++) {
        const DriveInfo *d = vm->cfg.drives->pdata[i];

        if (!strcmp(d->iface, iface) && d->index == index)
            return true;
    }
    return false;
}

/* The empty drives that a machine has unless it was asked for nothing but what is named. */
static bool make_default_drives(App *a, const MachineClass *mc, Error **err)
{
    static const char *const rows[][3] = { { "ide", "2", "if=ide,index=2,media=cdrom" }, { "floppy", "0", "if=floppy,index=0" } };

    for (size_t i = 0; i < G_N_ELEMENTS(rows) && !a->nodefaults && mc->default_bus_type; i++) {
        bool floppy = !strcmp(rows[i][0], "floppy");
        Opts *o;

        if (has_drive(a->vm, rows[i][0], *rows[i][1] - '0') || (floppy ? mc->no_floppy : strcmp(rows[i][0], mc->default_bus_type) != 0))
            continue;
        o = opts_parse(rows[i][2], NULL, err);
        if (!o || !drive_add(a->vm, mc, o, err))
            return false;
    }
    return true;
}

/* -hda, -cdrom, -fda and their like, as -drive would say it. */
static void short_drive(Opts *o, const char *option, const char *file)
{
    bool cd = !strcmp(option, "cdrom"), floppy = option[0] == 'f';
    const char index[] = { (char)('0' + (cd ? 2 : option[2] - 'a')), 0 };

    opts_set(o, "file", file);
    opts_set(o, "index", index);
    if (floppy)
        opts_set(o, "if", "floppy");
    else
        opts_set(o, "media", cd ? "cdrom" : "disk");
}

/* Firmware may boot it all the same; what is missing reads as an error. */
static void warn_if_cut(const Opts *o)
{
    const char *media = opts_peek(o, "media"), *file = opts_peek(o, "file");
    Error *why = NULL;

    if (!file || g_strcmp0(media, "cdrom") || app_iso_whole(file, &why))
        return;
    warn_report("%s", error_text(why));
    error_free(why);
}

bool app_make_drives(App *a, const MachineClass *mc, Error **err)
{
    for (guint i = 0; i < a->drives->len; i++) {
        char **pair = a->drives->pdata[i];
        bool drive = !strcmp(pair[0], "drive");
        Opts *o = drive ? opts_parse_any(pair[1], NULL, err) : opts_new();

        if (!o)
            return false;
        if (!drive)
            short_drive(o, pair[0], pair[1]);
        warn_if_cut(o);
        if (a->snapshot && !opts_peek(o, "snapshot"))
            opts_set(o, "snapshot", "on");
        if (!drive_add(a->vm, mc, o, err))
            return false;
    }
    return make_default_drives(a, mc, err);
}

/* if=virtio means a device that the machine does not have by itself; whatever else nobody took has no place here. */
bool app_place_drives(App *a, const MachineClass *mc, Error **err)
{
    for (guint i = 0; i < a->drives->len; i++) { /* the machine's own empty drives come behind */
        DriveInfo *d = a->vm->cfg.drives->pdata[i];
        g_autoptr(Opts) o = NULL;
        bool ok;

        if (d->claimed || !strcmp(d->iface, "none"))
            continue;
        if (strcmp(d->iface, "virtio")) {
            fail(err, "-drive id=%s: machine %s has no place for if=%s,bus=%d,unit=%d", d->id, mc->name, d->iface, d->bus, d->unit);
            return error_hint(err, "another index=, or if=none and -device with drive=%s", d->id);
        }
        d->claimed = true;
        o = opts_new();
        opts_set(o, "driver", "virtio-blk-pci");
        opts_set(o, "drive", d->id);
        lock_take(&a->vm->lock);
        ok = dev_add(a->vm, o, err);
        lock_drop(&a->vm->lock);
        if (!ok)
            return false;
    }
    return true;
}
