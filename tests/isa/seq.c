/*
 * tests/isa/seq.c - millions of random sequences (gen_seq.h): silicon = compiled code, cold and linked = interpreter.
 * t-seq [--seconds N | --batches N] [--seed S] [--first BATCH]. A batch has up to BATCH sequences; what a batch is, its
 * number and the seed say, so a long run goes on with --first where the one before ended (scripts/soak-oracle).
 * t-seq --replay BATCH:SLOT --seed S runs one again. The last line is for machines:
 * `seed S first B next B sequences N faults N self-modifying N wrong N`. docs/internals/oracle.md.
 */
#include "tests/isa/oracle.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

typedef struct Seqs {
    Case *cases;
    uint64_t seed, first, next, sequences, faults, smc, wrong, insns;
    unsigned seconds, batches, shown;
    const char *replay;
    int only; /* slot, or -1 */
} Seqs;

static volatile sig_atomic_t stop;
static void on_stop(int sig) { stop = sig; }

static uint64_t mix(uint64_t seed, uint64_t a, uint64_t b)
{
    Rng r = { (seed ^ a * 0x9e3779b97f4a7c15ull) + b * 0xd1342543de82ef95ull };

    return rng_next(&r);
}

static const char *const run_name[] = { "compiled", "linked", "interpreted" };
enum { RUNS = G_N_ELEMENTS(run_name) };

static void report(Seqs *q, const Case *k, unsigned run, const State *got, uint64_t batch)
{
    if (q->shown++ >= 12)
        return;
    printf("MISMATCH %s, %u-bit%s%s:", run_name[run], 16u << k->mode, k->ac ? " AC" : "", k->smc ? ", changes itself" : "");
    for (unsigned i = 0; i < k->len - 16; i++)
        printf(" %02x", k->code[i]);
    printf("  at %#" PRIx64 ", ends at +%d, vector %u\n  --seed %" PRIu64 " --replay %" PRIu64 ":%u\n", k->at, (int)(k->out.pc - k->at),
           k->out.vector, q->seed, batch, k->slot);
    case_differs(k, got, true);
}

static void check(Seqs *q, Case *k, uint64_t batch)
{
    if (!k->answered) {
        printf("the silicon did not answer: --seed %" PRIu64 " --replay %" PRIu64 ":%u\n", q->seed, batch, k->slot);
        q->wrong++;
        return;
    }
    q->sequences++;
    q->insns += k->ninsns;
    q->faults += k->out.vector != EXC_BP;
    q->smc += k->smc;
    for (unsigned run = 0; run < RUNS; run++) {
        State got = engine_run_seq(k, run + 1 < RUNS ? EXEC_JIT : EXEC_INTERP);

        if (run == 0) { /* what only ours can say: the executors are compared with each other */
            k->out.fip = got.fip;
            k->out.fdp = got.fdp;
        }
        if (case_agrees(k, &got, false))
            continue;
        q->wrong++;
        report(q, k, run, &got, batch);
        break;
    }
}

static bool run_batch(Seqs *q, uint64_t batch)
{
    uint64_t seed = mix(q->seed, batch, 0);
    unsigned n = 0;

    gen_seq_batch(seed);
    for (unsigned i = 0; i < BATCH; i++)
        if (q->only < 0 || q->only == (int)i)
            gen_seq_case(mix(q->seed, batch, i + 1), i, &q->cases[n++]);
    if (!seq_silicon_run(seed, n)) {
        printf("the sandbox died\n");
        for (unsigned i = 0; i < n && !seq_silicon_start(q->cases); i++)
            continue;
    }
    engine_use(batch & 1 ? EXEC_WINDOW : EXEC_JIT);
    engine_load_seq(q->cases, n);
    for (unsigned i = 0; i < n; i++) {
        check(q, &q->cases[i], batch);
        if (!q->cases[i].answered)
            break; /* and of those behind it nothing is known */
    }
    if (engine_data_intact())
        return true;
    printf("batch %" PRIu64 ": memory changed that no sequence may reach\n", batch);
    q->wrong++;
    return false;
}

static bool options(int argc, char **argv, Seqs *q)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *v = argv[i + 1];

        if (!strcmp(argv[i], "--seconds"))
            q->seconds = (unsigned)strtoul(v, NULL, 0);
        else if (!strcmp(argv[i], "--batches"))
            q->batches = (unsigned)strtoul(v, NULL, 0);
        else if (!strcmp(argv[i], "--seed"))
            q->seed = strtoull(v, NULL, 0);
        else if (!strcmp(argv[i], "--first"))
            q->first = strtoull(v, NULL, 0);
        else if (!strcmp(argv[i], "--replay"))
            q->replay = v;
        else
            return false;
    }
    return argc % 2;
}

static bool start(Seqs *q)
{
    q->cases = mmap(NULL, BATCH * sizeof(Case), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (q->cases == MAP_FAILED || !engine_start())
        return false;
    engine_code_writable();
    gen_seq_init();
    return seq_silicon_start(q->cases);
}

static int replay(Seqs *q)
{
    uint64_t batch;

    if (sscanf(q->replay, "%" SCNu64 ":%d", &batch, &q->only) != 2 || q->only < 0)
        return 2;
    run_batch(q, batch);
    printf("%" PRIu64 " wrong\n", q->wrong);
    return q->wrong != 0;
}

int main(int argc, char **argv)
{
    Seqs q = { .seconds = 10, .seed = 1, .only = -1 };
    int64_t end;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!options(argc, argv, &q)) {
        fprintf(stderr, "t-seq [--seconds N | --batches N] [--seed S] [--first BATCH] [--replay BATCH:SLOT]\n");
        return 2;
    }
    if (!silicon_has_xsave() || x86_units() == x86_units_c) {
        printf("not on this host, or not with floating point in C\n");
        return 77;
    }
    if (!start(&q))
        return 2;
    if (!engine_use(EXEC_JIT)) {
        printf("no compiled executor here\n");
        return 77;
    }
    if (q.replay)
        return replay(&q);
    signal(SIGINT, on_stop);
    signal(SIGTERM, on_stop);
    end = host_now() + q.seconds * SEC;
    for (q.next = q.first; !stop && (q.batches ? q.next - q.first < q.batches : q.next == q.first || host_now() < end); q.next++)
        run_batch(&q, q.next);
    printf("%.1f instructions a sequence\n", (double)q.insns / (double)MAX(q.sequences, 1));
    printf("seed %" PRIu64 " first %" PRIu64 " next %" PRIu64 " sequences %" PRIu64 " faults %" PRIu64 " self-modifying %" PRIu64 " wrong %" PRIu64 "\n",
           q.seed, q.first, q.next, q.sequences, q.faults, q.smc, q.wrong);
    return q.wrong || !q.sequences;
}
