/* tests/kvm/guest.h - a pc machine around a few hundred bytes of guest code (guest.S), and its mailbox. */
#ifndef TESTS_KVM_GUEST_H
#define TESTS_KVM_GUEST_H
#include "tests/lib/t.h"

/* Guest RAM, 8 bytes each. */
enum { BOX_TURNS = 0x1000, BOX_WRONG = 0x1008 /* bits: what was not as it should be */, BOX_TICKS = 0x1010, BOX_AP = 0x1018,
       BOX_IPIS = 0x1020, BOX_BACK = 0x1028, BOX_TSC = 0x1030, BOX_MMIO = 0x1038 };
enum { GUEST_BAR = 0xfe000000, GUEST_AVAIL = 0x11000 /* of the queue */ };
typedef enum GuestKind { GUEST_USER /* long mode, ring 3, LAPIC timer */, GUEST_SMP /* two CPUs, IPIs there and back */,
    GUEST_VIRTIO /* kicks queue 0 at GUEST_BAR, waits for vector 44h, and so on: BOX_TURNS, BOX_TICKS */ } GuestKind;
/* accel: "kvm", "kvm,kernel-irqchip=off", "tcg". NULL + err. */
Vm *guest_new(const char *accel, const char *cpu, unsigned cpus, GuestKind kind, Error **err);
uint64_t guest_box(Vm *vm, uint64_t at);
/* Until the number at `at` is at least n; false: 30 seconds passed. */
bool guest_wait(Vm *vm, uint64_t at, uint64_t n);
bool kvm_here(void); /* else a line says why the test is skipped */
#endif
