/* app/image.c - see image.h. */
#include "app/image.h"
#include "app/app.h"
#include "block/node.h"
#include <glib/gstdio.h>
#include <stdio.h>

/* UEFI 2.9 section 5.3: partition type of an EFI system partition, as it lies on the disk. */
static const uint8_t esp[16] = { 0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b };

static bool read_at(FILE *f, uint64_t at, void *buf, size_t n) { return at < INT64_MAX && !fseeko(f, (off_t)at, SEEK_SET) && fread(buf, 1, n, f) == n; }

/* A GUID partition table that has an EFI system partition. */
static bool has_esp(FILE *f)
{
    enum { ROWS_MAX = 1024 };
    uint8_t head[92], row[16];
    uint64_t at;
    uint32_t rows, size;

    if (!read_at(f, 512, head, sizeof(head)) || memcmp(head, "EFI PART", 8))
        return false;
    at = le64_load(head + 72);
    rows = MIN(le32_load(head + 80), ROWS_MAX);
    size = le32_load(head + 84);
    for (uint32_t i = 0; i < rows && at < (1ull << 50) && size >= 128; i++)
        if (read_at(f, at * 512 + (uint64_t)i * size, row, sizeof(row)) && !memcmp(row, esp, sizeof(esp)))
            return true;
    return false;
}

/* A UEFI application for this machine: PE32+, x64, subsystem 10. */
static bool is_efi_app(const uint8_t *head, size_t n)
{
    uint32_t at = le32_load(head + 60);

    return n > 64 && head[0] == 'M' && head[1] == 'Z' && in_range(at, 96, n) && !memcmp(head + at, "PE\0\0", 4) && le16_load(head + at + 4) == 0x8664 &&
           le16_load(head + at + 24) == 0x20b && le16_load(head + at + 92) == 10;
}

typedef struct Look {
    const uint8_t *head;
    size_t n;
    const char *name;
} Look;

static void try_driver(const BlkDriver *d, void *arg)
{
    Look *l = arg;

    if (d->probe && d->probe(l->head, l->n) > 0)
        l->name = d->name;
}

static const char *format_of(const uint8_t *head, size_t n)
{
    Look l = { head, n, NULL };

    blk_driver_foreach(try_driver, &l);
    return l.name;
}

const char *image_format(const char *path)
{
    uint8_t head[4096] = { 0 };
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(head, 1, sizeof(head), f) : 0;
    const char *name = format_of(head, n);

    if (f)
        fclose(f);
    return name ? name : "raw";
}

static ImageKind kind_of(FILE *f)
{
    uint8_t head[4096] = { 0 }, iso[6] = { 0 };
    size_t n = fread(head, 1, sizeof(head), f);

    if (read_at(f, 0x8000, iso, 6) && !memcmp(iso + 1, "CD001", 5))
        return IMAGE_ISO;
    if (n >= 0x206 && !memcmp(head + 0x202, "HdrS", 4))
        return IMAGE_BZIMAGE; /* also one that is an EFI application besides */
    if (n >= 4 && !memcmp(head, "\177ELF", 4))
        return IMAGE_ELF;
    if (format_of(head, n))
        return IMAGE_FORMAT;
    if (is_efi_app(head, n))
        return IMAGE_EFI_APP;
    if (has_esp(f))
        return IMAGE_UEFI_DISK;
    return n >= 512 && head[510] == 0x55 && head[511] == 0xaa ? IMAGE_DISK : IMAGE_UNKNOWN;
}

ImageKind image_look(const char *path, Error **err)
{
    FILE *f = fopen(path, "rb");
    ImageKind k;

    if (!f) {
        fail_errno(err, "run %s: cannot open it", path);
        return IMAGE_UNKNOWN;
    }
    k = kind_of(f);
    fclose(f);
    if (k == IMAGE_UNKNOWN) {
        fail(err, "run %s: this is no ISO, bootable disk, disk image (qcow2, vmdk, ..), bzImage, ELF kernel or EFI application", path);
        error_hint(err, "with menura-system-x86_64 -drive file=%s,format=raw it can be given to a machine all the same", path);
    }
    return k == IMAGE_ISO && !app_iso_whole(path, err) ? IMAGE_UNKNOWN : k;
}

bool image_firmware(const char *path, char **code, char **vars, Error **err)
{
    static const char *const folders[] = { "/usr/share/OVMF", "/usr/share/ovmf", "/usr/share/qemu" };
    g_autofree char *whole = g_canonicalize_filename(path, NULL), *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, whole, -1);
    g_autofree char *base = g_path_get_basename(path), *folder = g_build_filename(g_get_user_data_dir(), "menura", "uefi", NULL);
    g_autofree char *name = g_strdup_printf("%s-%.8s.fd", base, sum), *empty = NULL;
    g_autoptr(GError) why = NULL;
    char *content;
    gsize n;

    for (size_t i = 0; i < G_N_ELEMENTS(folders) && !empty; i++) {
        g_autofree char *c = g_build_filename(folders[i], "OVMF_CODE_4M.fd", NULL), *v = g_build_filename(folders[i], "OVMF_VARS_4M.fd", NULL);

        if (g_file_test(c, G_FILE_TEST_EXISTS) && g_file_test(v, G_FILE_TEST_EXISTS)) {
            *code = g_steal_pointer(&c);
            empty = g_steal_pointer(&v);
        }
    }
    if (!empty) {
        fail(err, "run %s: this disk boots by UEFI, and there is no UEFI firmware here", path);
        return error_hint(err, "install the package ovmf");
    }
    *vars = g_build_filename(folder, name, NULL);
    if (g_file_test(*vars, G_FILE_TEST_EXISTS))
        return true;
    if (g_mkdir_with_parents(folder, 0700))
        return fail_errno(err, "run: cannot make the folder %s for the firmware's variables", folder);
    if (!g_file_get_contents(empty, &content, &n, &why))
        return fail(err, "run: %s", why->message);
    if (!g_file_set_contents(*vars, content, (gssize)n, &why))
        fail(err, "run: %s", why->message);
    g_free(content);
    return !why;
}
