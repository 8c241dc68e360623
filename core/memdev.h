/* core/memdev.h - -object memory-backend-*: guest RAM that the user describes. VM lock or start-up. */
#ifndef CORE_MEMDEV_H
#define CORE_MEMDEV_H
#include "core/mem.h"

/* The RAM of backend `id` for one user; bytes 0: any size. The backend keeps owning it. NULL + err: there is no such
 * backend, it has another size, or it is in use. */
RamBlock *memdev_take(Vm *vm, const char *id, uint64_t bytes, Error **err);
#endif
