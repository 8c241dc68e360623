/*
 * accel/tcg/tcg.h - what a vCPU of the software CPU has beside its registers. Everything in TcgCpu belongs to
 * the vCPU's thread, except `todo`, which other threads fill under its mutex. TcgVm is shared and atomic.
 */
#ifndef ACCEL_TCG_TCG_H
#define ACCEL_TCG_TCG_H
#include "target/x86/cpu.h"
#include "tcg/jit.h"
#include "util/trace.h"

enum { TCG_LEAST = 4 << 20 /* bytes, of a budget */ };
enum { BLOOM = 4096, LARGE_BLOOM = 32768, ASIDS = 16, GROUPS = ASIDS + 1, RANGES = 8, WALKS = 512, MODE_FRONT = 256, HUGE_N = 16 };
/* Cpu.request: pages in `todo` lost their code; pages in `strip` must leave the writable sides */
enum { REQ_CODE = 1 << 16, REQ_STRIP = 1 << 17 };

typedef struct Asid { /* an address space whose translations are kept */
    bool used;
    uint16_t pcid; /* asid_key() */
    uint64_t stamp; /* when it was left or entered: the oldest makes room */
} Asid;

typedef struct TcgCpu {
    Cpu *cpu;
    X86 *s;
    void *views; /* memory of: */
    View *view; /* [ASIDS + 1][VIEWS]; the last group is the kernel's view of all of them, while `shared` */
    uint8_t ready[GROUPS * VIEWS], nready; /* views that have been used */
    Asid asid[ASIDS];
    unsigned now, kind;   /* which of them, and which of its views */
    bool shared;
    unsigned loose_asid;  /* whose entries that are not global the shared views have */
    uint64_t loose, switches; /* how many were dropped for a change of address space, and how often */
    uint64_t stamp;
    CodePage bus;         /* code outside RAM, for the moment */
    uint64_t bloom[BLOOM / 64];  /* virtual pages of which any view knows code */
    uint64_t crossed[BLOOM / 64]; /* .. and those in which a block goes on that began in the page before */
    uint64_t large[LARGE_BLOOM / 64]; /* 2 MiB pieces of address space that were filled from large pages .. */
    uint64_t huge[HUGE_N];       /* .. and GiB pieces, from larger ones; */
    unsigned nhuge;              /* HUGE_N: more than there is room for */
    uint16_t keys;               /* protection keys of user pages that were filled; */
    uint64_t wbloom[BLOOM / 64]; /* host pages in writable sides */
    struct {
        AddrSpace *as; /* NULL: empty */
        RamRange ram;
    } range[RANGES]; /* RAM met lately; */
    unsigned last_range, next_range; /* .. where the last one was found, where the next will be put */
    X86WalkEnt walks[WALKS];
    uint64_t walk_gen;   /* entries of another one are void */
    struct {
        uint64_t mode;
        unsigned n; /* + 1; 0: empty */
    } front[MODE_FRONT];
    uint64_t modes[JC_MODES]; /* mode words that have a number */
    unsigned nmodes;
    GHashTable *pages; /* ram page -> CodePage */
    GPtrArray *crossers; /* blocks whose instruction goes on in a second page */
    GPtrArray *chunks; /* arena of blocks; */
    unsigned chunks_used; /* .. so many of them are in use */
    uint8_t *chunk;
    size_t chunk_used, arena_used;
    bool one_shot, flush_code;
    DebugPoint *points; /* debug.c: the debugger's; changed only while the vCPU is stopped */
    size_t npoints, nbreaks, nwatches;
    bool step, delivered;      /* stop after one instruction, or at the first of a handler */
    bool watch_write, in_block; /* in_block: interp_run is active, an instruction can be run again */
    unsigned watch_size;       /* > 0: an access hit */
    uint64_t watch_at, step_from;
    GMutex todo_lock;
    GArray *todo; /* uint64_t ram pages */
    GArray *strip; /* uint8_t * host pages; NULL: all */
    uint64_t translated, flushes, fills, guest_now /* bytes of guest code in blocks since the last flush */;
    size_t budget;     /* bytes that blocks and their code may take; above it, all of them go */
    size_t code_peak;  /* of code.used: memory the host has given for code */
    bool one_insn;     /* blocks of one instruction */
    bool jit;          /* blocks get code, */
    bool careful;      /* .. this one without checks of groups */
    CodeCache code;
    GPtrArray *by_host; /* blocks with code, in the order of their addresses; */
    GArray *by_page;    /* for each page of code: guint, the block of by_host that comes ahead of all that begin in it */
    GPtrArray *by_cold; /* .. those with tails, as they were made; */
    GArray *pieces;     /* .. for each piece of memory for tails: guint, where in by_cold it begins */
    uint64_t host_bytes, guest_bytes, back[JIT_REASON + 1], alone; /* returns by reason; blocks interpreted */
    struct Once *once; /* once.c */
    Block *next;       /* what runs now, whatever the jump cache says; within tcg_jit_run() */
    Rng stress;        /* 0: off; */
    unsigned stress_flush; /* .. of so many blocks, all go at one */
    bool win_always; /* every user view has a window at once */
    bool win_tails;  /* for tests: windows map nothing, each access goes by its tail */
    unsigned win_pieces, win_pages; /* that windows map now */
    uint64_t win_puts, win_faults, win_flushes, win_ons, win_offs;
    uint64_t win_translated; /* instructions that were translated when it was last looked at */
    int64_t win_at; /* when user code was interrupted last, us */
} TcgCpu;

typedef struct TcgVm {
    Vm *vm;
    MemListener listen[2];
    uint64_t *granule; /* per RAM page: which 64-byte pieces hold code of any vCPU; atomic */
    unsigned writing;    /* threads in tcg_code_written() that have cleared granules and not asked everybody yet; atomic */
    unsigned protecting; /* vCPUs in tcg_protect() that have cleared a DIRTY_CODE bit and wait for the others; atomic */
    uint64_t npages;
} TcgVm;

static inline TcgVm *tcg_vm(Vm *vm) { return vm->accel_data; }
static inline bool tcg_in_smm(const TcgCpu *t, unsigned asid) { return t->asid[asid].pcid >> 12; }
/* Supervisor pages are the same in all address spaces of most guests, global: one view has them for all. */
static inline View *tcg_view_at(const TcgCpu *t, unsigned asid, unsigned kind)
{
    return &t->view[(t->shared && kind != VIEW_USER && !tcg_in_smm(t, asid) ? ASIDS : asid) * VIEWS + kind];
}
static inline unsigned tcg_front_slot(uint64_t mode) { return (unsigned)((mode * 0x9e3779b97f4a7c15ull) >> 56) & (MODE_FRONT - 1); }
bool tcg_views_init(TcgCpu *t); /* false: no memory */
void tcg_views_free(TcgCpu *t);
/* va (of any byte of a page) is at host, as walk says; into the current view. */
void tcg_fill(TcgCpu *t, bool write, uint64_t va, const uint8_t *host, const Walk *walk);
void tcg_filled(TcgCpu *t, uint64_t va, const Walk *walk); /* something was cached of a page of that size */
void tcg_ask_strip(Cpu *c, const uint8_t *host); /* any thread: tcg_strip() soon */
void tcg_memory_changed(TcgCpu *t); /* where physical addresses lead: flushes everything */
void tcg_strip(TcgCpu *t, const uint8_t *host); /* a host page leaves the writable sides; NULL: all do */
void tcg_note_written(TcgCpu *t, const uint8_t *host); /* that page is writable in a view: tcg_strip() must look */
bool tcg_is_large(const TcgCpu *t, uint64_t va); /* va may lie in a large page */
void tcg_strip_todo(TcgCpu *t);                 /* serve REQ_STRIP */
void tcg_cp_put(TcgCpu *t, uint64_t vpage, CodePage *page, bool global);
void tcg_jc_put(TcgCpu *t, uint64_t pc, Block *b, bool global);
void tcg_jc_drop(TcgCpu *t, uint64_t pc);       /* from the current view */
void tcg_modes_forget(TcgCpu *t);
void tcg_blocks_init(TcgCpu *t);
void tcg_blocks_free(TcgCpu *t);
void tcg_blocks_flush(TcgCpu *t);                  /* every block; not while one runs */
void tcg_blocks_drop_page(TcgCpu *t, uint64_t ram_page);
void tcg_todo(TcgCpu *t);                          /* serve REQ_CODE */
/* A store is about to hit [off, off+len) of a block that may hold code. False: env.fault asks to run the
 * instruction alone (its own block was hit). */
bool tcg_code_store(TcgCpu *t, RamBlock *b, uint64_t off, uint64_t len);
void tcg_code_written(TcgVm *v, RamBlock *b, uint64_t off, uint64_t len, TcgCpu *self);
void tcg_protect(TcgCpu *t, RamBlock *b, uint64_t off, unsigned bytes); /* code was made of these bytes */
void *tcg_arena(TcgCpu *t, size_t n); /* lives until the next flush of blocks */
/* once.c */
struct Once *tcg_once_new(void); /* g_free() it */
void tcg_interpret(TcgCpu *t, Block *b, unsigned insn); /* b from that instruction on, whose pc env.pc is; or nothing yet, then look env.pc up */
/* codecache.c, unwind.c, jit.c */
void *tcg_low_alloc(size_t n);
bool tcg_code_alloc(CodeCache *c, size_t size); /* false: errno says why */
void tcg_code_free(CodeCache *c);
Block *tcg_block_at(const TcgCpu *t, const uint8_t *host);
Block *tcg_running(TcgCpu *t);                  /* the block that a helper or a slow path was called from */
size_t tcg_jit_default(void);
bool tcg_jit_init(TcgCpu *t, size_t bytes);     /* false: no executable memory, errno says why */
void tcg_jit_free(TcgCpu *t);
void tcg_jit_flush(TcgCpu *t);
bool tcg_full(const TcgCpu *t); /* no room for a block */
/* Of the code cache: from its front, and tails from its end. */
static inline size_t tcg_code_bytes(const TcgCpu *t) { return t->jit ? t->code.used + (t->code.size - t->code.top) : 0; }
void tcg_jit_block(TcgCpu *t, Block *b, const IrBlock *ir, bool alone);
void tcg_jit_kill(TcgCpu *t, Block *b);
Block *tcg_careful(TcgCpu *t, const Block *b); /* b, which env.pc is at, once more, for nobody else to find; or NULL */
void tcg_jit_stats(const TcgCpu *t, GString *out);
/* piece.c */
typedef struct Piece { /* of guest memory, whole pages */
    uint64_t va;
    RamBlock *block;
    uint64_t off;
    unsigned n;
    bool write;
} Piece;
bool tcg_may_be_written(const RamBlock *b, uint64_t off); /* with nobody to be told */
void tcg_piece_grow(TcgCpu *t, Piece *m); /* of one page that the TLB of the current view has; to all that lies together with it */
/* window.c: of a user view; all do nothing where there is none */
void tcg_windows_init(TcgCpu *t, bool wanted, bool always); /* the vCPU has compiled code */
void tcg_windows_here(TcgCpu *t);   /* this thread runs that vCPU; NULL: none any more */
void tcg_window_off(TcgCpu *t, View *w);
void tcg_window_enter(TcgCpu *t, View *w, uint64_t cr3, bool fresh); /* CR3 leads to the view */
void tcg_window_always(TcgCpu *t);  /* x-windows=on: the current view, at once */
void tcg_window_tails(TcgCpu *t, bool tails); /* for tests: on, or off */
void tcg_window_sample(TcgCpu *t);  /* code was interrupted: is its view worth one? */
void tcg_window_fill(TcgCpu *t, bool write, bool writable, uint64_t va, RamBlock *b, uint64_t off, const Walk *walk); /* with tcg_fill() */
void tcg_window_flush(TcgCpu *t, View *w);
void tcg_window_drop(TcgCpu *t, View *w, uint64_t va, uint64_t len);
void tcg_window_strip(TcgCpu *t, View *w, const uint8_t *host); /* with tcg_strip() */
void tcg_window_ask(TcgCpu *t, const uint8_t *ret); /* the access of whose tail this is a return address: of which slot is Env.jit.addr? */
void tcg_window_free(View *w);
void tcg_window_stats(const TcgCpu *t, GString *out);
/* stats.c */
void tcg_stats(Vm *vm, GString *out);   /* info jit */
void tcg_opcount(Vm *vm, GString *out); /* info opcount; vCPUs stopped */
void tcg_jit_run(TcgCpu *t); /* until env.fault is set or a request waits */
void tcg_log_run(TcgCpu *t); /* the same by the interpreter, block by block, with a line or the registers for each if they are logged */
static inline void tcg_exec(TcgCpu *t)
{
    if (log_on((LogItem)(LOG_EXEC | LOG_CPU)))
        tcg_log_run(t);
    else if (t->jit)
        tcg_jit_run(t);
    else
        interp_run(&t->s->env);
}
/* log.c */
void tcg_log_code(TcgCpu *t, const IrBlock *ir, const uint8_t *code); /* in_asm; code: all of the block's bytes */
void tcg_log_ops(const IrBlock *ir, LogItem when);                    /* LOG_OP, LOG_OP_OPT */
void tcg_log_host(const Block *b);                                    /* out_asm */
/* perf.c */
extern bool tcg_perf_wanted;
void tcg_perf_block(const Block *b);
/* past.c */
void tcg_past(Cpu *c, GString *out);
/* debug.c */
bool tcg_debug(Cpu *c, const DebugPoint *v, size_t n, bool step, Error **err);
bool tcg_break_at(const TcgCpu *t, uint64_t pc);
unsigned tcg_break_before(const TcgCpu *t, uint64_t pc, unsigned n); /* how much of n bytes may be one block */
bool tcg_page_watched(const TcgCpu *t, uint64_t va);
bool tcg_watch(TcgCpu *t, uint64_t va, unsigned n, bool write); /* false: env.fault asks for this instruction alone */
bool tcg_debug_stop(TcgCpu *t, Exit *x);
#endif
