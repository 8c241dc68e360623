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
    case_differs(k, got, true);
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

            if (x == EXEC_INTERP) {
                k->out.fip = got.fip;
                k->out.fdp = got.fdp;
            }
            t->runs++;
            t->faults += k->out.vector != EXC_BP;
            if (case_agrees(k, &got, in_c))
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
    return (!o->row || !strcmp(o->row, row->name)) && !case_why_not(row);
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
        const char *why = case_why_not(r);

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
