/*
 * hw/ide/ahci.c - ICH9 AHCI adapter: registers of the adapter and its six ports.
 * Source: AHCI 1.3.1 section 3; Intel ICH9 data sheet 14.4. Left out: legacy modes of the chip, enclosure
 * management, link power states, MSI with more than one message.
 */
#include "hw/ide/ahci.h"

static const uint32_t capabilities = (AHCI_PORTS - 1) | (AHCI_SLOTS - 1) << 8 | 1u << 18 /* AHCI only */ |
                                     1u << 20 /* 1.5 Gbit/s */ | 1u << 24 /* CLO */ | 1u << 30 /* NCQ */ | 1u << 31 /* 64 bit */;

/* ---- adapter ---- */
static uint64_t cap(const Dev *d) { return capabilities; }
static uint64_t ports(const Dev *d) { return ones(AHCI_PORTS); }
static uint64_t version(const Dev *d) { return 0x00010300; }
static uint64_t ghc_value(const Dev *d) { return ((const Ahci *)(const void *)d)->ghc | GHC_AE; }

static void reset_port(Ahci *s, unsigned n)
{
    Ata *a = ahci_drive(s, n);

    s->port[n] = (AhciPort){ .cmd = 6, .clb = s->port[n].clb, .clbu = s->port[n].clbu, .fb = s->port[n].fb, .fbu = s->port[n].fbu };
    ahci_ncq_forget(s, n);
    s->run[n] = (AhciRun){ .slot = NO_SLOT };
    if (a)
        ata_reset(a, true);
    ahci_link_up(s, n);
}

static void ghc_w(Dev *d, uint64_t old)
{
    Ahci *s = AHCI(d);

    if (!(s->ghc & GHC_HR))
        return;
    s->ghc = 0;
    s->is = 0;
    for (unsigned n = 0; n < AHCI_PORTS; n++)
        reset_port(s, n);
}

/* What still asks is seen again; with MSI that is one more message. */
static void is_w(Dev *d, uint64_t old)
{
    Ahci *s = AHCI(d);

    for (unsigned n = 0; n < AHCI_PORTS; n++)
        if (s->port[n].is & s->port[n].ie)
            s->is |= 1u << n;
    if (s->is && s->ghc & GHC_IE && pci_msi_on(&s->pci))
        pci_msi_send(&s->pci, 0);
}

static bool intx_level(const Dev *d)
{
    const Ahci *s = (const Ahci *)(const void *)d;

    return s->is && s->ghc & GHC_IE;
}

/* ---- ports ---- */
static void cmd_w(Dev *d, unsigned n, uint64_t old)
{
    Ahci *s = AHCI(d);
    AhciPort *p = &s->port[n];

    if (p->cmd & CMD_CLO) {
        p->tfd &= ~(uint32_t)(ATA_BSY | ATA_DRQ);
        p->cmd &= ~CMD_CLO;
    }
    if (p->cmd & CMD_FRE && !(old & CMD_FRE))
        ahci_link_up(s, n); /* the signature waited for a place to go */
    if (!(p->cmd & CMD_ST) && old & CMD_ST)
        ahci_abort(s, n);
    ahci_start(s, n);
}

static uint64_t cmd_value(const Dev *d, unsigned n)
{
    const Ahci *s = (const Ahci *)(const void *)d;
    const Ata *a = ahci_drive(s, n);
    uint32_t v = s->port[n].cmd;

    v |= v & CMD_FRE ? CMD_FR : 0;
    v |= v & CMD_ST ? CMD_CR | (s->run[n].slot != NO_SLOT ? (uint32_t)s->run[n].slot << 8 : 0) : 0;
    return v | (a && a->cd ? CMD_ATAPI : 0);
}

static uint64_t ssts_value(const Dev *d, unsigned n)
{
    const Ahci *s = (const Ahci *)(const void *)d;
    unsigned det = s->port[n].sctl & 15;

    if (!ahci_drive(s, n))
        return 0;
    return det == 4 ? 4 : det == 1 ? 0 : 0x113;
}

static void sctl_w(Dev *d, unsigned n, uint64_t old)
{
    Ahci *s = AHCI(d);
    AhciPort *p = &s->port[n];
    Ata *a = ahci_drive(s, n);

    if ((old & 15) != 1 || (p->sctl & 15) == 1 || !a)
        return;
    ahci_ncq_forget(s, n);
    s->run[n].slot = NO_SLOT;
    s->run[n].failed = false;
    ata_reset(a, true);
    p->serr |= SERR_X;
    ahci_link_up(s, n);
    ahci_raise(s, n, IS_PC);
}

static void serr_w(Dev *d, unsigned n, uint64_t old)
{
    if (!(AHCI(d)->port[n].serr & SERR_X))
        AHCI(d)->port[n].is &= ~IS_PC;
}

static void ie_w(Dev *d, unsigned n, uint64_t old) { ahci_raise(AHCI(d), n, 0); }

static void ci_w(Dev *d, unsigned n, uint64_t old)
{
    Ahci *s = AHCI(d);

    if (!(s->port[n].cmd & CMD_ST))
        s->port[n].ci = (uint32_t)old;
    ahci_start(s, n);
}

/* ---- life ---- */
static bool init(Obj *o, Error **err)
{
    Ahci *s = AHCI(o);

    for (unsigned n = 0; n < AHCI_PORTS; n++)
        s->bus[n] = ide_bus_new(&s->pci.dev, n, 1, &ahci_host);
    pci_set_bar(&s->pci, 5, dev_region(&s->pci.dev, 0), 0);
    return true;
}

static void on_reset(Dev *d)
{
    for (unsigned n = 0; n < AHCI_PORTS; n++) {
        ahci_ncq_forget(AHCI(d), n);
        ahci_link_up(AHCI(d), n);
    }
}

static void loaded(Dev *d)
{
    for (unsigned n = 0; n < AHCI_PORTS; n++)
        ahci_ncq_loaded(AHCI(d), n);
}

static void unplug(Dev *d)
{
    for (unsigned n = 0; n < AHCI_PORTS; n++)
        ahci_ncq_forget(AHCI(d), n);
}

static bool drained(const Dev *d) { return !((const Ahci *)(const void *)d)->first; }

static bool check(const Dev *d, Error **err)
{
    const Ahci *s = (const Ahci *)(const void *)d;

    for (unsigned n = 0; n < AHCI_PORTS; n++) {
        const AhciRun *r = &s->run[n];

        if ((r->slot >= AHCI_SLOTS && r->slot != NO_SLOT) || r->last >= AHCI_SLOTS)
            return fail(err, "port %u: no such slot", n);
        if (r->flying && r->slot != NO_SLOT)
            return fail(err, "port %u: a command runs beside queued ones", n);
    }
    return true;
}

/* clang-format off */
#define PORT(m) .at = offsetof(Ahci, port[0].m), .size = 4, .count = AHCI_PORTS, .stride = 0x80, .at_stride = sizeof(AhciPort)
#define PORT_NONE .at = UINT32_MAX, .size = 4, .count = AHCI_PORTS, .stride = 0x80
static const Reg regs[] = {
    { "CAP", 0x00, NOFIELD(4), .value = cap },
    { "GHC", 0x04, REG(Ahci, ghc), .rw = GHC_IE | GHC_HR, .write = ghc_w, .value = ghc_value },
    { "IS",  0x08, REG(Ahci, is), .w1c = 0x3f, .write = is_w },
    { "PI",  0x0c, NOFIELD(4), .value = ports },
    { "VS",  0x10, NOFIELD(4), .value = version },
    { "CAP2", 0x24, NOFIELD(4) },
    { "BOHC", 0x28, NOFIELD(4) },
    { "PxCLB",  0x100, PORT(clb), .rw = 0xfffffc00 },
    { "PxCLBU", 0x104, PORT(clbu), .rw = UINT32_MAX },
    { "PxFB",   0x108, PORT(fb), .rw = 0xffffff00 },
    { "PxFBU",  0x10c, PORT(fbu), .rw = UINT32_MAX },
    { "PxIS",   0x110, PORT(is), .w1c = 0xfdc000af },
    { "PxIE",   0x114, PORT(ie), .rw = 0xfdc000ff, .write_n = ie_w },
    { "PxCMD",  0x118, PORT(cmd), .reset = 6, .rw = 0xf300001f, .write_n = cmd_w, .value_n = cmd_value },
    { "PxTFD",  0x120, PORT(tfd), .reset = 0x7f },
    { "PxSIG",  0x124, PORT(sig), .reset = UINT32_MAX },
    { "PxSSTS", 0x128, PORT_NONE, .value_n = ssts_value },
    { "PxSCTL", 0x12c, PORT(sctl), .rw = 0xfff, .write_n = sctl_w },
    { "PxSERR", 0x130, PORT(serr), .w1c = UINT32_MAX, .write_n = serr_w },
    { "PxSACT", 0x134, PORT(sact), .w1s = UINT32_MAX },
    { "PxCI",   0x138, PORT(ci), .w1s = UINT32_MAX, .write_n = ci_w },
    { "PxSNTF", 0x13c, PORT_NONE },
    { "PxFBS",  0x140, PORT_NONE },
};
static const Bank banks[] = { { "ahci", 0x1000, TABLE(regs), .quiet = true } };
static const Field fields[] = {
    STRUCTS(Ahci, run, &ahci_run_table), TRANSIENT(Ahci, bus, "wiring", .keep = true),
    TRANSIENT(Ahci, first, "requests of the host; fetched again from AhciRun.flying", .keep = true),
};
static const Out outs[] = { { "intx", intx_level } };
static const PciClass ahci = {
    PCI_DEVICE(Ahci, "ahci", "ICH9 AHCI controller, six ports"),
    .dev.obj.init = init, .dev.state = TABLE(fields), .dev.banks = banks, .dev.nbanks = 1, .dev.outs = outs,
    .dev.nouts = 1, .dev.on_reset = on_reset, .dev.check = check, .dev.loaded = loaded, .dev.unplug = unplug, .dev.drained = drained, .dev.category = "Storage devices",
    .vendor = 0x8086, .device = 0x2922, .revision = 2, .class_id = 0x010601, .irq_pin = 1, .msi_vectors = 1,
};
/* clang-format on */
DEVICE_OF(Ahci, ahci, &ahci.dev);
