/*
 * hw/pci/pci.h - PCI and PCI Express functions in the manner of core/dev.h: identity, BARs and
 * capabilities are rows of the class. Source: PCI 3.0, PCIe 4.0.
 */
#ifndef HW_PCI_PCI_H
#define HW_PCI_PCI_H
#include "core/dev.h"
#include "core/vm.h"

typedef struct PciDev PciDev;
typedef struct PciBus PciBus;
enum { PCIE_ENDPOINT = 1, PCIE_ROOT_PORT = 5, PCIE_PCI_BRIDGE = 8 }; /* PciClass.express */
enum { PCI_NO_VECTORS = UINT16_MAX };
enum { BAR_IO = 1, BAR_64 = 2, BAR_PREFETCH = 4 };
typedef struct PciBar { /* exactly one of bank, ops, ram; size a power of two (0: none) */
    uint64_t size;
    uint8_t flags;
    const Bank *bank;
    const RegionOps *ops; /* opaque is the Dev; entered and settled around */
    uint32_t ram_at;      /* offset of a RamBlock * in the instance, set by init */
    bool by_init;         /* init calls pci_set_bar itself */
} PciBar;
typedef struct PciClass {
    DevClass dev; /* first */
    uint16_t vendor, device, subvendor, subdevice; /* sub*: 0 means 0x1af4:0x1100 */
    uint32_t class_id; /* 24 bits: class, subclass, programming interface */
    uint8_t revision, header /* 0, 1 bridge */, irq_pin /* 0 none, 1 INTA */;
    PciBar bar[6];
    const char *romfile;  /* option ROM by default, or NULL */
    uint16_t express;     /* 0: conventional; else PCIe device type + 1. An endpoint on the root bus shows no capability */
    uint8_t msi_vectors;  /* 0: none */
    uint16_t msix_vectors; /* table at 0 and PBA of BAR msix_bar */
    uint8_t msix_bar;
    uint32_t msix_pba; /* 0: 800h */
    uint8_t multifunction;
    bool express_chip; /* PCI Express 1.x as the chip itself has it: shown on every bus */
    struct {
        uint8_t pm /* 0: no power management */, msi, express, msix;
    } cap_at; /* where the data sheet has capabilities; 0: where there is room */
    /* extra configuration space behaviour */
    bool (*config_read)(PciDev *p, unsigned off, unsigned size, uint32_t *val); /* true: answered */
    void (*config_written)(PciDev *p, unsigned off, unsigned size); /* after the standard part */
} PciClass;
struct PciDev {
    Dev dev; /* first */
    PciBus *pbus;
    PciBus *behind; /* bridges: the secondary bus */
    uint8_t devfn;
    char *addr_prop, *romfile_prop;
    bool multifunction_prop;
    uint32_t rombar_prop;
    uint8_t config[4096], wmask[4096], w1c[4096]; /* config is state; masks are derived */
    Region *bar[6], *rom;
    uint64_t bar_size[6];
    uint8_t bar_flags[6];
    uint64_t bar_at[6], rom_at; /* where mapped now; ~0: not */
    bool intx_level;
    uint8_t intx_wire;
    struct PciMsix *msix;
    uint16_t msix_vectors, msi_vectors; /* set by init; 0: as many as the class says; PCI_NO_VECTORS: none */
    uint16_t cap_next;
};
#define PCI(d) ((PciDev *)(d))
extern const DevClass pci_base; /* properties addr, multifunction, romfile, rombar; state: config */
#define PCI_DEVICE(T, n, d)                                                                        \
    .dev.obj.name = (n), .dev.obj.desc = (d), .dev.obj.size = sizeof(T), .dev.bus = "PCI", .dev.base = &pci_base
static inline const PciClass *pci_class(const PciDev *p) { return (const PciClass *)(const void *)p->dev.cls; }
/* A class with an Out row named "intx" is wired to its pin by the bus; level goes through
 * INTx disable and status; with MSI on, a rising edge of it sends MSI 0. */
void pci_set_bar(PciDev *p, unsigned n, Region *r, uint8_t flags); /* in init */
uint8_t pci_add_cap(PciDev *p, uint8_t id, uint8_t len); /* offset in config; body is the caller's */
void pci_add_ext_cap(PciDev *p, uint16_t at, uint16_t id, uint8_t version); /* the first at 100h; the body is the caller's */
bool pci_msi_on(const PciDev *p);
bool pci_msix_on(const PciDev *p);
void pci_msi_send(PciDev *p, unsigned vector);
void pci_msix_send(PciDev *p, unsigned vector); /* masked: pending bit */
/* message of a vector for irqfd; false while masked */
bool pci_msix_message(const PciDev *p, unsigned vector, uint64_t *addr, uint32_t *data);
void pci_set_device_id(PciDev *p, uint16_t id); /* before a guest runs; the default ROM follows */
char *pci_rom_file(const PciDev *p, Error **err); /* its option ROM, found; caller frees. NULL: none, err is set when it was asked for */
bool pci_bus_master(const PciDev *p);
bool pci_is_express(const PciDev *p); /* has 4 KiB of configuration space */
/* DMA of PCI devices: dma_* on &p->dev works; refused while bus master is off. */
uint32_t pci_config_read(PciDev *p, unsigned off, unsigned size);
void pci_config_write(PciDev *p, unsigned off, uint32_t val, unsigned size);

/* How functions come to a bus while the machine runs, and how the guest is asked to let go of them. Function 0 stands for
 * its slot. */
typedef struct PciHotplug {
    void (*came)(void *self, PciDev *p);
    bool (*ask)(void *self, PciDev *p, Error **err); /* then dev_asked_for, and dev_unplug_now when the guest did */
    void (*left)(void *self, PciDev *p);             /* its place is free, for whatever reason; or NULL */
} PciHotplug;
bool pci_eject(PciBus *b, unsigned slot); /* all functions that can leave; false: there are none */

struct PciBus {
    Bus bus;           /* name "pci.0" or "pcie.0", type "PCI" */
    PciDev *slot[256];
    uint8_t number;    /* secondary bus number now */
    PciDev *bridge;    /* NULL: root */
    bool express;
    Region *mem, *io;  /* where BARs are mapped */
    /* pin (0..3) of a device -> wire of the parent */
    unsigned (*map_irq)(PciDev *p, unsigned pin);
    void (*set_irq)(void *chip, unsigned n, bool level); /* shared: counted per source by the bus */
    void *irq_chip;
    unsigned irq_count[8];
    uint8_t devfn_min;
    bool one_slot;     /* below an express port */
    const PciHotplug *hotplug; /* NULL: nothing comes or goes */
    void *hotplug_self;
    unsigned bsel;     /* ACPI hot-plug: its number there + 1; 0: none */
    /* Root: offers to serve the bus behind a bridge that is there from the start; may be NULL. */
    void (*adopt)(void *self, PciBus *child);
    void *adopt_self;
};
PciBus *pci_bus_new(Dev *host, const char *name, bool express, Region *mem, Region *io);
PciDev *pci_find(PciBus *root, uint8_t bus, uint8_t devfn);
/* Configuration mechanism 1 (0xcf8/0xcfc) and ECAM share these; ~0 when nobody answers. */
uint32_t pci_host_read(PciBus *root, uint32_t bdf, unsigned reg, unsigned size);
void pci_host_write(PciBus *root, uint32_t bdf, unsigned reg, uint32_t val, unsigned size);
/* The enhanced mechanism of PCI Express: beyond 256 bytes only express functions answer. */
uint32_t pci_ecam_read(PciBus *root, uint32_t bdf, unsigned reg, unsigned size);
void pci_ecam_write(PciBus *root, uint32_t bdf, unsigned reg, uint32_t val, unsigned size);
#endif
