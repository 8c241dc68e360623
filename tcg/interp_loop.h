/* tcg/interp_loop.h - the dispatch loop; part of interp.c, apart because of its size (macro tables). */

/* clang-format off */
#define DISPATCH() goto *label[o->op]
#define NEXT() do { o++; DISPATCH(); } while (0)

/* A two-operand op of one size: register and immediate, without and with flags. */
#define BINARY(s, r, src, ...)                                                                     \
    {                                                                                              \
        T##s a = (T##s)v[o->a], b = (T##s)(src), carry = (r) ? flags_of(&e->cc) & FC : 0;          \
        (void)carry;                                                                               \
        __VA_ARGS__;                                                                               \
        NEXT();                                                                                    \
    }
#define FLAGGED(s, k, e_)                                                                          \
    T##s x = (T##s)(e_);                                                                           \
    put(&v[o->d], s, x);                                                                           \
    token(e, k, s, x, a, b)
#define H2(n, s, k, r, e_)                                                                         \
    n##s##0: BINARY(s, r, v[o->b], put(&v[o->d], s, (T##s)(e_)))                                   \
    n##s##1: BINARY(s, r, o->imm, put(&v[o->d], s, (T##s)(e_)))                                    \
    n##s##2: BINARY(s, r, v[o->b], FLAGGED(s, k, e_))                                              \
    n##s##3: BINARY(s, r, o->imm, FLAGGED(s, k, e_))
#define H1(n, s, k, e_)                                                                            \
    n##s##0: { T##s a = (T##s)v[o->a]; put(&v[o->d], s, (T##s)(e_)); NEXT(); }                     \
    n##s##2: { T##s a = (T##s)v[o->a], x = (T##s)(e_); put(&v[o->d], s, x);                        \
               token(e, k, s, x, (k) == CC_SUB ? 0 : a, (k) == CC_SUB ? a : 1); NEXT(); }
#define LABELS4(n, s) &&n##s##0, &&n##s##1, &&n##s##2, &&n##s##3
#define LABELS1(n) &&n, &&n, &&n, &&n
#define LABELS2(n, s) &&n##s##0, &&n##s##0, &&n##s##2, &&n##s##2

#define LOAD(name, s, ea)                                                                          \
    name##s: { uint64_t va = (ea); T##s x; const uint8_t *p =                                      \
                   tlb_hit(o->x & X_W ? e->view->w : e->view->r, va, sizeof(x));                   \
               if (__builtin_expect(p != NULL, 1)) shared_copy(&x, p, sizeof(x));                      \
               else if (!mem_load(e, va, sizeof(x), &x, o->x & X_W)) goto fault;                   \
               put(&v[o->d], s, x); NEXT(); }
#define STORE(name, s, ea)                                                                         \
    name##s: { uint64_t va = (ea); T##s x = (T##s)v[o->c];                                         \
               uint8_t *p = tlb_hit(e->view->w, va, sizeof(x));                                    \
               if (__builtin_expect(p != NULL, 1)) shared_copy(p, &x, sizeof(x));                      \
               else if (!mem_store(e, va, sizeof(x), &x)) goto fault;                              \
               NEXT(); }
#define SHIFT(name, s, expr)                                                                       \
    name##s##i: { T##s a = (T##s)v[o->a]; put(&v[o->d], s, (T##s)(expr)); NEXT(); }

/* Conditions of a fused compare: a, b are the operands; of a fused test: x = a & b. */
#define CMP_COND(c, s, a, b)                                                                       \
    ((c) == 2 ? (a) < (b) : (c) == 3 ? (a) >= (b) : (c) == 4 ? (a) == (b) : (c) == 5 ? (a) != (b) :\
     (c) == 6 ? (a) <= (b) : (c) == 7 ? (a) > (b) : (c) == 8 ? (S##s)((a) - (b)) < 0 :             \
     (c) == 9 ? (S##s)((a) - (b)) >= 0 : (c) == 12 ? (S##s)(a) < (S##s)(b) :                       \
     (c) == 13 ? (S##s)(a) >= (S##s)(b) : (c) == 14 ? (S##s)(a) <= (S##s)(b) :                     \
     (c) == 15 ? (S##s)(a) > (S##s)(b) : rare_cond(CC_SUB, s, (T##s)((a) - (b)), a, b, c))
#define HCMP(cond, s, i)                                                                           \
    cmp##cond##_##s##i: { T##s a = (T##s)v[o->a], b = (T##s)((i) ? (uint64_t)o->imm : v[o->b]);    \
                          if (CMP_COND(cond, s, a, b)) { goto leave_slot; } NEXT(); }
#define HTEST(cond, s, i)                                                                          \
    test##cond##_##s##i: { T##s a = (T##s)v[o->a], b = (T##s)((i) ? (uint64_t)o->imm : v[o->b]);   \
                           T##s x = a & b;                                                         \
                           if ((cond) == 4 ? x == 0 : (cond) == 5 ? x != 0 :                       \
                               rare_cond(CC_LOGIC, s, x, a, b, cond)) { goto leave_slot; } NEXT(); }
#define CMP_LABEL(cond, s, i) &&cmp##cond##_##s##i,
#define TEST_LABEL(cond, s, i) &&test##cond##_##s##i,

static bool rare_cond(CcKind k, unsigned size, uint64_t res, uint64_t a, uint64_t b, unsigned cond)
{
    Cc c = { res, a, b, (uint8_t)k, (uint8_t)size, 0 };

    return cond_holds(flags_of(&c), cond);
}

static void run_from(Env *e, Block *blk) /* blk NULL: look up e->pc */
{
    static const void *const label[] = {
#define OP2(n, t, r, e) LABELS4(n, 0), LABELS4(n, 1), LABELS4(n, 2), LABELS4(n, 3),
#define OP1(n, t, w, e) LABELS2(n, 0), LABELS2(n, 1), LABELS2(n, 2), LABELS2(n, 3),
#define OPX(n, a, w, r, t) LABELS1(n), LABELS1(n), LABELS1(n), LABELS1(n),
#include "tcg/ops.def"
#define X(n) &&n,
        FAST_LIST(X)
#undef X
        CMP_LIST(CMP_LABEL) CMP_LIST(TEST_LABEL)
    };
    static_assert(sizeof(label) / sizeof(label[0]) == FAST_END, "labels and FAST_ codes agree");
    uint64_t *v = e->v, pc = e->pc;
    const IrOp *o;

    v[V_NONE] = 0;
    if (blk)
        goto run;
    goto enter;
next:
    if (UNLIKELY(e->one_block)) {
        e->pc = pc;
        return;
    }
enter:
    env_note(e, pc);
    blk = jc_find(e, pc);
    if (UNLIKELY(!blk)) {
        e->pc = pc;
        blk = block_get(e, pc);
        if (UNLIKELY(!blk))
            return;
    }
    env_enter_page(e, pc);
run:
    e->cur = blk;
    o = blk->ops->op;
    DISPATCH();

#define OP2(n, t, r, ex) H2(n, 0, t, r, ex) H2(n, 1, t, r, ex) H2(n, 2, t, r, ex) H2(n, 3, t, r, ex)
#define OP1(n, t, w, ex) H1(n, 0, t, ex) H1(n, 1, t, ex) H1(n, 2, t, ex) H1(n, 3, t, ex)
#define OPX(n, a, w, r, t)
#include "tcg/ops.def"
    LOAD(ldi, 0, address(e, o)) LOAD(ldi, 1, address(e, o))
    LOAD(ldi, 2, address(e, o)) LOAD(ldi, 3, address(e, o))
    LOAD(ldb, 0, v[o->a] + (uint64_t)o->imm) LOAD(ldb, 1, v[o->a] + (uint64_t)o->imm)
    LOAD(ldb, 2, v[o->a] + (uint64_t)o->imm) LOAD(ldb, 3, v[o->a] + (uint64_t)o->imm)
    STORE(sti, 0, address(e, o)) STORE(sti, 1, address(e, o))
    STORE(sti, 2, address(e, o)) STORE(sti, 3, address(e, o))
    STORE(stb, 0, v[o->a] + (uint64_t)o->imm) STORE(stb, 1, v[o->a] + (uint64_t)o->imm)
    STORE(stb, 2, v[o->a] + (uint64_t)o->imm) STORE(stb, 3, v[o->a] + (uint64_t)o->imm)
    SHIFT(shl, 2, a << o->imm) SHIFT(shl, 3, a << o->imm)
    SHIFT(shr, 2, a >> o->imm) SHIFT(shr, 3, a >> o->imm)
    SHIFT(sar, 2, (S2)a >> o->imm) SHIFT(sar, 3, (S3)a >> o->imm)
    CMP_LIST(HCMP)
    CMP_LIST(HTEST)
mov3: v[o->d] = v[o->a]; NEXT();
mov2: v[o->d] = (uint32_t)v[o->a]; NEXT();
movi: v[o->d] = (uint64_t)o->imm; NEXT();
lea3: v[o->d] = address(e, o); NEXT();
leab: v[o->d] = v[o->a] + (uint64_t)o->imm; NEXT();
zx0: v[o->d] = (uint8_t)v[o->a]; NEXT();
zx1: v[o->d] = (uint16_t)v[o->a]; NEXT();
sx2: v[o->d] = (uint64_t)(int32_t)v[o->a]; NEXT();
mov: put(&v[o->d], IR_SIZE(o->op), o->op & IR_I ? (uint64_t)o->imm : v[o->a]); NEXT();
lea: put(&v[o->d], IR_SIZE(o->op), address(e, o)); NEXT();
zx: sx: extend(e, o); NEXT();
hi: v[o->d] = v[o->a] >> 8 & 0xff; NEXT();
dephi: v[o->d] = (v[o->d] & ~0xff00ull) | (v[o->a] & 0xff) << 8; NEXT();
cmov: put(&v[o->d], IR_SIZE(o->op), v[holds(&e->cc, o->x) ? o->b : o->a]); NEXT();
setcc: put(&v[o->d], 0, holds(&e->cc, o->x)); NEXT();
shl: shr: sar: rol: ror: rcl: rcr: shift(e, o); NEXT();
imul: multiply(e, o); NEXT();
bt: bts: btr: btc: bsf: bsr: tzcnt: lzcnt: popcnt: bits(e, o); NEXT();
call: callf:
    v[o->d] = ((HelperFn)(uintptr_t)o->imm)(e, v[o->a], v[o->b], v[o->c]);
    if (UNLIKELY(e->fault.kind))
        goto fault;
    NEXT();
vop:
    ((VecFn)(uintptr_t)o->imm)(e, e->vec[o->d], e->vec[o->a], o->x);
    NEXT();
vopf: vopx:
    ((VecFn)(uintptr_t)o->imm)(e, e->vec[o->d], e->vec[o->a], o->x);
    if (UNLIKELY(e->fault.kind))
        goto fault;
    NEXT();
vex:
    ((Vec3Fn)(uintptr_t)o->imm)(e, e->vec[o->d], e->vec[o->a], e->vec[o->b], o->x);
    NEXT();
vexf: vexx:
    ((Vec3Fn)(uintptr_t)o->imm)(e, e->vec[o->d], e->vec[o->a], e->vec[o->b], o->x);
    if (UNLIKELY(e->fault.kind))
        goto fault;
    NEXT();
fpu: fpux:
    target_fpu(e, o->x, 0, block_pc(e, blk, block_insn(blk, blk->ops->at[o - blk->ops->op])));
    if (UNLIKELY(e->fault.kind))
        goto fault;
    NEXT();
fpum:
    target_fpu(e, fpu_with_memory(o), address(e, o), block_pc(e, blk, block_insn(blk, blk->ops->at[o - blk->ops->op])));
    if (UNLIKELY(e->fault.kind))
        goto fault;
    NEXT();
mulw: imulw: mulx: divw: idivw: shld: shrd: adcx: adox: bmi: pdep: pext: bswap: setf: getf: cas: segchk:
vld: vst: vldn: vstn: vmovg: vgetg:
    if (UNLIKELY(!slow_op(e, o)))
        goto fault;
    NEXT();
poll:
    if (LIKELY(!__atomic_load_n(&e->exit_req, __ATOMIC_RELAXED)))
        NEXT();
    e->fault = (Fault){ FAULT_POLL, 0, 0 };
    e->pc = block_pc(e, blk, blk->pc);
    return;
brz:
    if ((trunc_to(v[o->a], IR_SIZE(o->op)) != 0) != o->x)
        NEXT();
    goto leave_slot;
brcc:
    if (!holds(&e->cc, o->x))
        NEXT();
leave_slot:
jump: {
    const BlockExit *x = &blk->slot[o->c];
    Link *l = &blk->ops->link[o->c];
    Block *to = l->to;

    e->icount += x->insns;
    if (LIKELY(to && !to->dead)) {
        if (LIKELY(l->jc == LINK_IN_PAGE)) {
            blk = to;
            goto run;
        }
        if (LIKELY(e->view->jc_blk[l->jc] == to)) {
            env_enter_page(e, x->pc);
            blk = to;
            goto run;
        }
    }
    pc = e->pc = block_pc(e, blk, x->pc);
    if (UNLIKELY(blk->mode & ENV_MODE_ONE)) {
        e->fault = (Fault){ FAULT_POLL, 0, 0 };
        return;
    }
    if (UNLIKELY(e->one_block))
        return;
    env_note(e, pc);
    to = blk->dead ? NULL : jc_find(e, pc); /* a block that runs once is followed by a proper look-up */
    if (!to)
        to = block_get(e, pc);
    if (UNLIKELY(!to))
        return;
    if (!log_on(LOG_NOCHAIN) && block_may_link(blk, o->c, to)) {
        l->to = to;
        l->jc = ((x->pc ^ blk->pc) & -(uint64_t)PAGE) || to->crosses ? jc_slot(pc) : LINK_IN_PAGE;
    }
    env_enter_page(e, pc);
    blk = to;
    goto run;
}
brind:
    e->icount += blk->ninsns;
    pc = v[o->a];
    if (UNLIKELY(!jc_find(e, pc) && !target_brind_ok(e, pc))) {
        v[o->b] += (uint64_t)o->imm; /* the stack pointer as it was */
        goto fault_here;
    }
    if (UNLIKELY(__atomic_load_n(&e->exit_req, __ATOMIC_RELAXED) || blk->mode & ENV_MODE_ONE)) {
        e->pc = pc;
        if (!target_brind_ok(e, pc))
            goto fault_here;
        e->fault = (Fault){ FAULT_POLL, 0, 0 };
        return;
    }
    goto next;
leave:
    e->icount += blk->ninsns;
    if (!o->x)
        e->pc = block_pc(e, blk, (uint64_t)o->imm);
    pc = e->pc;
    if (UNLIKELY(__atomic_load_n(&e->exit_req, __ATOMIC_RELAXED) || blk->mode & ENV_MODE_ONE)) {
        e->fault = (Fault){ FAULT_POLL, 0, 0 };
        return;
    }
    goto next;
exc:
    e->icount += blk->ninsns - 1u;
    e->pc = block_pc(e, blk, (uint64_t)o->imm);
    e->fault = (Fault){ o->x, 0, 0 };
    return;
ld: st: /* lowered away */
fault:
    e->icount += blk->ops->at[o - blk->ops->op];
fault_here:
    e->pc = block_pc(e, blk, block_insn(blk, blk->ops->at[o - blk->ops->op]));
}
