/*
 * tests/isa/oracle.c - silicon = interpreter = C = compiled code, for every user-mode row of decode.tbl that this host
 * has and for random blocks. t-oracle [--seconds N | --rounds N] [--seed S] [--row NAME] [--blocks]
 * [--verbose]
 * [--replay ROW:SLOT:SEED] A mismatch prints a line to replay it; the program fails.
 * docs/internals/oracle.md.
 */
#include "tests/isa/oracle.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

typedef struct Totals {
    uint64_t runs, faults, wrong, blocks, blocks_wrong;
    uint32_t row_runs[2048], row_wrong[2048];
} Totals;

typedef struct Options {
    unsigned seconds, rounds, shown;
    uint64_t seed;
    const char *row, *replay;
    bool blocks, verify /* only look at translations */, verbose;
} Options;

static const char *why_not(const Row *row)
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
    if (at >= CODE_SLOT)
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

static bool differs(const Case *k, const State *got, bool show)
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

static void report(Executor x, const Case *k, const State *got, Options *o)
{
    if (o->shown++ >= 12)
        return;
    printf("MISMATCH %s, %s, %u-bit%s:", executor_name[x], k->row ? k->row->name : "block",
           16u << k->mode, k->ac ? " AC" : "");
    for (unsigned i = 0; i < k->len - 16; i++)
        printf(" %02x", k->code[i]);
    printf("  ends at +%d, vector %u\n  --replay %u:%u:%#" PRIx64 "\n", (int)(k->out.pc - k->at),
           k->out.vector, k->row ? (unsigned)(k->row - x86_rows) : 0, k->slot, k->seed);
    differs(k, got, true);
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

    if (k->out.vector == EXC_PF && k->out.addr - ALIAS_AT < (CODE_PAGES + 1) * PAGE)
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

    return at < CODE_SLOT - 15 && x86_decode(k->code + at, 15, CODE64, &in) == DEC_OK ? in.row : NULL;
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

static void check_on(Executor x, Case *cases, unsigned n, Totals *t, Options *o)
{
    const bool in_c = x == EXEC_C || x86_units() == x86_units_c; /* with -Dportable_fp=true all are */

    engine_load(cases, n);
    for (unsigned i = 0; i < n; i++) {
        Case *k = &cases[i];
        unsigned row = k->row ? (unsigned)(k->row - x86_rows) : 0;

        if (!k->answered) {
            printf("%s: the silicon did not answer; --replay %u:%u:%#" PRIx64 "\n",
                   k->row ? k->row->name : "block", row, k->slot, k->seed);
            break;
        }
        for (unsigned again = 0; again < 2; again++) { /* cold, then linked */
            State got = engine_run(k);

            if (caveat(k))
                got.mem = k->out.mem;
            if (in_c)
                forgive_near(k, &got);
            if (x == EXEC_INTERP) {
                k->out.fip = got.fip;
                k->out.fdp = got.fdp;
            }
            t->runs++;
            t->faults += k->out.vector != EXC_BP;
            if (!comparable(k) || (in_c && !c_compares(k)) || !differs(k, &got, false) || model_specific(k, &got))
                continue;
            t->wrong++;
            t->row_wrong[row]++;
            report(x, k, &got, o);
            break;
        }
        t->row_runs[row] += x == EXEC_INTERP;
    }
}

static void verify_batch(const Case *cases, unsigned n, Totals *t)
{
    char why[200];

    for (unsigned i = 0; i < n; i++) {
        unsigned row = cases[i].row ? (unsigned)(cases[i].row - x86_rows) : 0;

        t->runs++;
        t->row_runs[row]++;
        if (engine_verify(&cases[i], why, sizeof(why)))
            continue;
        if (t->wrong++ < 12)
            printf("BAD IR %s: %s  --replay %u:%u:%#" PRIx64 "\n", row ? cases[i].row->name : "block", why, row, cases[i].slot, cases[i].seed);
        t->row_wrong[row]++;
    }
}

static void check_batch(Case *cases, unsigned n, Totals *t, Options *o)
{
    if (o->verify) {
        verify_batch(cases, n, t);
        return;
    }
    silicon_run(cases, n);
    for (unsigned x = 0; x < EXECUTORS; x++)
        if (engine_use((Executor)x))
            check_on((Executor)x, cases, n, t, o);
}

static uint64_t mix(uint64_t seed, uint64_t a, uint64_t b)
{
    Rng r = { seed ^ a * 0x9e3779b97f4a7c15ull ^ b << 40 };

    return rng_next(&r);
}

static bool chosen(const Row *row, const Options *o)
{
    return (!o->row || !strcmp(o->row, row->name)) && !why_not(row);
}

/* One round: `each` cases of every row, then as many blocks as rows. */
static void round_of(Case *cases, unsigned round, unsigned each, Totals *t, Options *o)
{
    unsigned n = 0;

    for (unsigned i = 1; i < x86_nrows && !o->blocks; i++)
        for (unsigned j = 0; j < each && chosen(&x86_rows[i], o); j++) {
            gen_row_case(&x86_rows[i], mix(o->seed, i, round * 1000 + j), n, &cases[n]);
            if (++n == BATCH) {
                check_batch(cases, n, t, o);
                n = 0;
            }
        }
    if (n)
        check_batch(cases, n, t, o);
    if (o->row)
        return;
    for (n = 0; n < BATCH; n++)
        gen_block_case(mix(o->seed, 5000, round * 10000 + n), n, &cases[n]);
    check_batch(cases, n, t, o);
}

static void summary(const Totals *t, const Options *o)
{
    unsigned tested = 0, least = ~0u;
    g_autoptr(GHashTable) skipped = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, NULL);

    for (unsigned i = 1; i < x86_nrows; i++) {
        const Row *r = &x86_rows[i];
        const char *why = why_not(r);

        if (why) {
            GString *s = g_hash_table_lookup(skipped, why);

            if (!s)
                g_hash_table_insert(skipped, (char *)why, s = g_string_new(NULL));
            g_string_append_printf(s, " %s", r->name);
        } else if (t->row_runs[i]) {
            tested++;
            least = MIN(least, t->row_runs[i]);
        }
        if (o->verbose && !why)
            printf("%-12s %-20s %8u cases %6u wrong\n", r->name, r->text, t->row_runs[i],
                   t->row_wrong[i]);
        else if (t->row_wrong[i])
            printf("WRONG %-12s %-20s %u of %u\n", r->name, r->text, t->row_wrong[i],
                   t->row_runs[i]);
    }
    GHashTableIter it;
    gpointer key, value;
    g_hash_table_iter_init(&it, skipped);
    while (g_hash_table_iter_next(&it, &key, &value)) {
        printf("skipped, %s:%s\n", (char *)key, ((GString *)value)->str);
        g_string_free(value, TRUE);
    }
    printf("%u rows, at least %u states each, %u blocks; %" PRIu64 " runs, %" PRIu64
           " with a fault; %" PRIu64 " wrong\n",
           tested, tested ? least : 0, t->row_runs[0], t->runs, t->faults, t->wrong);
}

static int replay(Case *cases, Totals *t, Options *o)
{
    unsigned row, slot;
    uint64_t seed;

    if (sscanf(o->replay, "%u:%u:%" SCNx64, &row, &slot, &seed) != 3 || row >= x86_nrows ||
        slot >= BATCH)
        return 2;
    if (row)
        gen_row_case(&x86_rows[row], seed, slot, &cases[0]);
    else
        gen_block_case(seed, slot, &cases[0]);
    check_batch(cases, 1, t, o);
    printf("%" PRIu64 " wrong\n", t->wrong);
    return t->wrong != 0;
}

static bool options(int argc, char **argv, Options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *v = i + 1 < argc ? argv[i + 1] : "";

        if (!strcmp(argv[i], "--blocks"))
            o->blocks = true;
        else if (!strcmp(argv[i], "--verify"))
            o->verify = true;
        else if (!strcmp(argv[i], "--verbose"))
            o->verbose = true;
        else if (!strcmp(argv[i], "--seconds"))
            o->seconds = (unsigned)strtoul(v, NULL, 0), i++;
        else if (!strcmp(argv[i], "--rounds"))
            o->rounds = (unsigned)strtoul(v, NULL, 0), i++;
        else if (!strcmp(argv[i], "--seed"))
            o->seed = strtoull(v, NULL, 0), i++;
        else if (!strcmp(argv[i], "--row"))
            o->row = v, i++;
        else if (!strcmp(argv[i], "--replay"))
            o->replay = v, i++;
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    Options o = { .seconds = 10, .seed = 1 };
    Totals *t = calloc(1, sizeof(*t));
    Case *cases =
        mmap(NULL, BATCH * sizeof(Case), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int64_t end;

    setvbuf(stdout, NULL, _IOLBF, 0); /* a long run shows what it finds */
    if (!options(argc, argv, &o)) {
        fprintf(
            stderr,
            "t-oracle [--seconds N | --rounds N] [--seed S] [--row NAME] [--blocks] [--verbose] [--verify] "
            "[--replay ROW:SLOT:SEED]\n");
        return 2;
    }
    if (!t || cases == MAP_FAILED || !engine_start())
        return 2;
    if (o.replay)
        return replay(cases, t, &o);
    end = host_now() + o.seconds * SEC;
    for (unsigned round = 0; o.rounds ? round < o.rounds : round == 0 || host_now() < end; round++)
        round_of(cases, round, o.row ? 1000 : 20, t, &o);
    summary(t, &o);
    bool bad = t->wrong || !t->runs;

    free(t);
    return bad;
}
