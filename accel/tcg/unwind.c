/*
 * accel/tcg/unwind.c - from a return address in generated code to the guest instruction: blocks lie in the code
 * cache in the order they were made, their tails elsewhere in pieces; each has a table of its calls (SidePoint).
 */
#include "accel/tcg/tcg.h"
#include "tcg/flags.h"

/* Of v[lo..hi - 1], in the order of their addresses, the last that begins at host or before. */
static Block *last_before(const GPtrArray *v, guint lo, guint hi, const uint8_t *host, bool cold)
{
    g_assert(hi > lo);
    while (hi - lo > 1) {
        guint mid = (lo + hi) / 2;
        const Block *b = v->pdata[mid];

        if ((cold ? b->cold : b->host) <= host)
            lo = mid;
        else
            hi = mid;
    }
    return v->pdata[lo];
}

/* The block whose code, or tails, hold this address. */
Block *tcg_block_at(const TcgCpu *t, const uint8_t *host)
{
    const CodeCache *c = &t->code;
    guint piece, from, to;

    if (host < c->rx + c->top) {
        piece = (guint)((size_t)(host - c->rx) / PAGE);
        from = g_array_index(t->by_page, guint, MIN(piece, t->by_page->len - 1));
        to = piece + 1 < t->by_page->len ? g_array_index(t->by_page, guint, piece + 1) + 1 : t->by_host->len;
        return last_before(t->by_host, from, to, host, false);
    }
    piece = (guint)((size_t)(c->rx + c->size - 1 - host) / jit_cold_piece(c));
    from = g_array_index(t->pieces, guint, piece);
    to = piece + 1 < t->pieces->len ? g_array_index(t->pieces, guint, piece + 1) : t->by_cold->len;
    return last_before(t->by_cold, from, to, host, true);
}

/* Generated code calls C with the stack pointer at Env: its return address is the word below. */
static const uint8_t *return_address(const Env *e) { return (const uint8_t *)(uintptr_t)((const uint64_t *)(const void *)e)[-1]; }

Block *tcg_running(TcgCpu *t)
{
    Env *e = &t->s->env;

    return e->in_host ? tcg_block_at(t, return_address(e)) : e->cur;
}

bool jit_unwind(Env *e)
{
    const uint8_t *ret = return_address(e);
    Block *b = tcg_block_at(x86(e)->tcg, ret);

    for (unsigned i = 0; i < b->nside; i++)
        if ((b->side[i].cold ? b->cold : b->host) + b->side[i].ret == ret) {
            e->pc = block_pc(e, b, block_insn(b, b->side[i].insn));
            return false;
        }
    g_assert_not_reached();
}

void jit_fold(Env *e)
{
    if (e->cc.kind != CC_HOST)
        e->cc = (Cc){ .kind = CC_HOST, .res = flags_to_ax(flags_of(&e->cc)) };
}

bool jit_op(Env *e, const IrOp *o)
{
    if (UNLIKELY(!interp_op(e, o)))
        return jit_unwind(e);
    jit_fold(e);
    return true;
}

static bool slow_vector(Env *e, bool store)
{
    uint64_t va = e->jit.addr;
    unsigned how = (uint32_t)e->jit.val, n = 1u << (how >> 8 & 7);
    uint8_t *reg = e->vec[how & 0xff], got[32] = { 0 };

    if (how & VSLOW_ALIGNED && va & (n - 1)) {
        e->fault = (Fault){ FAULT_EXC + EXC_GP, 0, 0 };
        return false;
    }
    if (store)
        return vec_store(e, va, n, reg);
    if (!vec_load(e, va, n, got))
        return false;
    memcpy(reg, got, n > 16 || how & VSLOW_ZERO ? 32 : 16);
    return true;
}

bool jit_slow(Env *e, unsigned kind)
{
    unsigned n = 1u << (kind & 3);
    bool ok;

    if (UNLIKELY(kind == SLOW_SLOT)) {
        tcg_window_ask(x86(e)->tcg, return_address(e));
        return true;
    }
    if (kind >= SLOW_DIV) {
        ok = target_divide(e, kind == SLOW_IDIV, (uint32_t)e->jit.addr, e->jit.val);
    } else if (kind >= SLOW_VLD) {
        ok = slow_vector(e, kind == SLOW_VST);
    } else if (kind >= SLOW_ST) {
        ok = mem_store(e, e->jit.addr, n, &e->jit.val);
    } else {
        e->jit.val = 0;
        ok = mem_load(e, e->jit.addr, n, &e->jit.val, kind >= SLOW_RMW);
    }
    return LIKELY(ok) || jit_unwind(e);
}
