/*
 * app/main.c - names decide the grammar: QEMU's when the program's name ends in -system-ARCH or an option comes first,
 * else our own verbs.
 */
#include "app/app.h"
#include "migrate/migrate.h"
#include <stdio.h>
#include <unistd.h>

static void free_pair(gpointer p) { g_strfreev(p); }

App *app_new(void)
{
    App *a = g_new0(App, 1);

    a->vm = vm_new("menura");
    a->machine = opts_new();
    a->accels = g_ptr_array_new_with_free_func(g_free);
    a->drives = g_ptr_array_new_with_free_func(free_pair);
    a->later = g_ptr_array_new_with_free_func(app_later_free);
    a->serials = g_ptr_array_new_with_free_func(g_free);
    a->nets = g_ptr_array_new_with_free_func(free_pair);
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
    GPtrArray *const lists[] = { a->accels, a->drives, a->later, a->serials, a->parallels, a->nets, a->monitors, a->mons, a->gdbs };

    migrate_shutdown(a->vm);
    vm_free(a->vm);
    if (a->has_pidfile) /* the last thing to go: who waits for that finds all gone */
        unlink(a->pidfile);
    if (a->cards)
        g_ptr_array_free(a->cards, TRUE);
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

static bool speaks_qemu(int argc, char **argv)
{
    g_autofree char *name = g_path_get_basename(argv[0]);

    return strstr(name, "-system-") || !strcmp(name, "kvm") || (argc > 1 && argv[1][0] == '-' && argv[1][1] && argv[1][1] != '-');
}

static int system_main(int argc, char **argv, bool friendly)
{
    App *a = app_new();
    int status = STATUS_OK;

    g_autofree char *name = g_path_get_basename(argv[0]);

    if (!friendly)
        error_style(name, false, NULL);
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

static const char help[] =
    "menura - a full-machine emulator\n\n"
    "  menura run [--explain] [--snapshot] IMAGE [OPTION..]\n"
    "      looks at the file (ISO, raw disk, Linux or PVH ELF kernel), says what it chose and why, and boots it;\n"
    "      --explain   print the equivalent menura-system-x86_64 command line instead\n"
    "      --snapshot  what the guest writes is dropped at the end\n"
    "      OPTION..    those of menura-system-x86_64\n"
    "      exit status: 0 power-off, 1 usage or host, 64 guest panic, 66 triple fault (with a report why), 70 our bug\n"
    "  menura-system-x86_64 [OPTION..]\n"
    "      QEMU's command line; -help lists the options, -machine help, -cpu help, -device help and so on their values\n"
    "  menura --help | --version\n\n"
    "In the window: Ctrl-Alt-G takes or frees the pointer, Ctrl-Alt-F full screen, closing it is the power button.\n"
    "In the terminal (-nographic): Ctrl-A H lists the keys. The manual page has all: man menura\n";

int main(int argc, char **argv)
{
    if (speaks_qemu(argc, argv))
        return system_main(argc, argv, false);
    if (argc > 1 && !strcmp(argv[1], "--version")) {
        printf("menura %s\n", MENURA_VERSION);
        return STATUS_OK;
    }
    if (argc > 1 && (!strcmp(argv[1], "--help") || (argc > 2 && !strcmp(argv[1], "run") && !strcmp(argv[2], "--help")))) {
        fputs(help, stdout);
        return STATUS_OK;
    }
    if (argc > 1 && !strcmp(argv[1], "run"))
        return run_main(argc - 1, argv + 1);
    fprintf(stderr, "menura: %s: no such command\nhint: menura --help\n", argc > 1 ? argv[1] : "(nothing)");
    return STATUS_USAGE;
}
