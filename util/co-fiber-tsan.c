/* util/co-fiber-tsan.c - ThreadSanitizer must know who runs. */
#include "util/co-priv.h"
#include <sanitizer/tsan_interface.h>

void co__fiber_thread(CoFiber *f) { f->handle = __tsan_get_current_fiber(); }
void co__fiber_new(CoFiber *f, void *stack, size_t size) { f->handle = __tsan_create_fiber(0); }
void co__fiber_free(CoFiber *f) { __tsan_destroy_fiber(f->handle); }
void co__fiber_leave(CoFiber *from, CoFiber *to, bool for_ever) { __tsan_switch_to_fiber(to->handle, 0); }
void co__fiber_arrived(CoFiber *me, CoFiber *from) {}
void co__fiber_stack_done(void *stack, size_t size) {}
