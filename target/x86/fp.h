/*
 * target/x86/fp.h - IEEE 754 arithmetic of single, double and the x87's 80 bits in integers: the same bits on every host,
 * whatever its own floating point does. An operation computes its exact result, or 128 bits of it, and fp_finish() rounds
 * once, as x86 does: tiny is judged after rounding, and an unmasked overflow or underflow leaves the exponent wrapped.
 * NaNs are the caller's, for SSE and x87 choose differently (vec-ref-fp.c, x87-soft.c).
 */
#ifndef TARGET_X86_FP_H
#define TARGET_X86_FP_H
#include "target/x86/fpu.h"

typedef enum FpKind { FP_ZERO, FP_FINITE, FP_INF, FP_NAN, FP_BAD /* an 80-bit image that means nothing since the 387 */ } FpKind;
typedef struct Fp {
    uint64_t m;  /* FINITE: the value is m * 2^(exp - 63), bit 63 set. NAN: the significand, bit 62 is "quiet" */
    int32_t exp; /* far outside of every format's range at times */
    uint8_t kind;
    bool neg, denormal; /* the image was denormal (or pseudo-denormal) */
} Fp;

typedef struct FpFormat {
    uint8_t prec, bytes; /* significant bits, of the image */
    int16_t emin, emax;
} FpFormat;
extern const FpFormat fp_single, fp_double;
extern const FpFormat fp_ext[4]; /* by the control word's PC: 24, (reserved), 53, 64 bits */

typedef enum FpRound { FP_NEAREST, FP_DOWN, FP_UP, FP_TO_ZERO } FpRound; /* RC of FCW and MXCSR */
typedef struct FpCtl {
    uint8_t round;
    bool ftz; /* tiny results become zero while underflow is masked */
    bool daz;
    uint8_t unmasked, flags; /* FPE_*; flags are added to */
    bool up;                 /* the last rounding was away from zero */
} FpCtl;
enum { FP_WRAP = 24576 };

static inline bool fp_quiet(Fp v) { return v.m >> 62 & 1; }
static inline Fp fp_default_nan(void) { return (Fp){ .kind = FP_NAN, .neg = true, .m = 3ull << 62 }; }
static inline Fp fp_zero(bool neg) { return (Fp){ .kind = FP_ZERO, .neg = neg }; }
static inline Fp fp_inf(bool neg) { return (Fp){ .kind = FP_INF, .neg = neg }; }

Fp fp_unpack(const FpFormat *f, uint64_t image); /* single and double */
uint64_t fp_pack(const FpFormat *f, Fp v);       /* v is representable: as fp_finish() answers */
Fp fp_unpack80(const uint8_t image[10]);
void fp_pack80(uint8_t image[10], Fp v);

/* v.m:lo is the exact value, not zero and not necessarily normal; bit 0 of lo stands for all that is below it. */
Fp fp_finish(FpCtl *c, const FpFormat *f, Fp v, uint64_t lo);
/* Operands are no NaNs; what has no value answers the default NaN and sets FPE_I. */
typedef Fp FpArith(FpCtl *c, const FpFormat *f, Fp a, Fp b);
FpArith fp_add, fp_sub, fp_mul, fp_div, fp_sqrt /* of b */;
int fp_compare(Fp a, Fp b); /* -1, 0, 1; no NaNs */
Fp fp_to_integral(FpCtl *c, Fp v); /* sets FPE_P and up */
Fp fp_of_int(int64_t v);
/* To a signed integer of `bits`; false: it does not fit, FPE_I is set. Else FPE_P and up are set. */
bool MUST fp_to_int(FpCtl *c, Fp v, unsigned bits, int64_t *out);
/* Exact: a = q * b + rest by truncated (nearest: nearest, ties to even) q, whose low bits are answered. b is not zero. */
Fp fp_rem(Fp a, Fp b, bool nearest, unsigned *q);
#endif
