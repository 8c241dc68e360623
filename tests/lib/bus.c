/*
 * tests/lib/bus.c - buses and back ends for devices under test: found by type, else made: PCI and ISA by a host
 * of our own whose interrupts go nowhere, others by plugging a controller that has one.
 */
#include "block/disk.h"
#include "chr/chr.h"
#include "hw/isa/isa.h"
#include "hw/pci/pci.h"
#include "net/net.h"
#include "tests/lib/t.h"

static const DevClass host = { .obj = { .name = "test-host", .desc = "carries buses under test", .size = sizeof(Dev) }, .no_user = true };
DEVICE(Dev, host);

static void nowhere(void *chip, unsigned n, bool level) {}

static Dev *host_new(Vm *vm) { return dev_new(vm, "test-host", NULL, NULL, NULL, NULL, &abort_on_error); }

static const struct {
    const char *type, *controller, *props;
} controllers[] = {
    { "ide", "piix3-ide" }, { "ide", "ahci" }, { "virtio-bus", "virtio-pci" }, { "SCSI", "virtio-scsi-pci" },
    { "virtio-serial-bus", "virtio-serial-pci" }, { "floppy-bus", "isa-fdc" }, { "usb-bus", "qemu-xhci" },
    { "nvme-bus", "nvme", "serial=null0" },
};

static void make(Vm *vm, const char *type)
{
    if (!strcmp(type, "PCI")) {
        pci_bus_new(host_new(vm), "pcie.0", true, vm->sysmem, vm->sysports)->set_irq = nowhere;
        return;
    }
    if (!strcmp(type, "ISA")) {
        isa_bus_new(host_new(vm), vm->sysports, vm->sysmem, NULL);
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(controllers); i++) {
        const DevClass *c = strcmp(controllers[i].type, type) ? NULL : dev_class_find(controllers[i].controller);
        g_autoptr(Opts) o = NULL;

        if (!c || bus_find_type(vm, type) || (dev_class_bus(c) && !t_bus(vm, dev_class_bus(c))))
            continue;
        o = controllers[i].props ? opts_parse(controllers[i].props, NULL, &abort_on_error) : NULL;
        dev_new(vm, c->obj.name, NULL, NULL, NULL, o, &abort_on_error);
    }
}

Bus *t_bus(Vm *vm, const char *type)
{
    Bus *b = bus_find_type(vm, type);

    if (!b)
        make(vm, type);
    return b ? b : bus_find_type(vm, type);
}

static void free_disk(void *p) { disk_free(p); }

void t_backends(Vm *vm)
{
    g_autoptr(Opts) disk = NULL, net = NULL;

    if (vm_lookup(vm, "chardev", "null0"))
        return;
    chr_new_short(vm, "null0", "null", &abort_on_error);
    disk = opts_parse("driver=null-co,size=16M", NULL, &abort_on_error);
    own(&vm->root, disk_new(vm, "null0", disk, &abort_on_error), free_disk);
    net = opts_parse("type=hubport,hubid=0,id=null0", NULL, &abort_on_error);
    net_new(vm, net, &abort_on_error);
}

enum { MEM_AT = 0xe0000000u, IO_AT = 0xc000 };

/* BARs where the poking guest looks for them; decoding and bus mastering on. */
static void enable(PciDev *p)
{
    for (unsigned n = 0; n < 6; n++) {
        bool io = p->bar_flags[n] & BAR_IO;

        if (!p->bar_size[n] || p->bar_size[n] > 16 * MiB)
            continue;
        pci_config_write(p, 0x10 + 4 * n, io ? IO_AT + 0x400 * n : MEM_AT + n * 0x1000000u, 4);
        if (p->bar_flags[n] & BAR_64)
            pci_config_write(p, 0x14 + 4 * n, 0, 4);
    }
    pci_config_write(p, 4, 7, 2);
}

void t_bus_poke(Dev *d, Rng *r)
{
    if (!d->bus || strcmp(d->bus->cls->type, "PCI"))
        return;
    if (rng_next(r) % 2)
        enable(PCI(d));
    else
        pci_config_write(PCI(d), (unsigned)(rng_next(r) % (rng_next(r) % 8 ? 256 : 4096)), (uint32_t)rng_value(r),
                         1u << rng_next(r) % 3);
}
