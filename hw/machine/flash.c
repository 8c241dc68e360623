/*
 * hw/machine/flash.c - firmware at the top of 4 GiB: a ROM from a file (-bios), or flash chips (-drive if=pflash,unit=0 and 1,
 * -machine pflash0=, pflash1=): the first one ends at 4 GiB, the second below it. The last 128 KiB also appear below 1 MiB.
 */
#include "block/disk.h"
#include "hw/block/pflash.h"
#include "hw/machine/pc.h"

enum { ROM_MAX = 16 << 20, FLASH_MAX = 8 << 20, ISA_BIOS = 128 << 10 };

static void show_below_1m(Pc *m, Region *rom)
{
    uint64_t low = MIN(rom->size, ISA_BIOS);

    region_map(m->pci, MiB - low, region_alias(&m->obj, "isa-bios", rom, rom->size - low, low), 1);
    m->firmware = true;
}

static bool add_rom(Pc *m, Error **err)
{
    const char *name = m->vm->cfg.bios ? m->vm->cfg.bios : "bios-256k.bin";
    g_autofree char *path = NULL, *data = NULL;
    g_autoptr(GError) why = NULL;
    gsize n;
    uint64_t size;
    Region *rom;

    if (m->vm->cfg.kernel && !m->vm->cfg.bios)
        return true; /* entered directly */
    path = vm_find_firmware(m->vm, name, err);
    if (!path)
        return false;
    if (!g_file_get_contents(path, &data, &n, &why))
        return fail(err, "-bios: %s", why->message);
    size = align_up(n, 64 * KiB);
    if (!n || size > ROM_MAX)
        return fail(err, "-bios %s: a firmware has 1 byte to 16 MiB", path);
    rom = region_rom(&m->obj, "pc.bios", size, err);
    if (!rom)
        return false;
    memcpy(rom->ram->host + (size - n), data, n);
    region_map(m->pci, (1ull << 32) - size, rom, 0);
    show_below_1m(m, rom);
    return true;
}

/* The drive of chip n: by -machine pflashN= or by -drive if=pflash,unit=N; NULL without err: none. */
static const char *drive_of(Pc *m, unsigned n, Error **err)
{
    DriveInfo *d = machine_drive(m->vm, "pflash", 0, (int)n);

    if (d && m->pflash[n]) {
        fail(err, "flash chip %u has two drives: '%s' and pflash%u=%s", n, d->id, n, m->pflash[n]);
        return NULL;
    }
    return d ? d->id : m->pflash[n];
}

bool pc_add_firmware(Pc *m, Error **err)
{
    uint64_t top = 1ull << 32;

    for (unsigned n = 0; n < 2; n++) {
        Error *why = NULL;
        const char *id = drive_of(m, n, &why);
        g_autofree char *text = NULL;
        Dev *d;
        Region *r;

        if (why)
            return error_pass(err, why);
        if (!id && !n)
            return add_rom(m, err);
        if (!id)
            break;
        text = g_strdup_printf("cfi.pflash01,name=system.flash%u,drive=%s", n, id);
        if (!(d = dev_plug(m->vm, NULL, text, err)))
            return false;
        r = pflash_region(d);
        top -= r->size;
        if ((1ull << 32) - top > FLASH_MAX)
            return fail(err, "the flash chips together have more than %d MiB", FLASH_MAX >> 20);
        region_map(m->pci, top, r, 0);
        if (!n)
            show_below_1m(m, r);
    }
    return !m->vm->cfg.bios || fail(err, "-bios and a flash chip exclude each other");
}
