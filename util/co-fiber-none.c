/* util/co-fiber-none.c - no sanitizer: nothing to tell. */
#include "util/co-priv.h"

void co__fiber_thread(CoFiber *f) {}
void co__fiber_new(CoFiber *f, void *stack, size_t size) {}
void co__fiber_free(CoFiber *f) {}
void co__fiber_leave(CoFiber *from, CoFiber *to, bool for_ever) {}
void co__fiber_arrived(CoFiber *me, CoFiber *from) {}
void co__fiber_stack_done(void *stack, size_t size) {}
