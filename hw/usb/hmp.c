/* hw/usb/hmp.c - `info usb`. VM lock. */
#include "core/api/usb.h"
#include "hw/usb/usb.h"

typedef struct List {
    GString *out;
    unsigned buses;
} List;

static void print_bus(Bus *b, void *arg)
{
    List *l = arg;
    const UsbBus *u = (const UsbBus *)(const void *)b;

    if (strcmp(b->cls->type, "usb-bus"))
        return;
    for (guint i = 0; i < u->ports->len; i++) {
        const UsbPort *p = u->ports->pdata[i];
        const UsbDev *d = p->dev;

        if (d)
            g_string_append_printf(l->out, "  Device %u.%u, Port %s, Speed %s Mb/s, Product %s%s%s\n", l->buses, d->addr, p->path, usb_mbps(d),
                                   usb_class(d)->name, d->dev.id ? ", ID: " : "", d->dev.id ? d->dev.id : "");
    }
    l->buses++;
}

void hmp_info_usb(Hmp *h)
{
    List l = { h->out, 0 };

    bus_foreach(h->vm, print_bus, &l);
    if (!l.buses)
        g_string_append(h->out, "USB support not enabled\n");
}
