/*
 * hw/isa/ich9-smbus.c - the SMBus host controller of the ICH9. Source: Intel ICH9 data sheet (316972), chapter 19.
 * Left out: slaves, SMI, the slave interface, I2C reads.
 */
#include "hw/isa/smbus.h"
#include "hw/pci/pci.h"

enum { HOSTC = 0x40, HST_EN = 1, INUSE = 0x40, BYTE_DONE = 0x80 };

typedef struct Smbus {
    PciDev pci;
    SmbHost host;
    uint8_t pec, aux_sts, aux_ctl;
} Smbus;
#define SMB(d) ((Smbus *)(void *)(d))

static bool irq(const Dev *d) { return smb_irq(&SMB(d)->host, SMB_ENDS | BYTE_DONE); }

/* A semaphore: the first reader finds it free. */
static void sts_read(Dev *d, unsigned lanes) { SMB(d)->host.sts |= INUSE; }
static void cnt_w(Dev *d, uint64_t old) { smb_started(&SMB(d)->host, PCI(d)->config[HOSTC] & HST_EN); }

static bool init(Obj *o, Error **err)
{
    PCI(o)->wmask[HOSTC] = 0x0f;
    pci_set_bar(PCI(o), 4, dev_region((Dev *)o, 0), BAR_IO);
    return true;
}

/* clang-format off */
static const Reg regs[] = {
    SMB_ROWS(Smbus, host, SMB_ENDS | INUSE | BYTE_DONE, sts_read, 0xff, cnt_w),
    { "PEC", 0x08, REG(Smbus, pec), .rw = 0xff },
    { "AUX_STS", 0x0c, REG(Smbus, aux_sts), .w1c = 0x03 }, { "AUX_CTL", 0x0d, REG(Smbus, aux_ctl), .rw = 0x03 },
};
static const Bank banks[] = { { "pm-smbus", 64, TABLE(regs), .quiet = true } };
static const Out outs[] = { { "intx", irq } };
static const PciClass smbus = {
    PCI_DEVICE(Smbus, "ICH9-SMB", "SMBus controller"), .dev.no_user = true, .dev.obj.init = init, .dev.banks = banks, .dev.nbanks = 1,
    .dev.outs = outs, .dev.nouts = 1, .vendor = 0x8086, .device = 0x2930, .class_id = 0x0c0500, .revision = 2, .irq_pin = 1,
};
DEVICE_OF(Smbus, smbus, &smbus.dev);
/* clang-format on */
