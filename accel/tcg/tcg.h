/*
 * accel/tcg/tcg.h - what a vCPU of the software CPU has beside its registers. Everything in TcgCpu belongs to
 * the vCPU's thread, except `todo`, which other threads fill under its mutex. TcgVm is shared and atomic.
 */
#ifndef ACCEL_TCG_TCG_H
#define ACCEL_TCG_TCG_H
#include "target/x86/cpu.h"

enum { BLOCK_HASH = 1 << 16, XTLB_N = 512, BLOOM = 4096 };
enum { REQ_CODE = 1 << 16 }; /* Cpu.request: pages in `todo` lost their code */

typedef struct FetchEnt { /* virtual page -> where its code bytes are */
    uint64_t vpage, gen;
    const uint8_t *host; /* NULL: not RAM */
    uint64_t ram;        /* dense RAM address: part of a block's key */
    RamBlock *block;
    uint64_t off;
} FetchEnt;

typedef struct PageBlocks { /* blocks that have bytes in a page of RAM */
    uint64_t ram_page;
    Block *first;
} PageBlocks;

typedef struct TcgCpu {
    Cpu *cpu;
    X86 *s;
    View view[VIEWS];
    FetchEnt fetch[VIEWS][XTLB_N];
    uint64_t bloom[VIEWS][BLOOM / 64]; /* virtual pages with entries in the jump cache */
    Block *hash[BLOCK_HASH];
    GHashTable *pages; /* ram page -> PageBlocks */
    GPtrArray *crossers; /* blocks whose instruction goes on in a second page */
    GPtrArray *chunks; /* arena of blocks */
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
    uint64_t translated, flushes, fills, gens;
} TcgCpu;

typedef struct TcgVm {
    Vm *vm;
    MemListener listen[2];
    uint64_t *granule; /* per RAM page: which 64-byte pieces hold code of any vCPU; atomic */
    uint64_t npages;
} TcgVm;

static inline TcgVm *tcg_vm(Vm *vm) { return vm->accel_data; }
void tcg_views_init(TcgCpu *t);
void tcg_flush_w(TcgCpu *t);                       /* writable entries of all views */
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
/* debug.c */
bool tcg_debug(Cpu *c, const DebugPoint *v, size_t n, bool step, Error **err);
bool tcg_break_at(const TcgCpu *t, uint64_t pc);
unsigned tcg_break_before(const TcgCpu *t, uint64_t pc, unsigned n); /* how much of n bytes may be one block */
bool tcg_page_watched(const TcgCpu *t, uint64_t va);
bool tcg_watch(TcgCpu *t, uint64_t va, unsigned n, bool write); /* false: env.fault asks for this instruction alone */
bool tcg_debug_stop(TcgCpu *t, Exit *x);
#endif
