/*
 * accel/kvm/kvm.h - what the files of the KVM accelerator share. Nobody else includes it but tests, which put a
 * scripted kernel behind kvm_call().
 */
#ifndef ACCEL_KVM_KVM_H
#define ACCEL_KVM_KVM_H
#include "target/x86/cpu.h"
#include <linux/kvm.h>

/* ---- the kernel: call.c ---- */
typedef struct KvmKernel { /* all results: >= 0, or -errno */
    int (*open)(void);                                       /* /dev/kvm */
    long (*call)(int fd, unsigned long request, void *arg);  /* one ioctl */
    void *(*map)(int fd, size_t len);                        /* a vCPU's run area; MAP_FAILED + errno */
    void (*unmap)(void *p, size_t len);
    void (*close)(int fd);
} KvmKernel;
void kvm_use_kernel(const KvmKernel *k); /* tests only, before any VM: NULL is the host's */
const KvmKernel *kvm_kernel(void);
/* EINTR is retried, except of KVM_RUN, for which it is the answer to a kick. */
long kvm_call(int fd, unsigned long request, void *arg);
/* The same with an error that names the call. */
bool kvm_must(int fd, unsigned long request, void *arg, Error **err);
static inline void *kvm_value(unsigned long v) { return (void *)(uintptr_t)v; } /* for calls whose argument is a number */
const char *kvm_call_name(unsigned long request);

/* ---- what this kernel can: probe.c ---- */
typedef struct KvmCaps {
#define K(field, cap, why) int field;
#include "accel/kvm/caps.def"
#undef K
} KvmCaps;
/* Opens /dev/kvm and reads the capabilities; -1 + err that says why not and what to do. The caller closes fd. */
int kvm_open(KvmCaps *caps, Error **err);
bool kvm_probe(Error **err);
uint64_t kvm_host_tsc_hz(int sys, Error **err); /* 0 + err */
/* Kernel-mode instructions per second of a small loop in a VM of its own, in millions; < 0 + err. Some milliseconds. */
double kvm_measure(Error **err);
bool kvm_fast(Error **why); /* measured once per boot of the host */

/* ---- a VM and its CPUs ---- */
typedef enum IrqChipKind { CHIP_ON, CHIP_SPLIT, CHIP_OFF } IrqChipKind;
typedef struct KvmSlot {
    RamBlock *ram;
    uint64_t ram_off, at, size;
    uint32_t id; /* slot number, address space in the upper half */
    uint32_t flags;
} KvmSlot;
typedef struct KvmVm KvmVm;
typedef struct KvmCpu KvmCpu;
typedef struct KvmSpace { /* one MemListener each */
    KvmVm *v;
    MemListener listen;
    AddrSpace *as;
    unsigned number; /* KVM's address space: 0, 1 in SMM */
    bool ports;
} KvmSpace;

struct KvmVm {
    Vm *vm;
    int sys, fd;
    KvmCaps caps;
    IrqChipKind chip;
    size_t run_size;
    struct kvm_cpuid2 *cpuid;    /* what the kernel supports */
    struct kvm_msr_list *msrs;
    KvmSpace space[3];           /* memory, memory in SMM, ports */
    GArray *slots;               /* of KvmSlot; VM lock */
    uint64_t ids[2][64];         /* slot numbers in use: 4,096 of each space */
    char *broken;                /* why the VM cannot go on: set once, atomic */
    VmListener watch;
    /* the gate: nobody is in KVM_RUN while memory changes under it */
    GMutex gate;
    GCond left, opened;
    int closed;                  /* atomic */
    /* time: what the host's clocks said when the VM stopped */
    uint64_t tsc_hz;             /* of the host */
    int64_t stopped_at;          /* host_now(); 0: it runs */
    uint64_t kvmclock;
    /* interrupts */
    struct kvm_irq_routing *routes;
    GArray *irqfds;              /* of Irqfd */
    struct kvm_coalesced_mmio_ring *ring; /* one for all CPUs */
};

struct KvmCpu {
    Cpu *cpu;
    X86 *s;
    KvmVm *v;
    int fd;
    struct kvm_run *run;
    int tid;          /* of the vCPU's thread; 0: not running yet; atomic */
    int inside;       /* in KVM_RUN: atomic */
    bool fresh;       /* registers come from a reset or a load: TSC, LAPIC and multiprocessor state are written too */
    bool pending_io;  /* an access was handed out: KVM finishes the instruction when it enters the guest next */
    bool debugging;
    uint64_t apic_base; /* as last pulled */
    bool xsave_loaded, nested_loaded; /* from a state: KVM has yet to take it */
    uint8_t *xsave;   /* as KVM has it, parts that X86 does not name included */
    size_t xsave_size;
    struct kvm_nested_state *nested;
    char why[1024];
};
static inline KvmVm *kvm_of(const Vm *vm) { return vm->accel_data; }
static inline KvmCpu *kvm_cpu_of(const Cpu *c) { return c->engine; }
bool kvm_enable(int fd, uint32_t cap, uint64_t arg, Error **err);
/* From now on every run() ends with this reason. Any thread; the first stays. */
void kvm_break(KvmVm *v, const char *fmt, ...) PRINTF(2, 3);
void kvm_kick(Cpu *c);

/* ---- mem.c: VM lock ---- */
bool kvm_mem_init(KvmVm *v, Error **err);
void kvm_mem_exit(KvmVm *v);
void kvm_drain(KvmVm *v); /* writes that the kernel collected reach their devices; any thread */

/* ---- irq.c ---- */
bool kvm_irq_init(KvmVm *v, Error **err);
void kvm_irq_exit(KvmVm *v);
bool kvm_lapic_pull(KvmCpu *k, Error **err);
bool kvm_lapic_push(KvmCpu *k, Error **err);
void kvm_inject(KvmCpu *k);  /* before KVM_RUN: NMI, SMI, ExtINT, interrupts of our LAPIC */
void kvm_ran(KvmCpu *k);     /* after it: TPR and APIC base of our LAPIC */

/* ---- x86.c, fpu.c, time.c: registers ---- */
bool kvm_pull(Cpu *c, unsigned groups, Error **err);
bool kvm_push(Cpu *c, unsigned groups, Error **err);
bool kvm_can_hold(Vm *vm, const void *shadow, Error **err);
bool kvm_fpu_init(KvmCpu *k, Error **err);
bool kvm_fpu_pull(KvmCpu *k, Error **err);
bool kvm_fpu_push(KvmCpu *k, Error **err);
bool kvm_fpu_unnamed(const KvmCpu *k); /* are components in use that X86 has no name for? As of the last pull */
void kvm_blob_init(KvmVm *v);
bool kvm_get_msr(KvmCpu *k, uint32_t n, uint64_t *val, Error **err);
bool kvm_set_msr(KvmCpu *k, uint32_t n, uint64_t val, Error **err);
bool kvm_tsc_init(KvmCpu *k, Error **err);
bool kvm_tsc_pull(KvmCpu *k, Error **err);
bool kvm_tsc_push(KvmCpu *k, Error **err);
void kvm_time_stopped(KvmVm *v);
void kvm_time_starts(KvmVm *v);

/* ---- cpuid.c ---- */
bool kvm_cpuid_load(KvmVm *v, Error **err);
void kvm_cpuid_offer(Vm *vm, uint32_t leaf, uint32_t sub, uint32_t out[4]);
bool kvm_cpuid_set(KvmCpu *k, Error **err);

/* ---- report.c, debug.c ---- */
void kvm_explain(KvmCpu *k, long ret); /* fills k->why from the run area */
bool kvm_debug(Cpu *c, const DebugPoint *p, size_t n, bool step, Error **err);
Exit kvm_debug_exit(KvmCpu *k);
#endif
