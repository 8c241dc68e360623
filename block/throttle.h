/*
 * block/throttle.h - limits of bytes and requests a second, with bursts, for groups of disks and nodes: all members of a
 * group share its limits, and those that wait take turns. Host time. Everything on the group's loop.
 */
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
typedef struct ThrottleLimits {
    uint64_t avg[THROTTLES];    /* units a second; 0: no limit */
    uint64_t max[THROTTLES];    /* in a burst; 0: a tenth of a second's worth passes at once, no more */
    uint64_t length[THROTTLES]; /* seconds that a burst may last; 1 unless given */
    uint64_t op_size;           /* a request counts once per this many bytes; 0: once */
} ThrottleLimits;
typedef struct ThrottleGroup ThrottleGroup;
typedef struct ThrottleMember { /* a disk or node; zeroed: of no group */
    ThrottleGroup *group;
    GQueue waiting[2]; /* reads, writes: of Co * */
    bool free;         /* nothing waits: it is being drained */
} ThrottleMember;
extern const char *const throttle_names[THROTTLES]; /* "bps-total", .. */
void throttle_limits_init(ThrottleLimits *l); /* none */
bool throttle_limits_any(const ThrottleLimits *l);
bool throttle_limits_check(const ThrottleLimits *l, Error **err);
/* `prefix`NAME, -max, -max-length of an option list over what is in l; `old`: -drive's old spellings, too. */
bool throttle_limits_parse(ThrottleLimits *l, Opts *o, const char *prefix, bool old, Error **err);
/* Groups by name; a reference, made if there is none (throttle_group_get). */
ThrottleGroup *throttle_group_find(Loop *loop, const char *name); /* borrowed; NULL: none */
ThrottleGroup *throttle_group_get(Loop *loop, const char *name);
void throttle_group_put(ThrottleGroup *g);
bool throttle_group_shared(const ThrottleGroup *g); /* by more than one reference */
const char *throttle_group_name(const ThrottleGroup *g);
const ThrottleLimits *throttle_group_limits(const ThrottleGroup *g);
void throttle_group_set(ThrottleGroup *g, const ThrottleLimits *l); /* buckets are empty again */
void throttle_join(ThrottleMember *m, ThrottleGroup *g); /* takes a reference; leaves the one it was in */
void throttle_leave(ThrottleMember *m);                  /* who waits passes */
CO_FN void throttle_pass(ThrottleMember *m, bool write, uint64_t len); /* returns when the request may go, charged */
void throttle_free(ThrottleMember *m, bool on); /* on: who waits or comes passes, uncharged */
/* Does so for n and what is below. */
void blk_unthrottle(Node *n, bool on);
#endif
