/* target/x86/units-no-c.c - a build without MPFR: the host's units are all there is. */
#include "target/x86/fpu.h"

const X86Units *const x86_units_c = NULL;
