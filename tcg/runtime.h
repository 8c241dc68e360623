/*
 * tcg/runtime.h - what interp.c (and generated code, later) shares with its surroundings: the common
 * front of a vCPU's register memory, the views and their xor-TLB, blocks. Slow paths are implemented by
 * accel/tcg, guest specifics by target/. All of it belongs to one vCPU thread, except Block contents
 * (immutable once published, apart from links of the same vCPU).
 */
#ifndef TCG_RUNTIME_H
#define TCG_RUNTIME_H
#include "tcg/ir.h"

typedef struct Env Env;
typedef struct Block Block;
struct Cpu;

/* d = fn(e, a, b, c). An exception: set e->fault and return anything. */
typedef uint64_t (*HelperFn)(Env *e, uint64_t a, uint64_t b, uint64_t c);
/* d and s: 32-byte vector registers; imm8 in imm. May set e->fault when called by vopx; the answer is for tests. */
typedef unsigned (*VecFn)(Env *e, void *d, const void *s, unsigned imm);
typedef unsigned (*Vec3Fn)(Env *e, void *d, const void *a, const void *b, unsigned imm); /* the same with two sources */

/* How to recover the six flags: a token, not their values. */
typedef struct Cc {
    uint64_t res, a, b;
    uint8_t kind, size, carry;
} Cc;

/* What stops a block. Guest exceptions are FAULT_EXC + vector; the rest is the engine's. */
enum { FAULT_NONE, FAULT_POLL, FAULT_RETRY /* run this one instruction alone */, FAULT_AGAIN /* run it again */,
       FAULT_HALT, FAULT_DEBUG, FAULT_EXIT /* state changed: leave run() soon */, FAULT_SHUTDOWN, FAULT_EXC = 0x100 };
typedef struct Fault {
    uint32_t kind, err;
    uint64_t addr;
} Fault;

/*
 * xor-TLB: `va ^ tag` is the page offset on a hit, so one unsigned compare with 4096 - size checks
 * tag, page crossing and validity. An invalid tag must differ from every va of its slot: tlb_none()
 * gives it the index of the neighbour. A constant such as ~0 would make the last page of the address
 * space hit, and that is where guests put error pointers.
 */
enum { TLB_N = 2048, JC_N = 32768, CP_N = 2048, CP_GONE = 1024, PAGE = 4096 };
typedef struct TlbEnt {
    uint64_t tag, addend; /* host - guest */
} TlbEnt;
/*
 * Jump cache: virtual pc -> block. tag = pc ^ Env.jc_key; the key has the number of the current mode word in bits
 * 58..63, which are copies of bit 57 in every pc that can be executed, so one compare checks pc and mode. A computed pc
 * may be any number, and one that cannot be executed can have the tag of one that can in another mode: the two differ
 * in bits 58..63, of which jc_slot() makes six bits of the slot, so it is looked for elsewhere. An entry is there only
 * while its view maps pc to that block, and pc may be executed: that is also what makes a link into another page good.
 */
typedef struct JcEnt {
    uint64_t tag;
    const uint8_t *host; /* where generated code goes at once: Block.host; NULL: empty, or there is no such code */
} JcEnt;
enum { JC_KEY_SHIFT = 58, JC_MODES = 64 };
/*
 * Code pages: virtual page -> what is known of the code in the page of RAM it leads to; there only while the view maps
 * it so, executable.
 */
typedef struct CpEnt {
    uint64_t vpage;
    struct CodePage *page;
    bool global;
} __attribute__((aligned(32))) CpEnt;
enum { PAGE_BUCKETS = 64 };
typedef struct CodePage { /* a page that was executed: its blocks */
    Block *bucket[PAGE_BUCKETS]; /* those that begin here: page_bucket() */
    uint64_t ram_page;           /* dense RAM address / PAGE: part of a block's key; the physical one if it is not RAM */
    const uint8_t *host;         /* NULL: not RAM */
    struct RamBlock *block;
    uint64_t off;
    uint64_t vpage; /* where it was mapped when the first of its blocks was made .. */
    bool moved;     /* .. and it was seen elsewhere since: its blocks are made to be good anywhere */
    Block *first;   /* all of them, by next_in_page */
} CodePage;
static inline unsigned page_bucket(uint64_t pc) { return (unsigned)(pc ^ pc >> 6) & (PAGE_BUCKETS - 1); }
enum { FILL_R, FILL_W, FILL_JC, FILL_CP, FILL_TABLES, LOOSE = 64 };
typedef struct Fills { /* what is in a table of a view: a flush costs O(entries used) */
    uint16_t used[JC_N], loose[LOOSE]; /* loose: since the last drop_loose(), those not global .. */
    unsigned n, nloose;                /* .. or, LOOSE + 1: too many for the list */
    uint64_t listed[JC_N / 64], global[JC_N / 64]; /* global: outlives a change of address space */
} Fills;
/*
 * Windows: where a user view's memory is mapped a second time, so that an access needs no look-up: va + delta, if bits 40 to
 * 55 of va are tag. A slot is for a part of the address space, by window_slot(). An empty one has a tag that no valid va has,
 * and leads to no valid address of the host either.
 */
typedef struct WinSlot {
    uint64_t tag, delta;
} WinSlot;
enum { WIN_SLOTS = 4, WIN_SHIFT = 40, WIN_NONE = 0x8000 };
static inline unsigned window_slot(unsigned tag) { return !tag ? 0 : (tag & 0xffe0) == 0x40 ? 1 : (tag & 0xffe0) == 0x60 ? 2 : 3; }
typedef struct View { /* one per address space and privilege class */
    uint64_t mode; /* what code in this view has in its mode word: ENV_MODE_WINDOW or 0 */
    struct Window *window; /* NULL: it never had one */
    WinSlot win[WIN_SLOTS]; /* near the start: generated code has its displacements in a byte */
    TlbEnt r[TLB_N], w[TLB_N];
    JcEnt jc[JC_N];
    Block *jc_blk[JC_N]; /* NULL: empty */
    CpEnt cp[CP_N];
    Fills fills[FILL_TABLES];
    uint64_t cp_gone[CP_GONE / 64]; /* by cp_gone_bit(): pages that another took the place of in cp, their blocks may be in jc */
    bool ready, shared; /* shared: of all address spaces, what is not global must be listed as loose */
} View;

static inline uint64_t tlb_none(unsigned slot) { return (uint64_t)(slot ^ 1) << 12; }
static inline uint8_t *tlb_hit(const TlbEnt *side, uint64_t va, unsigned bytes)
{
    const TlbEnt *e = &side[(va >> 12) & (TLB_N - 1)];

    return LIKELY((va ^ e->tag) <= PAGE - bytes) ? (uint8_t *)(uintptr_t)(va + e->addend) : NULL;
}
static inline unsigned cp_slot(uint64_t vpage) { return (unsigned)vpage & (CP_N - 1); }
static inline unsigned cp_gone_bit(uint64_t vpage) { return (unsigned)(vpage ^ vpage >> 10 ^ vpage >> 20) & (CP_GONE - 1); }
/* Bits 4..11 of the sum are pc's own and 56..63, the others 12..18 and 0..6. An entry has 16 bytes: generated code shifts nothing. */
static inline unsigned jc_slot(uint64_t pc) { return (unsigned)((pc ^ (pc << 12 | pc >> 52)) >> 4) & (JC_N - 1); }
/* The tag of an empty slot: the slot of no pc with it, in any mode. */
static inline uint64_t jc_none(unsigned slot) { return slot < 256; }
/* Of the 64 slots from 64 * i: those that a pc in va's page can have. They agree in bits 4..6 of the pc. */
static inline uint64_t jc_page_slots(uint64_t va, unsigned i)
{
    unsigned bits = i >> 6 ^ (unsigned)(va >> 16) ^ (unsigned)(va >> 56);

    return 0x0101010101010101ull << (bits & 7);
}
static inline bool tlb_bit(const uint64_t *set, unsigned n) { return set[n / 64] >> (n % 64) & 1; }
static inline void tlb_put_bit(uint64_t *set, unsigned n, bool on)
{
    set[n / 64] = (set[n / 64] & ~(1ull << (n % 64))) | (uint64_t)on << (n % 64);
}

enum { ENV_PAST = 16 };
enum { ENV_MODE_ONE = 1 << 7 /* blocks of one instruction, unlinked */,
       ENV_MODE_WINDOW = 1 << 29 /* accesses go by windows: View.mode */ }; /* bits of the mode word that the engine knows */
struct Env {
    uint64_t v[256]; /* guest registers, other globals, temps, dump; v[V_NONE] is always zero */
    uint8_t vec[VEC_N][32] __attribute__((aligned(32)));
    uint64_t pc;
    View *view;
    Cc cc;
    uint32_t exit_req; /* atomic: set by other threads and timers, makes the next poll stop */
    uint64_t mode;     /* the target's mode word: part of a block's key */
    uint64_t jc_key;   /* its number, see JcEnt */
    Fault fault;
    uint64_t icount;   /* guest instructions that were interpreted, added per block */
    Block *cur;        /* block being executed */
    uint8_t a20_off;
    struct Cpu *cpu;
    struct EnvJit { /* generated code's own: tcg/jit.h */
        uint64_t arg[3], addr, val, save[4];
        uint8_t vs[32]; /* the vector register that holds temps, during a slow path */
        uint8_t upper;  /* while vectors are live: upper halves may be other than zero, here or in Env */
        uint32_t csr;   /* what C code expects in the host's MXCSR */
        uint8_t vec_live; /* guest vectors and MXCSR are in the host's, not in Env */
        uint8_t fpu_live; /* the guest's x87 is the host's */
        uint32_t fpu_env[7]; /* scratch, as FNSTENV has it */
        uint64_t keep; /* a register, while a tail makes an address in it */
        uint64_t link; /* why it came back: Block address | JIT_* */
        uint64_t host_rsp;
        HelperFn long_way; /* a short helper could not do it: this one has to */
    } jit;
    bool one_block; /* the interpreter returns after each block: another executor decides */
    bool in_host;   /* generated code runs, or called C */
    struct EnvPast { /* for an autopsy: the last pcs whose block was looked up; links between blocks pass it by */
        uint64_t pc, times; /* times: in a row */
    } past[ENV_PAST];
    uint32_t npast; /* changes of pc so far; the newest is at npast % ENV_PAST */
};

typedef struct Link {
    Block *to;
    unsigned jc; /* slot of the jump cache that must still name `to`; LINK_IN_PAGE: good while both live */
} Link;
enum { LINK_IN_PAGE = JC_N };
typedef struct BlockOps { /* a block as the interpreter runs it */
    IrOp *op;    /* lowered */
    uint8_t *at; /* guest instruction of an op */
    Link link[MAX_SLOTS];
} BlockOps;
typedef struct BlockExit {
    uint64_t pc;
    uint32_t patch; /* offset of what linking it changes */
    uint8_t insns;  /* as in IrExit */
} BlockExit;
typedef struct BlockPart { /* a group of accesses that is checked in the middle */
    uint32_t at; /* where a failed check jumps from */
    uint8_t failed;
} BlockPart;
struct Block { /* the first cache line is what a look-up reads; nearly half a million of them: small */
    uint64_t pc, pa; /* virtual pc baked in (rel: offset in its page); physical address of the first byte */
    uint64_t mode;
    Block *next;    /* chain of its page's bucket */
    uint8_t *host;  /* where generated code enters it: a stub if it has no code of its own */
    bool dead, crosses;
    bool rel;       /* good wherever its page is mapped: pcs count from the start of the page */
    uint8_t ninsns, nslots, nparts;
    uint16_t before, bytes, nside, npoints;
    uint32_t host_size; /* 0: no code of its own */
    uint8_t *cold;      /* tails; cold_size 0: none */
    uint32_t cold_size;
    uint32_t at_careful; /* where `careful` is jumped to */
    BlockOps *ops;  /* NULL: it has code; the interpreter's ops are made when they are wanted, for once */
    struct CodePage *page;
    Block *next_in_page; /* page list */
    uint64_t pa2;   /* crosses: physical page of the rest */
    Block *careful; /* the same without checks of groups; made when they fail often */
    BlockPart *part; /* [nparts], */
    struct SidePoint *side; /* [nside], */
    struct FaultPoint *point; /* [npoints] */
    uint8_t failed;
    uint8_t undo;   /* a computed jump that faults: v[undo] += undo_by */
    int32_t undo_by;
    BlockExit slot[]; /* [nslots], and behind them the distances of its instructions from pc, [ninsns + 1] */
};
static inline uint16_t *block_offsets(const Block *b) { return (uint16_t *)(uintptr_t)(b->slot + b->nslots); }
/* Of instruction i; ninsns: the pc behind the last. */
static inline uint64_t block_insn(const Block *b, unsigned i) { return b->pc + block_offsets(b)[i]; }
static inline size_t block_bytes(const IrBlock *ir) { return sizeof(Block) + ir->nslots * sizeof(BlockExit) + (ir->ninsns + 1) * sizeof(uint16_t); }
void block_fill(Block *b, const IrBlock *ir); /* *b, of block_bytes(), is cleared and gets what ir says */

/* The virtual pc that an entry is for. */
static inline uint64_t jc_pc(const JcEnt *j) { return (uint64_t)((int64_t)(j->tag << 6) >> 6); }
/* The block the jump cache names for pc in the current mode, or NULL. */
static inline Block *jc_find(const Env *e, uint64_t pc)
{
    unsigned k = jc_slot(pc);

    return LIKELY(e->view->jc[k].tag == (pc ^ e->jc_key)) && !e->view->jc_blk[k]->dead ? e->view->jc_blk[k] : NULL;
}
/* A pc of this block as it is here and now: pcs of a rel block count from V_PAGE. */
static inline uint64_t block_pc(const Env *e, const Block *b, uint64_t pc) { return b->rel ? pc + e->v[V_PAGE] : pc; }
/* May an exit of `from` lead to `to` without a look-up? What a rel block leaves its page for depends on where it is. */
static inline bool block_may_link(const Block *from, unsigned slot, const Block *to)
{
    bool far = (from->slot[slot].pc ^ from->pc) & -(uint64_t)PAGE;

    return !from->dead && !to->dead && !(from->rel && (far || !to->rel || to->crosses));
}
static inline void env_enter_page(Env *e, uint64_t pc) { e->v[V_PAGE] = pc & -(uint64_t)PAGE; }

static inline void env_note(Env *e, uint64_t pc)
{
    struct EnvPast *p = &e->past[e->npast % ENV_PAST];

    if (p->pc != pc) {
        p = &e->past[++e->npast % ENV_PAST];
        *p = (struct EnvPast){ pc, 0 };
    }
    p->times++;
}

/* tcg/interp.c */
void interp_lower(const IrBlock *b, BlockOps *to); /* to->op and at have room for b->nops */
void interp_run(Env *e); /* until e->fault is set; e->pc is then exact. one_block: or until a block is done */
void interp_block(Env *e, Block *b); /* this block only, which has ops */
bool interp_op(Env *e, const IrOp *o); /* one op that is not control, memory, call: for executors without a way of their own */
void flags_fold(Env *e); /* token -> CC_RAW */
/* A HelperFn: Vec3Fn fn on Env.vec; how: d, a, b a byte each, imm from bit 32. */
uint64_t interp_vex(Env *e, uint64_t how, uint64_t fn, uint64_t c);
/* Up to 32 bytes, all or nothing. false: e->fault is set. */
bool vec_load(Env *e, uint64_t va, unsigned n, uint8_t *out);
bool vec_store(Env *e, uint64_t va, unsigned n, const uint8_t *in);

/* accel/tcg: slow paths. false: e->fault is set. n is 1..32. for_write: checks W, the value will be stored back. */
bool mem_load(Env *e, uint64_t va, unsigned n, void *out, bool for_write);
bool mem_store(Env *e, uint64_t va, unsigned n, const void *in);
bool mem_writable(Env *e, uint64_t va, unsigned n); /* would a store fault? then the fault is set */
/* Compare-and-swap of n bytes (1, 2, 4, 8, 16); *ok says whether it swapped; old gets the value seen. */
bool mem_cas(Env *e, uint64_t va, unsigned n, void *old, const void *new_, bool *ok);
/* Host address of va in RAM for `len` bytes of the page, or NULL: e->fault set, or MMIO (fault none). */
uint8_t *mem_page(Env *e, uint64_t va, bool write, unsigned *left);
/* Found or made, and put into the view's jump cache. NULL: e->fault is set (fetch fault, or flush asked). */
Block *block_get(Env *e, uint64_t pc);

/* target: implemented by target/x86 */
/* code: n bytes at pc (n may reach into the next page: then the rest of the first page plus what follows), and `before` bytes
 * of the same page ahead of them.
 * `page_left`: bytes of them in the first page. one: a single instruction. */
/* False: the first instruction is not whole in n bytes. */
/* rel: a block that is good wherever its page is mapped; pc is then the offset in the page. */
bool target_translate(Env *e, uint64_t pc, const uint8_t *code, unsigned before, unsigned n, unsigned page_left, bool one, bool rel,
                      IrBlock *out);
bool target_can_be_rel(const Env *e); /* in the current mode */
bool target_segchk(Env *e, uint64_t off, unsigned x); /* false: e->fault set */
bool target_brind_ok(Env *e, uint64_t pc);            /* a computed target that the jump cache does not know */
bool target_divide(Env *e, bool is_signed, unsigned size, uint64_t src);
void target_multiply(Env *e, bool is_signed, unsigned size, uint64_t src, unsigned *flags);
/* A vector function as an instruction of an x86-64 host, for emitters there; NULL: there is none. */
typedef enum HostVopForm { HV_NONE, HV_VV /* reg, r/m vectors */, HV_IMM /* r/m vector, imm8 */, HV_VG /* reg vector, r/m general */,
                           HV_GV /* reg general, r/m vector */, HV_EV /* r/m general, reg vector */,
                           HV_VVV /* reg = vvvv op r/m */, HV_MR /* r/m = reg */, HV_ZERO /* no operands */ } HostVopForm;
typedef struct HostVop {
    uint8_t form, pfx /* 0 none 1 66 2 F3 3 F2 */, ext;
    bool imm, wide /* REX.W */, flags /* writes all six */;
    bool vex, vex_w, reads_d /* the destination is a source as well */, is4 /* the immediate names a register */;
    uint8_t map;  /* of VEX: 1 0f 2 0f38 3 0f3a */
    uint32_t opc; /* 0f.., 0f38.., 0f3a..; of VEX the last byte alone */
} HostVop;
const HostVop *target_host_vop(const void *fn); /* VecFn or Vec3Fn */
/*
 * A helper's short form, for generated code: machine code of general registers only, which neither reads nor changes the guest's
 * vectors, FPU, and the registers that C preserves (rbx rsp rbp r12 to r15), and cannot fault. It finds flags as CC_HOST and
 * leaves them so. Where it cannot do it, it changes nothing and sets Env.jit.long_way. NULL: there is none.
 */
HelperFn target_short(HelperFn fn);
/*
 * The FPU: an x86's x87. op: 0x000..0x7ff are D8 00.. to DF FF; at: the memory operand. Done by C, a fault is in e->fault; the answer says nothing. pc: the instruction's, linear.
 */
uint64_t target_fpu(Env *e, uint64_t op, uint64_t at, uint64_t pc);
static inline unsigned fpu_with_memory(const IrOp *o) { return (unsigned)o->c << 8 | o->x >> X_FPU_OP; }
uint64_t target_fpu_pc(uint64_t mode, uint64_t pc); /* pc as the FPU remembers it */
/* Behind Env: 16-bit words, 8 x 16 bytes by physical number, one bit for each in use, two pointers. */
typedef struct TargetFpuAt {
    size_t cw, sw, tags, st, ip, dp;
} TargetFpuAt;
extern const TargetFpuAt target_fpu_at;
bool target_has_all_vectors(uint64_t mode); /* code of this mode reaches all of Env.vec, not only the first eight */
extern const size_t target_fpcsr_at; /* uint32_t behind Env: control and status of vector floating point */
uint64_t target_eflags6(unsigned f);                  /* FC.. -> the guest's positions */
#endif
