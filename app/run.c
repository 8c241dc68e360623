/*
 * app/run.c - `menura run IMAGE`: looks at the file and makes a command line of it, a line each for what was chosen
 * and why. The command line is what --explain prints, so both can never differ.
 */
#include "app/app.h"
#include <stdio.h>

typedef enum ImageKind { IMAGE_UNKNOWN, IMAGE_ISO, IMAGE_DISK, IMAGE_BZIMAGE, IMAGE_ELF } ImageKind;

static ImageKind look(const char *path, Error **err)
{
    FILE *f = fopen(path, "rb");
    uint8_t head[0x210] = { 0 }, iso[6] = { 0 };
    size_t n;
    ImageKind k = IMAGE_UNKNOWN;

    if (!f) {
        fail_errno(err, "run %s: cannot open it", path);
        return IMAGE_UNKNOWN;
    }
    n = fread(head, 1, sizeof(head), f);
    if (!fseek(f, 0x8000, SEEK_SET) && fread(iso, 1, 6, f) == 6 && !memcmp(iso + 1, "CD001", 5))
        k = IMAGE_ISO;
    else if (n >= 0x206 && !memcmp(head + 0x202, "HdrS", 4))
        k = IMAGE_BZIMAGE;
    else if (n >= 4 && !memcmp(head, "\177ELF", 4))
        k = IMAGE_ELF;
    else if (n >= 512 && head[510] == 0x55 && head[511] == 0xaa)
        k = IMAGE_DISK;
    fclose(f);
    if (k == IMAGE_UNKNOWN) {
        fail(err, "run %s: this is no ISO, bootable disk, bzImage or ELF kernel", path);
        error_hint(err, "with menura-system-x86_64 -drive file=%s,format=raw it can be given to a machine all the same", path);
    }
    if (k == IMAGE_ISO && !app_iso_whole(path, err))
        return IMAGE_UNKNOWN;
    return k;
}

static void arg(GPtrArray *v, const char *name, const char *value)
{
    g_ptr_array_add(v, g_strdup(name));
    if (value)
        g_ptr_array_add(v, g_strdup(value));
}

char **app_run_command(int argc, char **argv, GString *say, bool *explain, Error **err)
{
    g_autoptr(GPtrArray) v = g_ptr_array_new();
    const char *image = NULL, *memory = "1536M";
    bool snapshot = false;
    g_autofree char *drive = NULL;
    ImageKind k;
    int i;

    for (i = 1; i < argc && (argv[i][0] == '-' ? argv[i][1] == '-' : !image); i++) {
        if (!strcmp(argv[i], "--explain"))
            *explain = true;
        else if (!strcmp(argv[i], "--snapshot"))
            snapshot = true;
        else if (argv[i][0] == '-') {
            fail(err, "run: %s: no such option", argv[i]);
            return NULL;
        } else
            image = argv[i];
    }
    if (!image) {
        fail(err, "run: which image?");
        error_hint(err, "menura run IMAGE [options of menura-system-x86_64]");
        return NULL;
    }
    k = look(image, err);
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
    } else if (k == IMAGE_DISK) {
        drive = g_strdup_printf("file=%s,format=raw%s", image, snapshot ? ",snapshot=on" : "");
        arg(v, "-drive", drive);
        g_string_append_printf(say, "menura: %s: a disk with a boot sector; %s\n", image,
                               snapshot ? "the image stays as it is" : "the guest writes to the image (--snapshot: it does not)");
    } else {
        arg(v, "-kernel", image);
        g_string_append_printf(say, "menura: %s: %s, entered directly\n", image, k == IMAGE_ELF ? "an ELF kernel" : "a Linux kernel");
    }
    for (; i < argc; i++)
        arg(v, argv[i], NULL);
    g_ptr_array_add(v, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&v), FALSE);
}
