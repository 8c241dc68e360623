/*
 * app/run.c - `menura run IMAGE`: looks at the file and makes a command line of it, a line each for what was chosen
 * and why. The command line is what --explain prints, so both can never differ.
 */
#include "app/image.h"
#include "app/app.h"
#include <stdio.h>

static void arg(GPtrArray *v, const char *name, const char *value)
{
    g_ptr_array_add(v, g_strdup(name));
    if (value)
        g_ptr_array_add(v, g_strdup(value));
}

typedef struct RunOptions {
    const char *image;
    const char *initrd, *append;
    bool snapshot, explain;
    TestPlan *test;
    GString *nic; /* of -p */
} RunOptions;

/* -p [ADDR:]HOSTPORT:GUESTPORT[/udp]: a port of the guest that this host reaches; only from itself unless ADDR says more. */
static bool publish(GString *nic, const char *text, Error **err)
{
    bool udp = g_str_has_suffix(text, "/udp");
    g_autofree char *plain = g_strndup(text, strlen(text) - (udp ? 4 : 0));
    const char *guest = strrchr(plain, ':');
    g_autofree char *host = guest ? g_strndup(plain, (gsize)(guest - plain)) : NULL;
    uint64_t a, b;

    if (!host || !parse_u64(strrchr(host, ':') ? strrchr(host, ':') + 1 : host, &a, NULL) || !parse_u64(guest + 1, &b, NULL) || a > 65535 ||
        b < 1 || b > 65535) {
        fail(err, "run: -p %s: not understood", text);
        return error_hint(err, "write -p HOSTPORT:GUESTPORT, as in -p 2222:22");
    }
    g_string_append_printf(nic, ",hostfwd=%s:%s%s-:%s", udp ? "udp" : "tcp", strchr(host, ':') ? "" : "127.0.0.1:", host, guest + 1);
    return true;
}

/* Those with a value: `--expect R` or `--expect=R`. 1: taken (and *i moved), 0: not one of them, -1: wrong. */
static int valued(RunOptions *o, int argc, char **argv, int *i, Error **err)
{
    const char *timeout = NULL;
    const struct {
        const char *name, **to;
    } rows[] = { { "--initrd", &o->initrd }, { "--append", &o->append }, { "--expect", &o->test->expect }, { "--json", &o->test->json },
                 { "--junit", &o->test->junit }, { "--timeout", &timeout } };
    char *end;

    for (size_t k = 0; k < G_N_ELEMENTS(rows); k++) {
        size_t n = strlen(rows[k].name);

        if (strncmp(argv[*i], rows[k].name, n) || (argv[*i][n] && argv[*i][n] != '='))
            continue;
        if (!argv[*i][n] && *i + 1 >= argc)
            return fail(err, "run: %s: its value is missing", argv[*i]) - 1;
        *rows[k].to = argv[*i][n] ? argv[*i] + n + 1 : argv[++*i];
        if (!timeout)
            return 1;
        o->test->timeout = g_ascii_strtod(timeout, &end);
        return *end || !(o->test->timeout > 0 && o->test->timeout <= 1e6) ? fail(err, "run: --timeout %s: want seconds", timeout) - 1 : 1;
    }
    return 0;
}

/* Ours end at the first option of the system emulator; *next: there. */
static bool parse(RunOptions *o, int argc, char **argv, int *next, Error **err)
{
    int i;

    for (i = 1; i < argc && (argv[i][0] == '-' ? argv[i][1] == '-' || !strcmp(argv[i], "-p") : !o->image); i++) {
        int taken = valued(o, argc, argv, &i, err);

        if (taken < 0)
            return false;
        if (taken)
            continue;
        if (!strcmp(argv[i], "--test"))
            o->test->on = true;
        else if (!strcmp(argv[i], "--explain"))
            o->explain = true;
        else if (!strcmp(argv[i], "--snapshot"))
            o->snapshot = true;
        else if (!strcmp(argv[i], "-p") && i + 1 < argc) {
            if (!publish(o->nic, argv[++i], err))
                return false;
        } else if (argv[i][0] == '-')
            return fail(err, "run: %s: no such option", argv[i]);
        else
            o->image = argv[i];
    }
    *next = i;
    o->test->image = o->image;
    if (!o->test->on && (o->test->expect || o->test->json || o->test->junit || o->test->timeout))
        return fail(err, "run: --expect, --timeout, --json and --junit go with --test");
    if (o->image)
        return true;
    fail(err, "run: which image?");
    return error_hint(err, "menura run IMAGE [options of menura-system-x86_64]");
}

/* The serial port of a test is app/test.c's. */
static void add_test(GPtrArray *v, const RunOptions *o, bool kernel)
{
    if (o->initrd)
        arg(v, "-initrd", o->initrd);
    if (o->append || (o->test->on && kernel))
        arg(v, "-append", o->append ? o->append : "console=ttyS0 panic=-1");
    if (!o->test->on)
        return;
    arg(v, "-display", "none");
    arg(v, "-monitor", "none");
    arg(v, "-parallel", "none");
    arg(v, "-no-reboot", NULL);
}

/* Code read-only, variables of its own; they go with the image, so a snapshot keeps neither. */
static bool add_firmware(GPtrArray *v, const RunOptions *o, GString *say, Error **err)
{
    g_autofree char *code = NULL, *vars = NULL, *one = NULL, *two = NULL;

    if (!image_firmware(o->image, &code, &vars, err))
        return false;
    one = g_strdup_printf("if=pflash,unit=0,format=raw,readonly=on,file=%s", code);
    two = g_strdup_printf("if=pflash,unit=1,format=raw,file=%s%s", vars, o->snapshot ? ",snapshot=on" : "");
    arg(v, "-drive", one);
    arg(v, "-drive", two);
    g_string_append_printf(say, "menura: firmware: UEFI (%s), because the disk has an EFI system partition; its variables are in %s\n", code, vars);
    return true;
}

static void add_disk(GPtrArray *v, const RunOptions *o, ImageKind k, GString *say)
{
    const char *format = k == IMAGE_FORMAT ? image_format(o->image) : "raw";
    g_autofree char *drive = g_strdup_printf("file=%s,format=%s%s", o->image, format, o->snapshot ? ",snapshot=on" : "");
    g_autofree char *formatted = g_strdup_printf("image in %s format", format);

    arg(v, "-drive", drive);
    g_string_append_printf(say, "menura: %s: a disk %s; %s\n", o->image,
                           k == IMAGE_DISK ? "with a boot sector" : k == IMAGE_FORMAT ? formatted : "with a GUID partition table",
                           o->snapshot ? "the image stays as it is" : "the guest writes to the image (--snapshot: it does not)");
}

static void add_kernel(GPtrArray *v, const RunOptions *o, ImageKind k, GString *say)
{
    if (k == IMAGE_EFI_APP)
        arg(v, "-bios", OVMF_WHOLE);
    arg(v, "-kernel", o->image);
    g_string_append_printf(say, "menura: %s: %s\n", o->image, k == IMAGE_EFI_APP ? "an EFI application, started by UEFI firmware (OVMF)"
                           : k == IMAGE_ELF ? "an ELF kernel, entered directly by PVH or Multiboot" : "a Linux kernel, entered directly");
}

char **app_run_command(int argc, char **argv, GString *say, bool *explain, TestPlan *test, Error **err)
{
    g_autoptr(GPtrArray) v = g_ptr_array_new();
    const char *memory = "1536M";
    g_autoptr(GString) nic = g_string_new("user");
    RunOptions o = { .nic = nic, .test = test };
    const char *image;
    ImageKind k;
    int i = 1;

    if (!parse(&o, argc, argv, &i, err))
        return NULL;
    image = o.image;
    *explain = o.explain;
    k = image_look(image, err);
    if (k == IMAGE_UNKNOWN)
        return NULL;
    arg(v, "menura-system-x86_64", NULL);
    arg(v, "-machine", "pc");
    arg(v, "-cpu", "max");
    arg(v, "-m", memory);
    g_string_append_printf(say, "menura: machine: pc, CPU max, memory %s\n", memory);
    if (k == IMAGE_ISO) {
        arg(v, "-cdrom", image);
        arg(v, "-boot", "d");
        g_string_append_printf(say, "menura: %s: an ISO image, in the CD drive of a PC with BIOS\n", image);
    } else if (k == IMAGE_DISK || k == IMAGE_UEFI_DISK || k == IMAGE_FORMAT) {
        if (k == IMAGE_UEFI_DISK && !add_firmware(v, &o, say, err))
            return NULL;
        add_disk(v, &o, k, say);
    } else {
        add_kernel(v, &o, k, say);
    }
    if (strchr(nic->str, ',')) {
        arg(v, "-nic", nic->str);
        g_string_append_printf(say, "menura: network: its own behind this host; published: %s\n", strchr(nic->str, ',') + 1);
    }
    if (!o.snapshot && !o.test->on) {
        g_autofree char *dir = g_strconcat(image, ".snapshots", NULL);

        arg(v, "-snapdir", dir);
    }
    add_test(v, &o, k == IMAGE_BZIMAGE || k == IMAGE_ELF);
    for (; i < argc; i++)
        arg(v, argv[i], NULL);
    g_ptr_array_add(v, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&v), FALSE);
}
