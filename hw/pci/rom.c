/*
 * hw/pci/rom.c - option ROMs: the expansion ROM base address register, the file behind it. Sources: PCI 3.0 sections 6.2.5.2
 * and 6.3; PCI Firmware 3.0 section 5.1.
 */
#include "hw/pci/priv.h"

enum { DEVICE_ID = 2, COMMAND = 4, ROM_BAR = 0x30, ROM_ENABLE = 1, COMMAND_MEMORY = 2, ADDRESS = ~0x7ff };
enum { ROM_MIN = 2048, ROM_MAX = 16 * MiB, UNIT = 512, PCIR_AT = 0x18, PCIR_SIZE = 0x18, CODE_PC = 0, CHECKSUM = 6 };

/* Memory space must be on as well. */
void pci__rom_update(PciDev *p)
{
    uint32_t v = le32_load(p->config + ROM_BAR), at = v & (uint32_t)ADDRESS;
    uint64_t now = v & ROM_ENABLE && at && le16_load(p->config + COMMAND) & COMMAND_MEMORY ? at : ~0ull;

    if (!p->rom || !p->pbus || now == p->rom_at)
        return;
    region_unmap(p->rom);
    if (now != ~0ull)
        region_map(p->pbus->mem, now, p->rom, 1);
    p->rom_at = now;
}

/*
 * A driver's ROM names the device that it was built for, and firmware takes it for no other: ours may bear another number of the same
 * family. Each image begins with 55AAh; its data structure has the length of all of it, byte 2 what a PC adds up to 0.
 */
static void adapt(uint8_t *rom, size_t len, const uint8_t *config)
{
    for (size_t at = 0; in_range(at, PCIR_AT + 2, len) && le16_load(rom + at) == 0xaa55;) { /* each image is at least a unit */
        uint8_t *image = rom + at, *s = image + le16_load(image + PCIR_AT), sum = 0;
        size_t whole, checked = (size_t)image[2] * UNIT;

        if (!in_range((size_t)(s - rom), PCIR_SIZE, len) || memcmp(s, "PCIR", 4))
            return;
        memcpy(s + 4, config, 4); /* vendor, device */
        if (s[0x14] == CODE_PC && in_range(at, checked, len) && checked > CHECKSUM) {
            for (size_t i = 0; i < checked; i++)
                sum = (uint8_t)(sum + image[i]);
            image[CHECKSUM] = (uint8_t)(image[CHECKSUM] - sum); /* among the bytes that are the ROM's own */
        }
        whole = (size_t)le16_load(s + 0x10) * UNIT;
        if (!whole || s[0x15] & 0x80)
            return;
        at += whole;
    }
}

void pci_set_device_id(PciDev *p, uint16_t id)
{
    le16_store(p->config + DEVICE_ID, id);
    if (p->rom && !p->romfile_prop)
        adapt(p->rom->ram->host, p->rom->size, p->config);
}

char *pci_rom_file(const PciDev *p, Error **err)
{
    const char *name = p->romfile_prop ? p->romfile_prop : pci_class(p)->romfile;

    if (!name || !*name)
        return NULL;
    return vm_find_firmware(p->dev.obj.vm, name, p->romfile_prop ? err : NULL);
}

bool pci__rom_load(PciDev *p, Error **err)
{
    g_autofree char *path = NULL, *data = NULL;
    g_autoptr(GError) why = NULL;
    Error *absent = NULL;
    gsize len;
    uint64_t size = ROM_MIN;

    path = pci_rom_file(p, &absent);
    if (absent) {
        fail_because(err, absent, "romfile=%s", p->romfile_prop);
        return false;
    }
    if (!path || !p->rombar_prop)
        return true; /* the default ROM may be absent: the device works without */
    if (!g_file_get_contents(path, &data, &len, &why))
        return fail(err, "romfile: %s", why->message);
    if (!len || len > ROM_MAX)
        return fail(err, "romfile=%s: a ROM has 1 byte to 16 MiB, this file has %" G_GSIZE_FORMAT, path, len);
    while (size < len)
        size *= 2;
    p->rom = region_rom(&p->dev.obj, "rom", size, err);
    if (!p->rom)
        return false;
    memcpy(p->rom->ram->host, data, len);
    pci_set_device_id(p, le16_load(p->config + DEVICE_ID));
    le32_store(p->wmask + ROM_BAR, (uint32_t)~(size - 1) | ROM_ENABLE);
    return true;
}
