/*
 * hw/machine/piix.c - the pc machine: i440FX host bridge, PIIX3 ISA bridge and IDE, PIIX4 power management.
 */
#include "hw/isa/piix.h"
#include "hw/machine/pc.h"
#include "hw/pci/i440fx.h"

static uint64_t low_ram(uint64_t size) { return size >= 3584 * MiB ? 3 * GiB : size; }

static bool bridges(Pc *m, Error **err)
{
    Vm *vm = m->vm;
    Irq isa[16];
    Dev *fx;

    m->bus = pci_host_new(vm, "i440FX-pcihost", "pci.0", false, m->pci, &m->host, err);
    if (!m->bus || !(fx = dev_plug(vm, &m->bus->bus, "i440FX,addr=0", err)) ||
        !(m->isa_bridge = dev_plug(vm, &m->bus->bus, "PIIX3,addr=1,multifunction=on", err)))
        return false;
    i440fx_map(fx, m->ram, m->pci);
    m->bus->map_irq = piix3_map_irq;
    m->bus->set_irq = piix3_pirq;
    m->bus->irq_chip = m->isa_bridge;
    pc_join_lines(m, isa);
    for (unsigned n = 0; n < 16; n++)
        dev_wire(m->isa_bridge, "irq", n, m->ends[n][PCI_END]);
    m->isa = isa_bus_new(m->isa_bridge, vm->sysports, vm->sysmem, isa);
    m->pm = dev_plug(vm, &m->bus->bus, m->smm ? "PIIX4_PM,addr=1.3,smm-enabled=on" : "PIIX4_PM,addr=1.3,smm-enabled=off", err);
    if (!m->pm)
        return false;
    dev_wire(m->pm, "sci", 0, m->ends[9][SELF_END]);
    m->acpi_hotplug = piix4_acpi_hotplug(m->pm, m->bus);
    return true;
}

static bool storage(Pc *m, Error **err)
{
    Dev *ide;

    if (!dev_class_find("piix3-ide"))
        return true;
    ide = dev_plug(m->vm, &m->bus->bus, "piix3-ide,addr=1.1", err);
    if (!ide)
        return false;
    dev_wire(ide, "irq", 0, m->ends[14][IDE_END]);
    dev_wire(ide, "irq", 1, m->ends[15][IDE_END]);
    for (int bus = 0; bus < 2; bus++)
        for (int unit = 0; unit < 2; unit++)
            if (!pc_add_drive(m, bus, unit, err))
                return false;
    return true;
}

static uint16_t pm_base(void *arg) { return piix4_pm_base(PC(arg)->pm); }

static void tell(Pc *m, FwPlatform *p)
{
    p->pm_base = 0x600;
    p->pm_base_now = pm_base;
    p->acpi_enable = PIIX4_ACPI_ENABLE;
    p->acpi_disable = PIIX4_ACPI_DISABLE;
    p->gpe0 = PIIX4_GPE_PORT;
    p->gpe0_len = PIIX4_GPE_LEN;
    p->hotplug_port = m->acpi_hotplug ? PIIX4_HOTPLUG_PORT : 0;
    p->pm_devfn = 0x0b;
    p->isa_devfn = 0x08;
}

static const char *const usb[] = { "piix3-usb-uhci,addr=1.2", NULL };
static const PcChipset chipset = { low_ram, bridges, storage, tell, 0x4, "VGA,addr=2", .usb = usb, .fdc = true };

static bool init(Vm *vm, Error **err) { return pc_init(vm, &chipset, err); }

/* clang-format off */
static const MachineClass pc = {
    .name = "pc-i440fx-10.0", .alias = "pc", .desc = "Standard PC (i440FX + PIIX, 1996)", .is_default = true,
    .props = { .name = "pc-i440fx-10.0-machine", .size = sizeof(Pc), .parent = &pc_base },
    .default_cpu = "qemu64", .default_ram = 128 * MiB, .default_ram_id = "pc.ram", .max_cpus = 255, .default_bus_type = "ide",
    .ide_units = 2, .init = init,
};
MACHINE(pc);
/* clang-format on */
