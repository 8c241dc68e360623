/*
 * tests/isa/oracle.h - the silicon oracle: random cases from decode.tbl, run natively in a forked
 * sandbox (silicon.c) and on both executors (engine.c), compared (oracle.c).
 * docs/internals/oracle.md.
 */
#ifndef TESTS_ISA_ORACLE_H
#define TESTS_ISA_ORACLE_H
#include "target/x86/fpu.h"

enum { CODE_PAGES = 256, CODE_SLOT = 512, BATCH = CODE_PAGES * (PAGE / CODE_SLOT - 1) };
#define CODE_AT 0x10000000ull
#define DATA16_AT (DATA_AT - PAGE) /* base of DS and ES in 16-bit cases: offsets from 1000h are good */
#define ALIAS_AT 0x18000000ull /* the code pages again, writable: after engine_map_alias() alone, silicon has nothing there */
#define DATA_AT 0x20000000ull /* two writable pages, a read-only one, then nothing */

typedef struct State {
    uint64_t gpr[16], pc;
    unsigned flags; /* FC.. */
    uint32_t vector, err;
    uint64_t addr;
    uint8_t ymm[16][32], st[8][10]; /* st: by ST number */
    uint32_t mxcsr;
    uint16_t cw, sw;
    uint8_t tags;
    uint64_t mem; /* hash of the writable data pages */
    uint64_t fip, fdp; /* of our x87: the silicon may not keep them, so the executors are compared with each other */
} State;

typedef struct Case {
    const Row *row; /* NULL: a block */
    uint8_t code[CODE_SLOT];
    unsigned len, ninsns, slot;
    uint64_t at, mem_seed, seed;
    CodeSize mode;
    uint64_t cs_base; /* 16-bit code: so that IP is small */
    bool ac;          /* EFLAGS.AC */
    bool seq, smc;    /* of t-seq; changes itself */
    unsigned end;     /* of a sequence: offset of the int3 where it ends normally */
    unsigned undef;              /* flags not compared at the end, */
    uint8_t undef_at[CODE_SLOT]; /* .. at a fault in the instruction at this offset */
    bool usefpu, div;
    State in, out; /* out: the silicon's answer, but for what only ours can say */
    bool answered;
} Case;

static inline uint64_t rnd(Rng *r) { return rng_next(r); }
static inline unsigned below(Rng *r, unsigned n) { return (unsigned)((rng_next(r) >> 33) % n); }
static inline bool chance(Rng *r, unsigned percent) { return below(r, 100) < percent; }

/* Memory contents of a case: both sides make them from the seed. */
void case_memory(uint8_t *page, unsigned which, uint64_t seed);
uint64_t case_hash(const uint8_t *page, uint64_t hash);
static inline unsigned case_regs(const Case *k) { return k->mode == CODE64 ? 16 : 8; }
static inline uint64_t case_mask(const Case *k) { return k->mode == CODE64 ? ~0ull : 0xffffffff; } /* of general registers */
/* Selectors of a case's code and of DS, ES: of the silicon's and of ours. */
void silicon_selectors(CodeSize mode, uint16_t *cs, uint16_t *ds);
/* silicon.c: run all cases natively in a forked child; `cases` is shared memory */
bool silicon_run(Case *cases, unsigned n);
void silicon_ldt(unsigned n, unsigned base, bool code); /* of the sandbox: a segment of 64 KiB */
void silicon_get(const void *ucontext, Case *k);       /* a signal's frame to k->out */
void silicon_put_fpu(uint8_t *xsave, const State *s);
void silicon_get_fpu(const uint8_t *xsave, State *s);
/* seq-silicon.c: a sandbox that lives on; the same for sequences, which come and go by jumps, not by signals */
bool seq_silicon_start(Case *cases);
bool seq_silicon_run(uint64_t seed /* of gen_seq_batch() */, unsigned n); /* false: it died; the first case not answered is why */
bool silicon_has(const Row *row);
bool silicon_is_amd(void);
bool silicon_has_xsave(void);
bool silicon_avx(void); /* there are upper halves */
uint32_t silicon_mxcsr_mask(void);
/* gen.c: slot is its place in a batch, seed makes it again */
void gen_row_case(const Row *row, uint64_t seed, unsigned slot, Case *k);
void gen_block_case(uint64_t seed, unsigned slot, Case *k);
/* gen_seq.h: a random sequence; its code size and whether it changes itself follow from the slot. */
void gen_seq_init(void);
void gen_seq_batch(uint64_t seed); /* new pools of values for the next batch; the same on both sides */
void gen_seq_case(uint64_t seed, unsigned slot, Case *k);
enum { SEQ_CHUNK = 16 * PAGE, SEQ_CHUNK_SLOTS = 16 * (PAGE / CODE_SLOT - 1) }; /* code of one size; 16-bit: a segment of its own */
/* What of the data pages a sequence uses: around their common end, with the stack behind it, and the end of the second. */
enum { SEQ_WINDOW = PAGE - 256, SEQ_WINDOW_N = 256 + 1280, SEQ_TAIL = 2 * PAGE - 128, SEQ_TAIL_N = 128, SEQ_STACK = PAGE + 768 };
typedef struct SeqPool {
    uint64_t gpr[512];
    uint8_t vec[512][32], st[128][16];
    uint8_t mem[3 * PAGE]; /* what the two data pages begin with; a case's windows start up to a page further on */
} SeqPool;
extern SeqPool seq_pool; /* of the batch */
void seq_memory(uint8_t *pages, const Case *k); /* the case's windows, filled */
uint64_t seq_hash(const uint8_t *pages, const uint8_t *code, const Case *k);
/* compare.c */
const char *case_why_not(const Row *row); /* no silicon answer to it here; NULL: there is */
bool case_differs(const Case *k, const State *got, bool show);
bool case_agrees(const Case *k, State *got, bool in_c); /* in_c: by C's floating point. What need not agree in `got` becomes the silicon's */
/* near.c: where C's floating point need not have the silicon's bits; such of `got` as are near enough become the silicon's. */
void forgive_near(const Case *k, State *got);
bool c_compares(const Case *k); /* false: C and this silicon may differ in what other instructions of the case then see */
/* engine.c */
typedef enum Executor { EXEC_INTERP, EXEC_C /* interpreter, x87 and vectors in C */, EXEC_JIT, EXEC_WINDOW /* compiled, memory by windows */, EXECUTORS } Executor;
extern const char *const executor_name[EXECUTORS];
bool engine_start(void);
void engine_map_alias(void);
void engine_code_writable(void); /* the guest may write its code where it runs, as in t-seq */
bool engine_use(Executor x); /* before engine_load(); false: not on this host */
void engine_load(const Case *cases, unsigned n);
State engine_run(const Case *k);
void engine_load_seq(const Case *cases, unsigned n);
State engine_run_seq(const Case *k, Executor x); /* loads the case's windows; a case that changes itself is loaded again */
bool engine_data_intact(void); /* nothing of the data pages outside of the windows has changed */
/* Does ir_verify() accept the translations at each instruction of the case? Else why. */
bool engine_verify(const Case *k, char *why, size_t size);
unsigned engine_host_bytes(uint64_t pc); /* size of the code compiled for pc; 0: none */
#endif
