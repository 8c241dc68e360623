/*
 * hw/net/e1000e.c - Intel's 82574L gigabit Ethernet card for PCI Express: registers, MSI-X, NVM. Source: Intel 317694, chapters 7, 9 and 10.
 * What it shares with its ancestor is in e1000-mac.c, e1000-tx.c, e1000-rx.c and e1000-phy.c; e1000e-rx.c has its own ways to receive.
 * Left out: flow control frames, waking up, management, IEEE 1588 stamps in frames, flash, what the NVM keeps over a reset.
 */
#include "hw/net/e1000e.h"

enum { ICR_82574 = 0x01f782d7, OTHER_CAUSES = 0x70244 /* LSC RXO MDAC SRPD ACK MNG */, ICR_ASSERTED = 1u << 31 };
enum { CTRL_RESET = 0x00140241 /* full duplex, 1000 Mbit/s, link up */, CTRL_EXT_EIAME = 1 << 24, CTRL_EXT_IAME = 1 << 27 };
enum { STATUS_ASDV = 0x200, STATUS_GIO_MASTER = 1 << 19, EECD_AUTO_RD = 0x200, EECD_RW = 0x00f87077, EERD_START = 1, EERD_DONE = 2 };
enum { SWSM_SMBI = 1, CFG_DONE = 1 << 18, EITR_UNIT = 256 /* ns */, FLASH_SIZE = 0x20000, TICK = 40 /* ns: 25 MHz */ };

/* ---- MSI-X ---- */
/* Causes that go to a vector: IVAR has a nibble for each queue and the others. */
static uint32_t causes_of(const E82574 *s, unsigned vector)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < VECTORS; i++)
        if ((s->ivar >> 4 * i & 15) == (8 | vector))
            v |= ICR_RXQ0 << i;
    return v;
}

static void tell_vector(E82574 *s, unsigned n)
{
    E1000 *nic = &s->nic;
    uint32_t c = causes_of(s, n) & nic->icr & nic->ims;

    if (!c) {
        s->sent &= (uint8_t)~(1 << n);
        return;
    }
    if ((s->sent | s->gaps) >> n & 1)
        return;
    pci_msix_send(&nic->pci, n);
    nic->icr &= ~(c & s->eiac);
    nic->ims &= ~(c & s->eiac);
    if (s->ctrl_ext & CTRL_EXT_EIAME)
        nic->ims &= ~(c & s->iam);
    if (causes_of(s, n) & nic->icr & nic->ims)
        s->sent |= (uint8_t)(1 << n);
    if (!s->eitr[n])
        return;
    s->gaps |= (uint8_t)(1 << n);
    timer_in(&s->interval[n], (int64_t)s->eitr[n] * EITR_UNIT);
}

static void tell(E82574 *s)
{
    for (unsigned n = 0; n < VECTORS && pci_msix_on(&s->nic.pci); n++)
        tell_vector(s, n);
}

static void interval_over(Dev *d, unsigned n)
{
    EE(d)->gaps &= (uint8_t)~(1 << n);
    tell(EE(d));
}

static void config_written(PciDev *p, unsigned off, unsigned size) { tell(EE(&p->dev)); }
static void ivar_w(Dev *d, uint64_t old) { tell(EE(d)); }

/* ---- causes ---- */
static void caused(E1000 *nic, uint32_t icr)
{
    if (!pci_msix_on(&nic->pci))
        nic->icr &= ~(31u * ICR_RXQ0); /* those of MSI-X */
    else if (icr & OTHER_CAUSES)
        nic->icr |= ICR_OTHER;
    tell(EE(&nic->pci.dev));
}

static bool asserted(const E1000 *s) { return s->icr & s->ims; }
static uint64_t icr(const Dev *d) { return e1000_of(d)->icr | (asserted(e1000_of(d)) ? ICR_ASSERTED : 0); }

/* A read clears what was told, or all when everything is masked. */
static void icr_read(Dev *d, unsigned lanes)
{
    E1000 *s = E(d);
    bool was = e1000__level(d), told = asserted(s);

    if (told && EE(d)->ctrl_ext & CTRL_EXT_IAME)
        s->ims &= ~EE(d)->iam;
    if (told || !s->ims)
        s->icr = 0;
    e1000__asserted(s, was);
    tell(EE(d));
}

static void icr_w(Dev *d, uint64_t val, unsigned lanes)
{
    E1000 *s = E(d);
    bool was = e1000__level(d);

    if (asserted(s) && EE(d)->ctrl_ext & CTRL_EXT_IAME)
        s->ims &= ~EE(d)->iam;
    s->icr &= (uint32_t)~val;
    e1000__asserted(s, was);
    tell(EE(d));
}

static void ims_w(Dev *d, uint64_t val, unsigned lanes)
{
    E(d)->ims |= (uint32_t)val & ICR_82574;
    tell(EE(d));
}

static void imc_w(Dev *d, uint64_t val, unsigned lanes)
{
    E(d)->ims &= (uint32_t)~val;
    tell(EE(d));
}

/* ---- general ---- */
static uint64_t status(const Dev *d)
{
    return e1000__status(d) | STATUS_ASDV | (e1000_of(d)->ctrl & CTRL_GIO_MASTER_DISABLE ? 0 : STATUS_GIO_MASTER);
}

static uint64_t eecd(const Dev *d)
{
    uint32_t v = e1000_of(d)->eecd & EECD_RW;

    return v | EECD_AUTO_RD | EECD_PRES | (v & EECD_REQ ? EECD_GNT : 0);
}

static void eerd_w(Dev *d, uint64_t old)
{
    E1000 *s = E(d);
    unsigned word = s->eerd >> 2 & 0x3fff;

    if (s->eerd & EERD_START)
        s->eerd = (s->eerd & 0xfffc) | EERD_DONE | (uint32_t)(word < NVM_WORDS ? s->nvm[word] : 0xffff) << 16;
}

static void eewr_w(Dev *d, uint64_t old)
{
    E82574 *s = EE(d);
    unsigned word = s->eewr >> 2 & 0x3fff;

    if (!(s->eewr & EERD_START))
        return;
    if (word < NVM_WORDS)
        s->nic.nvm[word] = (uint16_t)(s->eewr >> 16);
    s->eewr = (s->eewr & 0xfffffffc) | EERD_DONE;
}

/* Whoever reads it as zero has the semaphore. */
static void swsm_read(Dev *d, unsigned lanes) { E(d)->swsm |= SWSM_SMBI; }

/* ---- the clock of IEEE 1588: TIMINCA's value every period of so many ticks ---- */
static uint64_t systim(const E82574 *s)
{
    uint64_t period = (uint64_t)(s->timinca >> 24) * TICK, passed = (uint64_t)(clock_now(&s->nic.pci.dev) - s->systim_from);

    return s->systim + (period ? passed / period * (s->timinca & 0xffffff) : 0);
}

static void set_systim(E82574 *s, uint64_t v)
{
    s->systim = v;
    s->systim_from = clock_now(&s->nic.pci.dev);
}

static uint64_t systim_half(const Dev *d, unsigned n) { return systim(e1000e_of(d)) >> 32 * n & UINT32_MAX; }
static void systim_half_w(Dev *d, unsigned n, uint64_t val, unsigned lanes)
{
    set_systim(EE(d), (systim(EE(d)) & ~(0xffffffffull << 32 * n)) | (val & UINT32_MAX) << 32 * n);
}

static void timinca_w(Dev *d, uint64_t old)
{
    E82574 *s = EE(d);
    uint32_t new = s->timinca;

    s->timinca = (uint32_t)old;
    set_systim(s, systim(s));
    s->timinca = new;
}

/* ---- life ---- */
static bool check(const Dev *d, Error **err)
{
    const E82574 *s = e1000e_of(d);

    return (s->sent < 1 << VECTORS && s->gaps < 1 << VECTORS) || fail(err, "the card cannot be in that state");
}

/* Advanced error reporting, in which nothing is ever reported: masks and severities of the specification. */
static void on_reset(Dev *d)
{
    uint8_t *c = PCI(d)->config;

    le32_store(c + 0x108, 0x02400000);
    le32_store(c + 0x10c, 0x00462030);
    le32_store(c + 0x114, 0x0000e000);
}

static void add_extended(PciDev *p, const uint8_t mac[6])
{
    pci_add_ext_cap(p, 0x100, 1, 2);
    le32_store(p->wmask + 0x108, 0x03fff030);
    le32_store(p->wmask + 0x10c, 0x03fff030);
    le32_store(p->wmask + 0x114, 0x0000f1c1);
    pci_add_ext_cap(p, 0x140, 3, 1); /* serial number: the address */
    le32_store(p->config + 0x144, 0xffu << 24 | (uint32_t)be_load(mac + 3, 3));
    le32_store(p->config + 0x148, (uint32_t)be_load(mac, 3) << 8 | 0xff);
}

/* clang-format off */
/* compatibility, image version, initialization control 1, subsystem and device ids, initialization control 2, PHY; LEDs */
static const uint16_t nvm[NVM_WORDS] = {
    [3] = 0x0420, [5] = 0x2010, [8] = 0xffff, [9] = 0xffff, [10] = 0x026b, [12] = 0x8086, [13] = 0x10d3, [14] = 0x8086, [15] = 0x8058, [0x24] = 0x4f01,
};
static const uint16_t phy[32] = { /* 82574's own, after Marvell's 88E1149 */
    [PHY_CONTROL] = 0x1140, [PHY_STATUS] = 0x7949, [PHY_ID1] = 0x0141, [PHY_ID2] = 0x0cb1, [PHY_ADVERTISE] = 0x0de1, [PHY_PARTNER] = 0x45e1,
    [PHY_EXPANSION] = 0x0005, [7] = 0x2001, [PHY_1000_CONTROL] = 0x0f00, [PHY_1000_STATUS] = 0x3c00, [PHY_EXT_STATUS] = 0x3000,
    [PHY_M88_CONTROL] = 0x3360, [PHY_M88_STATUS] = 0xac08,
};
static const E1000Ops ops = {
    .causes = ICR_82574, .caused = caused, .queues = 2, .nvm = nvm, .phy = phy, .phy_pages = true,
    .tx_at = { offsetof(E82574, nic.tx), offsetof(E82574, tx1) }, .frame_at = { offsetof(E82574, nic.frame), offsetof(E82574, frame1) },
    .rx_at = { offsetof(E82574, nic.rx), offsetof(E82574, rx1) }, .classify = e1000e__classify,
    .format = e1000e__format, .descriptors = e1000e__descriptors, .store = e1000e__store,
};

static bool init(Obj *o, Error **err)
{
    E82574 *s = EE(o);

    if (!e1000__init(&s->nic, &ops, err))
        return false;
    le16_store(s->nic.pci.config + 0x2c, s->subsys_ven);
    le16_store(s->nic.pci.config + 0x2e, s->subsys);
    add_extended(&s->nic.pci, s->nic.conf_mac);
    return true;
}

#define OWN(nm, off, m, ...) { nm, off, REG(E82574, m), .rw = UINT32_MAX, __VA_ARGS__ }
#define OWNS(nm, off, m, stride, ...) { nm, off, REGS(E82574, m, sizeof_field(E82574, m) / 4, stride), .rw = UINT32_MAX, __VA_ARGS__ }
static const Reg mmio[] = {
    E1000_SHARED_REGS,
    { "CTRL",   0x0000, REG(E1000, ctrl), .rw = UINT32_MAX, .reset = CTRL_RESET, .write = e1000__ctrl_w, .doc = "2 no more DMA, 6 link up, 26 reset, 30 VLAN" },
    { "STATUS", 0x0008, NOFIELD(4), .value = status, .doc = "0 full duplex, 1 link, 19 DMA may happen" },
    { "EECD",   0x0010, REG(E1000, eecd), .rw = EECD_RW, .value = eecd, .doc = "NVM: 6 request, 7 granted, 8 present" },
    { "EERD",   0x0014, REG(E1000, eerd), .rw = UINT32_MAX, .write = eerd_w, .reset = EERD_DONE, .doc = "reads a word of the NVM" },
    OWN("CTRL_EXT", 0x0018, ctrl_ext, .doc = "24 vectors, 27 ICR mask causes when read (IAM)"),
    { "ICR",    0x00c0, REG(E1000, icr), .value = icr, .on_read = icr_read, .wrote = icr_w, .doc = "causes" },
    { "IMS",    0x00d0, REG(E1000, ims), .wrote = ims_w, .doc = "lets causes through" },
    { "IMC",    0x00d8, NOFIELD(4), .wo = true, .wrote = imc_w, .doc = "holds them back" },
    OWN("EIAC", 0x00dc, eiac, .doc = "causes that end when their vector was sent"), OWN("IAM", 0x00e0, iam),
    OWN("IVAR", 0x00e4, ivar, .write = ivar_w, .doc = "vectors of receive queues, transmit queues, other causes"),
    { "EITR",   0x00e8, REGS(E82574, eitr, VECTORS, 4), .rw = 0xffff, .doc = "shortest time between two messages, in 256 ns" },
    { "RCTL",   0x0100, REG(E1000, rctl), .rw = 0x7fffffff, .write = e1000__receive_w, .doc = "receive control" },
    { "TIPG",   0x0410, REG(E1000, tipg), .rw = UINT32_MAX, .reset = 0x00602008 },
    { "LEDCTL", 0x0e00, REG(E1000, ledctl), .rw = UINT32_MAX, .reset = 0x00068302 },
    OWN("EXTCNF_CTRL", 0x0f00, extcnf_ctrl, .reset = 8, .doc = "5 software owns the PHY's bus"), OWN("EXTCNF_SIZE", 0x0f08, extcnf_size),
    OWN("PHY_CTRL", 0x0f10, phy_ctrl, .reset = 0x30d),
    { "PBA",    0x1000, REG(E1000, pba), .rw = 0xffff, .reset = 0x00140014 }, OWN("PBS", 0x1008, pbs, .reset = 0x28),
    OWN("EEMNGCTL", 0x1010, eemngctl, .reset = 1u << 31 | CFG_DONE, .doc = "18 the NVM was read"),
    OWN("EEWR", 0x102c, eewr, .write = eewr_w, .reset = EERD_DONE, .doc = "writes a word of the NVM"), OWN("FLOP", 0x103c, flop),
    OWN("ERT", 0x2008, ert), { "FCRTL", 0x2160, REG(E82574, fcrtl), .rw = 0x8000fff8 }, { "FCRTH", 0x2168, REG(E82574, fcrth), .rw = 0xfff8 },
    OWN("PSRCTL", 0x2170, psrctl, .reset = 0x00040402, .doc = "sizes of the four buffers of packet split"),
    { "RXDCTL", 0x2828, REG(E1000, rx.dctl), .rw = UINT32_MAX, .reset = 0x00010000 },
    E1000_RING(E82574, "R", "1", 0x2900, rx1, e1000__receive_w), OWN("RXDCTL1", 0x2928, rx1.dctl, .reset = 0x00010000),
    OWN("RAID", 0x2c08, raid), OWN("CPUVEC", 0x2c10, cpuvec),
    { "TARC0",  0x3840, REG(E82574, tarc[0]), .rw = 0x780007ff, .reset = 0x403 }, { "TARC1", 0x3940, REG(E82574, tarc[1]), .rw = 0x780007ff, .reset = 0x403 },
    E1000_RING(E82574, "T", "1", 0x3900, tx1, e1000__transmit_w), OWN("TXDCTL1", 0x3928, tx1.dctl),
    { "RXCSUM", 0x5000, REG(E1000, rxcsum), .rw = UINT32_MAX, .reset = 0x300, .doc = "8 IP, 9 TCP and UDP, 13 descriptors have the hash" },
    OWN("RFCTL", 0x5008, rfctl, .doc = "15 extended descriptors"), OWN("MRQC", 0x5818, mrqc, .doc = "0 two queues; what is hashed"),
    { "MANC",   0x5820, REG(E1000, manc), .rw = UINT32_MAX }, OWN("IPAV", 0x5838, ipav), OWNS("IP4AT", 0x5840, ip4at, 4), OWNS("IP6AT", 0x5880, ip6at, 4),
    OWN("WUPL", 0x5900, wupl), OWNS("WUPM", 0x5a00, wupm, 4),
    OWN("GCR", 0x5b00, gcr, .reset = 0x06800200), OWN("FUNCTAG", 0x5b08, functag), OWNS("GSCL", 0x5b10, gscl, 4), OWN("FACTPS", 0x5b30, factps, .reset = 0x20000004),
    { "SWSM",   0x5b50, REG(E1000, swsm), .rw = UINT32_MAX, .on_read = swsm_read, .doc = "0 semaphore: a read takes it" },
    { "FWSM",   0x5b54, REG(E82574, fwsm), .ro = true }, OWN("SWSM2", 0x5b58, swsm2), OWN("GCR2", 0x5b64, gcr2), OWN("PBACL", 0x5b68, pbacl),
    OWNS("RETA", 0x5c00, reta, 4, .doc = "queues by hash: bit 7 of each byte"), OWNS("RSSRK", 0x5c80, rssrk, 4, .doc = "the hash's key"),
    OWNS("FFLT", 0x5f00, fflt, 8), OWN("FCRTV", 0x5f40, fcrtv), OWNS("FFMT", 0x9000, ffmt, 8), OWNS("FFVT", 0x9800, ffvt, 8),
    { "SYSTIM", 0xb600, NOFIELD(4), ARRAY(2, 4, 0), .value_n = systim_half, .wrote_n = systim_half_w, .doc = "time" },
    OWN("TIMINCA", 0xb608, timinca, .write = timinca_w, .doc = "by how much it grows, and how often"), OWNS("TSYNC", 0xb60c, tsync, 4),
    OWN("RXMTRL", 0xb634, rxmtrl, .reset = 0x88f7), OWN("RXUDP", 0xb638, rxudp, .reset = 0x319),
};
static const Bank mmio_bank = { "e1000e", MMIO_SIZE, TABLE(mmio), .max = 4, .quiet = true };
static const RegTable mmio_table = TABLE(mmio);
static const Reg io[] = { E1000_IO_REGS(&mmio_table) };
static const Bank io_bank = { "e1000e-io", 32, TABLE(io), .quiet = true };
static const Bank flash_bank = { "e1000e-flash", FLASH_SIZE, { NULL, 0 }, .quiet = true };
static const Field state[] = {
    STRUCT(E82574, frame1, &e1000__frame_fields), FIELD(E82574, systim), FIELD(E82574, systim_from), FIELD(E82574, sent), FIELD(E82574, gaps),
    TIMERS(E82574, interval, interval_over, CLOCK_VM), TRANSIENT(E82574, pad, "padding"), TRANSIENT(E82574, pad2, "padding"),
};
static const Prop props[] = {
    PROP(E82574, subsys_ven, "subsys_ven", 0x8086, "subsystem vendor"), PROP(E82574, subsys, "subsys", 0, "subsystem"),
};
static const Out outs[] = { { "intx", e1000__level } };
static const PciClass e1000e = {
    PCI_DEVICE(E82574, "e1000e", "Intel 82574L GbE Controller"), .dev.base = &e1000__base, .dev.category = "Network devices",
    .dev.obj.init = init, .dev.obj.props = TABLE(props), .dev.state = TABLE(state), .dev.outs = outs, .dev.nouts = 1, .dev.hotplug = true,
    .dev.check = check, .dev.on_reset = on_reset, .config_written = config_written,
    .vendor = 0x8086, .device = 0x10d3, .class_id = 0x020000, .irq_pin = 1, .romfile = "efi-e1000e.rom",
    .express = PCIE_ENDPOINT, .express_chip = true, .msi_vectors = 1, .msix_vectors = VECTORS, .msix_bar = 3, .msix_pba = 0x2000,
    .cap_at = { .pm = 0xc8, .msi = 0xd0, .express = 0xe0, .msix = 0xa0 },
    .bar[0] = { MMIO_SIZE, .bank = &mmio_bank }, .bar[1] = { FLASH_SIZE, .bank = &flash_bank }, .bar[2] = { 32, BAR_IO, .bank = &io_bank },
};
DEVICE_OF(E82574, e1000e, &e1000e.dev);
/* clang-format on */
