/*
 * hw/net/e1000.c - Intel's 82540EM gigabit Ethernet card: its registers, and its EEPROM bit by bit (Microwire). Source: Intel 317453,
 * chapters 5, 13 and 14. What it shares with the 82574 is in e1000-mac.c, e1000-tx.c, e1000-rx.c and e1000-phy.c.
 * Left out: flow control frames, wake-up, the diagnostic registers, flash, writing the EEPROM.
 */
#include "hw/net/e1000.h"
#include "hw/net/microwire.h"

enum { CTRL_RESET = CTRL_SLU | 0x201 /* full duplex, 1000 Mbit/s */, ICR_BITS = 0x1ffff };
enum { EECD_SK = 1, EECD_CS = 2, EECD_DI = 4, EECD_DO = 8, EECD_RW = 0x77, EERD_START = 1, EERD_DONE = 0x10 };

typedef struct E82540 {
    E1000 nic;
    Microwire ee;
    uint8_t pad[4];
} E82540;
#define EM(d) ((E82540 *)(void *)(d))

/* ---- interrupts ---- */
static void icr_read(Dev *d, unsigned lanes)
{
    bool was = e1000__level(d);

    E(d)->icr = 0;
    e1000__asserted(E(d), was);
}

static void icr_w(Dev *d, uint64_t val, unsigned lanes)
{
    bool was = e1000__level(d);

    E(d)->icr &= (uint32_t)~val;
    e1000__asserted(E(d), was);
}

static uint64_t icr(const Dev *d) { return e1000_of(d)->icr; }
static void ims_w(Dev *d, uint64_t val, unsigned lanes) { E(d)->ims |= (uint32_t)val & ICR_BITS; }
static void imc_w(Dev *d, uint64_t val, unsigned lanes) { E(d)->ims &= (uint32_t)~val; }

/* ---- EEPROM ---- */
static void eecd_w(Dev *d, uint64_t old)
{
    E82540 *s = EM(d);

    if (!(s->nic.eecd & EECD_CS))
        microwire_deselect(&s->ee);
    else if (s->nic.eecd & ~old & EECD_SK)
        microwire_clock(&s->ee, s->nic.nvm, s->nic.eecd & EECD_DI);
}

static uint64_t eecd(const Dev *d)
{
    const E82540 *s = (const E82540 *)(const void *)d;
    uint32_t v = s->nic.eecd & EECD_RW;

    return v | EECD_PRES | (v & EECD_REQ ? EECD_GNT : 0) | (microwire_out(&s->ee) ? EECD_DO : 0);
}

static void eerd_w(Dev *d, uint64_t old)
{
    E1000 *s = E(d);
    unsigned word = s->eerd >> 8 & 0xff;

    if (s->eerd & EERD_START)
        s->eerd = (s->eerd & 0xff00) | EERD_DONE | (uint32_t)(word < NVM_WORDS ? s->nvm[word] : 0xffff) << 16;
}

static bool check(const Dev *d, Error **err)
{
    return ((const E82540 *)(const void *)d)->ee.bits <= 9 || fail(err, "the card cannot be in that state");
}

/* clang-format off */
/* compatibility, image version, .., initialization control 1 and 2, subsystem and device ids */
static const uint16_t nvm[NVM_WORDS] = {
    [3] = 0x0000, [8] = 0x3000, [9] = 0x1000, [10] = 0x6403, [11] = 0x100e, [12] = 0x8086, [13] = 0x100e, [14] = 0x8086, [15] = 0x3040,
    [32] = 0x0000, [33] = 0x7863, [36] = 0x0602,
};
static const uint16_t phy[32] = { /* M88E1011 */
    [PHY_CONTROL] = 0x1140, [PHY_STATUS] = 0x7949, [PHY_ID1] = 0x0141, [PHY_ID2] = 0x0c20, [PHY_ADVERTISE] = 0x0de1, [PHY_PARTNER] = 0x45e1,
    [PHY_EXPANSION] = 0x0001, [PHY_1000_CONTROL] = 0x0e00, [PHY_1000_STATUS] = 0x3c00, [PHY_EXT_STATUS] = 0x3000, [PHY_M88_CONTROL] = 0x0360,
    [PHY_M88_STATUS] = 0xa800, [PHY_M88_EXT_CONTROL] = 0x0d60,
};
static const Reg mmio[] = {
    E1000_SHARED_REGS,
    { "CTRL",   0x0000, REG(E1000, ctrl), .rw = UINT32_MAX, .reset = CTRL_RESET, .write = e1000__ctrl_w, .doc = "6 link up, 26 reset, 30 VLAN" },
    { "STATUS", 0x0008, NOFIELD(4), .value = e1000__status, .doc = "0 full duplex, 1 link" },
    { "EECD",   0x0010, REG(E1000, eecd), .rw = 0x77, .value = eecd, .write = eecd_w, .doc = "EEPROM, bit by bit" },
    { "EERD",   0x0014, REG(E1000, eerd), .rw = UINT32_MAX, .write = eerd_w, .doc = "EEPROM, word by word" },
    { "ICR",    0x00c0, REG(E1000, icr), .value = icr, .on_read = icr_read, .wrote = icr_w, .doc = "causes; a read clears them" },
    { "IMS",    0x00d0, REG(E1000, ims), .wrote = ims_w, .doc = "lets causes through" },
    { "IMC",    0x00d8, NOFIELD(4), .wo = true, .wrote = imc_w, .doc = "holds them back" },
    { "RCTL",   0x0100, REG(E1000, rctl), .rw = 0x07ffffff, .write = e1000__receive_w, .doc = "receive control" },
    E1000_PLAIN("TIPG", 0x0410, tipg), E1000_PLAIN("LEDCTL", 0x0e00, ledctl),
    { "PBA",    0x1000, REG(E1000, pba), .rw = 0xffff, .reset = 0x00100030 },
    E1000_PLAIN("RXDCTL", 0x2828, rx.dctl), E1000_PLAIN("RXCSUM", 0x5000, rxcsum),
    E1000_PLAIN("MANC", 0x5820, manc), E1000_PLAIN("SWSM", 0x5b50, swsm),
};
static const Bank mmio_bank = { "e1000", MMIO_SIZE, TABLE(mmio), .max = 4, .quiet = true };
static const RegTable mmio_table = TABLE(mmio);
static const Reg io[] = { E1000_IO_REGS(&mmio_table) };
static const Bank io_bank = { "e1000-io", 64, TABLE(io), .quiet = true };
static const Field state[] = { STRUCT(E82540, ee, &microwire_fields), TRANSIENT(E82540, pad, "padding") };
static const Out outs[] = { { "intx", e1000__level } };
static const E1000Ops ops = {
    .causes = ICR_BITS, .queues = 1, .tx_at = { offsetof(E1000, tx) }, .frame_at = { offsetof(E1000, frame) }, .rx_at = { offsetof(E1000, rx) },
    .nvm = nvm, .phy = phy,
};
static bool init(Obj *o, Error **err) { return e1000__init(E(o), &ops, err); }
static const PciClass e1000 = {
    PCI_DEVICE(E82540, "e1000", "Intel Gigabit Ethernet (82540EM)"), .dev.base = &e1000__base, .dev.category = "Network devices",
    .dev.obj.init = init, .dev.state = TABLE(state), .dev.outs = outs, .dev.nouts = 1, .dev.hotplug = true, .dev.check = check,
    .vendor = 0x8086, .device = 0x100e, .revision = 3, .class_id = 0x020000, .irq_pin = 1, .romfile = "efi-e1000.rom",
    .bar[0] = { MMIO_SIZE, .bank = &mmio_bank }, .bar[1] = { 64, BAR_IO, .bank = &io_bank },
};
DEVICE_OF(E82540, e1000, &e1000.dev);
/* clang-format on */
