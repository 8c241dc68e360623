/*
 * t1_window.c - accesses by windows (accel/tcg/window.c): what is checked where they are, and what their tails do when the
 * window is another's, or when the host says that it does not map the page.
 */
#include "tcg/x86_64/t1.h"

static uint64_t value_now(const T1 *t, unsigned v)
{
    return v < V_PAGE ? t->code->env->v[v] : v == V_PAGE ? t->code->env->pc : 0;
}

/* The slot of the window where this access most likely goes, if va is where it would go now. */
static unsigned likely_slot(const T1 *t, uint64_t va)
{
    const Env *e = t->code->env;
    unsigned tag = (unsigned)(va >> WIN_SHIFT) & 0xffff, slot = window_slot(tag);

    if (slot == 1 || slot == 2 || (!tag && va > 1 << 16 && e->view->win[0].tag != WIN_NONE))
        return slot;
    slot = window_slot((unsigned)(e->pc >> WIN_SHIFT) & 0xffff);
    if (slot != 2)
        return slot;
    for (unsigned r = 0; r < 16; r++)
        if (window_slot((unsigned)(e->v[r] >> WIN_SHIFT) & 0xffff) == 1)
            return 1;
    return slot;
}

static void window_check(T1 *t, Tail *k, unsigned delta, unsigned va, unsigned slot)
{
    a_rorx(&t->a, 3, delta, va, WIN_SHIFT);
    a_op(&t->a, 0, 0x3b, 1, delta, rm_mem(H15, VIEW(win[slot].tag)));
    k->jump[0] = a_jump(&t->a, 5, NULL);
    a_mov(&t->a, 3, delta, rm_mem(H15, VIEW(win[slot].delta)));
    k->check = t->a.p;
}

/* At the start of a tail: once, the check is for another slot if va, in a register, belongs there. */
static void ask_slot(T1 *t, Tail *k, unsigned va, FaultPoint *f)
{
    const uint8_t *from = t->a.p;

    a_store(&t->a, 3, ENV(jit.addr), va);
    t1_call(t, t->code->slow[SLOW_SLOT], k->insn);
    t1_fpu_again(t, k);
    g_assert(t->a.p - from < 128);
    *f = (FaultPoint){ .tail = (uint32_t)(t->a.p - t->cold) & 0xffffff, .ahead = (uint32_t)(t->a.p - from) & 0xff,
                       .check = (uint32_t)(k->check - t->start) };
}

static void note_access(const T1 *t, const Tail *k, FaultPoint *f)
{
    size_t n = (size_t)(k->back - k->access);

    g_assert(n < 256);
    f->from = (uint32_t)(k->access - t->start) & 0xffffff;
    f->len = (uint32_t)n & 0xff;
}

/*
 * The host's own page tables check the access, and a fault leads to the tail; only the part of the address space is compared
 * here, which the access does not wait for.
 */
Rm t1_mem_check(T1 *t, const IrOp *o, Tail *k, unsigned va, unsigned bytes, bool write, unsigned *scratch)
{
    unsigned slot, x, y;

    if (!t->windows)
        return t1_tlb_check(t, k, va, bytes, write, scratch);
    slot = likely_slot(t, value_now(t, o->a) + (value_now(t, o->b) << (o->x & X_SCALE)) + (uint64_t)o->imm);
    x = t1_grab(t);
    y = t1_grab(t);
    window_check(t, k, x, va, slot);
    k->window = true;
    k->addr = va;
    k->x = x;
    k->y = *scratch = y;
    k->bytes = bytes;
    k->write = write;
    k->access = t->a.p;
    t->ef_ok = false;
    return rm_idx(x, va, 0, 0);
}

/* The same by the TLB, whose addend takes the place of the window's. What it does not know is the slow path's, which follows. */
void t1_window_tail(T1 *t, Tail *k)
{
    int64_t side = k->write ? VIEW(w) : VIEW(r);
    size_t n = (size_t)(k->back - k->access);
    FaultPoint *f = &t->tables->point[t->tables->npoints++];
    uint8_t *miss, *odd = NULL;

    ask_slot(t, k, k->addr, f);
    note_access(t, k, f);
    a_rorx(&t->a, 3, k->x, k->addr, 8);
    a_alu_imm(&t->a, 4, 2, rm_reg(k->x), (TLB_N - 1) * 16);
    a_mov(&t->a, 3, k->y, rm_reg(k->addr));
    a_op(&t->a, 0, 0x33, 3, k->y, rm_idx(H15, k->x, 0, side));
    a_alu_imm(&t->a, 7, 3, rm_reg(k->y), PAGE - (int64_t)k->bytes);
    miss = a_jump(&t->a, 7, NULL);
    if (k->align) {
        a_op(&t->a, 0, 0xf6, 0, 0, rm_reg(k->addr));
        a_imm(&t->a, k->align - 1, 1);
        odd = a_jump(&t->a, 5, NULL);
    }
    a_mov(&t->a, 3, k->x, rm_idx(H15, k->x, 0, side + 8));
    memcpy(t->a.p, k->access, n);
    t->a.p += n;
    a_jump(&t->a, 16, k->back);
    a_patch(miss, t->a.p);
    if (odd)
        a_patch(odd, t->a.p);
}

/* ---- groups */
/* All its accesses can find their own faults. A change in two steps must know at the first that the second will do. */
bool t1_all_by_window(T1 *t, unsigned n)
{
    unsigned now = t->i;
    bool all = t->windows;

    for (t->i = t->group[n].at; all && t->i < t->b->nops; t->i++) {
        const IrOp *o = &t->b->ops[t->i];

        if (t->group_of[t->i] == n + 1)
            all = IR_KIND(o->op) != IR_fpum && !(IR_KIND(o->op) == IR_ld && o->x & X_W && !t1_in_place(t, o));
    }
    t->i = now;
    return all;
}

void t1_group_tail(T1 *t, Tail *k)
{
    ask_slot(t, k, k->x, &t->tables->point[t->tables->npoints++]);
    t1_look_up_group(t, k->what, k->x, k->y);
    a_jump(&t->a, 16, k->back);
}

void t1_check_by_window(T1 *t, unsigned n, unsigned x, unsigned y)
{
    const IrGroup *g = &t->group[n];
    Tail *k = t1_tail(t, TAIL_GROUP);

    k->x = x;
    k->y = y;
    k->what = n;
    window_check(t, k, y, x, likely_slot(t, value_now(t, g->base) + (uint64_t)g->lo));
    k->back = t->a.p;
}

Tail *t1_group_access(T1 *t, TailKind kind, Rm m)
{
    Tail *k;

    if (!t->by_window[t->group_of[t->i] - 1])
        return NULL;
    k = t1_tail(t, kind);
    k->grouped = true;
    k->flags = t->ef_ok;
    k->save = t->ef_ok && !t->env_ok;
    k->m = m;
    k->access = t->a.p;
    return k;
}

/* It borrows a register that the access does not use. */
void t1_tail_address(T1 *t, Tail *k)
{
    FaultPoint *f = &t->tables->point[t->tables->npoints++];
    unsigned r = k->m.index, s = H9;

    *f = (FaultPoint){ .tail = (uint32_t)(t->a.p - t->cold) & 0xffffff };
    note_access(t, k, f);
    if (k->save)
        t1_store_ax(&t->a, -1);
    if (!k->m.disp) {
        a_store(&t->a, 3, ENV(jit.addr), r);
        return;
    }
    while (s == r)
        s++;
    a_store(&t->a, 3, ENV(jit.keep), s);
    a_op(&t->a, 0, 0x8d, 3, s, rm_mem(r, k->m.disp));
    a_store(&t->a, 3, ENV(jit.addr), s);
    a_mov(&t->a, 3, s, ENV(jit.keep));
}

void t1_tail_flags(T1 *t, Tail *k)
{
    if (!k->flags)
        return;
    a_store(&t->a, 3, ENV(jit.save[3]), HAX);
    t1_load_ax(&t->a);
    a_mov(&t->a, 3, HAX, ENV(jit.save[3]));
}
