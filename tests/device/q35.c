/*
 * tests/device/q35.c - the q35 machine as a whole: its map, configuration space both ways, PAM, SMRAM and TSEG, interrupt
 * routes, SMI, soft and hard reset, A20.
 */
#include "block/disk.h"
#include "hw/fw/fw.h"
#include "tests/lib/t.h"
#include <glib/gstdio.h>

enum { MCH = 0x0000, LPC = 0xf800, SATA = 0xfa00, TOP = 64 << 20 };

/* jmp $ at the reset vector. */
static Vm *machine(const char *accel)
{
    Vm *vm = vm_new("q35");
    g_autofree char *path = g_strdup_printf("%s/t-q35.%d", g_get_tmp_dir(), (int)g_random_int_range(0, 1 << 30));
    uint8_t rom[65536] = { 0 };

    rom[0xfff0] = 0xeb;
    rom[0xfff1] = 0xfe;
    check(g_file_set_contents(path, (char *)rom, sizeof(rom), NULL));
    vm->cfg.bios = g_strdup(path);
    vm->cfg.ram_size = TOP;
    vm->cfg.cpus = 2;
    check(vm_set_accel(vm, accel, NULL, &abort_on_error) && vm_init_machine(vm, "q35", NULL, &abort_on_error));
    g_unlink(path);
    vm_reset(vm, CAUSE_NONE);
    return vm;
}

static uint64_t load(AddrSpace *as, uint64_t at, unsigned size)
{
    uint64_t v = bytes_mask(size);

    as_load(as, at, size, &v, MEM_CPU);
    return v;
}

static void store(AddrSpace *as, uint64_t at, unsigned size, uint64_t v) { as_store(as, at, size, v, MEM_CPU); }

static uint64_t cfg(Vm *vm, unsigned bdf, unsigned reg, unsigned size)
{
    store(vm->ports, 0xcf8, 4, 0x80000000u | bdf | (reg & 0xfc));
    return load(vm->ports, 0xcfc + (reg & 3), size);
}

static void cfg_set(Vm *vm, unsigned bdf, unsigned reg, unsigned size, uint64_t v)
{
    store(vm->ports, 0xcf8, 4, 0x80000000u | bdf | (reg & 0xfc));
    store(vm->ports, 0xcfc + (reg & 3), size, v);
}

/* The TCO watchdog: 1.2 s to the first time-out, which is an SMI if asked for, as much to the second, which NO_REBOOT makes harmless. */
static void tco(Vm *unused)
{
    Vm *vm = machine("qtest");
    enum { TCO = 0x660, GCS = 0xfed1f410 };

    cfg_set(vm, LPC, 0x40, 4, 0x601);
    cfg_set(vm, LPC, 0x44, 1, 0x80);
    cfg_set(vm, LPC, 0xf0, 4, 0xfed1c001);
    check_eq(load(vm->ports, TCO + 0x12, 2), 4);
    store(vm->ports, TCO + 0x12, 2, 1); /* too short: ignored */
    check_eq(load(vm->ports, TCO + 0x12, 2), 4);
    store(vm->ports, TCO + 0x12, 2, 2);
    check_eq(load(vm->mem, GCS, 4) & 0x20, 0);
    store(vm->mem, GCS, 4, 0x20);
    check_eq(load(vm->mem, GCS, 4) & 0x20, 0x20);
    store(vm->ports, TCO, 2, 1);
    check_eq(load(vm->ports, TCO, 2), 2);
    vm_clock_run(vm, vm_now(vm) + SEC);
    check_eq(load(vm->ports, TCO, 2), 1);
    check_eq(load(vm->ports, TCO + 4, 2) & 8, 0);
    vm_clock_run(vm, vm_now(vm) + SEC);
    check_eq(load(vm->ports, TCO + 4, 2) & 8, 8);
    check_eq(load(vm->ports, TCO + 6, 2) & 2, 0);
    vm_clock_run(vm, vm_now(vm) + SEC);
    check_eq(load(vm->ports, TCO + 6, 2) & 6, 2);
    store(vm->ports, TCO + 4, 2, 8);
    store(vm->ports, TCO + 6, 2, 2);
    store(vm->ports, TCO + 8, 2, 0x800); /* halt */
    store(vm->ports, TCO, 2, 1);
    vm_clock_run(vm, vm_now(vm) + 10 * SEC);
    check_eq(load(vm->ports, TCO + 4, 2) & 8, 0);
    store(vm->ports, TCO + 8, 2, 0x1800); /* for good */
    store(vm->ports, TCO + 8, 2, 0);
    check_eq(load(vm->ports, TCO + 8, 2), 0x1800);
    vm_free(vm);
}
TEST("q35/tco", tco);

static void shape(Vm *unused)
{
    static const struct {
        unsigned bdf;
        uint32_t id;
    } functions[] = { { MCH, 0x29c08086 }, { LPC, 0x29188086 }, { SATA, 0x29228086 }, { 0xfb00, 0x29308086 }, { 0xf900, UINT32_MAX } };
    Vm *vm = machine("tcg");

    for (size_t i = 0; i < G_N_ELEMENTS(functions); i++)
        check_eq(cfg(vm, functions[i].bdf, 0, 4), functions[i].id);
    check_eq(load(vm->mem, 0xfffffff0, 2), 0xfeeb);
    check_eq(load(vm->mem, 0xffff0, 2), 0xfeeb);
    cfg_set(vm, MCH, 0x90, 1, 0x30);
    store(vm->mem, 0xffff0, 2, 0x1234);
    check_eq(load(vm->mem, 0xffff0, 2), 0x1234);
    vm_reset(vm, CAUSE_NONE);
    check_eq(load(vm->mem, 0xffff0, 2), 0xfeeb);
    vm_free(vm);
}
TEST("q35/shape", shape);

/* The data sheet's addresses: bus << 20 | device << 15 | function << 12 | register. */
static void ecam(Vm *unused)
{
    Vm *vm = machine("tcg");

    check_eq(load(vm->mem, 0xb0000000, 4), UINT32_MAX); /* off after reset */
    cfg_set(vm, MCH, 0x60, 4, 0xe0000001);
    check_eq(load(vm->mem, 0xe0000000, 4), 0x29c08086);
    check_eq(load(vm->mem, 0xe00f8000, 4), 0x29188086);
    check_eq(load(vm->mem, 0xe00f8002, 2), 0x2918);
    check_eq(load(vm->mem, 0xe00f8100, 4), UINT32_MAX); /* conventional: 256 bytes */
    check_eq(load(vm->mem, 0xe0100000, 4), UINT32_MAX);
    store(vm->mem, 0xe00f8060, 1, 0x0b);
    check_eq(cfg(vm, LPC, 0x60, 1), 0x0b);
    cfg_set(vm, MCH, 0x60, 4, 0xec000005); /* 64 MiB: bits 26 and 27 count */
    check_eq(load(vm->mem, 0xe0000000, 4), UINT32_MAX);
    check_eq(load(vm->mem, 0xec000000, 4), 0x29c08086);
    check_eq(load(vm->mem, 0xf0000000, 4), UINT32_MAX);
    vm_free(vm);
}
TEST("q35/ecam", ecam);

static void smram(Vm *unused)
{
    Vm *vm = machine("tcg");

    cfg_set(vm, MCH, 0x9d, 1, 0x4a); /* open, enabled */
    store(vm->mem, 0xa0000, 4, 0xfeedface);
    check_eq(load(vm->mem, 0xa0000, 4), 0xfeedface);
    check_eq(load(vm->smm, 0xa0000, 4), 0xfeedface);
    cfg_set(vm, MCH, 0x9e, 1, 0x80); /* the copy at FEDA0000 */
    check_eq(load(vm->mem, 0xfeda0000, 4), 0xfeedface);
    cfg_set(vm, MCH, 0x9d, 1, 0x0a);
    check(load(vm->mem, 0xa0000, 4) != 0xfeedface);
    check_eq(load(vm->mem, 0xfeda0000, 4), UINT32_MAX);
    check_eq(load(vm->smm, 0xa0000, 4), 0xfeedface);
    check_eq(load(vm->smm, 0xfeda0000, 4), 0xfeedface);
    cfg_set(vm, MCH, 0x9d, 1, 0x5a); /* locking closes */
    check_eq(cfg(vm, MCH, 0x9d, 1), 0x1a);
    cfg_set(vm, MCH, 0x9d, 1, 0x42);
    cfg_set(vm, MCH, 0x9e, 1, 0x00);
    check_eq(cfg(vm, MCH, 0x9d, 1) & ~0x20u, 0x1a);
    check_eq(cfg(vm, MCH, 0x9e, 1), 0xb8);
    check(load(vm->mem, 0xa0000, 4) != 0xfeedface);
    vm_reset(vm, CAUSE_NONE);
    check_eq(cfg(vm, MCH, 0x9d, 1), 0x02);
    cfg_set(vm, MCH, 0x9d, 1, 0x4a);
    check_eq(load(vm->mem, 0xa0000, 4), 0xfeedface);
    vm_free(vm);
}
TEST("q35/smram", smram);

static void tseg(Vm *unused)
{
    Vm *vm = machine("tcg");

    store(vm->mem, TOP - 8, 8, 0x1122334455667788);
    store(vm->mem, TOP - (8 << 20), 4, 0xabcd);
    store(vm->mem, TOP - (8 << 20) - 4, 4, 0x5555);
    cfg_set(vm, MCH, 0x9d, 1, 0x0a);
    cfg_set(vm, MCH, 0x9e, 1, 0x05); /* 8 MiB, on */
    check_eq(load(vm->mem, TOP - 8, 8), UINT64_MAX);
    check_eq(load(vm->mem, TOP - (8 << 20), 4), UINT32_MAX);
    check_eq(load(vm->mem, TOP - (8 << 20) - 4, 4), 0x5555);
    check_eq(load(vm->smm, TOP - 8, 8), 0x1122334455667788);
    store(vm->mem, TOP - 8, 8, 0); /* dropped */
    check_eq(load(vm->smm, TOP - 8, 8), 0x1122334455667788);
    store(vm->smm, TOP - (8 << 20), 4, 0x77);
    cfg_set(vm, MCH, 0x50, 2, 0xffff); /* how large is size code 3? */
    check_eq(cfg(vm, MCH, 0x50, 2), 16);
    cfg_set(vm, MCH, 0x9e, 1, 0x07);
    check_eq(load(vm->mem, TOP - (8 << 20) - 4, 4), UINT32_MAX);
    check_eq(load(vm->smm, TOP - (8 << 20) - 4, 4), 0x5555);
    cfg_set(vm, MCH, 0x9e, 1, 0x00);
    check_eq(load(vm->mem, TOP - (8 << 20), 4), 0x77);
    vm_free(vm);
}
TEST("q35/tseg", tseg);

/* A function in slot 3 pulls INTA: PIRQ H, so pin 23 of the IOAPIC and the line that PIRQH_ROUT names. */
static void routes(Vm *unused)
{
    Vm *vm = machine("tcg");
    Dev *edu = dev_plug(vm, bus_find(vm, "pcie.0"), "edu,addr=3", &abort_on_error);
    PciBus *b = PCI(edu)->pbus;

    check_eq(b->map_irq(PCI(edu), 0), 7);
    check_eq(b->map_irq(PCI(edu), 1), 4);
    cfg_set(vm, LPC, 0x6b, 1, 0x0a);
    store(vm->ports, 0x4d1, 1, 0x04); /* 10 is level */
    cfg_set(vm, 0x1800, 0x10, 4, 0xf0000000);
    cfg_set(vm, 0x1800, 4, 2, 6);
    store(vm->ports, 0xa0, 1, 0x0a);
    check_eq(load(vm->ports, 0xa0, 1) & 4, 0);
    store(vm->mem, 0xf0000060, 4, 1); /* raise */
    check_eq(load(vm->ports, 0xa0, 1) & 4, 4);
    cfg_set(vm, LPC, 0x6b, 1, 0x8a);
    check_eq(load(vm->ports, 0xa0, 1) & 4, 0);
    vm_free(vm);
}
TEST("q35/routes", routes);

static void smi(Vm *unused)
{
    Vm *vm = machine("tcg");

    cfg_set(vm, LPC, 0x40, 4, 0x601);
    cfg_set(vm, LPC, 0x44, 1, 0x80);
    store(vm->ports, 0xb2, 1, 0x55);
    check_eq(cpu_requests(vm->cpus[0]) & CPU_REQ_SMI, 0);
    check_eq(load(vm->ports, 0xb2, 1), 0x55);
    store(vm->ports, 0x630, 4, 0x21); /* GBL_SMI_EN, APMC_EN */
    store(vm->ports, 0xb2, 1, 0x55);
    check(cpu_requests(vm->cpus[0]) & CPU_REQ_SMI);
    check_eq(load(vm->ports, 0x634, 4), 0x20);
    store(vm->ports, 0x634, 4, 0x20);
    check_eq(load(vm->ports, 0x634, 4), 0);
    cfg_set(vm, LPC, 0xa0, 1, 0x10); /* lock */
    cfg_set(vm, LPC, 0xa0, 1, 0x00);
    check_eq(cfg(vm, LPC, 0xa0, 1), 0x10);
    store(vm->ports, 0x630, 4, 0x20);
    check_eq(load(vm->ports, 0x630, 4), 0x21);
    vm_reset(vm, CAUSE_NONE);
    check_eq(cfg(vm, LPC, 0xa0, 1), 0);
    store(vm->ports, 0xb2, 1, 0x02); /* ACPI mode */
    cfg_set(vm, LPC, 0x40, 4, 0x601);
    cfg_set(vm, LPC, 0x44, 1, 0x80);
    check_eq(load(vm->ports, 0x604, 2) & 1, 1);
    store(vm->ports, 0xb2, 1, 0x03);
    check_eq(load(vm->ports, 0x604, 2) & 1, 0);
    vm_free(vm);
}
TEST("q35/smi", smi);

/* With nothing in CMOS to come back to, the three ways to INIT# reset the machine: firmware would begin anew, devices would not. */
static void init_without_code(Vm *unused)
{
    static const struct {
        uint16_t port;
        uint8_t v;
    } ways[] = { { 0xcf9, 0x04 }, { 0x92, 0x01 }, { 0x64, 0xfe } };

    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        Vm *vm = machine("tcg");

        store(vm->ports, ways[i].port, 1, ways[i].v);
        check(vm->requests & VM_RESET);
        check(!(cpu_requests(vm->cpus[0]) & CPU_REQ_INIT));
        vm_free(vm);
    }
}
TEST("q35/init-without-code", init_without_code);

static void resets(Vm *unused)
{
    Vm *vm = machine("tcg");

    store(vm->ports, 0x70, 1, 0x0f);
    store(vm->ports, 0x71, 1, 0x05); /* shutdown code: the guest comes back */
    store(vm->ports, 0xcf9, 1, 0x04); /* soft: INIT of all CPUs */
    check(cpu_requests(vm->cpus[0]) & CPU_REQ_INIT && cpu_requests(vm->cpus[1]) & CPU_REQ_INIT);
    check(!(vm->requests & VM_RESET));
    cpu_request_clear(vm->cpus[0], CPU_REQ_INIT);
    store(vm->ports, 0x92, 1, 0x01);
    check(cpu_requests(vm->cpus[0]) & CPU_REQ_INIT);
    cpu_request_clear(vm->cpus[0], CPU_REQ_INIT);
    store(vm->ports, 0x64, 1, 0xfe);
    check(cpu_requests(vm->cpus[0]) & CPU_REQ_INIT);
    check(!(vm->requests & VM_RESET));
    store(vm->ports, 0xcf9, 1, 0x02);
    check_eq(load(vm->ports, 0xcf9, 1), 0x02);
    store(vm->mem, 0x1000, 4, 0x1234);
    cfg_set(vm, LPC, 0x60, 1, 0x0b);
    vm_start(vm, false, &abort_on_error);
    cfg_set(vm, LPC, 0x60, 1, 0x0b);
    store(vm->ports, 0xcf9, 1, 0x06); /* hard */
    for (int i = 0; i < 2000 && cfg(vm, LPC, 0x60, 1) == 0x0b; i++)
        g_usleep(5000);
    check_eq(cfg(vm, LPC, 0x60, 1), 0x80);
    vm_free(vm);
}
TEST("q35/resets", resets);

static void gate_a20(Vm *unused)
{
    Vm *vm = machine("tcg");
    uint64_t off;

    check(cpu_get_reg(vm->cpus[1], "a20_off", &off) && !off);
    store(vm->ports, 0x64, 1, 0xdd); /* the keyboard controller closes, port 92 does not hold it open */
    check(cpu_get_reg(vm->cpus[1], "a20_off", &off) && off);
    store(vm->ports, 0x92, 1, 0x02);
    check(cpu_get_reg(vm->cpus[0], "a20_off", &off) && !off);
    store(vm->ports, 0x92, 1, 0x00);
    check(cpu_get_reg(vm->cpus[0], "a20_off", &off) && off);
    vm_reset(vm, CAUSE_NONE);
    check(cpu_get_reg(vm->cpus[0], "a20_off", &off) && !off);
    vm_free(vm);
}
TEST("q35/a20", gate_a20);

/* Paths as Open Firmware writes them, in the order of bootindex. */
static void bootorder(Vm *unused)
{
    Vm *vm = machine("tcg");
    g_autoptr(Opts) disk = opts_new();
    GBytes *file;

    t_backends(vm);
    lock_take(&vm->lock);
    dev_plug(vm, bus_find(vm, "pcie.0"), "pcie-root-port,id=rp,addr=2", &abort_on_error);
    dev_plug(vm, bus_find(vm, "pcie.0"), "e1000,addr=3,bootindex=5", &abort_on_error);
    dev_plug(vm, bus_find(vm, "rp"), "virtio-blk-pci,bootindex=1,drive=null0", &abort_on_error);
    dev_plug(vm, bus_find(vm, "ide.3"), "ide-cd,bootindex=0", &abort_on_error);
    dev_plug(vm, bus_find(vm, "pcie.0"), "qemu-xhci,id=x,addr=4", &abort_on_error);
    dev_plug(vm, bus_find(vm, "x.0"), "usb-hub,port=2", &abort_on_error);
    dev_plug(vm, bus_find(vm, "x.0"), "usb-bot,id=bot,port=2.3", &abort_on_error);
    opts_set(disk, "driver", "null-co");
    opts_set(disk, "size", "1M");
    own(&vm->root, disk_new(vm, "usb0", disk, &abort_on_error), (void (*)(void *))disk_free);
    dev_plug(vm, bus_find(vm, "bot.0"), "scsi-hd,drive=usb0,bootindex=7", &abort_on_error);
    lock_drop(&vm->lock);
    vm_reset(vm, CAUSE_NONE);
    file = fw_cfg_file(fw_cfg_find(vm), "bootorder");
    check_str(g_bytes_get_data(file, NULL),
              "/pci@i0cf8/pci8086,2922@1f,2/drive@3/disk@0\n/pci@i0cf8/pci-bridge@2/scsi@0/disk@0,0\n"
              "/pci@i0cf8/ethernet@3/ethernet-phy@0\n/pci@i0cf8/usb@4/hub@2/storage@3/channel@0/disk@0,0");
    check_eq(g_bytes_get_size(file), strlen(g_bytes_get_data(file, NULL)) + 1);
    vm_free(vm);
}
TEST("q35/bootorder", bootorder);

/* ---- SMI to all CPUs, agreed on through fw_cfg ---- */
static unsigned fw_key(Vm *vm, const char *name)
{
    uint8_t e[64];

    store(vm->ports, 0x510, 2, 0x19);
    for (unsigned i = 0; i < 4; i++)
        load(vm->ports, 0x511, 1); /* the count */
    for (unsigned n = 0; n < 64; n++) {
        for (unsigned i = 0; i < sizeof(e); i++)
            e[i] = (uint8_t)load(vm->ports, 0x511, 1);
        if (!strncmp((char *)e + 8, name, 56))
            return be16_load(e + 4);
    }
    return 0;
}

/* By DMA: control select | write or read. */
static uint32_t fw_dma(Vm *vm, unsigned key, unsigned op, uint64_t *data, unsigned len)
{
    uint8_t d[16];

    be32_store(d, key << 16 | 8 | op);
    be32_store(d + 4, len);
    be32_store(d + 8, 0);
    be32_store(d + 12, 0x2000);
    as_write(vm->mem, 0x1000, d, sizeof(d), MEM_CPU);
    store(vm->mem, 0x2000, 8, *data);
    store(vm->ports, 0x518, 4, __builtin_bswap32(0x1000));
    *data = load(vm->mem, 0x2000, 8);
    return (uint32_t)__builtin_bswap32((uint32_t)load(vm->mem, 0x1000, 4));
}

static void smi_to_all(Vm *unused)
{
    Vm *vm = machine("tcg");
    unsigned want = fw_key(vm, "etc/smi/requested-features"), ok = fw_key(vm, "etc/smi/features-ok");
    uint64_t v = 3;

    check(want && ok);
    cfg_set(vm, LPC, 0x40, 4, 0x601);
    cfg_set(vm, LPC, 0x44, 1, 0x80);
    store(vm->ports, 0x630, 4, 0x21);
    store(vm->ports, 0xb2, 1, 0);
    check(!(cpu_requests(vm->cpus[1]) & CPU_REQ_SMI));
    check_eq(fw_dma(vm, ok, 16, &v, 1), 1); /* not a file to write to */
    v = 3;
    check_eq(fw_dma(vm, want, 16, &v, 9), 1);
    check_eq(fw_dma(vm, want, 16, &v, 8), 0);
    check_eq(fw_dma(vm, ok, 2, &v, 1), 0);
    check_eq(v & 0xff, 0); /* one of them is not offered */
    v = 1;
    check_eq(fw_dma(vm, want, 16, &v, 8), 0);
    check_eq(fw_dma(vm, ok, 2, &v, 1), 0);
    check_eq(v & 0xff, 1);
    store(vm->ports, 0xb2, 1, 0);
    check(cpu_requests(vm->cpus[0]) & cpu_requests(vm->cpus[1]) & CPU_REQ_SMI);
    cpu_request_clear(vm->cpus[1], CPU_REQ_SMI);
    vm_reset(vm, CAUSE_NONE);
    cfg_set(vm, LPC, 0x40, 4, 0x601);
    cfg_set(vm, LPC, 0x44, 1, 0x80);
    store(vm->ports, 0x630, 4, 0x21);
    store(vm->ports, 0xb2, 1, 0);
    check(!(cpu_requests(vm->cpus[1]) & CPU_REQ_SMI));
    vm_free(vm);
}
TEST("q35/smi-to-all", smi_to_all);

static void smbus(Vm *unused)
{
    Vm *vm = machine("tcg");

    check_eq(cfg(vm, 0xfb00, 0, 4), 0x29308086);
    cfg_set(vm, 0xfb00, 0x20, 4, 0x700);
    cfg_set(vm, 0xfb00, 0x40, 1, 1);
    cfg_set(vm, 0xfb00, 4, 2, 1);
    check_eq(load(vm->ports, 0x700, 1), 0);
    check_eq(load(vm->ports, 0x700, 1), 0x40); /* taken */
    store(vm->ports, 0x704, 1, 0xa1);
    store(vm->ports, 0x702, 1, 0x48); /* read a byte */
    check_eq(load(vm->ports, 0x700, 1), 0x44); /* nobody answered */
    store(vm->ports, 0x700, 1, 0x44);
    check_eq(load(vm->ports, 0x700, 1), 0);
    vm_free(vm);
}
TEST("q35/smbus", smbus);
