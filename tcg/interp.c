/*
 * tcg/interp.c - the portable executor: computed goto over 16-byte ops, flag tokens, the same xor-TLB
 * as generated code, blocks linked by pointer.
 *
 * interp_lower() turns IR opcodes into label numbers: the IR's own (kind, size, F, I) codes and,
 * behind them, the FAST ones: sized loads and stores, plain moves, fused compare-and-branch.
 * v[V_NONE] is always zero, so an address is a + (b << scale) + imm without a test.
 */
#include "tcg/flags.h"
#include "tcg/interp.h"
#include "util/shared.h"
#include "util/trace.h"

/* clang-format off */
#define FAST_LIST(X)                                                                               \
    X(ldi0) X(ldi1) X(ldi2) X(ldi3) X(ldb0) X(ldb1) X(ldb2) X(ldb3)                                \
    X(sti0) X(sti1) X(sti2) X(sti3) X(stb0) X(stb1) X(stb2) X(stb3)                                \
    X(mov3) X(mov2) X(movi) X(lea3) X(leab) X(zx0) X(zx1) X(sx2)                                   \
    X(shl2i) X(shl3i) X(shr2i) X(shr3i) X(sar2i) X(sar3i)
#define COND_LIST(X, s, i)                                                                         \
    X(0, s, i) X(1, s, i) X(2, s, i) X(3, s, i) X(4, s, i) X(5, s, i) X(6, s, i) X(7, s, i)        \
    X(8, s, i) X(9, s, i) X(10, s, i) X(11, s, i) X(12, s, i) X(13, s, i) X(14, s, i) X(15, s, i)
#define CMP_LIST(X)                                                                                \
    COND_LIST(X, 0, 0) COND_LIST(X, 0, 1) COND_LIST(X, 1, 0) COND_LIST(X, 1, 1)                    \
    COND_LIST(X, 2, 0) COND_LIST(X, 2, 1) COND_LIST(X, 3, 0) COND_LIST(X, 3, 1)

enum {
    FAST_BASE = IR_KINDS * 16 - 1,
#define X(n) FAST_##n,
    FAST_LIST(X)
#undef X
    FAST_CMP, /* + size * 32 + imm * 16 + cond */
    FAST_TEST = FAST_CMP + 128,
    FAST_END = FAST_TEST + 128
};

/* clang-format on */

typedef uint8_t T0;
typedef uint16_t T1;
typedef uint32_t T2;
typedef uint64_t T3;
typedef int8_t S0;
typedef int16_t S1;
typedef int32_t S2;
typedef int64_t S3;

static inline void put(uint64_t *d, unsigned size, uint64_t x)
{
    if (size == 0)
        *d = (*d & ~0xffull) | (uint8_t)x;
    else if (size == 1)
        *d = (*d & ~0xffffull) | (uint16_t)x;
    else
        *d = size == 2 ? (uint32_t)x : x;
}

static inline void token(Env *e, CcKind kind, unsigned size, uint64_t res, uint64_t a, uint64_t b)
{
    bool keep = kind == CC_INC || kind == CC_DEC;

    if (keep) /* only these read the old token, for the carry they leave alone */
        e->cc.carry = flags_of(&e->cc) & FC;
    e->cc.kind = (uint8_t)kind;
    e->cc.size = (uint8_t)size;
    e->cc.res = res;
    e->cc.a = a;
    e->cc.b = b;
}

static void raw_flags(Env *e, unsigned mask, unsigned f)
{
    unsigned old = mask == FALL ? 0 : flags_of(&e->cc);

    token(e, CC_RAW, 0, (old & ~mask) | (f & mask), 0, 0);
}

static bool holds(const Cc *c, unsigned cond)
{
    /* The usual case, without building the flags; not for sbb with a borrow coming in. */
    if (c->kind == CC_SUB && trunc_to(c->a - c->b - c->res, c->size) == 0) {
        uint64_t a = trunc_to(c->a, c->size), b = trunc_to(c->b, c->size);

        switch (cond >> 1) {
        case 1:
            return (a < b) != (cond & 1);
        case 2:
            return (a == b) != (cond & 1);
        case 3:
            return (a <= b) != (cond & 1);
        case 6:
            return (sext_from(a, c->size) < sext_from(b, c->size)) != (cond & 1);
        case 7:
            return (sext_from(a, c->size) <= sext_from(b, c->size)) != (cond & 1);
        default:
            break;
        }
    }
    if (c->kind == CC_LOGIC && (cond >> 1 == 2 || cond >> 1 == 4))
        return (cond >> 1 == 2 ? trunc_to(c->res, c->size) == 0 : msb(c->res, c->size)) != (cond & 1);
    return cond_holds(flags_of(c), cond);
}

/* Shifts and rotates with flags; a zero count changes nothing, not even the flags. */
static void shift(Env *e, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), bits = 8u << size;
    uint64_t raw = o->op & IR_I ? (uint64_t)o->imm : e->v[o->b];
    unsigned n = raw & (size == 3 ? 63 : 31);
    uint64_t a = trunc_to(e->v[o->a], size), r = a;
    IrKind k = IR_KIND(o->op);
    bool f = o->op & IR_F;

    if (k == IR_shl || k == IR_shr || k == IR_sar) {
        r = k == IR_shl ? a << n : k == IR_shr ? a >> n : (uint64_t)(sext_from(a, size) >> n);
        put(&e->v[o->d], size, r);
        if (f && n)
            token(e, k == IR_shl ? CC_SHL : k == IR_shr ? CC_SHR : CC_SAR, size, r, a, n);
        return;
    }
    bool wide = k == IR_rcl || k == IR_rcr;
    bool carry = wide && flags_of(&e->cc) & FC, over;
    unsigned by = wide ? n % (bits + 1) : n % bits;
    unsigned __int128 x = a | (unsigned __int128)carry << bits; /* wide: a ring of bits + 1 */
    unsigned ring = wide ? bits + 1 : bits;

    if (k == IR_ror || k == IR_rcr)
        by = (ring - by) % ring;
    x = by ? x << by | x >> (ring - by) : x;
    r = trunc_to((uint64_t)x, size);
    put(&e->v[o->d], size, r);
    if (!f || !n)
        return;
    carry = wide ? (x >> bits) & 1 : k == IR_rol ? r & 1 : msb(r, size);
    over = k == IR_rol || k == IR_rcl ? msb(r, size) ^ carry : msb(r, size) ^ msb(r << 1, size);
    raw_flags(e, FC | FO, (carry ? FC : 0) | (over ? FO : 0));
}

static void bits(Env *e, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), n = 8u << size;
    uint64_t a = e->v[o->a], b = o->op & IR_I ? (uint64_t)o->imm : e->v[o->b];
    uint64_t bit = 1ull << (b & (n - 1)), s = trunc_to(b, size), t = trunc_to(a, size);
    IrKind k = IR_KIND(o->op);

    switch (k) {
    case IR_bt:
    case IR_bts:
    case IR_btr:
    case IR_btc:
        if (o->op & IR_F)
            raw_flags(e, FC, a & bit ? FC : 0);
        if (k != IR_bt)
            put(&e->v[o->d], size, k == IR_bts ? a | bit : k == IR_btr ? a & ~bit : a ^ bit);
        return;
    case IR_bsf:
    case IR_bsr:
        if (o->op & IR_F)
            raw_flags(e, FALL, s ? 0 : FZ);
        if (s)
            put(&e->v[o->d], size,
                k == IR_bsf ? (unsigned)__builtin_ctzll(s) : 63u - (unsigned)__builtin_clzll(s));
        else
            put(&e->v[o->d], size == 2 ? 3 : size, a);
        return;
    case IR_popcnt:
        if (o->op & IR_F)
            raw_flags(e, FALL, t ? 0 : FZ);
        put(&e->v[o->d], size, (unsigned)__builtin_popcountll(t));
        return;
    default:
        s = k == IR_tzcnt ? (t ? (unsigned)__builtin_ctzll(t) : n)
                          : (t ? (unsigned)__builtin_clzll(t) - (64 - n) : n);
        put(&e->v[o->d], size, s);
        if (o->op & IR_F)
            raw_flags(e, FALL, (t ? 0 : FC) | (s ? 0 : FZ));
        return;
    }
}

static void multiply(Env *e, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), f;
    int64_t a = sext_from(e->v[o->a], size);
    int64_t b = sext_from(o->op & IR_I ? (uint64_t)o->imm : e->v[o->b], size);
    __int128 p = (__int128)a * b;

    f = p != sext_from((uint64_t)p, size) ? FC | FO : 0;
    put(&e->v[o->d], size, (uint64_t)p);
    if (o->op & IR_F)
        raw_flags(e, FALL, f);
}

static void extend(Env *e, const IrOp *o)
{
    uint64_t a = e->v[o->a];
    bool zero = IR_KIND(o->op) == IR_zx;

    put(&e->v[o->d], IR_SIZE(o->op), zero ? trunc_to(a, o->x) : (uint64_t)sext_from(a, o->x));
}

static inline uint64_t address(const Env *e, const IrOp *o)
{
    return e->v[o->a] + (e->v[o->b] << (o->x & X_SCALE)) + (uint64_t)o->imm;
}

bool vec_load(Env *e, uint64_t va, unsigned n, uint8_t *out)
{
    const uint8_t *p = tlb_hit(e->view->r, va, n);

    if (UNLIKELY(!p))
        return mem_load(e, va, n, out, false);
    shared_copy(out, p, n);
    return true;
}

bool vec_store(Env *e, uint64_t va, unsigned n, const uint8_t *in)
{
    uint8_t *p = tlb_hit(e->view->w, va, n);

    if (UNLIKELY(!p))
        return mem_store(e, va, n, in);
    shared_copy(p, in, n);
    return true;
}

static bool vector_memory(Env *e, const IrOp *o)
{
    uint64_t va = address(e, o);
    unsigned n = ir_vec_bytes(o);
    bool load = IR_KIND(o->op) == IR_vld || IR_KIND(o->op) == IR_vldn;
    uint8_t got[32] = { 0 }; /* a fault leaves the register as it was */

    if (UNLIKELY(o->x & X_ALIGNED && va & (n - 1))) {
        e->fault = (Fault){ FAULT_EXC + 13, 0, 0 };
        return false;
    }
    if (!load)
        return vec_store(e, va, n, e->vec[o->d]);
    if (!vec_load(e, va, n, got))
        return false;
    memcpy(e->vec[o->d], got, n > 16 || o->x & X_ZERO ? 32 : 16);
    return true;
}

uint64_t interp_vex(Env *e, uint64_t how, uint64_t fn, uint64_t c)
{
    ((Vec3Fn)(uintptr_t)fn)(e, e->vec[how & 31], e->vec[how >> 8 & 31], e->vec[how >> 16 & 31], (unsigned)(how >> 32));
    return 0;
}

static bool compare_swap(Env *e, const IrOp *o)
{
    uint64_t old = e->v[o->d];
    bool ok = false;

    if (!mem_cas(e, address(e, o), 1u << IR_SIZE(o->op), &old, &e->v[o->c], &ok))
        return false;
    if (!ok)
        e->fault = (Fault){ FAULT_AGAIN, 0, 0 };
    return ok;
}

static void double_shift(Env *e, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), bits = 8u << size, n = e->v[o->c] & (size == 3 ? 63 : 31);
    uint64_t a = trunc_to(e->v[o->a], size), b = trunc_to(e->v[o->b], size), r;
    bool left = IR_KIND(o->op) == IR_shld, carry, over;

    if (size == 1) /* counts 17..31 are undefined: what the silicon seen so far does is take a:b:a */
        n %= 32;
    if (!n) {
        put(&e->v[o->d], size, a);
        return;
    }
    if (n > bits) {
        unsigned __int128 x = left ? (unsigned __int128)a << 32 | b << 16 | a : (unsigned __int128)a << 32 | b << 16 | a;

        r = trunc_to((uint64_t)(left ? x >> (48 - n - 16 + 16 - 16) : x >> n), size);
        carry = left ? b >> (32 - n) & 1 : b >> (n - 17) & 1;
    } else {
        r = left ? a << n | (n == bits ? b : b >> (bits - n)) : a >> n | (n == bits ? b : b << (bits - n));
        if (n == bits)
            r = b;
        r = trunc_to(r, size);
        carry = left ? a >> (bits - n) & 1 : a >> (n - 1) & 1;
    }
    over = msb(r, size) ^ msb(a, size);
    put(&e->v[o->d], size, r);
    if (o->op & IR_F)
        raw_flags(e, FALL, flags_szp(r, size) | (carry ? FC : 0) | (over ? FO : 0));
}

static void carry_chain(Env *e, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), which = IR_KIND(o->op) == IR_adcx ? FC : FO;
    uint64_t a = trunc_to(e->v[o->a], size), b = trunc_to(e->v[o->b], size);
    unsigned __int128 x = (unsigned __int128)a + b + (flags_of(&e->cc) & which ? 1 : 0);

    put(&e->v[o->d], size, (uint64_t)x);
    if (o->op & IR_F)
        raw_flags(e, which, x >> (8u << size) ? which : 0);
}

static void bmi(Env *e, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), n = 8u << size, k, start, len;
    uint64_t a = trunc_to(e->v[o->a], size), b = trunc_to(e->v[o->b], size), r = 0;
    bool carry = false;

    switch (o->x) {
    case BMI_ANDN: r = ~a & b; break;
    case BMI_BLSR: r = a & (a - 1); carry = !a; break;
    case BMI_BLSMSK: r = a ^ (a - 1); carry = !a; break;
    case BMI_BLSI: r = a & (0 - a); carry = a; break;
    case BMI_BZHI:
        k = b & 0xff;
        r = k < n ? a & ((1ull << k) - 1) : a;
        carry = k >= n;
        break;
    default:
        start = b & 0xff;
        len = b >> 8 & 0xff;
        r = start < n ? a >> start : 0;
        r = len < 64 ? r & ((1ull << len) - 1) : r;
        break;
    }
    r = trunc_to(r, size);
    put(&e->v[o->d], size, r);
    if (o->op & IR_F)
        raw_flags(e, FALL, (flags_szp(r, size) & (FZ | FS)) | (carry ? FC : 0));
}

static uint64_t deposit(uint64_t v, uint64_t mask, bool extract)
{
    uint64_t r = 0;

    for (unsigned i = 0, k = 0; i < 64; i++)
        if (mask >> i & 1) {
            r |= extract ? (v >> i & 1) << k : (v >> k & 1) << i;
            k++;
        }
    return r;
}

/* Ops that are rare or long; false: e->fault is set. */
static bool slow_op(Env *e, const IrOp *o)
{
    unsigned f, size = IR_SIZE(o->op);
    IrKind k = IR_KIND(o->op);

    switch (k) {
    case IR_mulw:
    case IR_imulw:
        target_multiply(e, k == IR_imulw, size, e->v[o->a], &f);
        if (o->op & IR_F)
            raw_flags(e, FALL, f);
        return true;
    case IR_divw: return target_divide(e, false, size, e->v[o->a]);
    case IR_idivw: return target_divide(e, true, size, e->v[o->a]);
    case IR_mulx:
        put(&e->v[o->d], size, (uint64_t)((unsigned __int128)trunc_to(e->v[o->a], size) * trunc_to(e->v[o->b], size) >>
                                          (8u << size)));
        return true;
    case IR_shld:
    case IR_shrd: double_shift(e, o); return true;
    case IR_adcx:
    case IR_adox: carry_chain(e, o); return true;
    case IR_bmi: bmi(e, o); return true;
    case IR_pdep:
    case IR_pext: put(&e->v[o->d], size, deposit(e->v[o->a], trunc_to(e->v[o->b], size), k == IR_pext)); return true;
    case IR_bswap:
        put(&e->v[o->d], size, size == 3 ? __builtin_bswap64(e->v[o->a]) :
                               size == 2 ? __builtin_bswap32((uint32_t)e->v[o->a]) : __builtin_bswap16((uint16_t)e->v[o->a]));
        return true;
    case IR_setf: raw_flags(e, o->x, (unsigned)e->v[o->a]); return true;
    case IR_getf: e->v[o->d] = target_eflags6(flags_of(&e->cc)); return true;
    case IR_cas: return compare_swap(e, o);
    case IR_segchk: return target_segchk(e, e->v[o->a], o->x);
    case IR_vld:
    case IR_vst:
    case IR_vldn:
    case IR_vstn: return vector_memory(e, o);
    case IR_vmovg:
        f = 1u << size;
        memset(e->vec[o->d] + f, 0, 16 - f);
        memcpy(e->vec[o->d], &e->v[o->a], f);
        return true;
    case IR_vgetg: {
        uint64_t x = 0;

        memcpy(&x, e->vec[o->a], 1u << size);
        put(&e->v[o->d], size, x);
        return true;
    }
    default: g_assert_not_reached();
    }
}

bool interp_op(Env *e, const IrOp *o)
{
    switch (IR_KIND(o->op)) {
    case IR_shl:
    case IR_shr:
    case IR_sar:
    case IR_rol:
    case IR_ror:
    case IR_rcl:
    case IR_rcr: shift(e, o); return true;
    case IR_imul: multiply(e, o); return true;
    case IR_bt:
    case IR_bts:
    case IR_btr:
    case IR_btc:
    case IR_bsf:
    case IR_bsr:
    case IR_tzcnt:
    case IR_lzcnt:
    case IR_popcnt: bits(e, o); return true;
    default: return slow_op(e, o);
    }
}

void flags_fold(Env *e)
{
    unsigned f = flags_of(&e->cc);

    e->cc = (Cc){ .kind = CC_RAW, .res = f };
}

#include "tcg/interp_loop.h"

void interp_run(Env *e) { run_from(e, NULL); }

void interp_block(Env *e, Block *b)
{
    e->one_block = true;
    run_from(e, b);
    e->one_block = false;
}

static unsigned lower_mem(const IrOp *o)
{
    unsigned base = IR_KIND(o->op) == IR_ld ? FAST_ldi0 : FAST_sti0;

    return base + (o->b == V_NONE ? 4 : 0) + IR_SIZE(o->op);
}

static unsigned lower_op(IrOp *o)
{
    unsigned size = IR_SIZE(o->op);
    bool plain = !(o->op & IR_F), imm = o->op & IR_I;

    switch (IR_KIND(o->op)) {
    case IR_ld:
    case IR_st:
        return lower_mem(o);
    case IR_lea:
        return size != 3 ? o->op : o->b == V_NONE ? FAST_leab : FAST_lea3;
    case IR_mov:
        if (imm && size >= 2) {
            o->imm = (int64_t)trunc_to((uint64_t)o->imm, size);
            return FAST_movi;
        }
        return imm || size < 2 ? o->op : size == 3 ? FAST_mov3 : FAST_mov2;
    case IR_zx:
        return size >= 2 && o->x < 2 ? FAST_zx0 + o->x : o->op;
    case IR_sx:
        return size == 3 && o->x == 2 ? FAST_sx2 : o->op;
    case IR_shl:
    case IR_shr:
    case IR_sar:
        if (!plain || !imm || size < 2)
            return o->op;
        o->imm &= size == 3 ? 63 : 31;
        return FAST_shl2i + (IR_KIND(o->op) - IR_shl) * 2 + size - 2;
    default:
        return o->op;
    }
}

/* cmp or test, its flags wanted only by the branch behind it: one op. */
static bool fuse(const IrBlock *b, unsigned i, IrOp *out)
{
    const IrOp *p = &b->ops[i], *j = p + 1;
    IrKind k = IR_KIND(p->op);

    if (i + 1 >= b->nops || IR_KIND(j->op) != IR_brcc || p->d != V_NONE || b->live[i + 1] ||
        b->slot[j->c].live || !(p->op & IR_F) || (k != IR_sub && k != IR_and))
        return false;
    *out = *p;
    out->c = j->c;
    out->op = (uint16_t)((k == IR_sub ? FAST_CMP : FAST_TEST) + IR_SIZE(p->op) * 32u +
                         (p->op & IR_I) * 16u + j->x);
    return true;
}

void interp_lower(const IrBlock *b, BlockOps *to)
{
    unsigned n = 0;

    for (unsigned i = 0; i < b->nops; i++, n++) {
        IrOp *o = &to->op[n];

        to->at[n] = b->at[i];
        if (fuse(b, i, o)) {
            i++;
            continue;
        }
        *o = b->ops[i];
        if (o->d == V_NONE)
            o->d = V_DUMP;
        o->op = (uint16_t)lower_op(o);
    }
}

void block_fill(Block *b, const IrBlock *ir)
{
    const IrOp *last = &ir->ops[ir->nops - 1];

    *b = (Block){ .pc = ir->pc, .rel = ir->rel, .mode = ir->mode, .before = ir->before, .bytes = ir->bytes, .ninsns = (uint8_t)ir->ninsns,
                  .nslots = (uint8_t)ir->nslots, .crosses = ir->crosses };
    if (IR_KIND(last->op) == IR_brind) {
        b->undo = last->b;
        b->undo_by = (int32_t)last->imm;
    }
    for (unsigned i = 0; i < ir->nslots; i++)
        b->slot[i] = (BlockExit){ .pc = ir->slot[i].pc, .insns = ir->slot[i].insns };
    for (unsigned i = 0; i <= ir->ninsns; i++)
        block_offsets(b)[i] = (uint16_t)(ir->insn_pc[i] - ir->pc);
}
