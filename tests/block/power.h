/*
 * tests/block/power.h - driver "power": a file in memory that forgets. Writes are kept apart until a flush; a cut leaves
 * what was flushed and any part of the rest, sector by sector, in any order. Requests end later, in another order.
 */
#ifndef TESTS_BLOCK_POWER_H
#define TESTS_BLOCK_POWER_H
#include "block/node.h"

typedef struct Power {
    GByteArray *now, *durable; /* what a reader sees; what survives for sure */
    GArray *pending;           /* of Pending: written since the last flush */
    Rng rng;
    bool forgets;              /* keep apart what was not flushed; set before the first request */
    bool slow;                 /* requests yield */
    uint64_t requests;
    CO_FN void (*before)(struct Power *p, void *arg); /* each write or flush; may look at a cut */
    void *arg;
    int fail_after; /* so many writes, then -EIO; negative: never */
    unsigned writes_failed;
} Power;
Power *power_new(uint64_t seed); /* an empty file */
void power_free(Power *p);
GByteArray *power_cut(Power *p); /* what a cut now might leave; the caller frees */
Node *power_open(Loop *loop, Power *p, bool readonly); /* driver "power" on it; the caller owns both */
#endif
