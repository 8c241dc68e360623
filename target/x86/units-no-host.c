/* target/x86/units-no-host.c - hosts that are not x86-64: C computes. */
#include "target/x86/vex.h"

const X86Units *const x86_units_host = NULL;
VexFn *const x86_fma_host[VEX_COUNT] = { NULL };
bool x86_host_ticks_steady(void) { return false; }
bool x86_host_fma(void) { return false; }
bool x86_host_vec_has(X86VopFeature f) { return false; }
