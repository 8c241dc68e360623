/* hw/block/pflash.h - flash chips as the machine maps them. VM lock. */
#ifndef HW_BLOCK_PFLASH_H
#define HW_BLOCK_PFLASH_H
#include "core/dev.h"

Region *pflash_region(Dev *d); /* of the whole chip; reads as memory while in read-array mode */
#endif
