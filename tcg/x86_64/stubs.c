/*
 * stubs.c - the fixed pieces of generated code: entry, exits, and the ways into C.
 *
 *   slow    after a TLB miss or a division that may fault: saves the registers a C function may change
 *   call    a helper: every guest register is in Env while it runs, and read back afterwards
 *   brief   a short helper (target_short()): only what C does not preserve, and no vectors
 *   op      an op by the interpreter's C code: the same
 *
 * Each is entered by call, so the stack pointer is 8 below Env and the return address names the instruction. A
 * fault needs no unwinding of values: C has set the fault and pc; the stub makes Env complete and leaves.
 * Code is written through the writable mapping; distances are the same in both.
 */
#include "tcg/x86_64/t1.h"

const int8_t t1_pin[16] = { HAX, HCX, HDX, HBX, H14, HBP, HSI, HDI, H8, -1, -1, -1, H12, H13, -1, -1 };

enum { ALL, CALLER_SAVED, CALLEE_SAVED };

static Rm at(size_t off, int shift) { return rm_mem(HSP, (int64_t)off + shift); }
#define AT(field, shift) at(offsetof(Env, field), shift)

static bool callee_saved(unsigned r) { return r == HBX || r == HBP || (r >= H12 && r <= H15); }

static void move_pinned(Asm *a, bool save, unsigned which, int shift)
{
    for (unsigned g = 0; g < 16; g++) {
        int r = t1_pin[g];
        Rm m = at(offsetof(Env, v) + 8 * g, shift);

        if (r < 0 || (which == CALLER_SAVED && callee_saved((unsigned)r)) || (which == CALLEE_SAVED && !callee_saved((unsigned)r)))
            continue;
        if (save)
            a_store(a, 3, m, (unsigned)r);
        else
            a_mov(a, 3, (unsigned)r, m);
    }
}

static void move_temps(Asm *a, bool save, int shift)
{
    for (unsigned i = 0; i < 3; i++) {
        Rm m = at(offsetof(Env, jit.save) + 8 * i, shift);

        if (save)
            a_store(a, 3, m, H9 + i);
        else
            a_mov(a, 3, H9 + i, m);
    }
}

static const uint8_t saved[] = { HBX, HBP, H12, H13, H14, H15 };

static void make_enter(Asm *a) /* void enter(Env *rdi, host rsi) */
{
    for (unsigned i = 0; i < 6; i++) {
        if (saved[i] >= 8)
            a_byte(a, 0x41);
        a_byte(a, 0x50 | (saved[i] & 7));
    }
    a_store(a, 3, rm_mem(HDI, offsetof(Env, jit.host_rsp)), HSP);
    a_mov(a, 3, HSP, rm_reg(HDI));
    a_mov(a, 3, H15, ENV(view));
    a_mov(a, 3, H11, rm_reg(HSI));
    move_pinned(a, false, ALL, 0);
    a_op(a, 0, 0xff, 2, 4, rm_reg(H11));
}

/* Env is complete, the stack pointer at it: back to C. */
static const uint8_t *make_back(Asm *a)
{
    const uint8_t *here = a->p;

    a_mov(a, 3, HSP, ENV(jit.host_rsp));
    for (unsigned i = 6; i-- > 0;) {
        if (saved[i] >= 8)
            a_byte(a, 0x41);
        a_byte(a, 0x58 | (saved[i] & 7));
    }
    a_byte(a, 0xc3);
    return here;
}

static void call_c(Asm *a, uintptr_t fn) /* from inside a stub: rsp is Env - 8 */
{
    a_op(a, 0, 0x8d, 3, HDI, rm_mem(HSP, 8));
    a_alu_imm(a, 5, 3, rm_reg(HSP), 8);
    a_const(a, HAX, fn);
    a_op(a, 0, 0xff, 2, 2, rm_reg(HAX));
    a_alu_imm(a, 0, 3, rm_reg(HSP), 8);
}

static void give_up(Asm *a, const uint8_t *back)
{
    a_op(a, 0, 0xc7, 3, 0, AT(jit.link, 8));
    a_imm(a, JIT_LOOKUP, 4);
    a_alu_imm(a, 0, 3, rm_reg(HSP), 8);
    a_jump(a, 16, back);
}

static void test_answer(Asm *a, uint8_t **bad)
{
    a_op(a, 0, 0x84, 0, HAX, rm_reg(HAX));
    *bad = a_jump(a, 4, NULL);
}

/* Vectors to Env, if they are in the host's registers: before C, or for good. */
static void store_vectors(Asm *a, int shift)
{
    uint8_t *over;

    a_alu_imm(a, 7, 0, AT(jit.vec_live, shift), 0);
    over = a_jump(a, 4, NULL);
    t1_move_vectors(a, true, false, shift);
    a_patch(over, a->p);
}

static void make_live(Asm *a, CodeCache *c)
{
    uint8_t *unmasked;

    c->live_entry = a->p; /* r11: what to say if the interpreter has to do it */
    unmasked = t1_unmasked(a, 8);
    c->live = a->p;
    t1_move_vectors(a, false, false, 8);
    a_byte(a, 0xc3);
    a_patch(unmasked, a->p);
    a_alu_imm(a, 0, 3, rm_reg(HSP), 8);
    a_jump(a, 16, c->exit_link);
}

/* The same for the x87. */
static void make_fpu_live(Asm *a, CodeCache *c)
{
    uint8_t *unmasked[2];

    c->fpu_entry = a->p; /* r11: what to say if the interpreter has to do it */
    unmasked[0] = t1_fpu_unmasked(a, 8, &unmasked[1]);
    c->fpu = a->p;
    t1_fpu_load(a, 8);
    a_byte(a, 0xc3);
    a_patch(unmasked[0], a->p);
    a_patch(unmasked[1], a->p);
    a_alu_imm(a, 0, 3, rm_reg(HSP), 8);
    a_jump(a, 16, c->exit_link);
}

static void make_slow(Asm *a, const uint8_t *back, bool vectors)
{
    uint8_t *bad, *other = NULL;

    if (!vectors) {
        a_alu_imm(a, 7, 0, AT(jit.vec_live, 8), 0);
        other = a_jump(a, 5, NULL);
    } else {
        t1_move_vectors(a, true, true, 8);
    }
    move_pinned(a, true, CALLER_SAVED, 8);
    move_temps(a, true, 8);
    t1_fpu_store(a, 8);
    a_mov(a, 2, HSI, AT(jit.link, 8));
    call_c(a, (uintptr_t)jit_slow);
    test_answer(a, &bad);
    move_pinned(a, false, CALLER_SAVED, 8);
    move_temps(a, false, 8);
    if (vectors)
        t1_move_vectors(a, false, true, 8);
    a_byte(a, 0xc3);
    a_patch(bad, a->p);
    move_pinned(a, true, CALLEE_SAVED, 8);
    give_up(a, back);
    if (other) {
        a_patch(other, a->p);
        make_slow(a, back, true);
    }
}

static void return_to_code(Asm *a)
{
    move_pinned(a, false, ALL, 8);
    a_mov(a, 3, H15, AT(view, 8));
    a_byte(a, 0xc3);
}

static void make_op(Asm *a, const uint8_t *back)
{
    uint8_t *bad;

    store_vectors(a, 8);
    move_pinned(a, true, ALL, 8);
    t1_fpu_store(a, 8);
    a_mov(a, 3, HSI, rm_reg(H11));
    call_c(a, (uintptr_t)jit_op);
    test_answer(a, &bad);
    return_to_code(a);
    a_patch(bad, a->p);
    give_up(a, back);
}

static void call_helper(Asm *a) /* that r11 names */
{
    a_mov(a, 3, HSI, AT(jit.arg[0], 8));
    a_mov(a, 3, HDX, AT(jit.arg[1], 8));
    a_mov(a, 3, HCX, AT(jit.arg[2], 8));
    a_op(a, 0, 0x8d, 3, HDI, rm_mem(HSP, 8));
    a_alu_imm(a, 5, 3, rm_reg(HSP), 8);
    a_op(a, 0, 0xff, 2, 2, rm_reg(H11));
    a_alu_imm(a, 0, 3, rm_reg(HSP), 8);
}

/* The answer: where a call goes on whose registers are in Env, all but vectors and FPU. */
static const uint8_t *make_call(Asm *a, const uint8_t *back)
{
    uint8_t *bad, *fold, *go_on;
    const uint8_t *stored;

    move_pinned(a, true, ALL, 8);
    stored = a->p;
    store_vectors(a, 8);
    t1_fpu_store(a, 8);
    call_helper(a);
    a_alu_imm(a, 7, 2, AT(fault.kind, 8), 0);
    bad = a_jump(a, 5, NULL);
    a_alu_imm(a, 7, 0, AT(cc.kind, 8), CC_HOST);
    fold = a_jump(a, 5, NULL);
    go_on = a->p;
    a_mov(a, 3, H11, rm_reg(HAX));
    return_to_code(a);
    a_patch(fold, a->p);
    a_store(a, 3, AT(jit.save[0], 8), HAX);
    call_c(a, (uintptr_t)jit_fold);
    a_mov(a, 3, HAX, AT(jit.save[0], 8));
    a_jump(a, 16, go_on);
    a_patch(bad, a->p);
    call_c(a, (uintptr_t)jit_unwind);
    give_up(a, back);
    return stored;
}

static void make_brief(Asm *a, const uint8_t *stored)
{
    uint8_t *cannot;

    move_pinned(a, true, CALLER_SAVED, 8);
    call_helper(a);
    a_alu_imm(a, 7, 3, AT(jit.long_way, 8), 0);
    cannot = a_jump(a, 5, NULL);
    a_mov(a, 3, H11, rm_reg(HAX));
    move_pinned(a, false, CALLER_SAVED, 8);
    a_mov(a, 3, H15, AT(view, 8));
    a_byte(a, 0xc3);
    a_patch(cannot, a->p);
    move_pinned(a, true, CALLEE_SAVED, 8);
    a_mov(a, 3, H11, AT(jit.long_way, 8));
    a_op(a, 0, 0xc7, 3, 0, AT(jit.long_way, 8));
    a_imm(a, 0, 4);
    a_jump(a, 16, stored);
}

/* ---- a pc that the jump cache does not know: block_get()'s common case without leaving generated code ---- */
static void shift(Asm *a, unsigned how, unsigned size, unsigned r, unsigned n)
{
    a_op(a, 0, 0xc1, size, how, rm_reg(r));
    a_imm(a, n, 1);
}

/* r10 = (r9 ^ r9 >> by) & mask */
static void hash_pc(Asm *a, unsigned by, unsigned mask)
{
    a_mov(a, 3, H10, rm_reg(H9));
    shift(a, 5, 3, H10, by);
    a_op(a, 0, 0x33, 3, H10, rm_reg(H9));
    a_alu_imm(a, 4, 2, rm_reg(H10), mask);
}

static void hash_jump_cache(Asm *a) /* r10 = jc_slot(r9) */
{
    a_rorx(a, 3, H10, H9, 52);
    a_op(a, 0, 0x33, 3, H10, rm_reg(H9));
    shift(a, 5, 2, H10, 4);
    a_alu_imm(a, 4, 2, rm_reg(H10), JC_N - 1);
}

/* r11 = the bucket in the code page where the pc in r9 lies; save[0]: is the page global? */
static void find_page(Asm *a, uint8_t *slow[2])
{
    uint8_t *global;

    a_mov(a, 3, H10, rm_reg(H9));
    shift(a, 5, 3, H10, 12);
    a_mov(a, 2, H11, rm_reg(H10));
    a_alu_imm(a, 4, 2, rm_reg(H11), CP_N - 1);
    shift(a, 4, 2, H11, 5);
    a_op(a, 0, 0x8d, 3, H11, rm_idx(H15, H11, 0, VIEW(cp)));
    a_op(a, 0, 0x3b, 3, H10, rm_mem(H11, offsetof(CpEnt, vpage)));
    slow[0] = a_jump(a, 5, NULL);
    a_op(a, 0, 0x0fb6, 2, H10, rm_mem(H11, offsetof(CpEnt, global)));
    a_store(a, 3, ENV(jit.save[0]), H10);
    a_op(a, 0, 0x85, 2, H10, rm_reg(H10));
    global = a_jump(a, 5, NULL);
    a_alu_imm(a, 7, 0, rm_mem(H15, VIEW(shared)), 0);
    slow[1] = a_jump(a, 5, NULL);
    a_patch(global, a->p);
    a_mov(a, 3, H11, rm_mem(H11, offsetof(CpEnt, page)));
    hash_pc(a, 6, PAGE_BUCKETS - 1);
    a_mov(a, 3, H11, rm_idx(H11, H10, 3, offsetof(CodePage, bucket)));
}

/* r11 = the block of that bucket for pc and mode. Blocks that go on in a second page are C's. */
static void find_block(Asm *a, uint8_t *slow[2])
{
    uint8_t *other, *abs, *hit;
    const uint8_t *loop = a->p;

    a_op(a, 0, 0x85, 3, H11, rm_reg(H11));
    slow[0] = a_jump(a, 4, NULL);
    a_mov(a, 3, H10, ENV(mode));
    a_op(a, 0, 0x3b, 3, H10, rm_mem(H11, offsetof(Block, mode)));
    other = a_jump(a, 5, NULL);
    a_mov(a, 3, H10, rm_reg(H9));
    a_alu_imm(a, 7, 0, rm_mem(H11, offsetof(Block, rel)), 0);
    abs = a_jump(a, 4, NULL);
    a_alu_imm(a, 4, 2, rm_reg(H10), PAGE - 1);
    a_patch(abs, a->p);
    a_op(a, 0, 0x3b, 3, H10, rm_mem(H11, offsetof(Block, pc)));
    hit = a_jump(a, 4, NULL);
    a_patch(other, a->p);
    a_mov(a, 3, H11, rm_mem(H11, offsetof(Block, next)));
    a_jump(a, 16, loop);
    a_patch(hit, a->p);
    a_alu_imm(a, 7, 0, rm_mem(H11, offsetof(Block, crosses)), 0);
    slow[1] = a_jump(a, 5, NULL);
}

/* tcg_jc_put() for a page that is global or in a view that is not shared; and there it goes. */
static void put_and_enter(Asm *a)
{
    uint8_t *global, *done, *listed;

    hash_jump_cache(a);
    a_op(a, 0, 0x0fab, 3, H10, rm_mem(H15, VIEW(fills[FILL_JC].listed))); /* bts */
    listed = a_jump(a, 2, NULL);
    a_mov(a, 2, H9, rm_mem(H15, VIEW(fills[FILL_JC].n)));
    a_store(a, 1, rm_idx(H15, H9, 1, VIEW(fills[FILL_JC].used)), H10);
    a_alu_imm(a, 0, 2, rm_mem(H15, VIEW(fills[FILL_JC].n)), 1);
    a_patch(listed, a->p);
    a_alu_imm(a, 7, 0, ENV(jit.save[0]), 0);
    global = a_jump(a, 5, NULL);
    a_op(a, 0, 0x0fb3, 3, H10, rm_mem(H15, VIEW(fills[FILL_JC].global))); /* btr */
    done = a_jump(a, 16, NULL);
    a_patch(global, a->p);
    a_op(a, 0, 0x0fab, 3, H10, rm_mem(H15, VIEW(fills[FILL_JC].global))); /* bts */
    a_patch(done, a->p);
    a_store(a, 3, rm_idx(H15, H10, 3, VIEW(jc_blk)), H11);
    a_mov(a, 3, H11, rm_mem(H11, offsetof(Block, host)));
    shift(a, 4, 2, H10, 4);
    a_store(a, 3, rm_idx(H15, H10, 0, VIEW(jc[0].host)), H11);
    a_mov(a, 3, H9, ENV(pc));
    a_op(a, 0, 0x33, 3, H9, ENV(jc_key));
    a_store(a, 3, rm_idx(H15, H10, 0, VIEW(jc[0].tag)), H9);
    a_mov(a, 3, H9, ENV(pc));
    a_alu_imm(a, 4, 3, rm_reg(H9), -(int64_t)PAGE);
    a_store(a, 3, env_slot(V_PAGE), H9);
    a_op(a, 0, 0xff, 2, 4, rm_reg(H11));
}

/*
 * pc, to r9, of the exit that r11 names. It is linked, but the jump cache did not name that block: if it names another,
 * the link is out of date.
 */
static void find_exit(Asm *a, uint8_t **slow)
{
    a_mov(a, 2, H10, rm_reg(H11));
    a_alu_imm(a, 4, 2, rm_reg(H10), JIT_REASON);
    a_alu_imm(a, 4, 3, rm_reg(H11), -(int64_t)(JIT_REASON + 1));
    a_op(a, 0, 0x69, 2, H10, rm_reg(H10)); /* imul */
    a_imm(a, sizeof(BlockExit), 4);
    a_mov(a, 3, H9, rm_idx(H11, H10, 0, offsetof(Block, slot) + offsetof(BlockExit, pc)));
    a_store(a, 3, ENV(pc), H9);
    hash_jump_cache(a);
    shift(a, 4, 2, H10, 4);
    a_mov(a, 3, H11, rm_reg(H9));
    a_op(a, 0, 0x33, 3, H11, ENV(jc_key));
    a_op(a, 0, 0x3b, 3, H11, rm_idx(H15, H10, 0, VIEW(jc[0].tag)));
    *slow = a_jump(a, 4, NULL);
}

/* Env.pc; r11: what to say if C has to do it. */
static void make_find(Asm *a, CodeCache *c)
{
    uint8_t *slow[5], *known;

    c->find_exit = a->p;
    a_store(a, 3, ENV(jit.link), H11);
    find_exit(a, slow + 4);
    known = a_jump(a, 16, NULL);
    c->find = a->p;
    a_store(a, 3, ENV(jit.link), H11);
    a_mov(a, 3, H9, ENV(pc));
    a_patch(known, a->p);
    find_page(a, slow);
    find_block(a, slow + 2);
    put_and_enter(a);
    for (unsigned i = 0; i < 5; i++)
        a_patch(slow[i], a->p);
    a_mov(a, 3, H11, ENV(jit.link));
    a_jump(a, 16, c->exit_link);
}

/* Go on at Env.pc: the view and the mode may be others. */
static void make_leave(Asm *a, const uint8_t *exit, const uint8_t *find)
{
    uint8_t *asked, *miss;

    a_alu_imm(a, 7, 2, ENV(exit_req), 0);
    asked = a_jump(a, 5, NULL);
    a_mov(a, 3, H9, ENV(pc));
    miss = t1_jc_probe(a, H9, H10);
    a_op(a, 0, 0xff, 2, 4, rm_reg(H11));
    a_patch(asked, a->p);
    a_const(a, H11, JIT_LOOKUP);
    a_jump(a, 16, exit);
    a_patch(miss, a->p);
    a_const(a, H11, JIT_LOOKUP);
    a_jump(a, 16, find);
}

static const uint8_t *rx(const CodeCache *c, const uint8_t *p) { return c->rx + (p - c->rw); }

void jit_stubs(CodeCache *c)
{
    Asm a = { c->rw, c->rw + c->size };
    const uint8_t *back, *slow, *stored;

    c->enter = rx(c, a.p);
    make_enter(&a);
    back = make_back(&a);
    c->exit_link = a.p; /* r11: why */
    a_store(&a, 3, ENV(jit.link), H11);
    store_vectors(&a, 0);
    move_pinned(&a, true, ALL, 0);
    t1_fpu_store(&a, 0);
    a_jump(&a, 16, back);
    make_find(&a, c);
    c->leave = a.p;
    make_leave(&a, c->exit_link, c->find);
    c->no_code = rx(c, a.p); /* a block that the interpreter runs: only changes of the mode lead there, and they set the pc */
    a_const(&a, H11, JIT_LOOKUP);
    a_jump(&a, 16, c->exit_link);
    c->dead = rx(c, a.p);
    a_byte(&a, 0x41); /* pop r11 */
    a_byte(&a, 0x5b);
    a_store(&a, 3, ENV(jit.arg[0]), H11);
    a_const(&a, H11, JIT_DEAD);
    a_jump(&a, 16, c->exit_link);
    make_live(&a, c);
    make_fpu_live(&a, c);
    c->call = a.p;
    stored = make_call(&a, back);
    c->brief = a.p;
    make_brief(&a, stored);
    c->op = a.p;
    make_op(&a, back);
    slow = a.p;
    make_slow(&a, back, false);
    for (unsigned i = 0; i < SLOW_KINDS; i++) {
        c->slow[i] = a.p;
        a_op(&a, 0, 0xc7, 2, 0, AT(jit.link, 8));
        a_imm(&a, i, 4);
        a_jump(&a, 16, slow);
    }
    c->top = c->cold = c->cold_end = c->size;
    c->stubs = c->used = ((size_t)(a.p - c->rw) + 63) & ~(size_t)63;
}

void jit_enter(CodeCache *c, Env *e, const uint8_t *host)
{
    void (*enter)(Env *, const uint8_t *) = (void (*)(Env *, const uint8_t *))(uintptr_t)c->enter;

    enter(e, host);
}
