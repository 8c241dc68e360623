/*
 * hw/fw/fw.h - what firmware is told (fw_cfg, ACPI, SMBIOS) and, without firmware, what it would have done
 * (direct boot). Machines call these from their init, VM lock held.
 */
#ifndef HW_FW_FW_H
#define HW_FW_FW_H
#include "core/dev.h"
#include "core/vm.h"
#include "hw/pci/pci.h"

/* ---- fw_cfg ---- */
typedef struct FwCfg FwCfg; /* a Dev, class "fw_cfg" */
enum {
    FW_CFG_SIGNATURE = 0x00, FW_CFG_ID = 0x01, FW_CFG_UUID = 0x02, FW_CFG_RAM_SIZE = 0x03, FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05, FW_CFG_KERNEL_ADDR = 0x07, FW_CFG_KERNEL_SIZE = 0x08, FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b, FW_CFG_BOOT_DEVICE = 0x0c, FW_CFG_NUMA = 0x0d, FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f, FW_CFG_KERNEL_ENTRY = 0x10, FW_CFG_KERNEL_DATA = 0x11, FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13, FW_CFG_CMDLINE_SIZE = 0x14, FW_CFG_CMDLINE_DATA = 0x15, FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17, FW_CFG_SETUP_DATA = 0x18, FW_CFG_FILE_DIR = 0x19, FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_IRQ0_OVERRIDE = 0x8002, FW_CFG_HPET = 0x8004,
};
FwCfg *fw_cfg_new(Vm *vm, Error **err); /* ports 0x510..0x51b; registered as ("fw", "fw_cfg") */
FwCfg *fw_cfg_find(Vm *vm);             /* or NULL */
/* Data is copied; the same key or name again replaces it. */
void fw_cfg_set(FwCfg *f, uint16_t key, const void *data, size_t len);
void fw_cfg_set_int(FwCfg *f, uint16_t key, unsigned size, uint64_t v);
bool fw_cfg_set_file(FwCfg *f, const char *name, const void *data, size_t len, Error **err);
GBytes *fw_cfg_file(FwCfg *f, const char *name); /* borrowed; NULL: none */
/* A file of len bytes that the guest may also write (by DMA): it lives in *mem, which is a field of some device's state. */
bool fw_cfg_writable(FwCfg *f, const char *name, uint8_t *mem, size_t len);
/* Called (VM lock) before the guest reads a file from its start: contents may be set again there. */
void fw_cfg_on_select(FwCfg *f, const char *name, void (*fn)(void *arg), void *arg);

/* ---- the platform, as the machine wired it ---- */
typedef struct FwPlatform {
    Vm *vm;
    FwCfg *fw_cfg;
    PciBus *root;
    /* pci_host_read, pci_host_write; bdf: bus << 8 | devfn */
    uint32_t (*pci_read)(PciBus *root, uint32_t bdf, unsigned reg, unsigned size);
    void (*pci_write)(PciBus *root, uint32_t bdf, unsigned reg, uint32_t val, unsigned size);
    bool firmware;         /* something is at the reset vector: it starts -kernel, we do not */
    bool q35;              /* else i440FX/PIIX3 */
    uint64_t below_4g, above_4g; /* bytes of RAM */
    uint16_t pm_base;      /* where direct boot puts it; tables follow what the chipset says */
    uint16_t (*pm_base_now)(void *arg);  /* 0: not programmed; may be NULL */
    uint64_t (*ecam_now)(void *arg);     /* q35: 0 while off */
    void *arg;
    uint64_t ecam;         /* where direct boot puts it: 256 MiB */
    uint64_t hole, hole_end; /* 32-bit PCI window: what is not RAM; direct boot uses it from 3 GiB on */
    uint64_t hole64, hole64_len;
    uint16_t gpe0;         /* absolute port; 0: at pm_base + 0x20 (q35) */
    uint8_t gpe0_len;      /* 0: no GPE block */
    uint16_t hotplug_port; /* PCI hot-plug registers; 0: not by ACPI */
    uint8_t acpi_enable, acpi_disable; /* values for SMI_CMD 0xb2; both 0: always in ACPI mode */
    bool hpet, irq0_override, reset_cf9, i8042, rtc;
    bool s3, s4;
    uint16_t com[4];       /* ports; 0: none */
    uint8_t com_irq[4];
    uint16_t lpt;
    uint8_t pm_devfn, isa_devfn; /* PIIX4 PM function / ISA (LPC) bridge */
} FwPlatform;
/* Fills fw_cfg with everything firmware wants: sizes, CPUs, boot order, E820, ACPI, SMBIOS, -fw_cfg files. p is copied
 * and lives as long as the VM. */
bool fw_platform_install(const FwPlatform *p, Error **err);
/* -kernel without -bios: enter it directly at each reset. Call after fw_platform_install; with no kernel: nothing. */
bool fw_direct_install(const FwPlatform *p, Error **err);
/* What direct boot does to a PCI tree: bus numbers, BARs, bridge windows, interrupt lines. */
void fw_pci_setup(const FwPlatform *p);
/* The machine's map, sorted; acpi_at: RAM from there to below_4g is for tables (0: none). Returns the count, at most 8. */
typedef struct FwE820 {
    uint64_t addr, len;
    uint32_t type; /* 1 RAM, 2 reserved, 3 ACPI */
} FwE820;
unsigned fw_e820(const FwPlatform *p, uint64_t acpi_at, FwE820 *out /* 8 */);

/* ---- tables (tests look at them too) ---- */
typedef struct FwLinker {
    GByteArray *tables, *rsdp, *commands; /* etc/acpi/tables, etc/acpi/rsdp, etc/table-loader */
} FwLinker;
FwLinker *fw_acpi_build(const FwPlatform *p);
void fw_linker_free(FwLinker *l);
/* Apply the loader's commands: tables at `at`, RSDP at `rsdp_at`, pointers and checksums done. False: bad script. */
bool fw_linker_apply(FwLinker *l, uint64_t at, uint64_t rsdp_at);
void fw_smbios_build(const FwPlatform *p, GByteArray *tables, GByteArray *anchor /* 2.8, address not filled */);
#endif
