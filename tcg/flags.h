/* tcg/flags.h - the six flags from a token, and conditions from the six flags. */
#ifndef TCG_FLAGS_H
#define TCG_FLAGS_H
#include "tcg/runtime.h"

static inline bool msb(uint64_t v, unsigned size) { return v >> ((8u << size) - 1) & 1; }

static inline unsigned flags_szp(uint64_t res, unsigned size)
{
    return (trunc_to(res, size) == 0 ? FZ : 0) | (msb(res, size) ? FS : 0) |
           (__builtin_parity((unsigned)(res & 0xff)) ? 0 : FP);
}

/* Carry and overflow of a shift by b, 1 <= b; a is the value before. */
static inline unsigned flags_shift(const Cc *c)
{
    unsigned bits = 8u << c->size, n = (unsigned)c->b;
    uint64_t a = trunc_to(c->a, c->size);
    bool carry = false, over = false;

    if (c->kind == CC_SHL) {
        carry = n <= bits && (a >> (bits - n) & 1);
        over = msb(c->res, c->size) ^ carry;
    } else if (c->kind == CC_SHR) {
        carry = n <= bits && (a >> (n - 1) & 1);
        over = msb(a, c->size);
    } else {
        carry = sext_from(a, c->size) >> (n > 63 ? 63 : n - 1) & 1;
    }
    return (carry ? FC : 0) | (over ? FO : 0);
}

/* AH: SF ZF - AF - PF - CF, AL: OF */
static inline unsigned flags_from_ax(unsigned ax)
{
    return (ax >> 8 & 1 ? FC : 0) | (ax >> 10 & 1 ? FP : 0) | (ax >> 12 & 1 ? FA : 0) | (ax >> 14 & 1 ? FZ : 0) |
           (ax >> 15 & 1 ? FS : 0) | (ax & 1 ? FO : 0);
}
static inline unsigned flags_to_ax(unsigned f)
{
    return 0x200u | (f & FC ? 1u << 8 : 0) | (f & FP ? 1u << 10 : 0) | (f & FA ? 1u << 12 : 0) | (f & FZ ? 1u << 14 : 0) |
           (f & FS ? 1u << 15 : 0) | (f & FO ? 1u : 0);
}

/* The adder formulas hold with and without a carry in, because they work from the result. */
static inline unsigned flags_of(const Cc *c)
{
    uint64_t res = c->res, a = c->a, b = c->b;
    unsigned s = c->size, f;

    if (c->kind == CC_RAW)
        return (unsigned)res;
    if (c->kind == CC_HOST)
        return flags_from_ax((unsigned)res);
    f = flags_szp(res, s);
    switch (c->kind) {
    case CC_ADD:
        f |= msb((a & b) | ((a | b) & ~res), s) ? FC : 0;
        f |= msb((a ^ res) & (b ^ res), s) ? FO : 0;
        f |= (a ^ b ^ res) & 16 ? FA : 0;
        break;
    case CC_SUB:
        f |= msb((~a & b) | ((~a | b) & res), s) ? FC : 0;
        f |= msb((a ^ b) & (a ^ res), s) ? FO : 0;
        f |= (a ^ b ^ res) & 16 ? FA : 0;
        break;
    case CC_INC:
        f |= (trunc_to(res, s) == 1ull << ((8u << s) - 1) ? FO : 0) | ((res & 15) == 0 ? FA : 0);
        f |= c->carry ? FC : 0;
        break;
    case CC_DEC:
        f |= (trunc_to(res + 1, s) == 1ull << ((8u << s) - 1) ? FO : 0) |
             ((res & 15) == 15 ? FA : 0);
        f |= c->carry ? FC : 0;
        break;
    case CC_SHL:
    case CC_SHR:
    case CC_SAR:
        f |= flags_shift(c);
        break;
    default:
        break; /* CC_LOGIC: carry and overflow are zero */
    }
    return f;
}

static inline bool cond_holds(unsigned f, unsigned cond)
{
    bool less = !(f & FS) != !(f & FO), r;

    switch (cond >> 1) {
    case 0:
        r = f & FO;
        break;
    case 1:
        r = f & FC;
        break;
    case 2:
        r = f & FZ;
        break;
    case 3:
        r = f & (FC | FZ);
        break;
    case 4:
        r = f & FS;
        break;
    case 5:
        r = f & FP;
        break;
    case 6:
        r = less;
        break;
    default:
        r = less || f & FZ;
        break;
    }
    return r != (cond & 1);
}

#endif
