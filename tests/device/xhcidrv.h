/* tests/device/xhcidrv.h - a small xHCI driver for device tests: one event ring, slots, transfers in the guest's memory. */
#ifndef TESTS_DEVICE_XHCIDRV_H
#define TESTS_DEVICE_XHCIDRV_H
#include "tests/device/pcihost.h"

enum { X_BAR = 0xe0000000, X_OP = X_BAR + 0x40, X_RT = X_BAR + 0x1000, X_DB = X_BAR + 0x2000, X_PORTS = X_BAR + 0x440 };
enum { X_DCBAA = 0x1000, X_CMD = 0x2000, X_ERST = 0x3000, X_EVENTS = 0x4000, X_INPUT = 0x5000, X_CTX = 0x8000, X_RINGS = 0x100000, X_DATA = 0x800000,
       X_EVENT_N = 64, X_RING_N = 32 };
typedef struct XEvent {
    uint64_t param;
    unsigned code, len, type, ep, slot;
} XEvent;

Dev *x_start(Vm *vm, const char *options); /* plugs qemu-xhci at BAR X_BAR and lets it run */
void x_rings(Vm *vm);                      /* sets it up again after a reset of the controller */
bool x_event(Vm *vm, XEvent *e);           /* the next event, if there is one */
XEvent x_wait(Vm *vm, unsigned type);      /* the next of that type, within some seconds of the loop; others are passed over */
XEvent x_command(Vm *vm, uint64_t param, uint32_t status, uint32_t control); /* its completion */
void x_append_command(Vm *vm, uint64_t param, uint32_t status, uint32_t control); /* without doorbell */
void x_input(Vm *vm, uint32_t drop, uint32_t add, unsigned slot, unsigned port, uint32_t route); /* an input context with three endpoints */
void x_forget_ring(Vm *vm, unsigned slot, unsigned dci); /* begins again at its start */
void x_ring_at(unsigned slot, unsigned dci, uint64_t *at);
uint64_t x_put(Vm *vm, unsigned slot, unsigned dci, uint64_t param, uint32_t status, uint32_t control); /* a TRB on a transfer ring; its address */
void x_bell(Vm *vm, unsigned slot, unsigned dci);
void x_reset_port(Vm *vm, unsigned port);
unsigned x_attach(Vm *vm, unsigned port, uint32_t route); /* resets, enables and addresses; the slot */
/* type: EP type of the context */
unsigned x_add_ep(Vm *vm, unsigned slot, unsigned dci, unsigned type, unsigned packet, unsigned interval); /* completion code */
XEvent x_control(Vm *vm, unsigned slot, uint64_t setup, unsigned len); /* data at X_DATA; the last event */
XEvent x_transfer(Vm *vm, unsigned slot, unsigned dci, uint64_t at, unsigned len);
static inline uint64_t x_setup(unsigned type, unsigned req, unsigned value, unsigned index, unsigned len)
{
    return type | req << 8 | (uint64_t)value << 16 | (uint64_t)index << 32 | (uint64_t)len << 48;
}
#endif
