/*
 * target/x86/fpu.h - the calls that work on the state of x87, MMX and SSE (cpu.h). Only the vCPU's
 * own thread touches it.
 */
#ifndef TARGET_X86_FPU_H
#define TARGET_X86_FPU_H
#include "target/x86/cpu.h"

/* FSW and MXCSR bits. */
enum {
    FPE_I = 1,
    FPE_D = 2,
    FPE_Z = 4,
    FPE_O = 8,
    FPE_U = 16,
    FPE_P = 32,
    FPE_ALL = 63,
    FSW_SF = 64,
    FSW_ES = 128,
    FSW_B = 0x8000,
    FSW_TOP = 0x3800,
    MXCSR_DAZ = 64,
    MXCSR_FTZ = 0x8000,
    MXCSR_BITS = 0xffff, /* what every CPU has; X86.mxcsr_mask says what this one has */
    MXCSR_RESET = 0x1f80,
    XSTATE_X87 = 1,
    XSTATE_SSE = 2,
    XSTATE_YMM = 4,
    XSTATE_ALL = 7,
    XSTATE_SIZE = 832,
};

/* What an operation asks of its caller. Bits 0..11 may be EFLAGS (CF PF AF ZF SF OF). */
enum { FPU_XM = 1u << 31, FPU_MF = 1u << 30, FPU_UD = 1u << 29, FPU_GP = 1u << 28 };

/*
 * A vector operation: d is the destination (also first source), s the second source: an XMM
 * register, or 16 readable bytes of which a narrow memory operand fills the first. General
 * registers are passed as uint64_t. It sets the six flags or raises #XM by itself; the answer (the
 * flags, or FPU_XM: nothing was written) is for tests.
 */
typedef unsigned VopFn(Env *e, void *d, const void *s, unsigned imm);
unsigned vop_flags(Env *e, unsigned eflags);
/* Adds the FPE_* that an operation found to MXCSR. True: one of them is unmasked, #XM (or #UD) is raised. */
bool vop_raise(Env *e, unsigned flags);
static inline bool vop_raised(Env *e, unsigned flags)
{
    if (UNLIKELY(flags & ~(x86(e)->mxcsr >> 7)))
        return vop_raise(e, flags);
    x86(e)->mxcsr |= flags;
    return false;
}
typedef enum X86VopId {
#define VOP(name, kind, insn, feature) VOP_##name,
#include "target/x86/vops.def"
    VOP_COUNT
} X86VopId;
typedef enum X86VopFeature {
    VF_sse2,
    VF_ssse3,
    VF_sse41,
    VF_sse42,
    VF_aes,
    VF_pclmul,
    VF_sha,
    VF_avx2, /* and what came with it, FMA apart */
    VF_vaes,
    VF_vpclmul
} X86VopFeature;

/*
 * VEX: d = a op b, 16 bytes of result and zeros, or 32. imm: the immediate byte and VEX_L. d is also a source of FMA.
 * All are 32-byte vector registers; a source in memory fills the first bytes.
 */
enum { VEX_L = 1 << 8 };
typedef unsigned VexFn(Env *e, void *d, const void *a, const void *b, unsigned imm);
typedef enum X86VexId {
#define VEX(name, ...) VEX_##name,
#include "target/x86/vexops.def"
    VEX_COUNT
} X86VexId;
VexFn *x86_vex(X86VexId id);           /* any thread */
unsigned x86_vex_effect(X86VexId id);  /* VOP_PLAIN.. */
bool x86_host_fma(void);               /* does FMA work here? */
enum { VOP_PLAIN, VOP_RAISES, VOP_FLAGS /* may raise too */ };
extern const uint8_t x86_vop_effect[VOP_COUNT];
typedef struct X86Vop {
    const char *name;
    VopFn *fn;
    uint8_t feature;
} X86Vop;
extern const X86Vop x86_vop_ref[VOP_COUNT];  /* plain C */
extern const X86Vop x86_vop_host[VOP_COUNT]; /* instructions of an x86-64 host, only there */
bool x86_host_vec_has(X86VopFeature f);

/*
 * x87: one instruction D8..DF with a ModRM byte. op11 = (opcode & 7) << 8 | modrm; for memory forms
 * mem holds the operand (loaded before, stored after by the caller: see x87_mem()).
 * Answers 0, FPU_MF (a pending exception: nothing done) or FPU_UD. *stored tells that mem is to be
 * written back (an unmasked exception may suppress the store).
 * EFLAGS of FCOMI and its like are answered in *eflags; FCMOV reads it. NULL is allowed elsewhere.
 */
typedef unsigned X87Fn(X86Fpu *f, unsigned op11, void *mem, bool *stored, uint32_t *eflags);

/* Who computes x87 and vectors: the units of an x86-64 host, or C. */
typedef struct X86Units {
    const char *name;
    const X86Vop *vops; /* what is not in it, or not on this host, is in x86_vop_ref */
    X87Fn *x87;
} X86Units;
extern const X86Units *const x86_units_host; /* NULL: another kind of host */
extern const X86Units *const x86_units_c;    /* NULL: built without MPFR */
const X86Units *x86_units(void);             /* those that new vCPUs use, by the build option portable_fp */
/* The function of these units. Any thread. */
VopFn *x86_vop(const X86Units *u, X86VopId id);
/* Memory operand of op11: bytes read or written (0: register form); negative: written. -128: UD. */
int x87_mem(unsigned op11);
static inline bool x87_pending(const X86Fpu *f) { return f->sw & FSW_ES; }
/* Before an instruction that waits, an unmasked exception pending. False: a fault is set. True: IGNNE# says go on. */
bool x87_report(X86 *s);
void x87_init(X86Fpu *f); /* FNINIT */
void x87_clex(X86Fpu *f); /* FNCLEX */
void x87_set_cw(X86Fpu *f, uint16_t cw);
/* FSTENV/FLDENV (28 or 14 bytes) and FSAVE/FRSTOR (108 or 94). */
typedef enum X87Env { X87_P32, X87_R32, X87_P16, X87_R16 } X87Env;
unsigned x87_env_size(X87Env e);
void x87_stenv(X86Fpu *f, X87Env e, uint8_t *out);
void x87_ldenv(X86Fpu *f, X87Env e, const uint8_t *in);
void x87_save(X86Fpu *f, X87Env e, uint8_t *out);
void x87_rstor(X86Fpu *f, X87Env e, const uint8_t *in);
uint16_t x87_full_tag(const X86Fpu *f);

/* MMX: call before an MMX instruction reads its registers and x86_mmx_wrote() for its destination.
 */
static inline unsigned x86_top(const X86Fpu *f) { return f->sw >> 11 & 7; }
static inline void x86_mmx_enter(X86Fpu *f)
{
    f->sw &= (uint16_t)~FSW_TOP;
    f->tags = 0xff;
}
static inline void x86_mmx_wrote(X86Fpu *f, unsigned n) { f->st[n][8] = f->st[n][9] = 0xff; }
static inline void x86_emms(X86Fpu *f)
{
    f->tags = 0;
    f->sw &= (uint16_t)~FSW_TOP;
}

/* FXSAVE area, 512 bytes (bytes 464..511 are left alone). xmm: how many XMM registers (0, 8, 16).
 */
void x86_fxsave(X86 *s, uint8_t out[512], bool rexw, unsigned xmm);
/* False: #GP (MXCSR with reserved bits), nothing loaded. */
bool MUST x86_fxrstor(X86 *s, const uint8_t in[512], bool rexw, unsigned xmm);

/*
 * XSAVE family. area: the XSAVE area as loaded from memory (size bytes; what is not saved keeps its
 * contents). rfbm is EDX:EAX & XCR0. long_mode: 16 XMM registers, else 8.
 */
uint64_t x86_xinuse(X86 *s); /* XINUSE: components that are not in their first state */
typedef enum X86XsaveKind { XS_SAVE, XS_OPT, XS_C, XS_S } X86XsaveKind;
unsigned x86_xsave_size(uint64_t components, bool compact);
void x86_xsave(X86 *s, uint8_t *area, X86XsaveKind kind, uint64_t rfbm, bool rexw, bool long_mode);
/* 0 or FPU_GP. s_form: XRSTORS. */
unsigned x86_xrstor(X86 *s, const uint8_t *area, uint64_t rfbm, bool s_form, bool rexw,
                    bool long_mode);
#endif
