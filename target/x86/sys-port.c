/* target/x86/sys-port.c - IN and OUT of one value. */
#include "target/x86/helper.h"

HELPER(in)
{
    X86 *s = x86(e);
    uint64_t v = 0;

    if (!x86_port_allowed(s, (uint16_t)a, 1u << b))
        return 0;
    as_load(e->cpu->ports, (uint16_t)a, 1u << b, &v, MEM_CPU);
    x86_io_break(s, (uint16_t)a, 1u << b);
    return v;
}

HELPER(out)
{
    X86 *s = x86(e);

    if (x86_port_allowed(s, (uint16_t)a, 1u << b)) {
        as_store(e->cpu->ports, (uint16_t)a, 1u << b, trunc_to(c, (unsigned)b), MEM_CPU);
        x86_io_break(s, (uint16_t)a, 1u << b);
    }
    return 0;
}
