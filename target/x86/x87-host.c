/*
 * x87-host.c - x87 by the x86-64 host's own x87, exact in results, tags, condition codes and
 * exceptions. Chosen by meson on x86-64 hosts. The common arithmetic and moves, with exceptions
 * masked and registers in use, take a short path; everything else loads the guest's whole x87 state
 * into the host by FXRSTOR, runs the very instruction and reads the state back. An unmasked
 * exception stays pending in the saved status word: the host never traps, since FNINIT follows
 * FXSAVE at once.
 */
#include "target/x86/x87-regs.h"

/* One stub of 4 bytes per instruction: registers (512), then memory at [rdi] (64). */
__asm__(
    ".text\n\t.balign 16\n"
    "menura_x87_reg:\n"
    ".set op, 0\n"
    ".rept 8\n\t.set rm, 0xc0\n\t.rept 64\n\t.byte 0xd8 + op, rm, 0xc3, 0xcc\n\t.set rm, rm + 1\n"
    "\t.endr\n\t.set op, op + 1\n.endr\n"
    "menura_x87_mem:\n"
    ".set op, 0\n"
    ".rept 8\n\t.set rm, 7\n\t.rept 8\n\t.byte 0xd8 + op, rm, 0xc3, 0xcc\n\t.set rm, rm + 8\n"
    "\t.endr\n\t.set op, op + 1\n.endr\n"
    /* (area, stub, mem, flags) */
    "menura_x87_run:\n"
    "\tfxrstor64 (%rdi)\n\tmov %rdi, %r8\n\tmov %rdx, %rdi\n\tcall *%rsi\n"
    "\tfxsave64 (%r8)\n\tfninit\n\tret\n"
    "menura_x87_run_flags:\n"
    "\tfxrstor64 (%rdi)\n\tmov %rdi, %r8\n\tpushq (%rcx)\n\tpopfq\n\tcall *%rsi\n"
    "\tpushfq\n\tpopq (%rcx)\n\tfxsave64 (%r8)\n\tfninit\n\tret\n");
extern const uint8_t menura_x87_reg[] __attribute__((visibility("hidden")));
extern const uint8_t menura_x87_mem[] __attribute__((visibility("hidden")));
void menura_x87_run(void *area, const uint8_t *stub, void *mem, uint64_t *flags);
void menura_x87_run_flags(void *area, const uint8_t *stub, void *mem, uint64_t *flags);

static unsigned whole(X86Fpu *f, unsigned op11, void *mem, bool *stored, uint32_t *eflags)
{
    _Alignas(16) uint8_t area[512];
    const unsigned top = x86_top(f), op = op11 >> 8, rm = op11 & 255;
    const uint32_t mxcsr = MXCSR_RESET;
    uint64_t fl = 2;
    unsigned now;

    memset(area, 0, sizeof(area));
    memcpy(area, &f->cw, 2);
    memcpy(area + 2, &f->sw, 2);
    area[4] = (uint8_t)f->tags;
    memcpy(area + 24, &mxcsr, 4);
    for (unsigned i = 0; i < 8; i++)
        memcpy(area + 32 + 16 * i, f->st[(top + i) & 7], 10);
    if (rm < 0xc0) {
        menura_x87_run(area, menura_x87_mem + 4 * (op * 8 + (rm >> 3 & 7)), mem, &fl);
    } else if (eflags) {
        fl = (*eflags & 0x8d5) | 2;
        menura_x87_run_flags(area, menura_x87_reg + 4 * (op * 64 + (rm & 63)), mem, &fl);
        *eflags = (*eflags & ~0x8d5u) | ((uint32_t)fl & 0x8d5);
    } else {
        menura_x87_run(area, menura_x87_reg + 4 * (op * 64 + (rm & 63)), mem, &fl);
    }
    memcpy(&f->sw, area + 2, 2);
    f->tags = area[4];
    now = x86_top(f);
    for (unsigned i = 0; i < 8; i++)
        memcpy(f->st[(now + i) & 7], area + 32 + 16 * i, 10);
    if (f->sw & FSW_ES)
        f->op = (uint16_t)op11;
    *stored = !(f->sw & ~f->cw & (FPE_ALL & ~FPE_P));
    return 0;
}

#define C1 0x200u
static const uint16_t plain_cw = 0x37f;

/* Begin and end a short run under the guest's control word; the host's flags are clear outside. */
#define ENTER(f)                                                                                   \
    do {                                                                                           \
        if (UNLIKELY((f)->cw != plain_cw))                                                         \
            __asm__ volatile("fldcw %0" ::"m"((f)->cw));                                           \
    } while (0)

static inline void leave(X86Fpu *f, uint16_t sw)
{
    if (sw & FPE_ALL)
        __asm__ volatile("fnclex");
    if (UNLIKELY(f->cw != plain_cw))
        __asm__ volatile("fldcw %0" ::"m"(plain_cw));
    f->sw = (uint16_t)((f->sw & ~C1) | (sw & (FPE_ALL | C1)));
}

/* a = a op b; the operand order of the NaN rule is that of the instruction. */
static void arith(X86Fpu *f, unsigned kind, uint8_t *d, const uint8_t *a, const uint8_t *b)
{
    uint16_t sw = 0;

    ENTER(f);
#define RUN(insn)                                                                                  \
    __asm__ volatile("fldt %2\n\tfldt %3\n\t" insn "\n\tfnstsw %0\n\tfstpt %1"                     \
                     : "=&a"(sw), "=m"(*(uint8_t(*)[10])d)                                         \
                     : "m"(*(const uint8_t(*)[10])a), "m"(*(const uint8_t(*)[10])b))
    switch (kind) { /* st1 = a, st0 = b */
    case 0:
        RUN("faddp");
        break;
    case 1:
        RUN("fmulp");
        break;
    case 4:
        RUN(".byte 0xde, 0xe9"); /* fsubp: st1 = st1 - st0 */
        break;
    case 5:
        RUN(".byte 0xde, 0xe1"); /* fsubrp: st1 = st0 - st1 */
        break;
    case 6:
        RUN(".byte 0xde, 0xf9");
        break;
    default:
        RUN(".byte 0xde, 0xf1");
        break;
    }
#undef RUN
    leave(f, sw);
}

/* Push what mem holds; 0: not for the short path. */
static bool push_mem(X86Fpu *f, unsigned what, const void *mem)
{
    uint8_t r[10];
    uint16_t sw;

    if (x87_used(f, 7))
        return false;
    ENTER(f);
#define LOAD(insn, T)                                                                              \
    __asm__ volatile(insn " %2\n\tfnstsw %0\n\tfstpt %1"                                           \
                     : "=&a"(sw), "=m"(r)                                                          \
                     : "m"(*(const T *)mem))
    switch (what) {
    case 0x100:
        LOAD("flds", uint32_t);
        break;
    case 0x500:
        LOAD("fldl", uint64_t);
        break;
    case 0x300:
        LOAD("fildl", uint32_t);
        break;
    default:
        LOAD("fildll", uint64_t);
        break;
    }
#undef LOAD
    leave(f, sw);
    x87_set_top(f, x86_top(f) - 1);
    memcpy(x87_st(f, 0), r, 10);
    x87_use(f, 0);
    return true;
}

static bool store_mem(X86Fpu *f, bool wide, bool pops, void *mem)
{
    const uint8_t *s = x87_st(f, 0);
    uint16_t sw;

    if (!x87_used(f, 0))
        return false;
    ENTER(f);
    if (wide)
        __asm__ volatile("fldt %2\n\tfstpl %1\n\tfnstsw %0"
                         : "=&a"(sw), "=m"(*(uint64_t *)mem)
                         : "m"(*(const uint8_t(*)[10])s));
    else
        __asm__ volatile("fldt %2\n\tfstps %1\n\tfnstsw %0"
                         : "=&a"(sw), "=m"(*(uint32_t *)mem)
                         : "m"(*(const uint8_t(*)[10])s));
    leave(f, sw);
    if (pops)
        x87_pop(f);
    return true;
}

/* D8 and DC memory forms that are not compares: ST0 = ST0 op float or double. */
static bool arith_mem(X86Fpu *f, unsigned op11, const void *mem)
{
    unsigned kind = op11 >> 3 & 7;
    uint8_t *d = x87_st(f, 0);
    uint16_t sw;

    if (kind == 2 || kind == 3 || !x87_used(f, 0))
        return false;
    ENTER(f);
#define RUN(insn, T)                                                                               \
    __asm__ volatile("fldt %1\n\t" insn " %2\n\tfnstsw %0\n\tfstpt %1"                             \
                     : "=&a"(sw), "+m"(*(uint8_t(*)[10])d)                                         \
                     : "m"(*(const T *)mem))
    switch (kind | (op11 & 0x400) >> 7) {
    /* clang-format off */
    case 0: RUN("fadds", uint32_t); break;
    case 1: RUN("fmuls", uint32_t); break;
    case 4: RUN("fsubs", uint32_t); break;
    case 5: RUN("fsubrs", uint32_t); break;
    case 6: RUN("fdivs", uint32_t); break;
    case 7: RUN("fdivrs", uint32_t); break;
    case 8: RUN("faddl", uint64_t); break;
    case 9: RUN("fmull", uint64_t); break;
    case 12: RUN("fsubl", uint64_t); break;
    case 13: RUN("fsubrl", uint64_t); break;
    case 14: RUN("fdivl", uint64_t); break;
    default: RUN("fdivrl", uint64_t); break;
        /* clang-format on */
    }
#undef RUN
    leave(f, sw);
    return true;
}

static bool quick_mem(X86Fpu *f, unsigned op11, void *mem)
{
    switch (op11 & 0x738) {
    case 0x100:
    case 0x500:
    case 0x300:
    case 0x728:
        return push_mem(f, op11 & 0x738, mem);
    case 0x110:
    case 0x118:
        return store_mem(f, false, op11 & 8, mem);
    case 0x510:
    case 0x518:
        return store_mem(f, true, op11 & 8, mem);
    default:
        return !(op11 & 0x300) && arith_mem(f, op11, mem);
    }
}

/* D8, DC, DE register arithmetic. With ST(i) as destination the subtract and divide pairs swap. */
static bool arith_reg(X86Fpu *f, unsigned op, unsigned kind, unsigned i)
{
    uint8_t *t = x87_st(f, 0), *s = x87_st(f, i);

    if (!x87_used(f, 0) || !x87_used(f, i))
        return false;
    if (op == 0)
        arith(f, kind, t, t, s);
    else
        arith(f, kind & 4 ? kind ^ 1 : kind, s, s, t);
    if (op == 6)
        x87_pop(f);
    return true;
}

static bool quick_reg(X86Fpu *f, unsigned op11)
{
    const unsigned op = op11 >> 8, kind = op11 >> 3 & 7, i = op11 & 7;
    uint8_t t[10];

    if ((op == 0 || op == 4 || op == 6) && kind != 2 && kind != 3)
        return arith_reg(f, op, kind, i);
    if (!x87_used(f, 0))
        return false;
    if (op == 1 && kind == 0 && x87_used(f, i) && !x87_used(f, 7)) { /* fld st(i) */
        memcpy(t, x87_st(f, i), 10);
        x87_set_top(f, x86_top(f) - 1);
        memcpy(x87_st(f, 0), t, 10);
        x87_use(f, 0);
    } else if (op == 1 && kind == 1 && x87_used(f, i)) { /* fxch */
        memcpy(t, x87_st(f, i), 10);
        memcpy(x87_st(f, i), x87_st(f, 0), 10);
        memcpy(x87_st(f, 0), t, 10);
    } else if (op == 5 && (kind == 2 || kind == 3)) { /* fst, fstp st(i) */
        memcpy(t, x87_st(f, 0), 10);
        memcpy(x87_st(f, i), t, 10);
        x87_use(f, i);
        if (kind == 3)
            x87_pop(f);
    } else {
        return false;
    }
    f->sw &= (uint16_t)~C1;
    return true;
}

static unsigned x87_host(X86Fpu *f, unsigned op11, void *mem, bool *stored, uint32_t *eflags)
{
    *stored = true;
    if (x87_pending(f))
        return FPU_MF;
    if (x87_mem(op11) == -128)
        return FPU_UD;
    if (LIKELY((f->cw & FPE_ALL) == FPE_ALL && !eflags))
        if ((op11 & 0xc0) == 0xc0 ? quick_reg(f, op11) : quick_mem(f, op11, mem))
            return 0;
    return whole(f, op11, mem, stored, eflags);
}

static const X86Units host = { "host", x86_vop_host, x87_host };
const X86Units *const x86_units_host = &host;
