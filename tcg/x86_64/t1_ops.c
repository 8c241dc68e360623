/* t1_ops.c - one emitter per arithmetic micro-op.  None knows which guest instruction it serves. */
#include "tcg/interp.h"
#include "tcg/x86_64/feat.h"
#include "tcg/x86_64/t1.h"

/*
 * A register that holds a's value and is going to become d: d's own when the op can work in place,
 * a's when a dies here, else a loan with a copy.  b must survive until the op has read it.
 */
static unsigned start_result(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), x;
    bool b_is_d = (!(o->op & IR_I) && o->b == o->d) || (o->c == o->d && o->d != V_NONE);

    if (is_pinned(o->d) && (o->d == o->a || !b_is_d)) {
        x = (unsigned)t1_pin[o->d];
        if (o->d != o->a)
            a_mov(&t->a, size, x, t1_loc(t, o->a));
        return x;
    }
    if (o->d == o->a && o->d < V_GLOBALS && (t->reg[o->d] >= 0 || t1_later(t, o->d)))
        return t1_use(t, o->d); /* t1_put() stores it */
    if (is_temp(o->a) && t->b->kill[t->i] & 1 && !(o->op & IR_I ? 0 : o->b == o->a)) {
        x = t1_use(t, o->a); /* steal it: a is dead afterwards */
        t->reg[o->a] = -1;
        t->owner[x - H9] = LOANED;
        return x;
    }
    x = t1_grab(t);
    a_mov(&t->a, size < 2 ? 2 : size, x, t1_loc(t, o->a));
    return x;
}

int64_t t1_imm(const IrOp *o, unsigned size)
{
    return size == 3   ? o->imm
           : size == 2 ? (int32_t)o->imm
           : size == 1 ? (int16_t)o->imm
                       : (int8_t)o->imm;
}

static const uint8_t alu_digit[] = { [IR_add] = 0, [IR_adc] = 2, [IR_sub] = 5, [IR_sbb] = 3, [IR_and] = 4, [IR_or] = 1, [IR_xor] = 6 };

/* op x, b for the ALU group; digit as in opcode 80/81/83 */
static void alu_b(T1 *t, unsigned digit, unsigned size, Rm x, const IrOp *o)
{
    int64_t imm = t1_imm(o, size);

    if (o->op & IR_I && is_small(imm)) {
        a_alu_imm(&t->a, digit, size, x, imm);
        return;
    }
    if (o->op & IR_I) {
        unsigned r = t1_grab(t);
        a_const(&t->a, r, (uint64_t)imm);
        a_op(&t->a, 0, digit << 3 | (size ? 1 : 0), size, r, x);
    } else if (x.mem) {
        a_op(&t->a, 0, digit << 3 | (size ? 1 : 0), size, t1_use(t, o->b), x);
    } else {
        a_op(&t->a, 0, digit << 3 | (size ? 3 : 2), size, x.reg, t1_loc(t, o->b));
    }
}

static void compare(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op);
    bool test = IR_KIND(o->op) == IR_and;
    Rm a = t1_loc(t, o->a);

    if (!test) {
        alu_b(t, 7, size, a, o);
    } else if (o->op & IR_I && is_small(t1_imm(o, size))) {
        a_op(&t->a, 0, size ? 0xf7 : 0xf6, size, 0, a);
        a_imm(&t->a, (uint64_t)o->imm, size == 3 ? 4 : 1u << size);
    } else if (o->op & IR_I) {
        unsigned r = t1_grab(t);
        a_const(&t->a, r, (uint64_t)o->imm);
        a_op(&t->a, 0, 0x85, 3, r, a);
    } else {
        a_op(&t->a, 0, size ? 0x85 : 0x84, size, t1_use(t, o->b), a);
    }
}

/* A register that lives in Env, and that nobody reads soon: worked on there. */
static bool in_env(const T1 *t, const IrOp *o)
{
    return o->d == o->a && o->d < 16 && !is_pinned(o->d) && t->reg[o->d] < 0 && !t1_later(t, o->d);
}

static void alu2(T1 *t, const IrOp *o)
{
    IrKind k = IR_KIND(o->op);
    unsigned size = IR_SIZE(o->op), x;
    IrOp swapped = *o;

    if (o->d == V_NONE && (k == IR_sub || k == IR_and)) {
        compare(t, o);
        return;
    }
    if ((k == IR_xor || k == IR_sub) && !(o->op & IR_I) && o->a == o->b && !is_pinned(o->d)) { /* zero */
        x = t1_grab(t);
        a_op(&t->a, 0, alu_digit[k] << 3 | 3, MAX(size, 2), x, rm_reg(x));
        t1_put(t, o->d, x, size);
        return;
    }
    if (in_env(t, o) && size != 2) { /* in place in Env */
        alu_b(t, alu_digit[k], size, env_slot(o->d), o);
        return;
    }
    bool commutes = k == IR_add || k == IR_and || k == IR_or || k == IR_xor || k == IR_adc;
    if (!(o->op & IR_I) && o->b == o->d && o->a != o->d && commutes && !(t->b->kill[t->i] & 3)) {
        swapped.a = o->b;
        swapped.b = o->a;
        o = &swapped;
    }
    x = start_result(t, o);
    alu_b(t, alu_digit[k], size, rm_reg(x), o);
    t1_put(t, o->d, x, size);
}

static void unary(T1 *t, const IrOp *o)
{
    IrKind k = IR_KIND(o->op);
    unsigned size = IR_SIZE(o->op), x;
    bool incdec = k == IR_inc || k == IR_dec;
    unsigned opc = incdec ? 0xfe : 0xf6, digit = k == IR_inc   ? 0
                                                 : k == IR_dec ? 1
                                                 : k == IR_neg ? 3
                                                               : 2;

    if (in_env(t, o) && size != 2) {
        a_op(&t->a, 0, opc | (size ? 1 : 0), size, digit, env_slot(o->d));
        return;
    }
    x = start_result(t, o);
    a_op(&t->a, 0, opc | (size ? 1 : 0), size, digit, rm_reg(x));
    t1_put(t, o->d, x, size);
}

static void shift(T1 *t, const IrOp *o)
{
    static const uint8_t digit[] = { 4, 5, 7, 0, 1, 2, 3 }; /* shl shr sar rol ror rcl rcr */
    unsigned size = IR_SIZE(o->op), n = digit[IR_KIND(o->op) - IR_shl], x;

    if (!(o->op & IR_I) && o->b != G_CX) { /* only the BMI2 forms come with another register */
        static const uint8_t pp[] = { 1, 3, 2 };
        x = is_pinned(o->d) ? (unsigned)t1_pin[o->d] : t1_grab(t);
        a_vex(&t->a, pp[IR_KIND(o->op) - IR_shl], 2, 0xf7, size, x, t1_use(t, o->b),
              rm_reg(t1_use(t, o->a)));
        t1_put(t, o->d, x, size);
        return;
    }
    x = start_result(t, o);
    if (!(o->op & IR_I)) {
        a_op(&t->a, 0, size ? 0xd3 : 0xd2, size, n, rm_reg(x));
    } else if (o->imm == 1) {
        a_op(&t->a, 0, size ? 0xd1 : 0xd0, size, n, rm_reg(x));
    } else {
        a_op(&t->a, 0, size ? 0xc1 : 0xc0, size, n, rm_reg(x));
        a_imm(&t->a, (uint64_t)o->imm, 1);
    }
    t1_put(t, o->d, x, size);
}

static void multiply(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), x;

    if (o->op & IR_I) {
        x = is_pinned(o->d) ? (unsigned)t1_pin[o->d] : t1_grab(t);
        a_op(&t->a, 0, 0x69, size, x, t1_loc(t, o->a));
        a_imm(&t->a, (uint64_t)o->imm, size == 1 ? 2 : 4);
    } else {
        x = start_result(t, o);
        a_op(&t->a, 0, 0x0faf, size, x, t1_loc(t, o->b));
    }
    t1_put(t, o->d, x, size);
}

static void bit_op(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), n = 4 + IR_KIND(o->op) - IR_bt;
    unsigned x = IR_KIND(o->op) == IR_bt ? t1_use(t, o->a) : start_result(t, o);

    if (o->op & IR_I) {
        a_op(&t->a, 0, 0x0fba, size, n, rm_reg(x));
        a_imm(&t->a, (uint64_t)o->imm, 1);
    } else {
        a_op(&t->a, 0, 0x0f83 | n << 3, size, t1_use(t, o->b), rm_reg(x));
    }
    if (IR_KIND(o->op) != IR_bt)
        t1_put(t, o->d, x, size);
}

static void scan(T1 *t, const IrOp *o)
{
    IrKind k = IR_KIND(o->op);
    unsigned size = IR_SIZE(o->op), x;

    if (k == IR_bsf || k == IR_bsr) { /* a is the old destination: kept when b is zero */
        if (is_pinned(o->d) && o->d == o->a) {
            x = (unsigned)t1_pin[o->d];
        } else {
            x = t1_grab(t);
            a_mov(&t->a, 3, x, t1_loc(t, o->a));
        }
        a_op(&t->a, 0, k == IR_bsf ? 0x0fbc : 0x0fbd, size, x, t1_loc(t, o->b));
        t1_put(t, o->d, x, size);
        return;
    }
    x = is_pinned(o->d) ? (unsigned)t1_pin[o->d] : t1_grab(t);
    unsigned opc = k == IR_tzcnt ? 0x0fbc : k == IR_lzcnt ? 0x0fbd : 0x0fb8;
    Rm a = t1_loc(t, o->a);
    if (size == 1) { /* 66 must precede F3: let a_op place F3 last */
        a_byte(&t->a, 0x66);
        a_op(&t->a, 0xf3, opc, 2, x, a);
    } else {
        a_op(&t->a, 0xf3, opc, size, x, a);
    }
    t1_put(t, o->d, x, size);
}

static void move_const(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), x;
    uint64_t v = size == 2 ? (uint32_t)o->imm : (uint64_t)o->imm;

    if (is_temp(o->d) && size >= 2) { /* loaded when wanted, if it is not an immediate by then */
        t->is_const[o->d] = true;
        t->konst[o->d] = (int64_t)v;
        t->reg[o->d] = -1;
    } else if (is_temp(o->d)) {
        x = t1_grab(t);
        a_const(&t->a, x, (uint32_t)v);
        t1_put(t, o->d, x, 3);
    } else if (size < 2) {
        Rm d = t1_dest(t, o->d);
        a_op(&t->a, 0, size ? 0xc7 : 0xc6, size, 0, d);
        a_imm(&t->a, v, 1u << size);
    } else if (is_pinned(o->d)) {
        a_const(&t->a, (unsigned)t1_pin[o->d], v);
    } else if (is_small((int64_t)v)) {
        a_op(&t->a, 0, 0xc7, 3, 0, t1_dest(t, o->d));
        a_imm(&t->a, v, 4);
    } else {
        x = t1_grab(t);
        a_const(&t->a, x, v);
        t1_put(t, o->d, x, 3);
    }
}

static void move(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), x;

    if (o->op & IR_I) {
        move_const(t, o);
        return;
    }
    if (is_pinned(o->d)) {
        a_mov(&t->a, size, (unsigned)t1_pin[o->d], t1_loc(t, o->a));
        return;
    }
    if (is_temp(o->d) || size == 2 || t1_later(t, o->d)) {
        x = t1_grab(t);
        a_mov(&t->a, size < 2 ? 3 : size, x, t1_loc(t, o->a));
    } else {
        x = t1_use(t, o->a);
    }
    t1_put(t, o->d, x, size);
}

void t1_extend(T1 *t, const IrOp *o, unsigned x, Rm a)
{
    unsigned size = IR_SIZE(o->op);

    if (o->x >= size)
        a_mov(&t->a, size, x, a);
    else if (o->x == 2)
        a_op(&t->a, 0, 0x63, 3, x, a);
    else
        a_op(&t->a, 0, (IR_KIND(o->op) == IR_zx ? 0x0fb6 : 0x0fbe) + o->x, size, x, a);
}

static void extend(T1 *t, const IrOp *o)
{
    unsigned x = is_pinned(o->d) ? (unsigned)t1_pin[o->d] : t1_grab(t);
    Rm a = t1_loc(t, o->a);

    t1_extend(t, o, x, a);
    t1_put(t, o->d, x, IR_SIZE(o->op));
}

static void high_byte(T1 *t, const IrOp *o)
{
    unsigned x, a;

    if (IR_KIND(o->op) == IR_hi) {
        x = t1_grab(t);
        a_rorx(&t->a, 3, x, t1_use(t, o->a), 8);
        a_op(&t->a, 0, 0x0fb6, 2, x, rm_reg(x));
        t1_put(t, o->d, x, 3);
        return;
    }
    a = t1_use(t, o->a); /* ah cannot be named beside r9-r11: turn it round, without the flags */
    x = (unsigned)t1_pin[o->d];
    if (a == x) { /* mov ch, cl */
        a = t1_grab(t);
        a_mov(&t->a, 3, a, rm_reg(x));
    }
    a_rorx(&t->a, 3, x, x, 8);
    a_mov(&t->a, 0, x, rm_reg(a));
    a_rorx(&t->a, 3, x, x, 56);
}

static void conditional(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), x;

    if (IR_KIND(o->op) == IR_setcc) {
        if (is_temp(o->d)) {
            x = t1_grab(t);
            a_op(&t->a, 0, 0x0f90 + o->x, 0, 0, rm_reg(x));
            t1_put(t, o->d, x, 3);
        } else {
            a_op(&t->a, 0, 0x0f90 + o->x, 0, 0, t1_dest(t, o->d));
        }
        return;
    }
    x = start_result(t, o);
    a_op(&t->a, 0, 0x0f40 + o->x, size, x, t1_loc(t, o->b));
    t1_put(t, o->d, x, size);
}

/* A VEX instruction on general registers: reg = d, vvvv and r/m as given. */
static void vex3(T1 *t, const IrOp *o, unsigned pp, unsigned opc, unsigned v, unsigned m)
{
    unsigned x = is_pinned(o->d) ? (unsigned)t1_pin[o->d] : t1_grab(t);

    a_vex(&t->a, pp, 2, opc, IR_SIZE(o->op), x, v, rm_reg(m));
    t1_put(t, o->d, x, IR_SIZE(o->op));
}

static void bmi(T1 *t, const IrOp *o)
{
    unsigned a = t1_use(t, o->a), x;

    switch (o->x) {
    case BMI_ANDN: vex3(t, o, 0, 0xf2, a, t1_use(t, o->b)); return;
    case BMI_BZHI: vex3(t, o, 0, 0xf5, t1_use(t, o->b), a); return;
    case BMI_BEXTR: vex3(t, o, 0, 0xf7, t1_use(t, o->b), a); return;
    default:
        x = is_pinned(o->d) ? (unsigned)t1_pin[o->d] : t1_grab(t);
        a_vex(&t->a, 0, 2, 0xf3, IR_SIZE(o->op), o->x == BMI_BLSR ? 1 : o->x == BMI_BLSMSK ? 2 : 3, x, rm_reg(a));
        t1_put(t, o->d, x, IR_SIZE(o->op));
    }
}

static void deposit(T1 *t, const IrOp *o)
{
    vex3(t, o, IR_KIND(o->op) == IR_pdep ? 3 : 2, 0xf5, t1_use(t, o->a), t1_use(t, o->b));
}

static void multiply_high(T1 *t, const IrOp *o) /* a is rdx: see t1_native() */
{
    unsigned b = t1_use(t, o->b), x = t1_grab(t);

    a_vex(&t->a, 3, 2, 0xf6, IR_SIZE(o->op), x, x, rm_reg(b)); /* both halves to x: the high one stays */
    t1_put(t, o->d, x, IR_SIZE(o->op));
}

static void carry_chain(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), x = start_result(t, o);

    a_op(&t->a, IR_KIND(o->op) == IR_adcx ? 0x66 : 0xf3, 0x0f38f6, size, x, t1_loc(t, o->b));
    t1_put(t, o->d, x, size);
}

static void double_shift(T1 *t, const IrOp *o)
{
    unsigned size = IR_SIZE(o->op), opc = IR_KIND(o->op) == IR_shld ? 0x0fa4 : 0x0fac, x = start_result(t, o);
    bool imm = is_temp(o->c) && t->is_const[o->c];

    a_op(&t->a, 0, imm ? opc : opc + 1, size, t1_use(t, o->b), rm_reg(x));
    if (imm)
        a_imm(&t->a, (uint64_t)t->konst[o->c], 1);
    t1_put(t, o->d, x, size);
}

static void multiply_wide(T1 *t, const IrOp *o) /* rax and rdx are where the guest has them */
{
    unsigned size = IR_SIZE(o->op);

    a_op(&t->a, 0, size ? 0xf7 : 0xf6, size, IR_KIND(o->op) == IR_mulw ? 4 : 5, t1_loc(t, o->a));
}

static void byte_swap(T1 *t, const IrOp *o)
{
    unsigned x = start_result(t, o);

    if (IR_SIZE(o->op) == 3 || x >= 8)
        a_byte(&t->a, (IR_SIZE(o->op) == 3 ? 0x48 : 0x40) | x >> 3);
    a_byte(&t->a, 0x0f);
    a_byte(&t->a, 0xc8 | (x & 7));
    t1_put(t, o->d, x, IR_SIZE(o->op));
}

/* clang-format off */
static void (*const emitter[IR_KINDS])(T1 *, const IrOp *) = {
    [IR_add] = alu2, [IR_adc] = alu2, [IR_sub] = alu2, [IR_sbb] = alu2,
    [IR_and] = alu2, [IR_or] = alu2, [IR_xor] = alu2,
    [IR_inc] = unary, [IR_dec] = unary, [IR_neg] = unary, [IR_not] = unary,
    [IR_shl] = shift, [IR_shr] = shift, [IR_sar] = shift,
    [IR_rol] = shift, [IR_ror] = shift, [IR_rcl] = shift, [IR_rcr] = shift,
    [IR_imul] = multiply, [IR_mulw] = multiply_wide, [IR_imulw] = multiply_wide,
    [IR_bt] = bit_op, [IR_bts] = bit_op, [IR_btr] = bit_op, [IR_btc] = bit_op,
    [IR_bsf] = scan, [IR_bsr] = scan, [IR_tzcnt] = scan, [IR_lzcnt] = scan, [IR_popcnt] = scan,
    [IR_bswap] = byte_swap, [IR_mov] = move, [IR_zx] = extend, [IR_sx] = extend,
    [IR_hi] = high_byte, [IR_dephi] = high_byte, [IR_lea] = t1_lea,
    [IR_cmov] = conditional, [IR_setcc] = conditional, [IR_bmi] = bmi, [IR_pdep] = deposit, [IR_pext] = deposit,
    [IR_mulx] = multiply_high, [IR_adcx] = carry_chain, [IR_adox] = carry_chain,
    [IR_shld] = double_shift, [IR_shrd] = double_shift,
};
/* clang-format on */

/* False: the host has no such instruction, or not for these operands. */
static bool native(const T1 *t, const IrOp *o)
{
    IrKind k = IR_KIND(o->op);

    switch (k) {
    case IR_shl:
    case IR_shr:
    case IR_sar: return o->op & IR_I || o->b == G_CX || (IR_SIZE(o->op) >= 2 && !(o->op & IR_F));
    case IR_rol:
    case IR_ror:
    case IR_rcl:
    case IR_rcr: return o->op & IR_I || o->b == G_CX;
    case IR_shld:
    case IR_shrd: return o->c == G_CX || (is_temp(o->c) && t->is_const[o->c]);
    case IR_mulx: return o->a == G_DX && IR_SIZE(o->op) >= 2;
    case IR_adcx:
    case IR_adox: return t1_host_has_adx() && IR_SIZE(o->op) >= 2;
    case IR_bmi:
    case IR_pdep:
    case IR_pext: return IR_SIZE(o->op) >= 2;
    case IR_imul: return IR_SIZE(o->op) >= 1;
    case IR_bswap: return IR_SIZE(o->op) >= 2;
    case IR_dephi: return is_pinned(o->d);
    default: return true;
    }
}

bool t1_alu_native(const T1 *t, const IrOp *o) { return emitter[IR_KIND(o->op)] && native(t, o); }

bool t1_alu_op(T1 *t, const IrOp *o)
{
    if (!emitter[IR_KIND(o->op)])
        return false;
    emitter[IR_KIND(o->op)](t, o);
    return true;
}
