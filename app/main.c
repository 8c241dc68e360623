/*
 * app/main.c - from a command line to a running VM. Names decide the grammar (QEMU's when the program's name ends in
 * -system-ARCH or an option comes first); the order of creation is chardevs, drives, machine, devices.
 */
#include "app/app.h"
#include "block/drive.h"
#include "chr/chr.h"
#include "gdb/gdb.h"
#include "migrate/migrate.h"
#include "monitor/monitor.h"
#include "monitor/qtest.h"
#include "ui/front.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void free_pair(gpointer p) { g_strfreev(p); }

App *app_new(void)
{
    App *a = g_new0(App, 1);

    a->vm = vm_new("menura");
    a->machine = opts_new();
    a->accels = g_ptr_array_new_with_free_func(g_free);
    a->drives = g_ptr_array_new_with_free_func(free_pair);
    a->devices = g_ptr_array_new_with_free_func(g_free);
    a->chardevs = g_ptr_array_new_with_free_func(g_free);
    a->serials = g_ptr_array_new_with_free_func(g_free);
    a->parallels = g_ptr_array_new_with_free_func(g_free);
    a->monitors = g_ptr_array_new_with_free_func(g_free);
    a->mons = g_ptr_array_new_with_free_func(g_free);
    a->gdbs = g_ptr_array_new_with_free_func(g_free);
    a->vm->cfg.firmware_dirs = g_ptr_array_new_with_free_func(g_free);
    a->vm->cfg.globals = g_ptr_array_new_with_free_func(free_pair);
    a->vm->cfg.smbios = g_ptr_array_new_with_free_func(g_free);
    a->vm->cfg.fw_cfg = g_ptr_array_new_with_free_func(g_free);
    return a;
}

void app_free(App *a)
{
    GPtrArray *const lists[] = { a->accels, a->drives, a->devices, a->chardevs, a->serials, a->parallels, a->monitors, a->mons, a->gdbs };

    migrate_shutdown(a->vm);
    vm_free(a->vm);
    opts_free(a->machine);
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++)
        g_ptr_array_free(lists[i], TRUE);
    g_free(a->display);
    g_free(a->debugcon);
    g_free(a->pidfile);
    g_free(a->incoming);
    g_free(a->qtest);
    g_free(a->qtest_log);
    g_free(a);
}

/* ---- accelerator ---- */
const char *app_choose_accel(GString *why)
{
    const Accel *kvm = accel_find("kvm");
    Error *err = NULL;

    if (!kvm) {
        g_string_append(why, "software CPU (tcg): this build has no KVM accelerator");
        return "tcg";
    }
    if ((kvm->probe && !kvm->probe(&err)) || (kvm->fast && !kvm->fast(&err))) {
        g_string_append_printf(why, "software CPU (tcg): %s", error_text(err));
        if (error_hint_text(err))
            g_string_append_printf(why, "; %s", error_hint_text(err));
        error_free(err);
        return "tcg";
    }
    g_string_append(why, "KVM");
    return "kvm";
}

static bool start_accel(App *a, Error **err)
{
    Error *last = NULL;

    if (!a->accels->len) {
        GString *why = g_string_new(NULL);
        const char *name = app_choose_accel(why);

        if (a->friendly || isatty(STDERR_FILENO))
            fprintf(stderr, "menura: accelerator: %s\n", why->str);
        g_string_free(why, TRUE);
        return vm_set_accel(a->vm, name, NULL, err);
    }
    for (guint i = 0; i < a->accels->len; i++) {
        g_autoptr(Opts) o = opts_parse(a->accels->pdata[i], "accel", err);
        g_autofree char *name = o ? opts_take(o, "accel") : NULL;

        if (!o)
            return false;
        error_free(last);
        last = NULL;
        if (vm_set_accel(a->vm, name, o, &last))
            return true;
        if (a->vm->accel)
            break; /* half built: no other can take over */
    }
    return error_pass(err, last);
}

/* ---- back ends ---- */
static bool make_chardevs(App *a, Error **err)
{
    for (guint i = 0; i < a->chardevs->len; i++) {
        g_autoptr(Opts) o = opts_parse_any(a->chardevs->pdata[i], "backend", err);

        if (!o || !chr_new(a->vm, o, err))
            return false;
    }
    return true;
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

    for (size_t i = 0; i < G_N_ELEMENTS(rows) && !a->nodefaults; i++) {
        Opts *o;

        if (has_drive(a->vm, rows[i][0], *rows[i][1] - '0') || (strcmp(rows[i][0], "floppy") && strcmp(rows[i][0], mc->default_bus_type)))
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

static bool make_drives(App *a, const MachineClass *mc, Error **err)
{
    for (guint i = 0; i < a->drives->len; i++) {
        char **pair = a->drives->pdata[i];
        bool drive = !strcmp(pair[0], "drive");
        Opts *o = drive ? opts_parse_any(pair[1], NULL, err) : opts_new();

        if (!o)
            return false;
        if (!drive)
            short_drive(o, pair[0], pair[1]);
        if (a->snapshot && !opts_peek(o, "snapshot"))
            opts_set(o, "snapshot", "on");
        if (!drive_add(a->vm, mc, o, err))
            return false;
    }
    return make_default_drives(a, mc, err);
}

/* if=virtio means a device that the machine does not have by itself; whatever else nobody took has no place here. */
static bool place_drives(App *a, const MachineClass *mc, Error **err)
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

static bool make_devices(App *a, Error **err)
{
    for (guint i = 0; i < a->devices->len; i++) {
        g_autoptr(Opts) o = opts_parse_any(a->devices->pdata[i], "driver", err);
        bool ok;

        if (!o)
            return false;
        lock_take(&a->vm->lock);
        ok = dev_add(a->vm, o, err);
        lock_drop(&a->vm->lock);
        if (!ok)
            return false;
    }
    return true;
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

static bool build(App *a, const UiDisplay **display, Error **err)
{
    g_autofree char *type = opts_take(a->machine, "type");
    const MachineClass *mc = machine_find(type);

    if (!mc) {
        fail(err, "-machine %s: there is no such machine", type ? type : "(default)");
        return error_hint(err, "-machine help lists them");
    }
    if (!start_accel(a, err) || !make_chardevs(a, err) || !make_serials(a, err) || !make_parallels(a, err) || !make_drives(a, mc, err))
        return false;
    if (!app_make_monitors(a, err) || !vm_init_machine(a->vm, mc->name, a->machine, err) || !place_drives(a, mc, err) ||
        !make_devices(a, err) || !make_gdb(a, err) || !make_qtest(a, err))
        return false;
    *display = ui_display_open(a->vm, a->display ? a->display : a->nographic ? "none" : NULL, err);
    return *display;
}

/* ---- signals: the terminal is put back, the VM ends in order ---- */
static int signal_pipe[2] = { -1, -1 }; /* of the process, as signals are */

static void on_signal(int n)
{
    char c = (char)n;

    if (write(signal_pipe[1], &c, 1) < 0)
        _exit(128 + n);
}

static bool signalled(void *arg, int fd, GIOCondition cond)
{
    char c;

    if (read(fd, &c, 1) == 1)
        vm_request(arg, VM_SHUTDOWN, CAUSE_HOST_SIGNAL);
    return true;
}

static void catch_signals(Vm *vm)
{
    struct sigaction s = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    static const int which[] = { SIGINT, SIGTERM, SIGHUP };

    if (pipe(signal_pipe))
        return;
    loop_watch_fd(vm->loop, signal_pipe[0], G_IO_IN, signalled, vm);
    for (size_t i = 0; i < G_N_ELEMENTS(which); i++)
        sigaction(which[i], &s, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static bool start(App *a, Error **err)
{
    Error *why = NULL;

    if (!vm_start(a->vm, a->paused || a->incoming, err))
        return false;
    if (!a->incoming)
        return true;
    migrate_await(a->vm, !a->paused);
    if (!strcmp(a->incoming, "defer") || migrate_incoming(a->vm, a->incoming, true, &why))
        return true;
    return fail_because(err, why, "-incoming %s", a->incoming);
}

int app_run(App *a)
{
    Error *err = NULL;
    const UiDisplay *display = NULL;
    int status;

    if (!build(a, &display, &err)) {
        error_report_free(err);
        return STATUS_USAGE;
    }
    if (a->pidfile) {
        g_autofree char *pid = g_strdup_printf("%d\n", getpid());

        if (!g_file_set_contents(a->pidfile, pid, -1, NULL)) {
            fprintf(stderr, "menura: -pidfile %s: cannot write it\n", a->pidfile);
            return STATUS_USAGE;
        }
    }
    catch_signals(a->vm);
    if (!start(a, &err)) {
        error_report_free(err);
        return STATUS_USAGE;
    }
    status = display->run(a->vm);
    if (a->pidfile)
        unlink(a->pidfile);
    chr_restore_terminal();
    return status;
}

static bool speaks_qemu(int argc, char **argv)
{
    g_autofree char *name = g_path_get_basename(argv[0]);

    return strstr(name, "-system-") || !strcmp(name, "kvm") || (argc > 1 && argv[1][0] == '-' && argv[1][1] && argv[1][1] != '-');
}

static int system_main(int argc, char **argv, bool friendly)
{
    App *a = app_new();
    int status = STATUS_OK;

    a->friendly = a->vm->cfg.autopsy_stops = friendly;
    if (app_parse(a, argc, argv, &status))
        status = app_run(a);
    app_free(a);
    return status;
}

static int run_main(int argc, char **argv)
{
    Error *err = NULL;
    GString *say = g_string_new(NULL);
    bool explain = false;
    char **cmd = app_run_command(argc, argv, say, &explain, &err);
    int status;

    if (!cmd) {
        error_report_free(err);
        g_string_free(say, TRUE);
        return STATUS_USAGE;
    }
    if (explain) {
        for (char **c = cmd; *c; c++) {
            g_autofree char *q = g_shell_quote(*c);

            printf("%s%s", strpbrk(*c, " '\"$\\") ? q : *c, c[1] ? " " : "\n");
        }
        status = STATUS_OK;
    } else {
        fputs(say->str, stderr);
        status = system_main((int)g_strv_length(cmd), cmd, true);
    }
    g_string_free(say, TRUE);
    g_strfreev(cmd);
    return status;
}

int main(int argc, char **argv)
{
    if (speaks_qemu(argc, argv))
        return system_main(argc, argv, false);
    if (argc > 1 && !strcmp(argv[1], "run"))
        return run_main(argc - 1, argv + 1);
    if (argc > 1 && !strcmp(argv[1], "--version")) {
        printf("menura %s\n", MENURA_VERSION);
        return STATUS_OK;
    }
    if (argc > 1 && !strcmp(argv[1], "--help")) {
        puts("menura - a full-machine emulator\n\n  menura run IMAGE [--explain] [--snapshot] [options]   boot an ISO, disk image or kernel\n"
             "  menura-system-x86_64 [options]                        QEMU's command line\n  menura --version");
        return STATUS_OK;
    }
    fprintf(stderr, "menura: %s: no such command\nhint: menura --help\n", argc > 1 ? argv[1] : "(nothing)");
    return STATUS_USAGE;
}
