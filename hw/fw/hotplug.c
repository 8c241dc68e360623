/*
 * hw/fw/hotplug.c - the guest's side of PCI hot-plug by ACPI, in AML: for each bus that is served its slots with _EJ0, and a
 * method that reads what is new or should go and notifies those slots; the event calls it for the root, which calls it for
 * the buses below. Registers: hw/isa/acpihp.h. Sources: ACPI 6.4 sections 5.6.6 (notifications), 6.1.1, 6.1.11, 6.3.3.
 */
#include "hw/fw/acpi-priv.h"
#include "hw/fw/aml.h"
#include "hw/isa/acpihp.h"

enum { DEVICE_CHECK = 1, EJECT_REQUEST = 3 };

static void slot_name(char name[5], unsigned devfn) { g_snprintf(name, 5, "S%02X_", devfn & 0xff); }

static void registers(Aml *a, const FwPlatform *p)
{
    static const char *const names[] = { "HPUP", "HPDN", "HPEJ", "HPRM", "HPSL" };
    guint f, m;

    aml_region(a, "HPIO", AML_IO, p->hotplug_port, ACPIHP_PORTS);
    f = aml_field(a, "HPIO", 0x43); /* doublewords, written as zeros where no field is */
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        aml_unit(a, names[i], 32);
    aml_close(a, f);
    aml_mutex(a, "HPLK");
    m = aml_method(a, "HPOF", 2, false); /* bus, slot: the guest lets go */
    aml_acquire(a, "HPLK");
    aml_op(a, AML_STORE);
    aml_arg(a, 0);
    aml_path(a, "HPSL");
    aml_op(a, AML_SHIFT_LEFT);
    aml_int(a, 1);
    aml_arg(a, 1);
    aml_path(a, "HPEJ");
    aml_release(a, "HPLK");
    aml_close(a, m);
}

/* _SUN: unique among all slots; on the root of pc it is the slot's number. */
static void eject_methods(Aml *a, const PciBus *b, unsigned slot)
{
    guint m;

    aml_name(a, "_SUN");
    aml_int(a, (b->bsel - 1) * 32 + slot);
    m = aml_method(a, "_EJ0", 1, false);
    aml_path(a, "HPOF");
    aml_int(a, b->bsel - 1);
    aml_int(a, slot);
    aml_close(a, m);
}

static bool serves_below(const PciBus *b)
{
    bool any = b->bsel;

    for (guint i = 0; !any && i < b->bus.devs->len; i++) { /* depth: of the tree */
        const PciDev *d = PCI(b->bus.devs->pdata[i]);

        any = d->behind && !d->dev.hot && serves_below(d->behind);
    }
    return any;
}

static bool is_fixed_bridge(const PciDev *d) { return d && d->behind && !d->dev.hot; }

static bool can_eject(const PciBus *b, unsigned slot)
{
    bool can = b->bsel && slot * 8 >= b->devfn_min && !(b->one_slot && slot);

    for (unsigned fn = 0; can && fn < 8; fn++) {
        const PciDev *d = b->slot[slot * 8 + fn];

        can = !d || (d->dev.cls->hotplug && !is_fixed_bridge(d));
    }
    return can;
}

static void bus_methods(Aml *a, const PciBus *b);

static void one_function(Aml *a, const PciBus *b, unsigned devfn)
{
    const PciDev *d = b->slot[devfn];
    bool bridge = is_fixed_bridge(d) && serves_below(d->behind), slot = !(devfn & 7) && can_eject(b, devfn >> 3);
    char name[5];
    guint o;

    if (!bridge && !slot)
        return;
    slot_name(name, devfn);
    o = aml_device(a, name);
    aml_name(a, "_ADR");
    aml_int(a, (uint64_t)(devfn >> 3) << 16 | (devfn & 7));
    if (slot)
        eject_methods(a, b, devfn >> 3);
    if (bridge)
        bus_methods(a, d->behind);
    aml_close(a, o);
}

static void notify(Aml *a, unsigned local, unsigned slot, unsigned what)
{
    char name[5];
    guint w = aml_if(a);

    aml_op(a, AML_AND);
    aml_local(a, local);
    aml_int(a, 1ull << slot);
    aml_op(a, 0); /* no target */
    slot_name(name, slot * 8);
    aml_op(a, AML_NOTIFY);
    aml_path(a, name);
    aml_int(a, what);
    aml_close(a, w);
}

static void take(Aml *a, const char *reg, unsigned local)
{
    aml_op(a, AML_STORE);
    aml_path(a, reg);
    aml_local(a, local);
}

/* HPNT: notify this bus and those below it. Depth: of the tree. */
static void bus_methods(Aml *a, const PciBus *b)
{
    guint m;

    for (unsigned devfn = 0; devfn < G_N_ELEMENTS(b->slot); devfn++)
        one_function(a, b, devfn);
    m = aml_method(a, "HPNT", 0, false);
    if (b->bsel) {
        aml_acquire(a, "HPLK");
        aml_op(a, AML_STORE);
        aml_int(a, b->bsel - 1);
        aml_path(a, "HPSL");
        take(a, "HPUP", 0);
        take(a, "HPDN", 1);
        aml_release(a, "HPLK");
    }
    for (unsigned slot = 0; slot < 32; slot++)
        if (can_eject(b, slot)) {
            notify(a, 0, slot, DEVICE_CHECK);
            notify(a, 1, slot, EJECT_REQUEST);
        }
    for (unsigned devfn = 0; devfn < G_N_ELEMENTS(b->slot); devfn++)
        if (is_fixed_bridge(b->slot[devfn]) && serves_below(b->slot[devfn]->behind)) {
            char path[12];

            g_snprintf(path, sizeof(path), "^S%02X_.HPNT", devfn); /* a name of two parts is not looked for further up */
            aml_path(a, path);
        }
    aml_close(a, m);
}

void fw__hotplug(Aml *a, const FwPlatform *p)
{
    if (!p->hotplug_port)
        return;
    registers(a, p);
    bus_methods(a, p->root);
}

void fw__hotplug_event(Aml *a, const FwPlatform *p)
{
    guint s, m;

    if (!p->hotplug_port)
        return;
    s = aml_scope(a, "\\_GPE");
    m = aml_method(a, "_E01", 0, false);
    aml_path(a, "\\_SB_.PCI0.HPNT");
    aml_close(a, m);
    aml_close(a, s);
}
