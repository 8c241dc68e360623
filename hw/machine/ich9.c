/*
 * hw/machine/ich9.c - the q35 machine: Q35 host bridge, ICH9 LPC bridge, AHCI and SMBus, PCI Express root bus.
 * PIRQ A..H also reach pins 16..23 of the IOAPIC.
 */
#include "hw/isa/ich9.h"
#include "hw/machine/pc.h"
#include "hw/pci/q35.h"

enum { LPC_DEVFN = 0xf8, ECAM = 0xe0000000u };

static uint64_t low_ram(uint64_t size) { return size >= 0xb0000000 ? 2 * GiB : size; }

static bool bridges(Pc *m, Error **err)
{
    Vm *vm = m->vm;
    Irq isa[16];
    Dev *mch;

    m->bus = pci_host_new(vm, "q35-pcihost", "pcie.0", true, m->pci, &m->host, err);
    if (!m->bus || !(mch = dev_plug(vm, &m->bus->bus, "mch,addr=0", err)))
        return false;
    q35_map(mch, m->ram, m->below, m->pci);
    m->mch = mch;
    m->pm = dev_plug(vm, &m->bus->bus, m->smm ? "ICH9-LPC,addr=1f.0,smm-enabled=on" : "ICH9-LPC,addr=1f.0,smm-enabled=off", err);
    if (!m->pm)
        return false;
    m->isa_bridge = m->pm;
    m->acpi_hotplug = ich9_acpi_hotplug(m->pm, m->bus);
    m->bus->map_irq = ich9_map_irq;
    m->bus->set_irq = ich9_pirq;
    m->bus->irq_chip = m->isa_bridge;
    pc_join_lines(m, isa);
    for (unsigned n = 0; n < 16; n++)
        dev_wire(m->isa_bridge, "irq", n, m->ends[n][PCI_END]);
    m->isa = isa_bus_new(m->isa_bridge, vm->sysports, vm->sysmem, isa);
    return true;
}

static bool storage(Pc *m, Error **err)
{
    for (unsigned n = 0; n < 8; n++)
        dev_wire(m->isa_bridge, "gsi", n, m->apic_ends[n][0]);
    if (!dev_plug(m->vm, &m->bus->bus, "ahci,addr=1f.2,multifunction=on", err) ||
        !dev_plug(m->vm, &m->bus->bus, "ICH9-SMB,addr=1f.3,multifunction=on", err))
        return false;
    for (int bus = 0; bus < 6; bus++)
        if (!pc_add_drive(m, bus, 0, err))
            return false;
    return true;
}

static uint16_t pm_base(void *arg) { return ich9_pm_base(PC(arg)->pm); }
static uint64_t ecam(void *arg) { return q35_ecam(PC(arg)->mch); }

/* "etc/smi": whether an SMI by the APM command goes to all CPUs. The firmware asks by a writable file, the answer comes when
 * it reads the last one. */
static void smi_features(void *arg)
{
    Pc *m = arg;
    uint8_t ok = ich9_smi_negotiate(m->pm);

    fw_cfg_set_file(fw_cfg_find(m->vm), "etc/smi/features-ok", &ok, 1, &abort_on_error);
}

static void offer_smi_features(Pc *m, FwCfg *f)
{
    uint8_t offered[8];

    le64_store(offered, ICH9_SMI_BROADCAST);
    fw_cfg_set_file(f, "etc/smi/supported-features", offered, sizeof(offered), &abort_on_error);
    fw_cfg_set_file(f, "etc/smi/features-ok", "", 1, &abort_on_error);
    fw_cfg_on_select(f, "etc/smi/features-ok", smi_features, m);
    fw_cfg_writable(f, "etc/smi/requested-features", ich9_smi_requested(m->pm), 8);
}

static bool smi_to_all(const Pc *m) { return ich9_smi_features(m->pm) & ICH9_SMI_BROADCAST; }

static void tell(Pc *m, FwPlatform *p)
{
    if (m->smm)
        offer_smi_features(m, p->fw_cfg);
    p->q35 = true;
    p->pm_base = 0x600;
    p->pm_base_now = pm_base;
    p->ecam = ECAM;
    p->ecam_now = ecam;
    p->gpe0_len = 16;
    p->hotplug_port = m->acpi_hotplug ? ICH9_HOTPLUG_PORT : 0;
    p->acpi_enable = ICH9_ACPI_ENABLE;
    p->acpi_disable = ICH9_ACPI_DISABLE;
    p->isa_devfn = LPC_DEVFN;
}

static const char *const usb[] = {
    "ich9-usb-ehci1,addr=1d.7,multifunction=on",
    "ich9-usb-uhci1,addr=1d.0,multifunction=on,masterbus=usb-bus.0,firstport=0",
    "ich9-usb-uhci2,addr=1d.1,multifunction=on,masterbus=usb-bus.0,firstport=2",
    "ich9-usb-uhci3,addr=1d.2,multifunction=on,masterbus=usb-bus.0,firstport=4",
    NULL,
};
static const PcChipset chipset = { low_ram, bridges, storage, tell, 0xff0104, "VGA,addr=1", smi_to_all, usb };

static bool init(Vm *vm, Error **err) { return pc_init(vm, &chipset, err); }

/* clang-format off */
static const MachineClass q35 = {
    .name = "pc-q35-10.0", .alias = "q35", .desc = "Standard PC (Q35 + ICH9, 2009)",
    .props = { .name = "pc-q35-10.0-machine", .size = sizeof(Pc), .parent = &pc_base },
    .default_cpu = "qemu64", .default_ram = 128 * MiB, .default_ram_id = "pc.ram", .max_cpus = 255, .default_bus_type = "ide",
    .ide_units = 1, .no_floppy = true, .default_nic = "e1000e", .init = init,
};
MACHINE(q35);
/* clang-format on */
