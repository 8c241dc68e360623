/*
 * tests/isa/compare.c - does the software CPU's answer agree with the silicon's? What need not agree stands here, with its
 * reason, and in docs/internals/oracle.md.
 */
#include "tests/isa/oracle.h"
#include <stdio.h>

const char *case_why_not(const Row *row)
{
    if (row->traits & (R_OS | R_CPL0))
        return "system";
    if (!strcmp(row->name, "lds") || !strcmp(row->name, "les") || !strcmp(row->name, "lfs") || !strcmp(row->name, "lgs") || !strcmp(row->name, "lss"))
        return "loads a segment";
    if (row->traits & (silicon_is_amd() ? R_INTEL : R_AMD))
        return "the other vendor's";
    return silicon_has(row) ? NULL : "not on this host";
}

/* Flags that certainly are read before they are written: at a fault only these are promised. */
static unsigned surely_live(const Case *k, uint64_t pc, unsigned *budget)
{
    unsigned after;
    bool branch;
    Insn in;

    if (!*budget || pc - k->at >= k->len ||
        x86_decode(k->code + (pc - k->at), 15, k->mode, &in) != DEC_OK)
        return 0;
    --*budget;
    if (!strcmp(in.row->name, "int3"))
        return FALL;
    if (in.row->traits & R_X87)
        return 0; /* some read the flags, some write them, most do neither */
    branch = in.row->nopr && (in.row->opr[0].kind == O_J8 || in.row->opr[0].kind == O_JZ);
    if (in.row->traits & R_END && !branch)
        return 0;
    pc += in.len;
    after = branch ? surely_live(k, pc + (uint64_t)in.imm, budget) : 0;
    if (!branch || in.row->traits & R_CC)
        after |= surely_live(k, pc, budget);
    return x86_insn_reads(&in) | (after & ~(unsigned)(in.row->writes | in.row->undef));
}

static unsigned compared_flags(const Case *k)
{
    uint64_t at = k->out.pc - k->at;
    unsigned budget = 300;

    if (k->out.vector == EXC_BP)
        return FALL & ~k->undef;
    if (at >= CODE_SLOT || k->smc)
        return 0;
    return ~(unsigned)k->undef_at[at] & surely_live(k, k->out.pc, &budget);
}

static void show_vec(const char *what, unsigned n, const uint8_t *want, const uint8_t *got,
                     unsigned len)
{
    printf("    %s%u: silicon ", what, n);
    for (unsigned i = len; i-- > 0;)
        printf("%02x", want[i]);
    printf(" ours ");
    for (unsigned i = len; i-- > 0;)
        printf("%02x", got[i]);
    printf("\n");
}

#define DIFF(cond, ...)                                                                            \
    do {                                                                                           \
        if (cond) {                                                                                \
            bad = true;                                                                            \
            if (show)                                                                              \
                __VA_ARGS__;                                                                       \
        }                                                                                          \
    } while (0)

/* The row that a case faulted in; a row case is its own. */
static const Row *last_row(const Case *k)
{
    uint64_t at = k->out.pc - k->at;
    Insn in;

    if (k->row || k->out.vector == EXC_BP)
        return k->row;
    return at < CODE_SLOT - 15 && x86_decode(k->code + at, 15, k->mode, &in) == DEC_OK ? in.row
                                                                                      : NULL;
}

static bool fpu_differs(const Case *k, const State *got, bool show)
{
    const State *want = &k->out;
    /* A faulting MMX instruction: whether TOP and the tags have changed by then is the model's own.
     */
    const Row *row = last_row(k);
    bool bad = false, mmx = row && row->traits & R_MMX && want->vector != EXC_BP;
    /* Whether an unmasked overflow or underflow was inexact as well, the engine does not know. */
    uint32_t m = want->vector == EXC_XM && want->mxcsr & ~(want->mxcsr >> 7) & (FPE_O | FPE_U)
                     ? ~(uint32_t)FPE_P
                     : ~0u;

    DIFF((want->mxcsr ^ got->mxcsr) & m,
         printf("    mxcsr: silicon %#x ours %#x\n", want->mxcsr, got->mxcsr));
    DIFF(!mmx && (want->cw != got->cw || want->sw != got->sw || want->tags != got->tags),
         printf("    x87: silicon cw %04x sw %04x tags %02x ours cw %04x sw %04x tags %02x\n",
                want->cw, want->sw, want->tags, got->cw, got->sw, got->tags));
    DIFF(want->fip != got->fip || want->fdp != got->fdp,
         printf("    x87: interpreted ip %#" PRIx64 " dp %#" PRIx64 " compiled ip %#" PRIx64 " dp %#" PRIx64 "\n", want->fip, want->fdp,
                got->fip, got->fdp));
    for (unsigned i = 0; i < 8 && !mmx; i++)
        DIFF(memcmp(want->st[i], got->st[i], 10), show_vec("st", i, want->st[i], got->st[i], 10));
    for (unsigned i = 0; i < 16; i++)
        DIFF(memcmp(want->ymm[i], got->ymm[i], 32), show_vec("ymm", i, want->ymm[i], got->ymm[i], 32));
    return bad;
}

bool case_differs(const Case *k, const State *got, bool show)
{
    const State *want = &k->out;
    unsigned mask = compared_flags(k);
    bool bad = fpu_differs(k, got, show);

    for (unsigned i = 0; i < case_regs(k); i++)
        DIFF((want->gpr[i] ^ got->gpr[i]) & case_mask(k),
             printf("    r%u: in %#" PRIx64 " silicon %#" PRIx64 " ours %#" PRIx64 "\n", i,
                    k->in.gpr[i], want->gpr[i], got->gpr[i]));
    DIFF(want->pc != got->pc,
         printf("    pc: silicon %#" PRIx64 " ours %#" PRIx64 "\n", want->pc, got->pc));
    DIFF((want->flags ^ got->flags) & mask,
         printf("    flags: silicon %#x ours %#x, compared %#x\n", want->flags, got->flags, mask));
    DIFF(want->mem != got->mem, printf("    memory\n"));
    DIFF(want->vector != got->vector || want->addr != got->addr || want->err != got->err,
         printf("    fault: silicon %u err %u at %#" PRIx64 " ours %u err %u at %#" PRIx64 "\n",
                want->vector, want->err, want->addr, got->vector, got->err, got->addr));
    return bad;
}

/* Memory after a fault: a call to a non-canonical address pushes first; long stores are made of
 * pieces. */
static bool caveat(const Case *k)
{
    const Row *row = last_row(k);

    if (!row || k->out.vector == EXC_BP)
        return false;
    if (row->traits & R_X87 || !strcmp(row->name, "fxsave"))
        return true;
    return row->opc == 0xff && row->ext == 2 && k->out.vector == EXC_GP;
}

/*
 * Where models differ and the manual does not say: which byte of a masked store faults and what was
 * stored before; which flags a dot product of several steps reports with an unmasked one. False:
 * nothing to compare.
 */
static bool comparable(const Case *k)
{
    const Row *row = last_row(k);

    if (!k->seq && k->out.vector == EXC_PF && k->out.addr - ALIAS_AT < (CODE_PAGES + 1) * PAGE)
        return false; /* only ours has something there */
    if (!row)
        return true;
    if (!strncmp(row->name, "maskmov", 7) || !strcmp(row->name, "vmaskmovdqu"))
        return k->out.vector == EXC_BP;
    if (!strncmp(row->name, "fx", 2) && k->ac)
        return k->out.vector == EXC_BP; /* whether #AC or #GP, the manual leaves open */
    return !strstr(row->name, "dpp") || k->out.vector != EXC_XM;
}

static const Row *row_at(const Case *k, uint64_t pc)
{
    uint64_t at = pc - k->at;
    Insn in;

    return at < CODE_SLOT - 15 && x86_decode(k->code + at, 15, k->mode, &in) == DEC_OK ? in.row : NULL;
}

/*
 * FXSAVE and FXRSTOR past the end of a segment: #GP, says the manual, and ours is. AMD's first touch the last of the 512
 * bytes, whose offset has wrapped round to the segment's start, and so can answer with that byte's page fault.
 */
static bool wraps(const Case *k)
{
    if (k->mode == CODE64 || k->out.vector != EXC_PF)
        return false;
    return k->out.addr < 511 /* of flat segments */ || (k->mode == CODE16 && k->out.addr - DATA16_AT < 511);
}

/*
 * What models differ in and ours is one of the answers: whether the SHA instructions demand alignment; which of
 * its two operands a string compare looks at first, and the flags a fault of a repeated one leaves; 16-bit double
 * shifts by more than 16, where the manual says undefined; VPERMQ and VPERMPD with VEX.W 0, which it says is #UD.
 */
static bool model_specific(const Case *k, const State *got)
{
    const Row *row = row_at(k, got->pc);

    if (k->row && !strncmp(k->row->name, "fx", 2) && got->vector == EXC_GP && wraps(k))
        return true;
    if (k->row && got->vector == EXC_UD && (!strcmp(k->row->name, "vpermq") || !strcmp(k->row->name, "vpermpd")))
        return true;
    if (k->row && (!strcmp(k->row->name, "shld") || !strcmp(k->row->name, "shrd")) && k->code[0] == 0x66) {
        unsigned n = k->row->opr[2].kind == O_UB ? k->code[k->len - 17] : (unsigned)k->in.gpr[RCX];

        return (n & 31) > 16;
    }
    if (!row || got->vector == EXC_BP)
        return false;
    if (!strncmp(row->name, "sha", 3) && got->vector == EXC_GP)
        return true;
    return (!strcmp(row->name, "cmps") || !strcmp(row->name, "scas")) && k->out.vector != EXC_BP;
}

bool case_agrees(const Case *k, State *got, bool in_c)
{
    if (caveat(k))
        got->mem = k->out.mem;
    if (in_c)
        forgive_near(k, got);
    return !comparable(k) || (in_c && !c_compares(k)) || !case_differs(k, got, false) || model_specific(k, got);
}
