/*
 * app/main.c - names decide the grammar: QEMU's when the program's name ends in -system-ARCH or an option comes first,
 * else our own verbs.
 */
#include "app/app.h"
#include <stdio.h>

static bool speaks_qemu(int argc, char **argv)
{
    g_autofree char *name = g_path_get_basename(argv[0]);

    return strstr(name, "-system-") || !strcmp(name, "kvm") || (argc > 1 && argv[1][0] == '-' && argv[1][1] && argv[1][1] != '-');
}

static int system_main(int argc, char **argv, const char *image /* of menura run, or NULL */, const TestPlan *plan)
{
    App *a = app_new();
    int status = STATUS_OK;
    Error *err = NULL;
    Test *test = plan ? app_test_new(a, plan, &err) : NULL;
    g_autofree char *name = g_path_get_basename(argv[0]);

    if (!image)
        error_style(name, false, NULL);
    else
        a->ctl = app_ctl_socket(image);
    a->friendly = a->vm->cfg.autopsy_stops = image != NULL;
    if (err) {
        error_report_free(err);
        status = STATUS_USAGE;
    } else if (app_parse(a, argc, argv, &status)) {
        status = app_run(a);
        if (test)
            status = app_test_verdict(test, status);
    }
    app_free(a);
    return status;
}

static int run_main(int argc, char **argv)
{
    Error *err = NULL;
    GString *say = g_string_new(NULL);
    bool explain = false;
    TestPlan test = { 0 };
    char **cmd = app_run_command(argc, argv, say, &explain, &test, &err);
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
        status = system_main((int)g_strv_length(cmd), cmd, test.image, test.on ? &test : NULL);
    }
    g_string_free(say, TRUE);
    g_strfreev(cmd);
    return status;
}

static const char help[] =
    "menura - a full-machine emulator\n\n"
    "  menura run [--explain] [--snapshot] [-p PORTS] IMAGE [OPTION..]\n"
    "      looks at the file (ISO, raw disk, Linux, PVH or Multiboot kernel, EFI application), says what it chose and why, and boots it;\n"
    "      --explain   print the equivalent menura-system-x86_64 command line instead\n"
    "      --snapshot  what the guest writes is dropped at the end\n"
    "      -p [ADDR:]HOSTPORT:GUESTPORT[/udp]  publishes a port of the guest on this host, for itself only unless ADDR says more\n"
    "      --initrd F, --append S  for a kernel\n"
    "      OPTION..    those of menura-system-x86_64\n"
    "      exit status: 0 power-off, 1 usage or host, 64 guest panic, 66 triple fault (with a report why), 70 our bug\n"
    "  menura run --test [--expect REGEX] [--timeout S] [--json F] [--junit F] IMAGE [OPTION..]\n"
    "      boots without a window, shows the serial port, and judges: pass when REGEX came on it, without --expect when the guest\n"
    "      switched off; exit status: 0 pass, 72 fail, 64 panic, 66 triple fault, 68 hang, 74 timeout (60 s unless S), 1, 70 as above;\n"
    "      F gets the verdict with console and report\n"
    "%s"
    "  menura-system-x86_64 [OPTION..]\n"
    "      QEMU's command line; -help lists the options, -machine help, -cpu help, -device help and so on their values\n"
    "  menura --help | --version\n\n"
    "In the window: Ctrl-Alt-G takes or frees the pointer, Ctrl-Alt-F full screen, closing it is the power button.\n"
    "In the terminal (-nographic): Ctrl-A H lists the keys. The manual page has all: man menura\n";

int main(int argc, char **argv)
{
    if (speaks_qemu(argc, argv))
        return system_main(argc, argv, NULL, NULL);
    if (argc > 1 && !strcmp(argv[1], "--version")) {
        printf("menura %s\n", MENURA_VERSION);
        return STATUS_OK;
    }
    if (argc > 1 && (!strcmp(argv[1], "--help") || (argc > 2 && !strcmp(argv[1], "run") && !strcmp(argv[2], "--help")))) {
        g_autoptr(GString) ctl = g_string_new(NULL);

        app_ctl_help(ctl);
        printf(help, ctl->str);
        return STATUS_OK;
    }
    if (argc > 1 && !strcmp(argv[1], "ctl"))
        return app_ctl(argc - 1, argv + 1);
    if (argc > 1 && !strcmp(argv[1], "run"))
        return run_main(argc - 1, argv + 1);
    fprintf(stderr, "menura: %s: no such command\nhint: menura --help\n", argc > 1 ? argv[1] : "(nothing)");
    return STATUS_USAGE;
}
