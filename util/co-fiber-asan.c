/* util/co-fiber-asan.c - AddressSanitizer must know which stack is in use. */
#include "util/co-priv.h"
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

void co__fiber_thread(CoFiber *f) {} /* its stack is learned at the first arrival elsewhere */

void co__fiber_new(CoFiber *f, void *stack, size_t size)
{
    f->bottom = stack;
    f->size = size;
}

void co__fiber_free(CoFiber *f) {}

void co__fiber_leave(CoFiber *from, CoFiber *to, bool for_ever)
{
    __sanitizer_start_switch_fiber(for_ever ? NULL : &from->handle, to->bottom, to->size);
}

void co__fiber_arrived(CoFiber *me, CoFiber *from)
{
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(me->handle, &bottom, &size);
    if (!from->bottom) {
        from->bottom = bottom;
        from->size = size;
    }
}

void co__fiber_stack_done(void *stack, size_t size) { __asan_unpoison_memory_region(stack, size); }
