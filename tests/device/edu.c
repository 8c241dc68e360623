/* tests/device/edu.c - factorials, DMA both ways, its bounds, MSI. */
#include "hw/pci/pci.h"
#include "tests/lib/t.h"

static void factorial(Vm *vm)
{
    Dev *d = t_plug(vm, "edu");

    check_eq(t_r32(d, 0x00), 0x010000ed);
    t_w32(d, 0x04, 0x12345678);
    check_eq(t_r32(d, 0x04), 0xedcba987);
    t_w32(d, 0x20, 0x80);
    t_w32(d, 0x08, 5);
    check_eq(t_r32(d, 0x20), 0x81);
    t_w32(d, 0x08, 9); /* refused: busy */
    t_step(vm, 1 * MS);
    check(t_r32(d, 0x08) == 120 && t_r32(d, 0x20) == 0x80);
    check(t_irq(d) && t_r32(d, 0x24) == 1);
    t_w32(d, 0x64, 1);
    check(!t_irq(d));
}
TEST("edu/factorial", factorial);

static void move(Dev *d, uint64_t src, uint64_t dst, uint64_t len, uint64_t cmd)
{
    t_w64(d, 0x80, src);
    t_w64(d, 0x88, dst);
    t_w64(d, 0x90, len);
    t_w64(d, 0x98, cmd);
    t_step(d->obj.vm, 100 * MS);
}

static void dma(Vm *vm)
{
    Dev *d = t_plug(vm, "edu");
    uint8_t out[100], in[100];
    unsigned errors;

    for (unsigned i = 0; i < 100; i++)
        out[i] = (uint8_t)i;
    as_write(vm->mem, 0x100, out, 100, MEM_CPU);
    pci_config_write(PCI(d), 4, 6, 2);
    move(d, 0x100, 0x40000, 100, 1 | 4);
    check(t_irq(d) && t_r32(d, 0x24) == 0x100);
    t_w32(d, 0x64, 0x100);
    move(d, 0x40000, 0x800, 100, 1 | 2);
    as_read(vm->mem, 0x800, in, 100, MEM_CPU);
    check(!memcmp(in, out, 100) && !t_irq(d));
    errors = t_guest_errors();
    move(d, 0x40fff, 0x800, 2, 1 | 2);
    check_eq(t_guest_errors(), errors + 1); /* refused, and nothing was copied */
}
TEST("edu/dma", dma);

static void master_off(Vm *vm)
{
    Dev *d = t_plug(vm, "edu");
    uint64_t v;

    as_store(vm->mem, 0x100, 4, 0x1234, MEM_CPU);
    pci_config_write(PCI(d), 4, 2, 2);
    move(d, 0x100, 0x40000, 4, 1); /* gets ones */
    pci_config_write(PCI(d), 4, 6, 2);
    move(d, 0x40000, 0x800, 4, 1 | 2);
    as_load(vm->mem, 0x800, 4, &v, MEM_CPU);
    check_eq(v, UINT32_MAX);
    pci_config_write(PCI(d), 4, 2, 2);
    as_store(vm->mem, 0x800, 4, 0, MEM_CPU);
    move(d, 0x40000, 0x800, 4, 1 | 2); /* arrives nowhere */
    as_load(vm->mem, 0x800, 4, &v, MEM_CPU);
    check_eq(v, 0);
}
TEST("edu/master-off", master_off);

static unsigned messages;
static uint32_t last_data;

static bool hear(Vm *vm, uint64_t addr, uint32_t data)
{
    messages++;
    last_data = data;
    return addr == 0xfee01000;
}

static void msi(Vm *vm)
{
    static const IrqBackend ear = { .msi_send = hear };
    Dev *d = t_plug(vm, "edu");
    unsigned cap = PCI(d)->config[0x34];

    vm->irq = &ear;
    check(PCI(d)->config[cap] == 5);
    pci_config_write(PCI(d), 4, 6, 2);
    pci_config_write(PCI(d), cap + 4, 0xfee01000, 4);
    pci_config_write(PCI(d), cap + 12, 0x4123, 2);
    pci_config_write(PCI(d), cap + 2, 1, 2);
    t_w32(d, 0x60, 4);
    check(messages == 1 && last_data == 0x4123);
    t_w32(d, 0x60, 8);
    check_eq(messages, 1); /* no new edge */
    t_w32(d, 0x64, 12);
    t_w32(d, 0x60, 1);
    check_eq(messages, 2);
}
TEST("edu/msi", msi);
