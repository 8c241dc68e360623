/* tcg/interp.h - numbers that translators and the interpreter agree on. */
#ifndef TCG_INTERP_H
#define TCG_INTERP_H
enum { BMI_ANDN, BMI_BLSR, BMI_BLSMSK, BMI_BLSI, BMI_BZHI, BMI_BEXTR }; /* x of IR_bmi */
#endif
