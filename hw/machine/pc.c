/*
 * hw/machine/pc.c - what the pc and the q35 machine have in common: RAM, firmware, CPUs, interrupt controllers, ISA
 * devices, A20 and INIT, what firmware is told. The only place that knows who is wired to whom.
 * Interrupts: each of the 16 ISA lines joins the ISA bus, PCI's routed pins and the IDE channels; it goes to the PICs
 * and to the pin of the same number of the IOAPIC, line 0 to pin 2.
 * Left out: the second serial port's defaults, sound.
 */
#include "block/disk.h"
#include "chr/chr.h"
#include "core/topology.h"
#include "core/memdev.h"
#include "core/numa.h"
#include "hw/block/fdc.h"
#include "hw/fw/fw.h"
#include "hw/intc/intc.h"
#include "hw/machine/pc.h"
#include "hw/timer/rtc.h"
#include "target/x86/cpu.h"

/* ---- memory ---- */
/* The nodes' blocks one after another. */
static Region *ram_of_nodes(Pc *m, const Numa *n, uint64_t size)
{
    Region *all = region_box(&m->obj, "pc.ram", size);
    uint64_t at = 0;

    for (unsigned i = 0; i < n->n; at += n->node[i].size, i++)
        if (n->node[i].ram)
            region_map(all, at, region_ram(&m->obj, n->node[i].memdev, n->node[i].ram), 0);
    return all;
}

/* One block, or those of -numa; its size to *size. */
static Region *ram_region(Pc *m, uint64_t *size, Error **err)
{
    Vm *vm = m->vm;
    RamBlock *b;

    if (numa_of(vm) && m->memory_backend) {
        fail(err, "-machine memory-backend= and -numa exclude each other: the nodes have their own");
        return NULL;
    }
    if (numa_of(vm))
        return numa_complete(vm, *size, err) ? ram_of_nodes(m, numa_of(vm), *size) : NULL;
    b = m->memory_backend ? memdev_take(vm, m->memory_backend, vm->cfg.ram_size, err) : ram_new(&m->obj, "pc.ram", *size, err);
    if (!b)
        return NULL;
    *size = b->size;
    return region_ram(&m->obj, "pc.ram", b);
}

static bool add_ram(Pc *m, Error **err)
{
    Vm *vm = m->vm;
    uint64_t size = vm->cfg.ram_size ? vm->cfg.ram_size : vm->mc->default_ram;

    m->ram = ram_region(m, &size, err);
    if (!m->ram)
        return false;
    vm->cfg.ram_size = size;
    m->below = m->chipset->low_ram(size);
    m->above = size - m->below;
    m->pci = region_box(&m->obj, "pci", UINT64_MAX);
    region_map(vm->sysmem, 0, region_alias(&m->obj, "ram-below-4g", m->ram, 0, m->below), 0);
    if (m->above)
        region_map(vm->sysmem, 1ull << 32, region_alias(&m->obj, "ram-above-4g", m->ram, m->below, m->above), 0);
    region_map(vm->sysmem, 0, m->pci, -1);
    return true;
}

/* ---- interrupts ---- */
static void line(void *chip, unsigned n, bool level)
{
    Pc *m = chip;

    irq_set(&m->pin[n], level);
}

typedef struct Lines {
    Pc *m;
    Irq pic[16], ioapic[24];
} Lines;

static void pin_set(void *chip, unsigned n, bool level)
{
    Lines *l = chip;

    if (n != 2) /* the cascade */
        irq_set(&l->pic[n], level);
    irq_set(&l->ioapic[n ? n : 2], level);
}

static int answer(void *arg)
{
    Pc *m = arg;

    return pic_ack(m->pic[0], m->pic[1]);
}

static void intr(void *chip, unsigned n, bool level)
{
    Pc *m = chip;

    lapic_extint(m->lapic0, level, answer, m);
}

static bool add_cpus(Pc *m, Error **err)
{
    Vm *vm = m->vm;

    for (unsigned i = 0; i < MAX(vm->cfg.cpus, 1); i++) {
        Cpu *c = cpu_new(vm, vm->cfg.cpu_model, cpu_apic_id(&vm->cfg, i), err);
        Dev *l = c ? lapic_new(c, err) : NULL;

        if (!l)
            return false;
        if (!i)
            m->lapic0 = l;
    }
    lapic_install(vm);
    return true;
}

static void wire_lines(Pc *m)
{
    Lines *l = own(&m->obj, g_new0(Lines, 1), g_free);

    l->m = m;
    for (unsigned n = 0; n < 16; n++)
        l->pic[n] = dev_in(m->pic[n / 8], "irq", n % 8);
    for (unsigned n = 0; n < 24; n++)
        l->ioapic[n] = dev_in(m->ioapic, "irq", n);
    for (unsigned n = 0; n < 16; n++)
        m->pin[n] = (Irq){ .set = pin_set, .chip = l, .n = n };
    dev_wire(m->pic[1], "int", 0, dev_in(m->pic[0], "irq", 2));
    dev_wire(m->pic[0], "int", 0, (Irq){ .set = intr, .chip = m });
}

/* What a chipset's bridge drives and its ISA bus use. */
void pc_join_lines(Pc *m, Irq isa[16])
{
    for (unsigned n = 0; n < 16; n++) {
        irq_join(&m->obj, (Irq){ .set = line, .chip = m, .n = n }, ENDS, m->ends[n]);
        isa[n] = m->ends[n][ISA_END];
    }
}

/* ---- HPET: in legacy mode it has line 0 and line 8, and the PIT and the RTC have none ---- */
static void tick(void *chip, unsigned n, bool level)
{
    Pc *m = chip;

    m->tick[n] = level;
    irq_set(&m->ends[n * 8][SELF_END], level && !m->pit_held);
}

static void hold_ticks(void *chip, unsigned n, bool level)
{
    PC(chip)->pit_held = level;
    for (unsigned i = 0; i < 2; i++)
        tick(chip, i, PC(chip)->tick[i]);
}

static bool add_hpet(Pc *m, Error **err)
{
    g_autofree char *text = g_strdup_printf("hpet,hpet-intcap=%#x", m->chipset->hpet_lines);
    Dev *d;

    for (unsigned n = 0; n < 8; n++)
        irq_join(&m->obj, dev_in(m->ioapic, "irq", 16 + n), 2, m->apic_ends[n]);
    if (!m->hpet)
        return true;
    if (!(d = dev_plug(m->vm, NULL, text, err)))
        return false;
    region_map(m->vm->sysmem, 0xfed00000, dev_region(d, 0), 0);
    dev_wire(d, "legacy-on", 0, (Irq){ .set = hold_ticks, .chip = m });
    for (unsigned n = 0; n < 2; n++)
        dev_wire(d, "legacy", n, m->ends[8 * n][HPET_END]);
    dev_wire(d, "irq", 2, m->ends[0][IDE_END]); /* line 0 is pin 2 of the IOAPIC */
    dev_wire(d, "irq", 8, m->ends[8][IDE_END]);
    for (unsigned n = 0; n < 8; n++)
        dev_wire(d, "irq", 16 + n, m->apic_ends[n][1]);
    m->hpet_on = true;
    return true;
}

/* ---- A20 and INIT ---- */
static void a20(void *chip, unsigned n, bool level) { x86_set_a20(PC(chip)->vm, level); }

/*
 * INIT# of all CPUs. A guest that left a shutdown code in CMOS comes back to its own code that way (a 286's road to real
 * mode). Without one firmware starts from nothing, as does a kernel that has no firmware: that is a reset of the machine,
 * so that no device goes on writing to memory and -no-reboot sees it.
 */
static void init_pin(void *chip, unsigned n, bool level)
{
    enum { SHUTDOWN_CODE = 0x0f };
    Vm *vm = PC(chip)->vm;
    bool resumes = PC(chip)->firmware && rtc_get_cmos(PC(chip)->rtc, SHUTDOWN_CODE);

    if (level && !resumes)
        vm_request(vm, VM_RESET, CAUSE_GUEST_RESET);
    for (unsigned i = 0; level && resumes && i < vm->ncpus; i++)
        cpu_request(vm->cpus[i], CPU_REQ_INIT);
}

/* Of the CPU that asked, or of all. */
static void smi_pin(void *chip, unsigned n, bool level)
{
    Pc *m = chip;
    Cpu *self = cpu_self() ? cpu_self() : m->vm->cpus[0];
    bool all = m->chipset->smi_to_all && m->chipset->smi_to_all(m);

    for (unsigned i = 0; level && i < m->vm->ncpus; i++)
        if (all || m->vm->cpus[i] == self)
            cpu_request(m->vm->cpus[i], CPU_REQ_SMI);
}

static void wire_gates(Pc *m, Dev *port92, Dev *kbc)
{
    Irq ends[2], init = { .set = init_pin, .chip = m };

    irq_join(&m->obj, (Irq){ .set = a20, .chip = m, .level = true }, 2, ends);
    dev_wire(m->host, "init", 0, init);
    dev_wire(m->pm, "smi", 0, (Irq){ .set = smi_pin, .chip = m });
    dev_wire(port92, "a20", 0, ends[0]);
    dev_wire(port92, "init", 0, init);
    if (kbc) {
        dev_wire(kbc, "a20", 0, ends[1]);
        dev_wire(kbc, "init", 0, init);
    } else {
        irq_set(&ends[1], true); /* nobody else pulls it down */
    }
}

/* ---- ISA ---- */
static bool add_isa(Pc *m, Error **err)
{
    Vm *vm = m->vm;
    Bus *b = &m->isa->bus;
    Dev *pit;

    m->pic[0] = dev_plug(vm, b, "isa-i8259,iobase=0x20,elcr_addr=0x4d0,elcr_mask=0xf8,master=on", err);
    m->pic[1] = m->pic[0] ? dev_plug(vm, b, "isa-i8259,iobase=0xa0,elcr_addr=0x4d1,elcr_mask=0xde,master=off", err) : NULL;
    m->ioapic = m->pic[1] ? dev_new(vm, "ioapic", NULL, NULL, NULL, NULL, err) : NULL;
    if (!m->ioapic)
        return false;
    wire_lines(m);
    if (!dev_plug(vm, b, "i8257,base=0,page-base=0x80", err) || !dev_plug(vm, b, "i8257,base=0xc0,page-base=0x88,dshift=1", err))
        return false;
    pit = dev_plug(vm, b, "isa-pit", err);
    m->rtc = pit ? dev_plug(vm, b, "mc146818rtc", err) : NULL;
    if (!m->rtc)
        return false;
    dev_wire(pit, "irq", 0, (Irq){ .set = tick, .chip = m, .n = 0 });
    dev_wire(m->rtc, "irq", 0, (Irq){ .set = tick, .chip = m, .n = 1 });
    return add_hpet(m, err);
}

static bool add_control_ports(Pc *m, Error **err)
{
    Vm *vm = m->vm;
    Dev *port92 = dev_plug(vm, &m->isa->bus, "port92", err), *kbc = NULL;
    Dev *ferr = port92 ? dev_plug(vm, &m->isa->bus, "coproc-err", err) : NULL;

    if (!ferr || (m->i8042 && dev_class_find("i8042") && !(kbc = dev_plug(vm, &m->isa->bus, "i8042", err))))
        return false;
    dev_wire(ferr, "irq", 0, m->ends[13][SELF_END]);
    wire_gates(m, port92, kbc);
    return true;
}

/* What this build has of the devices a pc comes with. */
static bool add_optional(Pc *m, const char *text, Bus *bus, Error **err)
{
    g_autofree char *driver = g_strndup(text, strcspn(text, ","));

    return !dev_class_find(driver) || dev_plug(m->vm, bus, text, err);
}

static bool add_serial(Pc *m, Error **err)
{
    for (unsigned i = 0; i < 4; i++)
        if (m->vm->cfg.serial[i]) {
            g_autofree char *text = g_strdup_printf("isa-serial,index=%u,chardev=%s", i, chr_id(m->vm->cfg.serial[i]));

            if (!add_optional(m, text, &m->isa->bus, err))
                return false;
        }
    if (m->vm->cfg.debugcon) {
        g_autofree char *text = g_strdup_printf("isa-debugcon,chardev=%s", chr_id(m->vm->cfg.debugcon));

        return add_optional(m, text, &m->isa->bus, err);
    }
    return true;
}

static bool add_parallel(Pc *m, Error **err)
{
    for (unsigned i = 0; i < 3; i++)
        if (m->vm->cfg.parallel[i]) {
            g_autofree char *text = g_strdup_printf("isa-parallel,index=%u,chardev=%s", i, chr_id(m->vm->cfg.parallel[i]));

            if (!dev_plug(m->vm, &m->isa->bus, text, err))
                return false;
        }
    return true;
}

/* One unit of an IDE or AHCI bus; a bus or drive that is not there is no error. */
bool pc_add_drive(Pc *m, int bus, int unit, Error **err)
{
    DriveInfo *d = machine_drive(m->vm, "ide", bus, unit);
    g_autofree char *name = g_strdup_printf("ide.%d", bus), *text = NULL;
    Bus *b = bus_find(m->vm, name);

    if (!d || !b)
        return true;
    text = g_strdup_printf("%s,unit=%d,drive=%s", d->cdrom ? "ide-cd" : "ide-hd", unit, d->id);
    return dev_plug(m->vm, b, text, err);
}

static bool add_floppies(Pc *m, Error **err)
{
    Vm *vm = m->vm;

    if (!m->chipset->fdc && !machine_drive(vm, "floppy", 0, 0) && !machine_drive(vm, "floppy", 0, 1))
        return true;
    m->fdc = dev_plug(vm, &m->isa->bus, "isa-fdc", err);
    for (int unit = 0; m->fdc && unit < FLOPPY_UNITS; unit++) {
        DriveInfo *d = machine_drive(vm, "floppy", 0, unit);
        g_autofree char *text = d ? g_strdup_printf("floppy,unit=%d,drive=%s", unit, d->id) : NULL;

        if (text && !dev_plug(vm, bus_find_type(vm, "floppy-bus"), text, err))
            return false;
    }
    return m->fdc;
}

static bool add_vga(Pc *m, Error **err)
{
    const char *vga = m->vm->cfg.vga ? m->vm->cfg.vga : m->vm->cfg.nodefaults ? "none" : "std";

    if (!strcmp(vga, "none"))
        return true;
    if (strcmp(vga, "std") && strcmp(vga, "cirrus"))
        warn_report("-vga %s: not modelled; std is used", vga);
    return add_optional(m, m->chipset->vga, &m->bus->bus, err);
}

/* ---- what firmware is told ---- */
static void boot_order(Pc *m, const char *order)
{
    static const char letters[] = "acdn";
    uint8_t boot[3] = { 0 };

    for (unsigned i = 0, n = 0; order[i] && n < 3; i++) {
        const char *at = strchr(letters, order[i]);

        if (at)
            boot[n++] = (uint8_t)(at - letters + 1);
    }
    rtc_set_cmos(m->rtc, 0x3d, (uint8_t)(boot[1] << 4 | boot[0]));
    rtc_set_cmos(m->rtc, 0x38, (uint8_t)(boot[2] << 4));
}

static void match_fdc(Dev *d, void *fdc)
{
    if (!strcmp(d->cls->obj.name, "isa-fdc"))
        *(Dev **)fdc = d;
}

/* The floppy controller may come by -device, after the machine was made. */
static void cmos_floppies(Pc *m)
{
    Dev *fdc = NULL;
    unsigned type[2];

    vm_foreach_dev(m->vm, match_fdc, &fdc);
    for (unsigned i = 0; i < 2; i++)
        type[i] = fdc ? fdc_drive_type(fdc, i) : 0;
    rtc_set_cmos(m->rtc, 0x14, (uint8_t)(0x06 | (type[0] ? 1 : 0) | (type[1] ? 0x40 : 0))); /* equipment */
    rtc_set_cmos(m->rtc, 0x10, (uint8_t)(type[0] << 4 | type[1]));
}

/* -boot once= holds until the first reset after the start. */
static void on_reset(void *self)
{
    Pc *m = self;
    const VmConfig *c = &m->vm->cfg;

    cmos_floppies(m);
    if (m->booted && c->boot_once)
        boot_order(m, c->boot_order ? c->boot_order : "cad");
    m->booted = true;
}

static void unlisten(void *p)
{
    Pc *m = p;

    vm_unlisten(m->vm, &m->listener);
}

static void cmos(Pc *m)
{
    const VmConfig *c = &m->vm->cfg;
    uint64_t ext = (m->below - MiB) / KiB, high = m->below > 16 * MiB ? (m->below - 16 * MiB) / (64 * KiB) : 0;
    uint64_t above = m->above / (64 * KiB);
    const struct {
        uint8_t at;
        uint64_t v;
        unsigned bytes;
    } rows[] = {
        { 0x15, 640, 2 }, { 0x17, MIN(ext, 0xffff), 2 }, { 0x30, MIN(ext, 0xffff), 2 }, { 0x34, MIN(high, 0xffff), 2 },
        { 0x5b, above, 3 }, { 0x5f, MAX(m->vm->cfg.cpus, 1) - 1, 1 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        for (unsigned k = 0; k < rows[i].bytes; k++)
            rtc_set_cmos(m->rtc, rows[i].at + k, (uint8_t)(rows[i].v >> (8 * k)));
    boot_order(m, c->boot_once ? c->boot_once : c->boot_order ? c->boot_order : "cad");
    m->listener = (VmListener){ .reset = on_reset, .self = m };
    vm_listen(m->vm, &m->listener);
    own(&m->obj, m, unlisten);
}

static bool add_fw(Pc *m, Error **err)
{
    static const uint16_t ports[4] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    static const uint8_t irqs[4] = { 4, 3, 4, 3 };
    FwPlatform p = {
        .vm = m->vm, .fw_cfg = fw_cfg_new(m->vm, err), .root = m->bus, .pci_read = pci_host_read, .pci_write = pci_host_write,
        .below_4g = m->below, .above_4g = m->above, .arg = m, .hole = align_up(m->below, MiB), .hole_end = 0xfec00000,
        .hole64 = align_up((1ull << 32) + m->above, GiB), .hole64_len = 32 * GiB, .irq0_override = true, .hpet = m->hpet_on, .firmware = m->firmware,
        .reset_cf9 = true, .lpt = m->vm->cfg.parallel[0] ? 0x378 : 0, .rtc = true,
        .i8042 = m->i8042 && dev_class_find("i8042"),
    };

    m->chipset->tell(m, &p);
    for (unsigned i = 0; i < 4; i++)
        if (m->vm->cfg.serial[i] && dev_class_find("isa-serial")) {
            p.com[i] = ports[i];
            p.com_irq[i] = irqs[i];
        }
    return p.fw_cfg && fw_platform_install(&p, err) && fw_direct_install(&p, err);
}

static bool choose_smm(Pc *m, Error **err)
{
    bool smm = m->vm->accel->smm && m->vm->accel->smm(m->vm);

    if (m->smm_prop == ON && !smm)
        return fail(err, "-machine smm=on: accelerator '%s' has no system management mode", m->vm->accel->name);
    m->smm = m->smm_prop != OFF && smm;
    return true;
}

static bool add_usb(Pc *m, Error **err)
{
    for (const char *const *text = m->chipset->usb; m->usb && *text; text++)
        if (!dev_plug(m->vm, &m->bus->bus, *text, err))
            return false;
    return true;
}

bool pc_init(Vm *vm, const PcChipset *chipset, Error **err)
{
    Pc *m = PC(vm->machine);

    m->vm = vm;
    m->chipset = chipset;
    if (!choose_smm(m, err))
        return false;
    if (!add_cpus(m, err) || !add_ram(m, err) || !pc_add_firmware(m, err) || !chipset->bridges(m, err) || !add_isa(m, err))
        return false;
    if (!add_vga(m, err) || !chipset->storage(m, err) || !add_floppies(m, err) || !add_serial(m, err) ||
        !add_parallel(m, err) || !add_control_ports(m, err) || !add_usb(m, err))
        return false;
    cmos(m);
    return add_fw(m, err);
}

/* clang-format off */
static const Prop pc_props[] = {
    PROP(Pc, hpet, "hpet", true, "high precision timer"), PROP(Pc, acpi, "acpi", true, "ACPI tables"),
    PROP(Pc, i8042, "i8042", true, "keyboard controller"), PROP(Pc, vmport, "vmport", false, "VMware port"),
    PROP(Pc, usb, "usb", false, "a USB controller"),
    PROP_AUTO(Pc, smm_prop, "smm", AUTO, "system management mode"), PROP_STR(Pc, pflash[0], "pflash0", NULL, "drive of the firmware's flash chip"),
    PROP_STR(Pc, pflash[1], "pflash1", NULL, "drive of the flash chip below it"), PROP_STR(Pc, memory_backend, "memory-backend", NULL, "object that is the RAM"),
};
const ObjClass pc_base = { .name = "pc-machine", .size = sizeof(Pc), .props = TABLE(pc_props) };
/* clang-format on */
