/*
 * hw/fw/bootorder.c - the file "bootorder" of fw_cfg: devices that have a bootindex, in its order, by the paths that SeaBIOS
 * and OVMF know (Open Firmware's, IEEE 1275 PCI binding). Made at each reset, so that plugged devices are in it.
 */
#include "hw/fw/acpi-priv.h"
#include "hw/usb/usb.h"
#include <stdlib.h>

typedef struct Entry {
    long index;
    char *path;
} Entry;

static const struct {
    uint32_t class_id, mask;
    const char *name;
} kinds[] = {
    { 0x010000, 0xffff00, "scsi" }, { 0x010100, 0xffff00, "ide" }, { 0x020000, 0xffff00, "ethernet" },
    { 0x060100, 0xffff00, "isa" }, { 0x060400, 0xffff00, "pci-bridge" }, { 0x0c0300, 0xffff00, "usb" },
};

/* From the root: depth of the tree, at most 255 buses. */
static void pci_path(GString *s, const PciDev *p)
{
    uint32_t id = pci_class(p)->class_id;
    const char *name = NULL;

    if (p->pbus->bridge)
        pci_path(s, p->pbus->bridge);
    else
        g_string_append(s, "/pci@i0cf8");
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if ((id & kinds[i].mask) == kinds[i].class_id)
            name = kinds[i].name;
    if (name)
        g_string_append_printf(s, "/%s@%x", name, p->devfn >> 3);
    else
        g_string_append_printf(s, "/pci%04x,%04x@%x", pci_class(p)->vendor, pci_class(p)->device, p->devfn >> 3);
    if (p->devfn & 7)
        g_string_append_printf(s, ",%x", p->devfn & 7);
}

/* Up its buses, which are a tree. */
static const Dev *on_bus(const Dev *d, const char *type)
{
    while (d && !(d->bus && !strcmp(d->bus->cls->type, type)))
        d = d->bus ? d->bus->controller : NULL;
    return d;
}

/* Hub by hub: "2.3" is a device at port 3 of the hub at port 2. */
static void usb_path(GString *s, const UsbDev *d)
{
    for (const char *p = d->port ? d->port->path : NULL; p; p = strchr(p, '.') ? strchr(p, '.') + 1 : NULL)
        g_string_append_printf(s, "/%s@%lx", strchr(p, '.') ? "hub" : "storage", strtol(p, NULL, 10));
}

static long number_prop(const Dev *d, const char *name)
{
    g_autofree char *v = obj_prop_find(d->obj.cls, name) ? obj_prop_get((Obj *)(uintptr_t)&d->obj, name, NULL) : NULL;

    return v ? strtol(v, NULL, 0) : -1;
}

static char *path_of(const Dev *d)
{
    const Dev *p = on_bus(d, "PCI"), *usb = on_bus(d, "usb-bus");
    const char *type = d->bus ? d->bus->cls->type : "", *dot = d->bus ? strrchr(d->bus->obj.name, '.') : NULL;
    GString *s = g_string_new(NULL);

    if (!strcmp(type, "floppy-bus"))
        return g_string_free(s, TRUE), g_strdup_printf("/pci@i0cf8/isa@1/fdc@03f0/floppy@%lx", number_prop(d, "unit"));
    if (!p)
        return g_string_free(s, TRUE), NULL;
    pci_path(s, PCI(p));
    if (usb)
        usb_path(s, (const UsbDev *)(const void *)usb);
    if (usb == d)
        g_string_append(s, "/channel@0/disk@0,0");
    else if (!strcmp(type, "SCSI"))
        g_string_append_printf(s, "/channel@0/disk@%lx,%lx", number_prop(d, "scsi-id"), number_prop(d, "lun"));
    else if (!strcmp(type, "nvme-bus") || pci_class(PCI(p))->class_id == 0x010802)
        g_string_append_printf(s, "/namespace@%lx,0", d == p ? 1 : number_prop(d, "nsid"));
    else if (!strcmp(type, "ide"))
        g_string_append_printf(s, "/drive@%lx/disk@%lx", dot ? strtol(dot + 1, NULL, 10) : 0, number_prop(d, "unit"));
    else if (pci_class(PCI(p))->class_id >> 16 == 1)
        g_string_append(s, "/disk@0,0");
    else if (pci_class(PCI(p))->class_id >> 16 == 2)
        g_string_append(s, "/ethernet-phy@0");
    return g_string_free(s, FALSE);
}

static void collect(Dev *d, void *arg)
{
    Entry e = { .index = number_prop(d, "bootindex") };

    if (e.index >= 0 && (e.path = path_of(d)))
        g_array_append_val((GArray *)arg, e);
}

static int by_index(const void *a, const void *b)
{
    const Entry *x = a, *y = b;

    return x->index < y->index ? -1 : x->index > y->index;
}

void fw__bootorder(const FwPlatform *p)
{
    GArray *v = g_array_new(FALSE, FALSE, sizeof(Entry));
    GString *s = g_string_new(NULL);
    GPtrArray *roms = p->vm->cfg.option_roms;

    vm_foreach_dev(p->vm, collect, v);
    for (guint i = 0; roms && i < roms->len; i++) {
        Entry e = { .path = fw__option_rom_path(roms->pdata[i], &e.index) };

        if (e.index >= 0)
            g_array_append_val(v, e);
        else
            g_free(e.path);
    }
    if (v->len)
        qsort(v->data, v->len, sizeof(Entry), by_index);
    for (guint i = 0; i < v->len; i++) {
        Entry *e = &g_array_index(v, Entry, i);

        g_string_append_printf(s, "%s%s", i ? "\n" : "", e->path);
        g_free(e->path);
    }
    if (p->vm->cfg.boot_strict && s->len) /* with nobody in line strict says nothing, as in QEMU */
        g_string_append(s, "\nHALT");
    fw_cfg_set_file(p->fw_cfg, "bootorder", s->str, s->len ? s->len + 1 : 0, &abort_on_error); /* the terminator belongs to it */
    g_string_free(s, TRUE);
    g_array_free(v, TRUE);
}
