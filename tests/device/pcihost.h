/* tests/device/pcihost.h - a PCI bus without a chipset, and a raw image with a pattern, for device tests. */
#ifndef TESTS_DEVICE_PCIHOST_H
#define TESTS_DEVICE_PCIHOST_H
#include "block/disk.h"
#include "hw/pci/pci.h"
#include "tests/lib/netwire.h"
#include "tests/lib/t.h"

PciBus *t_pci(Vm *vm);                   /* bus "pci.0": memory at 0, I/O at 0 */
unsigned t_pci_irqs(void);               /* pins that are high now: a bit each */
/* A drive "id" of `mb` MiB in which each 512-byte sector starts with its number, little-endian. */
Disk *t_disk(Vm *vm, const char *id, unsigned mb, const char *more);
/* dev_plug() refuses the device with this text. */
void t_refused(Vm *vm, Bus *parent, const char *device, const char *text);
void t_enable(Dev *d, unsigned bar, uint64_t at); /* BAR at `at`, I/O, memory and bus master on */
/* A bus, and on it a network card "MODEL[,..]" of address 52:54:00:aa:bb:cc with the wire at its other end. */
Dev *t_net_card(Vm *vm, NetWire *w, const char *model, unsigned bar, uint64_t at);
uint64_t t_in(Vm *vm, unsigned port, unsigned size);
void t_out(Vm *vm, unsigned port, unsigned size, uint64_t v);
uint64_t t_ld(Vm *vm, uint64_t at, unsigned size); /* guest memory and MMIO */
void t_st(Vm *vm, uint64_t at, unsigned size, uint64_t v);
void t_loop(Vm *vm, bool (*until)(void *arg), void *arg); /* at most five seconds of the loop */
#endif
