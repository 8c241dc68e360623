/*
 * core/cpu.h - a virtual CPU, its target (instruction set) and its accelerator. Every accelerator is
 * a producer of exits; the one vCPU loop lives in core/cpu.c, on one host thread per vCPU.
 */
#ifndef CORE_CPU_H
#define CORE_CPU_H
#include "core/mem.h"
#include "core/obj.h"

typedef struct Cpu Cpu;
typedef struct Vm Vm;
struct CpuIntc;
struct IrBlock;

typedef enum ExitKind { EXIT_IO, EXIT_MMIO, EXIT_HALT, EXIT_KICKED, EXIT_DEBUG, EXIT_SHUTDOWN, EXIT_BROKEN } ExitKind;
typedef struct Exit {
    ExitKind kind;
    uint64_t addr;
    void *data;
    unsigned size, count;
    bool write;
    const char *why; /* EXIT_BROKEN */
} Exit;

/* Cpu.request: atomic, any thread sets with cpu_request(), which kicks. The vCPU clears. */
enum {
    CPU_REQ_IRQ = 1,    /* intc may have something: ask intc->pending/ack */
    CPU_REQ_NMI = 2,
    CPU_REQ_SMI = 4,
    CPU_REQ_INIT = 8,
    CPU_REQ_SIPI = 16,  /* vector in sipi_vector */
    CPU_REQ_STOP = 32,  /* leave run(): pause, work queue, unplug */
    CPU_REQ_TLB = 64,   /* engine: flush everything (flat view, A20, ..) */
    CPU_REQ_DEBUG = 128, /* breakpoints changed, single-step */
    CPU_REQ_MCE = 256,
    CPU_REQ_ENGINE = 0xffff0000, /* an accelerator's own */
    CPU_REQ_KEPT = CPU_REQ_STOP | CPU_REQ_TLB | CPU_REQ_DEBUG | CPU_REQ_ENGINE, /* not of the guest's CPU: a reset or a loaded state leaves them */
};
/* mp_state */
enum { CPU_RUNNABLE, CPU_HALTED, CPU_WAIT_SIPI, CPU_OFF, CPU_SHUTDOWN };

typedef enum DebugKind { DBG_BREAK_SW, DBG_BREAK_HW, DBG_WATCH_W, DBG_WATCH_R, DBG_WATCH_RW } DebugKind;
typedef struct DebugPoint {
    DebugKind kind;
    uint64_t addr, len; /* linear address */
} DebugPoint;

typedef struct Accel { /* KVM, software CPU, test */
    const char *name, *desc;
    bool (*smm)(const Vm *vm);    /* does it serve CPU_REQ_SMI and run that in Cpu.mem[1]? NULL: no */
    const struct ObjClass *props; /* -accel X,prop=..: an object class, instance in vm->accel_obj; or NULL */
    bool (*probe)(Error **err);   /* usable on this host? */
    bool (*fast)(Error **why);    /* usable, and worth being chosen unasked? NULL: yes */
    bool (*vm_init)(Vm *vm, Error **err);  /* before any RAM or CPU; registers MemListeners, vm->irq */
    bool (*vm_start)(Vm *vm, Error **err); /* machine complete, before the first run; may be NULL */
    bool (*cpu_init)(Cpu *cpu, Error **err);
    Exit (*run)(Cpu *cpu);        /* on the vCPU thread, no lock held. KVM returns EXIT_MMIO/IO; the software CPU calls as_* itself */
    void (*kick)(Cpu *cpu);       /* any thread: make run() return soon / look at request */
    bool (*pull)(Cpu *cpu, unsigned groups, Error **err); /* accelerator -> regs, lazily; vCPU stopped */
    bool (*push)(Cpu *cpu, unsigned groups, Error **err);
    bool (*can_hold)(Vm *vm, const void *shadow, Error **err); /* asked before a load commits */
    bool (*debug)(Cpu *cpu, const DebugPoint *v, size_t n, bool step, Error **err);
    int64_t (*now)(Vm *vm);       /* NULL: host monotonic */
    void (*cpu_reset)(Cpu *cpu);  /* regs were reset: push */
    void (*cpu_exit)(Cpu *cpu);
    void (*vm_exit)(Vm *vm);
    void (*stats)(Vm *vm, GString *out); /* info jit */
    void (*opcount)(Vm *vm, GString *out); /* info opcount: what has been translated; vCPUs stopped */
    void (*past)(Cpu *cpu, GString *out); /* for an autopsy: what code it ran last, as lines; vCPU stopped. NULL: not known */
    /* What its CPUs can offer of a CPUID leaf; NULL: what the target implements. After vm_init. */
    void (*cpuid)(Vm *vm, uint32_t leaf, uint32_t sub, uint32_t out[4]);
    /* A guest's write to where an eventfd hangs (region_add_eventfd) is no exit, so that it is worth having. NULL: it is one. */
    bool (*eventfds)(Vm *vm);
    uint64_t (*tsc_hz)(Vm *vm);   /* frequency when none is asked for; NULL: the target's default */
} Accel;
#define ACCEL(a)                                                                                   \
    static const Accel *const a##_accel IN_SECTION("accels") = &a
const Accel *accel_find(const char *name);
void accel_foreach(void (*fn)(const Accel *a, void *arg), void *arg);

/* A row of target/X/regs.def is reset, saved state, GDB, KVM sync, `info registers`. */
typedef enum RegGroup { RG_CORE = 1, RG_SEG = 2, RG_SYS = 4, RG_FPU = 8, RG_DEBUG = 16, RG_MSR = 32, RG_EVENT = 64, RG_ALL = ~0 } RegGroup;
typedef struct CpuReg {
    const char *name;
    uint32_t at;      /* offset in Cpu.regs */
    uint16_t bits;    /* 1..512; stored in the next power-of-two bytes (8-bit: 1 byte); 80: 16 bytes */
    uint16_t group;
    int16_t gdb;      /* GDB number, -1 none */
    int32_t kvm;      /* MSR number or accelerator key, -1 none */
    uint64_t reset;
    const char *doc;
} CpuReg;
typedef struct CpuModel {
    const char *name, *desc;
    const void *target_data; /* target/x86/models */
} CpuModel;
typedef struct Walk {
    uint64_t pa;
    uint8_t page_bits, prot /* 1 R 2 W 4 X */, pkey;
    bool global, dirty, user;
    uint32_t fault; /* target's error code when walk fails */
    unsigned levels;          /* trace of the walk, for autopsy and `info tlb` */
    uint64_t entry_at[6], entry[6];
} Walk;
enum { ACC_R = 1, ACC_W = 2, ACC_X = 4, ACC_USER = 8, ACC_PEEK = 16 };
typedef struct Target {
    const char *name; /* "x86_64" */
    size_t regs_size;
    const CpuReg *regs;
    size_t nregs;
    const CpuModel *models;
    size_t nmodels;
    const PropTable *cpu_props; /* of CPU objects; or NULL */
    bool (*cpu_init)(Cpu *cpu, const char *model /* "qemu64,+avx,..": NULL default */, Error **err);
    void (*cpu_reset)(Cpu *cpu, bool init /* INIT keeps more than RESET */);
    bool (*walk)(Cpu *cpu, uint64_t va, unsigned access, Walk *out);
    bool (*check)(Cpu *cpu, const void *regs, Error **err); /* loaded registers are possible */
    uint64_t (*pc)(Cpu *cpu);
    void (*print_regs)(Cpu *cpu, GString *out);   /* info registers */
    /* disassemble around pc with capstone; n instructions */
    void (*disas)(Cpu *cpu, uint64_t va, const uint8_t *code, size_t len, unsigned n, GString *out);
    /* Why did it die? The likely cause in one line, then the details. True: it rebooted on purpose
     * (empty IDT and a trap), no report wanted. vCPU stopped, registers synced. */
    bool (*autopsy)(Cpu *cpu, const Exit *e, GString *first_line, GString *report);
    bool (*irq_open)(Cpu *cpu);                   /* EFLAGS.IF: does a pending interrupt end HALT */
    void (*sipi)(Cpu *cpu, uint8_t vector);       /* after INIT: start at vector * 4096 */
} Target;

/* Targets register like accelerators; NULL name: the first. */
#define TARGET(t)                                                                                  \
    static const Target *const t##_target IN_SECTION("targets") = &t
const Target *target_find(const char *name);

struct Cpu {
    Obj obj; /* /machine/unattached/device[0]; class from the model: "qemu64-x86_64-cpu" */
    const Accel *accel;
    const Target *target;
    Vm *vm;
    unsigned index;
    uint32_t apic_id;
    AddrSpace *mem[2], *ports; /* mem[attrs.secure]: normal, SMM */
    MemAttrs attrs;
    uint8_t mp_state;          /* atomic; changed by the vCPU, or by anyone while it is stopped */
    uint8_t sipi_vector; /* atomic: of the last one that was sent */
    uint32_t request;          /* atomic */
    const struct CpuIntc *intc;
    void *intc_chip;
    void *regs;                /* Target.regs_size bytes, zeroed, page aligned, a stack below them */
    void *engine;              /* the accelerator's own */
    GThread *thread;
    int tid;                   /* of that thread on the host; 0 before it runs */
    bool running;              /* inside run(); atomic */
    bool sleeps_in_run;        /* run() waits in HLT and serves INIT and SIPI itself; mp_state is a copy, by pull */
    bool parked;               /* stopped by vm_stop; VM lock */
    bool dirty;                /* regs were changed from outside: push before run */
    bool stale;                /* regs are older than the accelerator's: pull before reading */
    bool step;                 /* single-step asked by the debugger */
    GQueue work;               /* core's: cpu_run_on */
    GCond wake;
    GMutex wake_lock;
};
Cpu *cpu_new(Vm *vm, const char *model, uint32_t apic_id, Error **err); /* VM lock; thread starts with vm_start */
void cpu_request(Cpu *c, uint32_t bits);  /* any thread: sets, wakes or kicks */
static inline uint32_t cpu_requests(const Cpu *c) { return __atomic_load_n(&c->request, __ATOMIC_ACQUIRE); }
static inline void cpu_request_clear(Cpu *c, uint32_t bits) { __atomic_fetch_and(&c->request, ~bits, __ATOMIC_ACQ_REL); }
void cpu_set_intc(Cpu *c, const struct CpuIntc *ops, void *chip);
void cpu_run_on(Cpu *c, void (*fn)(Cpu *c, void *arg), void *arg); /* on its thread between runs; waits */
/* Does anything end HALT or WAIT_SIPI, or is it runnable? INIT, SIPI and the waking from HALT are served by
 * cpu_loop in core between two run()s (run() only has to return EXIT_KICKED when it sees those bits);
 * NMI, SMI and IRQ delivery are the accelerator's. Any thread. */
bool cpu_wants_to_run(Cpu *c);
void cpu_park(Cpu *c, unsigned vm_request, const Exit *e); /* on its thread: ask the VM, do not run until it answered */
Cpu *cpu_self(void); /* the vCPU whose thread this is, or NULL */
/* Registers from outside (monitor, gdb, firmware loaders): the vCPU must be stopped. By name. */
bool cpu_pull(Cpu *c, unsigned groups, Error **err); /* if stale: from the accelerator */
bool cpu_sync(Cpu *c, unsigned groups); /* the same; what goes wrong is said on stderr */
void cpu_touch(Cpu *c);                 /* regs were changed: push before the next run */
bool cpu_set_reg(Cpu *c, const char *name, uint64_t v);
bool cpu_get_reg(Cpu *c, const char *name, uint64_t *v);
void cpu_reset(Cpu *c);
/* Virtual memory as the CPU sees it, no side effects (PEEK). */
bool cpu_read_va(Cpu *c, uint64_t va, void *buf, size_t len);
bool cpu_write_va(Cpu *c, uint64_t va, const void *buf, size_t len);
#endif
