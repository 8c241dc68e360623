/* tests/device/pcihost.c - see pcihost.h. */
#include "tests/device/pcihost.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct Host {
    Dev dev;
} Host;
static unsigned high;

static void set_irq(void *chip, unsigned n, bool level) { high = level ? high | 1u << n : high & ~(1u << n); }
unsigned t_pci_irqs(void) { return high; }

static const DevClass host_class = { .obj = { .name = "test-pci-host", .size = sizeof(Host) }, .no_user = true };
DEVICE(Host, host_class);

PciBus *t_pci(Vm *vm)
{
    Dev *host = dev_new(vm, "test-pci-host", NULL, NULL, NULL, NULL, &abort_on_error);
    PciBus *b = pci_bus_new(host, "pci.0", false, vm->sysmem, vm->sysports);

    b->set_irq = set_irq;
    return b;
}

static void remove_file(void *path)
{
    unlink(path);
    g_free(path);
}

Disk *t_disk(Vm *vm, const char *id, unsigned mb, const char *more)
{
    char *path = g_strdup_printf("%s/menura-test-XXXXXX", g_get_tmp_dir());
    int fd = g_mkstemp(path);
    FILE *f = fdopen(fd, "wb");
    g_autofree char *text = g_strdup_printf("format=raw,file=%s%s%s", path, more ? "," : "", more ? more : "");
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);
    uint8_t sector[512] = { 0 };
    Disk *d;

    for (unsigned i = 0; i < mb * 2048; i++) {
        le32_store(sector, i);
        fwrite(sector, sizeof(sector), 1, f);
    }
    fclose(f);
    own(&vm->root, path, remove_file);
    d = disk_new(vm, id, o, &abort_on_error);
    return own(&vm->root, d, (void (*)(void *))disk_free);
}

void t_enable(Dev *d, unsigned bar, uint64_t at)
{
    pci_config_write(PCI(d), 0x10 + 4 * bar, (uint32_t)at, 4);
    pci_config_write(PCI(d), 4, 7, 2);
}

Dev *t_net_card(Vm *vm, NetWire *w, const char *model, unsigned bar, uint64_t at)
{
    g_autofree char *text = g_strdup_printf("%s,netdev=card,mac=52:54:00:aa:bb:cc", model);
    Dev *d;

    t_pci(vm);
    netwire_connect(w, vm);
    d = dev_plug(vm, NULL, text, &abort_on_error);
    t_enable(d, bar, at);
    return d;
}

uint64_t t_in(Vm *vm, unsigned port, unsigned size)
{
    uint64_t v = 0;

    as_load(vm->ports, port, size, &v, MEM_CPU);
    return v;
}

void t_out(Vm *vm, unsigned port, unsigned size, uint64_t v) { as_store(vm->ports, port, size, v, MEM_CPU); }

uint64_t t_ld(Vm *vm, uint64_t at, unsigned size)
{
    uint64_t v = 0;

    as_load(vm->mem, at, size, &v, MEM_CPU);
    return v;
}

void t_st(Vm *vm, uint64_t at, unsigned size, uint64_t v) { as_store(vm->mem, at, size, v, MEM_CPU); }

void t_loop(Vm *vm, bool (*until)(void *arg), void *arg)
{
    int64_t end = host_now() + 5 * SEC;

    while (!until(arg) && host_now() < end) {
        loop_iterate(vm->loop, false);
        g_usleep(100);
    }
}

void t_refused(Vm *vm, Bus *parent, const char *device, const char *text)
{
    Error *err = NULL;

    check(!dev_plug(vm, parent, device, &err));
    check_str(error_text(err), text);
    error_free(err);
}
