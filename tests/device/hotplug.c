/*
 * tests/device/hotplug.c - devices that come and go while the machine runs, through the monitor: the slot of a PCI Express
 * port (PCI Express 4.0 section 6.7), the register block by which ACPI does it, what a reset does to those that were asked
 * to leave, and refusals.
 */
#include "hw/isa/pm.h"
#include "hw/pci/pci.h"
#include "tests/lib/qmp.h"

enum { EXP = 0x40, SLTCTL = 0x18, SLTSTA = 0x1a, LNKSTA = 0x12 };

typedef struct Set {
    Bench b;
    Client *c;
    PciDev *port, *pm;
} Set;

static void make(Vm *vm)
{
    Bus *b = t_bus(vm, "PCI");

    dev_plug(vm, b, "pcie-root-port,id=rp,addr=2,slot=5", &abort_on_error);
    dev_plug(vm, b, "PIIX4_PM,id=pm,addr=3", &abort_on_error);
    dev_plug(vm, b, "pci-bridge,id=br,addr=4", &abort_on_error);
    pm_take_bus(vm_find_dev(vm, "pm"), (PciBus *)(void *)bus_find(vm, "br"));
}

static void open_set(Set *s)
{
    g_autofree char *path = NULL;

    qmp_bench_open(&s->b, make);
    path = qmp_bench_monitor(&s->b, MONITOR_QMP);
    qmp_bench_start(&s->b);
    s->c = qmp_ready(path);
    s->port = PCI(vm_find_dev(s->b.vm, "rp"));
    s->pm = PCI(vm_find_dev(s->b.vm, "pm"));
}

static void close_set(Set *s)
{
    qmp_disconnect(s->c);
    qmp_bench_close(&s->b);
}

static uint16_t slot(Set *s, unsigned reg)
{
    uint16_t v;

    lock_take(&s->b.vm->lock);
    v = (uint16_t)pci_config_read(s->port, EXP + reg, 2);
    lock_drop(&s->b.vm->lock);
    return v;
}

static void slot_write(Set *s, unsigned reg, uint16_t v)
{
    lock_take(&s->b.vm->lock);
    pci_config_write(s->port, EXP + reg, v, 2);
    lock_drop(&s->b.vm->lock);
}

static uint32_t hp(Set *s, unsigned reg)
{
    uint64_t v = 0;

    lock_take(&s->b.vm->lock);
    as_load(s->b.vm->ports, 0xae00 + reg, 4, &v, MEM_CPU);
    lock_drop(&s->b.vm->lock);
    return (uint32_t)v;
}

static void hp_write(Set *s, unsigned reg, uint32_t v)
{
    lock_take(&s->b.vm->lock);
    as_store(s->b.vm->ports, 0xae00 + reg, 4, v, MEM_CPU);
    lock_drop(&s->b.vm->lock);
}

#define OK "{}"
#define ADD(bus) "{'execute': 'device_add', 'arguments': {'driver': 'edu', 'id': 'e', 'bus': '" bus "'}}"
#define DEL "{'execute': 'device_del', 'arguments': {'id': 'e'}}"
static const char gone[] = "\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": \"e\", \"path\": \"/machine/peripheral/e\"}}";

static void refused(Set *s, const char *request, const char *class, const char *desc)
{
    g_autoptr(JVal) r = qmp_ask(s->c, request);
    const JVal *e = j_get(r, "error");

    check(e);
    check_str(j_get(e, "class")->text, class);
    check_str(j_get(e, "desc")->text, desc);
}

static void wait_gone(Set *s)
{
    g_free(qmp_until(s->c, gone));
    g_free(qmp_line(s->c)); /* the rest of it */
}

static void express(Vm *unused)
{
    Set s;

    open_set(&s);
    check_eq(slot(&s, 0x14) | slot(&s, 0x16) << 16, 5u << 19 | 0x2007b); /* number; button, power, indicators, surprise, interlock */
    check_eq(slot(&s, SLTCTL), 0x7c0);                                   /* off: nothing there */
    check_eq(slot(&s, SLTSTA), 0);
    qmp_expect(s.c, ADD("rp"), OK);
    check_eq(slot(&s, SLTSTA), 0x149); /* button, presence changed, present, link changed */
    check_eq(slot(&s, LNKSTA) & 0x2000, 0x2000);
    slot_write(&s, SLTSTA, 0x109);
    slot_write(&s, SLTCTL, 0x02f1); /* power on, its indicator blinks */
    check_eq(slot(&s, SLTSTA), 0x50); /* command completed */
    slot_write(&s, SLTSTA, 0x10);
    slot_write(&s, SLTCTL, 0x01d9);
    slot_write(&s, SLTSTA, 0x10);
    qmp_expect(s.c, DEL, OK);
    check_eq(slot(&s, SLTSTA), 0x41); /* the button */
    check_eq(pci_config_read(s.port, 6, 2) & 8, 0); /* no interrupt: its enable is off */
    slot_write(&s, SLTCTL, 0x01f9);
    check_eq(pci_config_read(s.port, 6, 2) & 8, 8);
    slot_write(&s, SLTSTA, 0x10);
    refused(&s, DEL, "GenericError", "Device e is already in the process of unplug");
    slot_write(&s, SLTCTL, 0x05f9); /* power off, indicator still on: not yet */
    check_eq(slot(&s, SLTSTA) & 0x40, 0x40);
    slot_write(&s, SLTCTL, 0x07f9);
    wait_gone(&s);
    check_eq(slot(&s, SLTSTA), 0x119); /* button, presence and link changed, command completed; empty */
    refused(&s, DEL, "DeviceNotFound", "Device 'e' not found");
    close_set(&s);
}
TEST("hotplug/express", express);

static void acpi(Vm *unused)
{
    Set s;

    open_set(&s);
    qmp_expect(s.c, ADD("br"), OK); /* slot 1 */
    hp_write(&s, 0x10, 7);
    check_eq(hp(&s, 0), 0); /* no such bus */
    check_eq(hp(&s, 12), 0);
    hp_write(&s, 0x10, UINT32_MAX);
    check_eq(hp(&s, 0), 0);
    hp_write(&s, 0x10, 0);
    check_eq(hp(&s, 12), UINT32_MAX);
    check_eq(hp(&s, 0), 1 << 1);
    check_eq(hp(&s, 0), 0); /* reading takes it */
    check_eq(hp(&s, 4), 0);
    qmp_expect(s.c, DEL, OK);
    check_eq(hp(&s, 4), 1 << 1);
    check_eq(hp(&s, 4), 1 << 1);
    hp_write(&s, 8, 1 << 2); /* another slot */
    check_eq(hp(&s, 4), 1 << 1);
    hp_write(&s, 8, 1 << 1);
    wait_gone(&s);
    check_eq(hp(&s, 4), 0);
    close_set(&s);
}
TEST("hotplug/acpi", acpi);

/* Nobody is left who could refuse. */
static void reset(Vm *unused)
{
    Set s;

    open_set(&s);
    qmp_expect(s.c, ADD("br"), OK);
    qmp_expect(s.c, DEL, OK);
    qmp_expect(s.c, "{'execute': 'system_reset'}", OK);
    wait_gone(&s);
    hp_write(&s, 0x10, 0);
    check_eq(hp(&s, 4), 0);
    close_set(&s);
}
TEST("hotplug/reset", reset);

static void refusals(Vm *unused)
{
    Set s;

    open_set(&s);
    refused(&s, ADD("pcie.0"), "GenericError", "Bus 'pcie.0' does not support hotplugging");
    refused(&s, ADD("nowhere"), "GenericError", "Bus 'nowhere' not found");
    refused(&s, "{'execute': 'device_add', 'arguments': {}}", "GenericError", "Parameter 'driver' is missing");
    refused(&s, "{'execute': 'device_add', 'arguments': {'driver': 'PIIX4_PM'}}", "GenericError", "Parameter 'driver' expects a pluggable device type");
    refused(&s, "{'execute': 'device_add', 'arguments': {'driver': 'VGA', 'bus': 'br'}}", "GenericError", "Device 'VGA' does not support hotplugging");
    refused(&s, "{'execute': 'device_add', 'arguments': {'driver': 'edu', 'bus': 'br', 'nonsense': 1}}", "GenericError", "Property 'edu.nonsense' not found");
    qmp_expect(s.c, ADD("rp"), OK);
    refused(&s, ADD("br"), "GenericError", "Duplicate device ID 'e'");
    refused(&s, "{'execute': 'device_add', 'arguments': {'driver': 'edu', 'bus': 'rp', 'addr': '0.1'}}", "GenericError", "PCI: slot 0 function 0 already occupied by edu, new func edu cannot be exposed to guest.");
    qmp_expect(s.c, DEL, OK); /* the slot was never switched on: at once */
    refused(&s, DEL, "DeviceNotFound", "Device 'e' not found");
    refused(&s, "{'execute': 'device_del', 'arguments': {'id': '/machine'}}", "GenericError", "/machine is not a device");
    close_set(&s);
}
TEST("hotplug/refusals", refusals);

static void objects(Vm *unused)
{
    Set s;

    open_set(&s);
    qmp_expect(s.c, "{'execute': 'object-add', 'arguments': {'qom-type': 'rng-builtin', 'id': 'r'}}", OK);
    refused(&s, "{'execute': 'object-add', 'arguments': {'qom-type': 'nonsense', 'id': 'n'}}", "GenericError", "invalid object type: nonsense");
    qmp_expect(s.c, "{'execute': 'device_add', 'arguments': {'driver': 'virtio-rng-pci', 'id': 'e', 'rng': 'r', 'bus': 'br'}}", OK);
    refused(&s, "{'execute': 'object-del', 'arguments': {'id': 'r'}}", "GenericError", "object 'r' is in use, can not be deleted");
    qmp_expect(s.c, DEL, OK);
    hp_write(&s, 0x10, 0);
    hp_write(&s, 8, 1 << 1);
    wait_gone(&s);
    qmp_expect(s.c, "{'execute': 'object-del', 'arguments': {'id': 'r'}}", OK);
    refused(&s, "{'execute': 'object-del', 'arguments': {'id': 'r'}}", "GenericError", "object 'r' not found");
    close_set(&s);
}
TEST("hotplug/objects", objects);
