/* target/x86/units-no-host.c - hosts that are not x86-64: C computes. */
#include "target/x86/fpu.h"

const X86Units *const x86_units_host = NULL;
bool x86_host_vec_has(X86VopFeature f) { return false; }
