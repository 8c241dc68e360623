/* core/rngdev.h - -object rng-*: where a device takes entropy from. VM lock. */
#ifndef CORE_RNGDEV_H
#define CORE_RNGDEV_H
#include "core/obj.h"

void rngdev_fill(void *rng, void *buf, size_t n); /* rng: what a P_LINK of space "rng" holds */
#endif
