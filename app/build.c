/*
 * app/build.c - from options to a machine. What others refer to comes first, whatever the order on the command line:
 * objects, character devices, disks, monitors, the machine, devices.
 */
#include "app/app.h"
#include "block/disk.h"
#include "chr/chr.h"
#include "gdb/gdb.h"
#include "monitor/monitor.h"
#include "monitor/qtest.h"
#include "ui/front.h"

static bool make_chardev(App *a, Opts *o, Error **err)
{
    return chr_new(a->vm, o, err) != NULL;
}

/* Short forms may be "none": no error and no Chr. */
static bool make_short(App *a, const char *id, const char *text, Chr **out, Error **err)
{
    Error *why = NULL;

    *out = chr_new_short(a->vm, id, text, &why);
    return *out || !why || error_pass(err, why);
}

static bool make_serials(App *a, Error **err)
{
    a->serial_shared = !a->serials->len && !a->nodefaults && a->nographic && !a->monitors->len && !a->mons->len;
    if (!a->serials->len && !a->nodefaults)
        g_ptr_array_add(a->serials, g_strdup(!a->nographic ? "vc" : a->serial_shared ? "mon:stdio" : "stdio"));
    for (guint i = 0; i < a->serials->len && i < 4; i++) {
        g_autofree char *id = g_strdup_printf("serial%u", i);
        Chr *c;

        if (!make_short(a, id, a->serials->pdata[i], &c, err))
            return false;
        a->vm->cfg.serial[i] = c;
        a->vm->cfg.nserial = i + 1;
    }
    if (a->debugcon) {
        Chr *c;

        if (!make_short(a, "debugcon", a->debugcon, &c, err))
            return false;
        a->vm->cfg.debugcon = c;
    }
    return a->serials->len <= 4 || fail(err, "-serial: there are at most four serial ports");
}

static bool make_parallels(App *a, Error **err)
{
    if (!a->parallels->len && !a->nodefaults)
        g_ptr_array_add(a->parallels, g_strdup(a->nographic ? "null" : "vc"));
    for (guint i = 0; i < a->parallels->len && i < 3; i++) {
        g_autofree char *id = g_strdup_printf("parallel%u", i);
        Chr *c;

        if (!make_short(a, id, a->parallels->pdata[i], &c, err))
            return false;
        a->vm->cfg.parallel[i] = c;
        a->vm->cfg.nparallel = i + 1;
    }
    return a->parallels->len <= 3 || fail(err, "-parallel: there are at most three parallel ports");
}

static bool make_blockdev(App *a, Opts *o, Error **err) { return disk_add_blockdev(a->vm, o, err); }

static bool make_device(App *a, Opts *o, Error **err)
{
    bool ok;

    lock_take(&a->vm->lock);
    ok = dev_add(a->vm, o, err);
    lock_drop(&a->vm->lock);
    return ok;
}

static bool make_gdb(App *a, Error **err)
{
    for (guint i = 0; i < a->gdbs->len; i++) {
        Error *why = NULL;
        Gdb *g = gdb_open(a->vm, a->gdbs->pdata[i], &why);

        if (why)
            return error_pass(err, why);
        if (g)
            gdb_set_monitor(g, monitor_hmp);
    }
    return true;
}

static bool make_qtest(App *a, Error **err)
{
    Chr *c;

    if (!a->qtest)
        return true;
    if (!make_short(a, "qtest", a->qtest, &c, err))
        return false;
    return !c || qtest_serve(a->vm, c, a->qtest_log, err);
}

bool app_build(App *a, const UiDisplay **display, Error **err)
{
    g_autofree char *type = opts_take(a->machine, "type");
    const MachineClass *mc = machine_find(type);

    if (!mc) {
        fail(err, "-machine %s: there is no such machine", type ? type : "(default)");
        return error_hint(err, "-machine help lists them");
    }
    if (!app_start_accel(a, err) || !app_make_objects(a, err) || !app_each(a, "chardev", make_chardev, err) ||
        !app_each(a, "blockdev", make_blockdev, err) || !make_serials(a, err) || !make_parallels(a, err) || !app_make_drives(a, mc, err))
        return false;
    if (!app_make_monitors(a, err) || !vm_init_machine(a->vm, mc->name, a->machine, err) || !app_place_drives(a, mc, err) ||
        !app_make_nets(a, err) || !app_make_filters(a, err) || !app_make_cards(a, err) || !app_each(a, "device", make_device, err) ||
        !make_gdb(a, err) || !make_qtest(a, err))
        return false;
    *display = ui_display_open(a->vm, a->display ? a->display : a->nographic ? "none" : NULL, err);
    return *display;
}
