/* vec.c - which implementation of a vector operation this host uses. */
#include "target/x86/fpu.h"

X86VopFn *x86_vop(X86VopId id)
{
    const X86Vop *h = &x86_vop_host[id];

    return h->fn && x86_host_vec_has((X86VopFeature)h->feature) ? h->fn : x86_vop_ref[id].fn;
}
