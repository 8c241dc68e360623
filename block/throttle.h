/* block/throttle.h - leaky buckets for -drive throttling.*; host time; the owner's lock. */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H
#include "block/node.h"

enum {
    THROTTLE_BPS,
    THROTTLE_BPS_RD,
    THROTTLE_BPS_WR,
    THROTTLE_IOPS,
    THROTTLE_IOPS_RD,
    THROTTLE_IOPS_WR,
    THROTTLES
};
typedef struct Bucket {
    double rate, burst; /* units per second, units that may pass at once; rate 0: no limit */
    double level;
} Bucket;
typedef struct Throttle {
    Bucket b[THROTTLES];
    uint64_t iops_size; /* a request counts once per this many bytes */
    int64_t last;
    bool on;
} Throttle;
bool throttle_parse(Throttle *t, Opts *o, Error **err);
/* ns until a request of `len` bytes may go; 0: now, and it is charged. */
int64_t throttle_wait(Throttle *t, int64_t now, bool write, uint64_t len);
#endif
