/*
 * hw/isa/acpihp.c - PCI hot-plug by ACPI. Source: the register block at AE00 (q35: 0CC0) as the QEMU project's docs/specs/
 * acpi_pci_hotplug describes it; Linux's acpiphp drives it through the methods of our DSDT. Left out: ACPI indices.
 */
#include "hw/isa/acpihp.h"
#include "hw/isa/pm.h"

enum { RETRY_NS = SEC };

unsigned acpihp_selected(const AcpiHp *h) { return h->sel < ACPIHP_BUSES ? h->sel : ACPIHP_BUSES; }

typedef struct Wanted {
    unsigned bsel;
    PciBus *found;
} Wanted;

static void match(Bus *b, void *arg)
{
    Wanted *w = arg;
    PciBus *p = (PciBus *)(void *)b;

    if (!strcmp(b->cls->type, "PCI") && p->bsel == w->bsel)
        w->found = p;
}

static PciBus *selected_bus(Vm *vm, const AcpiHp *h)
{
    Wanted w = { acpihp_selected(h) + 1, NULL };

    if (w.bsel <= ACPIHP_BUSES)
        bus_foreach(vm, match, &w);
    return w.found;
}

void acpihp_eject(Vm *vm, AcpiHp *h, uint32_t slots)
{
    PciBus *b = selected_bus(vm, h);

    for (unsigned n = 0; b && n < 32; n++)
        if (slots >> n & 1)
            pci_eject(b, n);
    if (b)
        h->down[b->bsel - 1] &= ~slots;
}

uint32_t acpihp_removable(Vm *vm, const AcpiHp *h)
{
    const PciBus *b = selected_bus(vm, h);
    uint32_t fixed = 0;

    for (unsigned n = 0; b && n < G_N_ELEMENTS(b->slot); n++)
        if (b->slot[n] && (!b->slot[n]->dev.cls->hotplug || (b->slot[n]->behind && !b->slot[n]->dev.hot)))
            fixed |= 1u << n / 8;
    return b ? ~fixed : 0;
}

static void raise_event(PmDev *pm)
{
    dev_enter(&pm->pci.dev);
    pm->raise_gpe(&pm->pci.dev, ACPIHP_GPE);
    dev_leave(&pm->pci.dev);
}

static void came(void *self, PciDev *p)
{
    PmDev *pm = self;

    pm->hp.up[p->pbus->bsel - 1] |= 1u << (p->devfn >> 3);
    raise_event(pm);
}

/* A bridge that was there from the start is in the guest's tables for good. */
static bool ask(void *self, PciDev *p, Error **err)
{
    PmDev *pm = self;

    if (p->behind && !p->dev.hot)
        return fail(err, "Device '%s' does not support hotplugging", p->dev.cls->obj.name);
    pm->hp.down[p->pbus->bsel - 1] |= 1u << (p->devfn >> 3);
    dev_asked_for(&p->dev, RETRY_NS);
    raise_event(pm);
    return true;
}

static void left(void *self, PciDev *p)
{
    PmDev *pm = self;

    if (p->devfn & 7)
        return;
    pm->hp.up[p->pbus->bsel - 1] &= ~(1u << (p->devfn >> 3));
    pm->hp.down[p->pbus->bsel - 1] &= ~(1u << (p->devfn >> 3));
}

void pm_take_bus(void *self, PciBus *b)
{
    static const PciHotplug by_acpi = { came, ask, left };
    PmDev *pm = self;

    if (pm->hp.buses >= ACPIHP_BUSES)
        return;
    b->bsel = ++pm->hp.buses;
    b->hotplug = &by_acpi;
    b->hotplug_self = pm;
}

/* clang-format off */
static const Field fields[] = {
    ARRAY_FIELD(AcpiHp, up), ARRAY_FIELD(AcpiHp, down), FIELD(AcpiHp, sel), TRANSIENT(AcpiHp, buses, "topology", .keep = true),
};
const FieldTable acpihp_fields = TABLE(fields);
/* clang-format on */
