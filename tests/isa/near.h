/* tests/isa/near.h - how far C's floating point may be from the silicon's, where neither is exact. */
#ifndef TESTS_ISA_NEAR_H
#define TESTS_ISA_NEAR_H
#include "target/x86/fpu.h"

bool near_approximation(const char *name); /* RCPPS and its like */
/* Four elements, each of both within the manual's 1.5 * 2^-12 of the truth, or on different sides of what becomes zero. */
bool near4(const uint8_t *a, const uint8_t *b);
/* The x87's transcendental instructions (op11 as X87Fn has it) round wrongly at times, by more when they round to one side. */
bool near_function(unsigned op11);
bool near80(const uint8_t *a, const uint8_t *b, uint16_t cw);
/* Arguments (ST(0)) for which the manual promises nothing. */
bool near_nothing_promised(unsigned op11, const uint8_t *st0);
#endif
