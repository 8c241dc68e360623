/*
 * hw/pci/slot.c - the slot of a PCI Express port: presence, attention button, power controller, indicators and the interrupt
 * about them. Source: PCI Express 4.0 sections 6.7 (hot-plug) and 7.5.3.9 to 7.5.3.11 (slot registers). Left out: a
 * mechanical latch (there is none), power faults.
 *
 * Who plugs a card in by hand also presses the button. To take one out: the button is pressed, the guest lets go and switches
 * the slot off, and the card is gone.
 */
#include "hw/pci/priv.h"

enum { LNKSTA = 0x12, SLTCAP = 0x14, SLTCTL = 0x18, SLTSTA = 0x1a };
enum { CAP_ABP = 1 << 0, CAP_PCP = 1 << 1, CAP_AIP = 1 << 3, CAP_PIP = 1 << 4, CAP_HPS = 1 << 5, CAP_HPC = 1 << 6, CAP_EIP = 1 << 17,
       CAP_NUMBER = 19 };
enum { CTL_EVENTS = 0x0f, CTL_CCIE = 1 << 4, CTL_HPIE = 1 << 5, CTL_PIC = 3 << 8, PIC_BLINK = 2 << 8, CTL_PCC = 1 << 10, CTL_DLLSCE = 1 << 12,
       CTL_WRITABLE = 0x17ff, CTL_INDICATORS_OFF = 0x03c0 };
enum { STA_ABP = 1 << 0, STA_PDC = 1 << 3, STA_CC = 1 << 4, STA_PDS = 1 << 6, STA_DLLSC = 1 << 8, STA_EVENTS = 0x11f };
enum { LINK_UP = 1 << 13 | 0x11, LINK_DOWN = 0x0204 };
#define PATIENCE (5 * (int64_t)SEC)

static uint8_t *cap(PciDev *p) { return p->config + pci__cap_find(p, 0x10); }
static bool occupied(const PciDev *port) { return port->behind->slot[0]; }
static bool is_off(uint16_t ctl) { return ctl & CTL_PCC && (ctl & CTL_PIC) == CTL_PIC; }

/* Presence and link follow what is there; events are what changed. */
void pci__slot_look(PciDev *port, unsigned events)
{
    uint8_t *c = cap(port);
    uint16_t sta = le16_load(c + SLTSTA);

    dev_enter(&port->dev);
    le16_store(c + SLTSTA, (uint16_t)((sta & ~STA_PDS) | (occupied(port) ? STA_PDS : 0) | events));
    le16_store(c + LNKSTA, occupied(port) ? LINK_UP : LINK_DOWN);
    dev_leave(&port->dev);
}

static void came(void *self, PciDev *p) { pci__slot_look(self, STA_PDC | STA_DLLSC | STA_ABP); }

static void left(void *self, PciDev *p)
{
    if (!(p->devfn & 7))
        pci__slot_look(self, STA_PDC | STA_DLLSC);
}

static bool ask(void *self, PciDev *p, Error **err)
{
    PciDev *port = self;
    uint16_t ctl = le16_load(cap(port) + SLTCTL);

    if (is_off(ctl)) {
        pci_eject(port->behind, 0);
        return true;
    }
    if ((ctl & CTL_PIC) == PIC_BLINK)
        return fail(err, "Hot-unplug failed: guest is busy (power indicator blinking)");
    dev_asked_for(&p->dev, PATIENCE);
    pci__slot_look(port, STA_ABP);
    return true;
}

static const PciHotplug by_slot = { came, ask, left };

void pci__slot_init(PciDev *port, unsigned number, bool hotplug, bool power)
{
    unsigned at = pci__cap_find(port, 0x10);
    uint32_t caps = hotplug ? CAP_ABP | CAP_AIP | CAP_PIP | CAP_HPS | CAP_HPC | CAP_EIP | (power ? CAP_PCP : 0) : 0;

    le32_store(port->config + at + SLTCAP, (uint32_t)number << CAP_NUMBER | caps);
    le16_store(port->wmask + at + SLTCTL, !hotplug ? 0 : power ? CTL_WRITABLE : CTL_WRITABLE & ~CTL_PCC);
    le16_store(port->w1c + at + SLTSTA, STA_EVENTS);
    if (!hotplug || port->behind->hotplug)
        return;
    port->behind->hotplug = &by_slot;
    port->behind->hotplug_self = port;
}

void pci__slot_reset(PciDev *port, uint16_t *last)
{
    *last = (uint16_t)(CTL_INDICATORS_OFF | (occupied(port) ? 0 : CTL_PCC));
    le16_store(cap(port) + SLTCTL, *last);
    le16_store(cap(port) + SLTSTA, 0);
    pci__slot_look(port, 0);
}

/* A write to the control register is a command, done at once. */
void pci__slot_written(PciDev *port, unsigned off, unsigned size, uint16_t *last)
{
    unsigned at = pci__cap_find(port, 0x10) + SLTCTL;
    uint16_t ctl = le16_load(port->config + at);
    bool goes = is_off(ctl) && !is_off(*last) && port->behind->hotplug == &by_slot;

    if (off >= at + 2 || off + size <= at)
        return;
    *last = ctl;
    if (le32_load(port->config + at - SLTCTL + SLTCAP) & CAP_HPC)
        le16_store(port->config + at + 2, le16_load(port->config + at + 2) | STA_CC);
    if (goes)
        pci_eject(port->behind, 0);
}

bool pci__slot_interrupt(const Dev *d)
{
    const PciDev *port = (const PciDev *)(const void *)d;
    unsigned at = pci__cap_find(port, 0x10);
    uint16_t ctl = le16_load(port->config + at + SLTCTL), sta = le16_load(port->config + at + SLTSTA);

    if (!at || !(ctl & CTL_HPIE))
        return false;
    return sta & ctl & CTL_EVENTS || (ctl & CTL_CCIE && sta & STA_CC) || (ctl & CTL_DLLSCE && sta & STA_DLLSC);
}
