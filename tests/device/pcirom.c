/*
 * tests/device/pcirom.c - option ROMs: the expansion ROM register, the file, the default one with its device's numbers. Sources: PCI 3.0
 * sections 6.2.5.2, 6.3.
 */
#include "tests/device/pcihost.h"
#include <unistd.h>

enum { AT = 0xd0000000, UNIT = 512 };

/* Two images, for a PC and for EFI, of a device 1234h of vendor abcdh. */
static void make_rom(const char *path)
{
    uint8_t rom[5 * UNIT] = { 0 }, sum = 0;

    for (unsigned i = 0; i < 2; i++) {
        uint8_t *r = rom + 2 * UNIT * i;
        unsigned units = i ? 3 : 2;

        le16_store(r, 0xaa55);
        r[2] = (uint8_t)units;
        le16_store(r + 0x18, 0x40);
        memcpy(r + 0x40, "PCIR", 4);
        le16_store(r + 0x44, 0xabcd);
        le16_store(r + 0x46, 0x1234);
        le16_store(r + 0x50, (uint16_t)units);
        r[0x54] = i ? 3 : 0;
        r[0x55] = i ? 0x80 : 0;
    }
    for (unsigned i = 0; i < 2 * UNIT; i++)
        sum = (uint8_t)(sum + rom[i]);
    rom[7] = (uint8_t)-sum;
    check(g_file_set_contents(path, (char *)rom, sizeof(rom), NULL));
}

static void unlink_file(void *path)
{
    unlink(path);
    g_free(path);
}

static void remove_folder(void *path)
{
    rmdir(path);
    g_free(path);
}

/* Found in the folder of -L under that name. */
static void rom_file(Vm *vm, const char *name)
{
    char *folder = g_dir_make_tmp("menura-rom-XXXXXX", NULL), *path = g_build_filename(folder, name, NULL);

    if (!vm->cfg.firmware_dirs)
        vm->cfg.firmware_dirs = g_ptr_array_new_with_free_func(g_free);
    make_rom(path);
    g_ptr_array_add(vm->cfg.firmware_dirs, g_strdup(folder));
    own(&vm->root, folder, remove_folder);
    own(&vm->root, path, unlink_file);
}

static void test_register(Vm *vm)
{
    Dev *d;

    t_pci(vm);
    rom_file(vm, "some.rom");
    d = dev_plug(vm, NULL, "edu,romfile=some.rom", &abort_on_error);
    check_eq(pci_config_read(PCI(d), 0x30, 4), 0);
    pci_config_write(PCI(d), 0x30, 0xfffff800, 4);
    check_eq(pci_config_read(PCI(d), 0x30, 4), 0xfffff000); /* 2560 bytes: 4 KiB */
    pci_config_write(PCI(d), 0x30, AT, 4);
    pci_config_write(PCI(d), 4, 2, 2);
    check(t_ld(vm, AT, 2) != 0xaa55);
    pci_config_write(PCI(d), 0x30, AT | 1, 4);
    check_eq(t_ld(vm, AT, 2), 0xaa55);
    check_eq(t_ld(vm, AT + 0x44, 4), 0x1234abcd); /* the user's file is left alone */
    check_eq(t_ld(vm, AT + 4 * UNIT + UNIT, 4), 0);
    t_st(vm, AT, 2, 0);
    check_eq(t_ld(vm, AT, 2), 0xaa55);
    pci_config_write(PCI(d), 4, 0, 2);
    check(t_ld(vm, AT, 2) != 0xaa55);
    pci_config_write(PCI(d), 4, 2, 2);
    check_eq(t_ld(vm, AT, 2), 0xaa55);
    dev_reset(d);
    check_eq(pci_config_read(PCI(d), 0x30, 4), 0);
    check(t_ld(vm, AT, 2) != 0xaa55);
}

static uint8_t sum_of(Vm *vm, uint64_t at, unsigned len)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < len; i++)
        sum = (uint8_t)(sum + t_ld(vm, at + i, 1));
    return sum;
}

/* The default one is for the device, transitional or not. */
static void test_default(Vm *vm)
{
    static const struct {
        const char *device, *rom;
        uint32_t id;
    } v[] = { { "e1000", "efi-e1000.rom", 0x100e8086 }, { "rtl8139", "efi-rtl8139.rom", 0x813910ec }, { "e1000e", "efi-e1000e.rom", 0x10d38086 },
              { "virtio-net-pci", "efi-virtio.rom", 0x10001af4 }, { "virtio-net-pci,disable-legacy=on", "efi-virtio.rom", 0x10411af4 } };

    t_pci(vm);
    for (unsigned i = 0; i < G_N_ELEMENTS(v); i++) {
        uint64_t at = AT + 0x10000 * i;
        Dev *d;

        rom_file(vm, v[i].rom);
        d = dev_plug(vm, NULL, v[i].device, &abort_on_error);
        pci_config_write(PCI(d), 4, 2, 2);
        pci_config_write(PCI(d), 0x30, (uint32_t)at | 1, 4);
        check_eq(t_ld(vm, at + 0x44, 4), v[i].id);
        check_eq(t_ld(vm, at + 2 * UNIT + 0x44, 4), v[i].id);
        check_eq(sum_of(vm, at, 2 * UNIT), 0);
    }
}

static void test_absent(Vm *vm)
{
    Error *err = NULL;
    Dev *d;

    t_pci(vm);
    rom_file(vm, "efi-e1000.rom");
    d = dev_plug(vm, NULL, "e1000,rombar=0", &abort_on_error);
    pci_config_write(PCI(d), 0x30, UINT32_MAX, 4);
    check_eq(pci_config_read(PCI(d), 0x30, 4), 0);
    d = dev_plug(vm, NULL, "e1000,romfile=", &abort_on_error);
    pci_config_write(PCI(d), 0x30, UINT32_MAX, 4);
    check_eq(pci_config_read(PCI(d), 0x30, 4), 0);
    check(!dev_plug(vm, NULL, "e1000,romfile=no-such.rom", &err));
    check(err);
    error_free(err);
}

TEST("pcirom/register", test_register);
TEST("pcirom/default", test_default);
TEST("pcirom/absent", test_absent);
