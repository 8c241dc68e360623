/*
 * target/x86/cpu.h - the state of an x86 vCPU (Cpu.regs) and what the system side offers to helpers.
 * One memory for every engine: KVM copies into it on pull, the software CPU runs on it. regs.def names each
 * register. Owned by the vCPU's thread while it runs. Source: Intel SDM vol. 3, AMD APM vol. 2.
 */
#ifndef TARGET_X86_CPU_H
#define TARGET_X86_CPU_H
#include "core/irqchip.h"
#include "core/vm.h"
#include "target/x86/decode.h"
#include "tcg/runtime.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, V_SEGBASE = 16 /* es cs ss ds fs gs */ };

/* attr: bits 8..23 of a descriptor's upper half: type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15; 16: unusable */
enum { SA_S = 1 << 4, SA_P = 1 << 7, SA_L = 1 << 13, SA_DB = 1 << 14, SA_G = 1 << 15, SA_NULL = 1 << 16 };
#define SA_DPL(a) ((a) >> 5 & 3)
typedef struct X86Seg { /* the base of the six is Env.v[V_SEGBASE + n] */
    uint32_t attr, limit;
    uint16_t sel;
    uint8_t pad[6];
} X86Seg;
typedef struct X86Table {
    uint64_t base;
    uint32_t limit, attr;
    uint16_t sel;
    uint8_t pad[6];
} X86Table;

enum { EF_CF = 1, EF_PF = 4, EF_AF = 16, EF_ZF = 64, EF_SF = 128, EF_TF = 0x100, EF_IF = 0x200, EF_DF = 0x400, EF_OF = 0x800,
       EF_IOPL = 0x3000, EF_NT = 0x4000, EF_RF = 0x10000, EF_VM = 0x20000, EF_AC = 0x40000, EF_VIF = 0x80000,
       EF_VIP = 0x100000, EF_ID = 0x200000, EF_ARITH = 0x8d5 };
enum { CR0_PE = 1, CR0_MP = 2, CR0_EM = 4, CR0_TS = 8, CR0_ET = 16, CR0_NE = 32, CR0_WP = 1 << 16, CR0_AM = 1 << 18,
       CR0_NW = 1 << 29, CR0_CD = 1 << 30 };
#define CR0_PG (1u << 31)
enum { CR4_VME = 1, CR4_PVI = 2, CR4_TSD = 4, CR4_DE = 8, CR4_PSE = 16, CR4_PAE = 32, CR4_MCE = 64, CR4_PGE = 128,
       CR4_PCE = 256, CR4_OSFXSR = 512, CR4_OSXMMEXCPT = 1024, CR4_UMIP = 2048, CR4_LA57 = 4096, CR4_FSGSBASE = 1 << 16,
       CR4_PCIDE = 1 << 17, CR4_OSXSAVE = 1 << 18, CR4_SMEP = 1 << 20, CR4_SMAP = 1 << 21, CR4_PKE = 1 << 22 };
enum { EFER_SCE = 1, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11, EFER_SVME = 1 << 12, EFER_FFXSR = 1 << 14 };
enum { EXC_DE, EXC_DB, EXC_NMI, EXC_BP, EXC_OF, EXC_BR, EXC_UD, EXC_NM, EXC_DF, EXC_TS = 10, EXC_NP, EXC_SS, EXC_GP, EXC_PF,
       EXC_MF = 16, EXC_AC, EXC_MC, EXC_XM };
enum { SHADOW_STI = 1, SHADOW_SS = 2 };
enum { DR6_BD = 1 << 13, DR6_BS = 1 << 14, DR6_BT = 1 << 15, DR7_GD = 1 << 13 };
enum { VIEW_KERNEL, VIEW_USER, VIEW_KERNEL_AC, VIEWS };

/* Mode word: what translation bakes in. Every control bit is here, or read by a helper, or flushes. */
enum { MODE_CODE = 3 /* CodeSize */, MODE_SS32 = 4, MODE_PE = 8, MODE_VM = 16, MODE_CPL_SHIFT = 5, MODE_CPL = 3 << 5,
       MODE_ONE = 1 << 7 /* one instruction per block: TF, breakpoints, counting */, MODE_SHADOW = 1 << 8,
       MODE_BASE_SHIFT = 9 /* 6 bits: base is not zero */, MODE_CHECK_SHIFT = 15 /* 6 bits: limit or type must be checked */,
       MODE_EM = 1 << 21, MODE_TS = 1 << 22, MODE_MP = 1 << 23, MODE_FXSR = 1 << 24, MODE_AC = 1 << 25 /* alignment checks */,
       MODE_XSAVE = 1 << 26, MODE_SMM = 1 << 27, MODE_AVX = 1 << 28 /* OSXSAVE and XCR0 have it */,
       MODE_WINDOW = ENV_MODE_WINDOW };

typedef struct X86Fpu {
    uint8_t st[8][16]; /* physical registers, 80 bits each */
    uint16_t cw, sw, tags /* one bit a register: 1 = not empty */, op;
    uint64_t ip, dp;
    uint16_t cs, ds;
    uint8_t pad[4];
} X86Fpu;

typedef struct X86Mtrr {
    uint64_t base[8], mask[8], fixed[11], def;
} X86Mtrr;

typedef struct X86Cpuid {
    uint32_t leaf, sub, a, b, c, d;
    bool by_sub;
} X86Cpuid;

/* CPUID words that features.def names bits of: leaf 1 EDX ECX, 7 EBX ECX EDX, 80000001 EDX ECX, D.1 EAX, 6 EAX */
enum { W_1D, W_1C, W_7B, W_7C, W_7D, W_81D, W_81C, W_D1A, W_6A, W_7A1, W_7D1, W_7D2, W_87B, W_87D, W_88B, W_8AD, W_821A, W_CAP /* MSR */, WORDS };
/*
 * The VM's clock between two looks at it, by the host's time stamp counter: ns + (ticks since `host`) * rate >> 32, for no
 * longer than `span` ticks. rate is a little too small, so it is never ahead of the clock.
 */
typedef struct X86Ticks {
    uint64_t host, ns, span, rate;
    uint64_t base, base_ns; /* what the rate is measured from; 0: not yet */
    uint64_t least;         /* ticks that a look at the clock takes */
} X86Ticks;
struct TcgCpu;
typedef struct X86 {
    Env env; /* first: general registers, pc, arithmetic flags, xmm/ymm */
    uint64_t eflags; /* without the six arithmetic flags, which are env.cc */
    X86Seg seg[6];
    X86Table gdt, idt, ldt, tr;
    uint64_t cr0, cr2, cr3, cr4, dr[8], efer, xcr0, xss;
    uint64_t star, lstar, cstar, sfmask, kernelgsbase, sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, tsc_offset, tsc_adjust, tsc_aux, misc_enable, spec_ctrl, pdpte[4], smbase, mcg_status, mcg_ctl, feature_control;
    uint64_t kvm_clock, kvm_wall, kvm_async, kvm_steal; /* PV-clock MSRs: only what CPUID claims */
    uint32_t mxcsr, pkru;
    X86Fpu fpu;
    X86Mtrr mtrr;
    /* in flight (3b.22) */
    uint8_t cpl, shadow /* SHADOW_* */, nmi_blocked, smm, smm_nmi_was_blocked, halted;
    uint8_t exc_pending, exc_vector, exc_has_error, int_pending, int_vector;
    uint32_t exc_error;
    uint64_t exc_addr;
    uint64_t monitor_addr;
    /* derived or of the process */
    struct TcgCpu *tcg;
    const struct X86Units *units; /* fpu.h */
    X86Cpuid *cpuid;
    unsigned ncpuid;
    uint64_t features[8]; /* bit per X86Feature, target/x86/models */
    uint64_t tsc_hz;
    uint32_t mxcsr_mask, cpuid_words[WORDS];
    struct X86Choice *choice; /* models.c's; owned by the Cpu */
    uint8_t phys_bits, vendor_amd;
    Fault chain[3]; /* how the last triple fault came about */
    unsigned nchain;
    uint64_t dr7_points; /* enabled hardware breakpoints: MODE_ONE while set */
    uint32_t db_pending; /* DR6 bits that become #DB at the end of the instruction */
    uint8_t db_data;     /* debug registers armed for data */
    bool ext;            /* an event is being delivered: error codes get EXT */
    uint64_t sti_next;   /* STI was last done ahead of this pc, in a block: if the vCPU stops there, it is in STI's shadow */
    bool no_step;        /* this instruction entered a handler: no single-step trap after it */
    uint64_t before_smm[4]; /* what steered address translation when SMM was entered */
    bool debug_one;      /* a debugger's breakpoints or step */
    X86Ticks ticks;
} X86;
static inline X86 *x86(Env *e) { return (X86 *)(void *)e; }
static inline X86 *x86_of(Cpu *c) { return c->regs; }
extern const Target target_x86;

static inline uint64_t seg_base(const X86 *s, unsigned n) { return s->env.v[V_SEGBASE + n]; }
/* A segment's attributes for the outside, which takes the privilege level from SS's DPL: AMD's SYSRET does not set that. */
static inline uint32_t seg_attr(const X86 *s, unsigned n)
{
    return n == SEG_SS ? (s->seg[n].attr & ~(3u << 5)) | (uint32_t)s->cpl << 5 : s->seg[n].attr;
}
static inline bool long_mode(const X86 *s) { return s->efer & EFER_LMA; }
static inline bool code64(const X86 *s) { return long_mode(s) && s->seg[SEG_CS].attr & SA_L; }
static inline bool vm86(const X86 *s) { return s->eflags & EF_VM; }
static inline bool protected_mode(const X86 *s) { return s->cr0 & CR0_PE && !vm86(s); }
static inline unsigned iopl(const X86 *s) { return s->eflags >> 12 & 3; }
static inline bool canonical(const X86 *s, uint64_t va)
{
    unsigned sh = s->cr4 & CR4_LA57 ? 7 : 16;

    return (uint64_t)((int64_t)(va << sh) >> sh) == va;
}
/* Do n bytes at va leave the address space: past what is canonical, or outside 64-bit code past 4 GiB, where a flat segment ends? #GP. */
static inline bool x86_past_end(const X86 *s, uint64_t va, unsigned n)
{
    return code64(s) ? !canonical(s, va) || !canonical(s, va + n - 1) : ((uint64_t)(uint32_t)va + n - 1) >> 32;
}

/* flags.c of the target: EFLAGS whole */
uint64_t x86_eflags(const X86 *s);
void x86_set_eflags(X86 *s, uint64_t v, uint64_t mask); /* any bits; recomputes the mode */
/* The same for what goes on at another instruction, which no breakpoint stops if RF is set. Without breakpoints RF ends here, or an INT there would push it. */
void x86_return_eflags(X86 *s, uint64_t v, uint64_t mask);
/* After any change of CS, SS, segments, CPL, CR0, CR4, EFER, EFLAGS.VM/TF/AC: mode word and view. */
void x86_update_mode(X86 *s);
void x86_rearm(X86 *s);       /* IF was set: what waits for that is looked at soon */
void x86_update_view(X86 *s); /* enough when EFLAGS.AC changed in ring 0 */
/* Exceptions: set the fault, delivered by the dispatcher. Always false / 0. */
bool x86_raise(X86 *s, unsigned vector, uint32_t err);
bool x86_raise_pf(X86 *s, uint64_t va, uint32_t err);
/* debug.c: the guest's debug registers. After any change of DR0..7; recomputes the mode: */
void x86_arm_debug(X86 *s);
bool x86_data_break_page(const X86 *s, uint64_t page); /* keep this page out of the TLB? */
void x86_data_break(X86 *s, uint64_t va, unsigned n, bool write); /* an access that will be done */
void x86_io_break(X86 *s, uint16_t port, unsigned n);
bool x86_code_break(X86 *s);             /* at env.pc, before the instruction; true: #DB is raised */
void x86_sti_shadow(X86 *s);             /* no fault waits: env.pc may be right behind an STI */
bool x86_after_insn(X86 *s, bool tf);    /* an instruction that began with TF = tf is done; true: #DB is raised */
/* excp.c */
bool x86_deliver(X86 *s); /* env.fault -> handler; false: shutdown */
bool x86_interrupt(X86 *s, unsigned vector, bool soft, uint64_t next_pc); /* false: env.fault set */
void x86_smi(X86 *s);
bool x86_rsm(X86 *s);
/* vm86.c: INT n in virtual-8086 mode. True: by the IDT as ever; false: done by redirection, or a fault is set. */
bool x86_vm86_int(X86 *s, unsigned vector, uint64_t next);
uint64_t x86_vm86_flags(const X86 *s);           /* the 16-bit image with CR4.VME */
bool x86_vm86_set_flags(X86 *s, uint64_t f);     /* from such an image, IOPL < 3; false: #GP */
/* seg.c */
bool x86_load_seg(X86 *s, unsigned n, uint16_t sel);         /* all rules; false: fault */
void x86_set_seg(X86 *s, unsigned n, uint16_t sel, uint64_t base, uint32_t limit, uint32_t attr);
bool x86_fetch_desc(X86 *s, uint16_t sel, uint64_t *desc);   /* no fault: outside the table */
uint64_t x86_desc_base(uint64_t d);
uint32_t x86_desc_limit(uint64_t d);
uint32_t x86_desc_attr(uint64_t d);
void x86_set_cs(X86 *s, uint16_t sel, uint64_t d, unsigned cpl);
bool x86_in_limit(uint32_t attr, uint32_t limit, uint64_t off, uint64_t n); /* n bytes at off lie in the segment */
/* task.c */
bool x86_task_switch(X86 *s, uint16_t sel, unsigned why /* 0 jmp 1 call/int 2 iret */, bool has_err, uint32_t err, uint64_t next);
/* walk.c */
bool x86_walk(Cpu *c, uint64_t va, unsigned access, Walk *out);
bool x86_page_walk(X86 *s, uint64_t va, unsigned access, Walk *out);
/* memory as the CPU reaches it, linear; _sys: as supervisor (descriptor tables, TSS). false: fault set */
bool x86_read(X86 *s, uint64_t va, unsigned n, uint64_t *v);
bool x86_write(X86 *s, uint64_t va, unsigned n, uint64_t v);
bool x86_read_sys(X86 *s, uint64_t va, unsigned n, uint64_t *v);
bool x86_write_sys(X86 *s, uint64_t va, unsigned n, uint64_t v);
/* An access of n bytes to an address that should be a multiple of `align`, a power of two. false: alignment check, #AC raised;
 * not where #GP for the same access comes first (x86_past_end()). */
bool x86_aligned(X86 *s, uint64_t va, unsigned align, unsigned n);
/* accel/tcg, on the vCPU's thread; nothing to do when another accelerator runs the vCPU */
void tcg_flush_all(X86 *s);             /* every translation of addresses */
void tcg_pkru_changed(X86 *s, uint32_t old); /* PKRU was `old` */
void tcg_flush_nonglobal(X86 *s);       /* of all PCIDs */
void tcg_flush_pcid(X86 *s, unsigned pcid);             /* all but global ones of one PCID */
void tcg_flush_page(X86 *s, uint64_t va);               /* of all PCIDs, global or not */
void tcg_flush_pcid_page(X86 *s, unsigned pcid, uint64_t va);
/* CR3 was written, or SMM entered or left; keep: what that PCID (SMM apart) had stays good. */
void tcg_set_cr3(X86 *s, bool keep);
void tcg_set_view(X86 *s, unsigned view);
void tcg_mode_changed(X86 *s);          /* env.mode was set */
/* Host address of the byte at pa when it is RAM, else NULL; as as_ram(), but cached. */
uint8_t *tcg_ram(X86 *s, uint64_t pa, RamBlock **block, uint64_t *off, bool *writable);
/* Where the page table for 2 MiB of the current address space lies: a paging-structure cache, dropped by whatever
 * flushes anything. hit: the answer is about va, else it may be filled for it. NULL: there is no cache. */
typedef struct X86WalkEnt {
    uint64_t key, gen;
    uint64_t *table; /* NULL: nothing is known */
    RamBlock *block;
    uint64_t pa, off; /* of the table, and in the block */
    unsigned rights; /* of the levels above, and-ed */
    bool nx;         /* .. or-ed */
} X86WalkEnt;
X86WalkEnt *tcg_walk_ent(X86 *s, uint64_t va, bool *hit);
void tcg_guest_watch(X86 *s); /* db_data changed */
/* msr.c, cpuid.c */
bool x86_rdmsr(X86 *s, uint32_t msr, uint64_t *v); /* false: #GP */
bool x86_wrmsr(X86 *s, uint32_t msr, uint64_t v);
void x86_cpuid(X86 *s, uint32_t leaf, uint32_t sub, uint32_t out[4]);
uint64_t x86_tsc(X86 *s);
void x86_ticks_reset(X86 *s); /* the VM's clock may have stood still */
bool x86_host_ticks_steady(void); /* the host's counter never stops or changes its rate */
bool x86_set_cr0(X86 *s, uint64_t v); /* false: fault set */
bool x86_set_cr3(X86 *s, uint64_t v);
bool x86_set_cr4(X86 *s, uint64_t v);
bool x86_set_efer(X86 *s, uint64_t v);
void x86_reset(Cpu *c, bool init);
/* The A20 gate of the machine (i8042, port 92): open lets address bit 20 through, on every vCPU. Any thread. */
void x86_set_a20(Vm *vm, bool open);
#endif
