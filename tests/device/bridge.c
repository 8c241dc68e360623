/*
 * tests/device/bridge.c - bridges: type 1 configuration, windows, VGA enable, interrupts of what is behind, and direct
 * boot's set-up of a tree. Source: PCI-to-PCI Bridge Architecture 1.2.
 */
#include "hw/pci/pci.h"
#include "tests/lib/t.h"

typedef struct Tree {
    Vm *vm;
    PciBus *root;
    PciDev *port, *bridge, *edu;
    unsigned wire;
    bool level;
} Tree;

static void irq(void *chip, unsigned n, bool level)
{
    Tree *t = chip;

    t->wire = n;
    t->level = level;
}

static PciDev *plug(Vm *vm, const char *bus, const char *text) { return PCI(dev_plug(vm, bus_find(vm, bus), text, &abort_on_error)); }

/* Root port in slot 2, a PCI Express to PCI bridge behind it, edu in slot 3 of that. */
static Tree tree(Vm *vm)
{
    Tree t = { .vm = vm };
    Bus *b = t_bus(vm, "PCI");

    lock_take(&vm->lock);
    t.root = (PciBus *)(void *)b;
    t.port = plug(vm, b->obj.name, "pcie-root-port,id=rp,addr=2");
    t.bridge = plug(vm, "rp", "pcie-pci-bridge,id=br");
    t.edu = plug(vm, "br", "edu,addr=3");
    lock_drop(&vm->lock);
    return t;
}

static void numbers(Tree *t)
{
    pci_config_write(t->port, 0x18, 0x00020100, 4); /* primary 0, secondary 1, subordinate 2 */
    pci_config_write(t->bridge, 0x18, 0x00020201, 4);
}

static uint64_t load(Vm *vm, uint64_t at)
{
    uint64_t v = UINT32_MAX;

    as_load(vm->mem, at, 4, &v, MEM_CPU);
    return v;
}

static void config(Vm *vm)
{
    Tree t = tree(vm);

    check_eq(pci_host_read(t.root, 0x10, 0, 4), 0x000c1b36);
    check_eq(pci_host_read(t.root, 0x100, 0, 4), UINT32_MAX);
    numbers(&t);
    check_eq(pci_host_read(t.root, 0x100, 0, 4), 0x000e1b36);
    check_eq(pci_host_read(t.root, 0x108, 0, 4), UINT32_MAX); /* below a port there is one slot */
    check_eq(pci_host_read(t.root, 0x218, 0, 4), 0x11e81234);
    check_eq(pci_ecam_read(t.root, 0x218, 0, 4), 0x11e81234);
    check_eq(t.edu->dev.requester, 0x219);
    pci_config_write(t.port, 0x18, 0x00010100, 4);
    check_eq(pci_host_read(t.root, 0x218, 0, 4), UINT32_MAX);
    check_eq(pci_config_read(t.port, 0x24, 1) & 1, 1); /* 64-bit prefetchable window */
    check(pci_is_express(t.port) && pci_is_express(t.bridge) && !pci_is_express(t.edu));
    dev_reset(&t.port->dev);
    check_eq(pci_host_read(t.root, 0x100, 0, 4), UINT32_MAX);
}
TEST("bridge/config", config);

static void windows(Vm *vm)
{
    Tree t = tree(vm);

    numbers(&t);
    pci_config_write(t.edu, 0x10, 0xe0100000, 4);
    pci_config_write(t.edu, 4, 2, 2);
    check_eq(load(vm, 0xe0100000), UINT32_MAX);
    pci_config_write(t.port, 0x20, 0xe010e010, 4); /* e0100000..e01fffff */
    pci_config_write(t.port, 4, 2, 2);
    check_eq(load(vm, 0xe0100000), UINT32_MAX); /* the second bridge is closed */
    pci_config_write(t.bridge, 0x24, 0xe010e010, 4); /* its prefetchable window */
    pci_config_write(t.bridge, 4, 2, 2);
    check_eq(load(vm, 0xe0100000) & 0xff, 0xed);
    pci_config_write(t.port, 0x20, 0xe020e020, 4);
    check_eq(load(vm, 0xe0100000), UINT32_MAX);
    pci_config_write(t.port, 0x20, 0xe010e000, 4);
    check_eq(load(vm, 0xe0100000) & 0xff, 0xed);
    pci_config_write(t.port, 4, 0, 2);
    check_eq(load(vm, 0xe0100000), UINT32_MAX);
}
TEST("bridge/windows", windows);

/* INTA of slot 3 is pin D of the bridge in slot 0, which is pin D of the port in slot 2. */
static void interrupts(Vm *vm)
{
    Tree t = tree(vm);

    t.root->set_irq = irq;
    t.root->irq_chip = &t;
    pci_config_write(t.edu, 0x10, 0xe0100000, 4);
    pci_config_write(t.edu, 4, 6, 2);
    bank_write(&t.edu->dev, t_bank(&t.edu->dev, 0), 0x60, 4, 1);
    check(t.level);
    check_eq(t.wire, 3);
    bank_write(&t.edu->dev, t_bank(&t.edu->dev, 0), 0x64, 4, 1);
    check(!t.level);
}
TEST("bridge/interrupts", interrupts);

static void places(Vm *vm)
{
    Error *err = NULL;
    Tree t = tree(vm);

    lock_take(&vm->lock);
    check(!dev_plug(vm, bus_find(vm, "rp"), "edu,addr=1", &err) && strstr(error_text(err), "slot 0"));
    error_free(err);
    check(!dev_plug(vm, bus_find(vm, "rp"), "edu", NULL)); /* taken */
    plug(vm, "br", "pci-bridge,id=leaf,chassis_nr=2,addr=4");
    check(!dev_plug(vm, bus_find(vm, "leaf"), "edu,addr=0", NULL));
    check_eq(plug(vm, "leaf", "edu")->devfn, 8);
    dev_unplug_now(&t.edu->dev);
    lock_drop(&vm->lock);
}
TEST("bridge/places", places);
