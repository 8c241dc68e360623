/*
 * hw/isa/ich9-smbus.c - the SMBus host controller of the ICH9. Source: Intel ICH9 data sheet (316972), chapter 19.
 * No slave is on the bus: every transfer ends with a device error, which is what drivers make of an empty socket.
 * Left out: slaves, SMI, the slave interface, I2C reads.
 */
#include "hw/pci/pci.h"

enum { HOSTC = 0x40, HST_EN = 1 };
enum { HOST_BUSY = 1, INTR = 2, DEV_ERR = 4, BUS_ERR = 8, FAILED = 0x10, INUSE = 0x40, BYTE_DONE = 0x80,
       STS_W1C = INTR | DEV_ERR | BUS_ERR | FAILED | INUSE | BYTE_DONE };
enum { INTREN = 1, KILL = 2, START = 0x40 };

typedef struct Smbus {
    PciDev pci;
    uint8_t sts, cnt, cmd, addr, d0, d1, block, pec, aux_sts, aux_ctl;
} Smbus;
#define SMB(d) ((Smbus *)(void *)(d))

static bool irq(const Dev *d)
{
    const Smbus *s = SMB(d);

    return s->cnt & INTREN && s->sts & (INTR | DEV_ERR | BUS_ERR | FAILED | BYTE_DONE);
}

/* A semaphore: the first reader finds it free. */
static void sts_read(Dev *d, unsigned lanes) { SMB(d)->sts |= INUSE; }

static void cnt_w(Dev *d, uint64_t old)
{
    Smbus *s = SMB(d);

    if (s->cnt & KILL)
        s->sts |= FAILED;
    else if (s->cnt & START && PCI(d)->config[HOSTC] & HST_EN)
        s->sts |= DEV_ERR;
    s->cnt &= (uint8_t)~START;
}

static bool init(Obj *o, Error **err)
{
    PCI(o)->wmask[HOSTC] = 0x0f;
    pci_set_bar(PCI(o), 4, dev_region((Dev *)o, 0), BAR_IO);
    return true;
}

/* clang-format off */
#define PLAIN(n, o, m) { n, o, REG(Smbus, m), .rw = 0xff }
static const Reg regs[] = {
    { "HST_STS", 0x00, REG(Smbus, sts), .w1c = STS_W1C, .on_read = sts_read },
    { "HST_CNT", 0x02, REG(Smbus, cnt), .rw = 0xff, .write = cnt_w },
    PLAIN("HST_CMD", 0x03, cmd), PLAIN("XMIT_SLVA", 0x04, addr), PLAIN("HST_D0", 0x05, d0), PLAIN("HST_D1", 0x06, d1),
    PLAIN("HOST_BLOCK_DB", 0x07, block), PLAIN("PEC", 0x08, pec),
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
