/*
 * block/throttle.c - leaky buckets: what passed leaks away at the limit's rate; who finds the bucket full waits, behind those of
 * its group that wait already.
 *
 * Invariants: 1. A member is in turns[w] exactly when its waiting[w] is not empty. 2. The timer of w runs exactly when turns[w] is
 * not empty.
 */
#include "block/throttle.h"

enum { BURST_PART = 10 }; /* of a second: what passes at once */
#define MOST 1000000000000000ull

typedef struct Bucket {
    double level, burst; /* units; burst: leaks at the burst's rate, when that lasts longer than a second */
} Bucket;
struct ThrottleGroup {
    Loop *loop;
    char *name, *key;
    unsigned refs;
    ThrottleLimits limits;
    Bucket b[THROTTLES];
    int64_t last;
    GQueue turns[2]; /* of ThrottleMember * */
    guint timer[2];
};
const char *const throttle_names[THROTTLES] = { "bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write" };
static const char *const old_names[THROTTLES] = { "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr" };

/* ---- limits ---- */
void throttle_limits_init(ThrottleLimits *l)
{
    *l = (ThrottleLimits){ .op_size = 0 };
    for (unsigned i = 0; i < THROTTLES; i++)
        l->length[i] = 1;
}

bool throttle_limits_any(const ThrottleLimits *l)
{
    bool any = false;

    for (unsigned i = 0; i < THROTTLES; i++)
        any |= l->avg[i] > 0;
    return any;
}

static bool conflict(const uint64_t *v, unsigned total) { return v[total] && (v[total + 1] || v[total + 2]); }

static bool check_one(uint64_t avg, uint64_t max, uint64_t length, Error **err)
{
    if (avg > MOST || max > MOST)
        return fail(err, "bps/iops/max values must be within [0, %" PRIu64 "]", (uint64_t)MOST);
    if (!length)
        return fail(err, "the burst length cannot be 0");
    if (length > 1 && !max)
        return fail(err, "burst length set without burst rate");
    if (max && length > MOST / max)
        return fail(err, "burst length too high for this burst rate");
    if (max && !avg)
        return fail(err, "bps_max/iops_max require corresponding bps/iops values");
    return !max || max >= avg || fail(err, "bps_max/iops_max cannot be lower than bps/iops");
}

bool throttle_limits_check(const ThrottleLimits *l, Error **err)
{
    if (conflict(l->avg, THROTTLE_BPS) || conflict(l->avg, THROTTLE_IOPS) || conflict(l->max, THROTTLE_BPS) || conflict(l->max, THROTTLE_IOPS))
        return fail(err, "bps/iops/max total values and read/write values cannot be used at the same time");
    if (l->op_size && !l->avg[THROTTLE_IOPS] && !l->avg[THROTTLE_IOPS_RD] && !l->avg[THROTTLE_IOPS_WR])
        return fail(err, "iops size requires an iops value to be set");
    for (unsigned i = 0; i < THROTTLES; i++)
        if (!check_one(l->avg[i], l->max[i], l->length[i], err))
            return false;
    return true;
}

static bool number(Opts *o, const char *prefix, const char *name, const char *suffix, const char *old, const char *old_suffix, uint64_t *at, Error **err)
{
    g_autofree char *key = g_strconcat(prefix, name, suffix, NULL), *second = old ? g_strconcat(old, old_suffix, NULL) : NULL;

    return opts_get_size(o, key, *at, at, err) && (!second || opts_get_size(o, second, *at, at, err));
}

bool throttle_limits_parse(ThrottleLimits *l, Opts *o, const char *prefix, bool old, Error **err)
{
    for (unsigned i = 0; i < THROTTLES; i++) {
        const char *was = old ? old_names[i] : NULL;

        if (!number(o, prefix, throttle_names[i], "", was, "", &l->avg[i], err) ||
            !number(o, prefix, throttle_names[i], "-max", was, "_max", &l->max[i], err) ||
            !number(o, prefix, throttle_names[i], "-max-length", was, "_max_length", &l->length[i], err))
            return false;
    }
    return number(o, prefix, "iops-size", "", old ? "iops_size" : NULL, "", &l->op_size, err) && throttle_limits_check(l, err);
}

/* ---- buckets ---- */
static bool applies(unsigned i, bool write) { return i % 3 == 0 || (i % 3 == 2) == write; }

/* Seconds until there is room. */
static double wait_for(const ThrottleLimits *l, unsigned i, const Bucket *b)
{
    double avg = (double)l->avg[i], max = (double)l->max[i], room = max > 0 ? max * (double)l->length[i] : avg / BURST_PART, wait = 0;

    if (avg > 0 && b->level > room)
        wait = (b->level - room) / avg;
    if (l->length[i] > 1 && b->burst > max / BURST_PART)
        wait = MAX(wait, (b->burst - max / BURST_PART) / max);
    return wait;
}

static void leak(ThrottleGroup *g)
{
    int64_t now = host_now();
    double s = g->last ? (double)(now - g->last) / SEC : 0;

    g->last = now;
    for (unsigned i = 0; i < THROTTLES; i++) {
        g->b[i].level = MAX(0, g->b[i].level - s * (double)g->limits.avg[i]);
        g->b[i].burst = MAX(0, g->b[i].burst - s * (double)g->limits.max[i]);
    }
}

/* ns */
static int64_t wait_of(ThrottleGroup *g, bool write)
{
    double wait = 0;

    leak(g);
    for (unsigned i = 0; i < THROTTLES; i++)
        if (applies(i, write))
            wait = MAX(wait, wait_for(&g->limits, i, &g->b[i]));
    return wait > 0 ? MAX(1, (int64_t)(wait * SEC)) : 0;
}

static void charge(ThrottleGroup *g, bool write, uint64_t len)
{
    double ops = g->limits.op_size && len > g->limits.op_size ? (double)len / (double)g->limits.op_size : 1;

    for (unsigned i = 0; i < THROTTLES; i++) {
        double units = i < THROTTLE_IOPS ? (double)len : ops;

        if (!applies(i, write))
            continue;
        g->b[i].level += units;
        g->b[i].burst += units;
    }
}

/* ---- taking turns ---- */
typedef struct Waiter {
    Co *co;
    uint64_t len;
    bool let;
} Waiter;

static void let(Waiter *w)
{
    w->let = true;
    co_wake(w->co);
}

static bool next_turn(ThrottleGroup *g, bool write);
static bool turn_read(void *g) { return next_turn(g, false); }
static bool turn_write(void *g) { return next_turn(g, true); }

static void arm(ThrottleGroup *g, bool write)
{
    if (!g->timer[write] && !g_queue_is_empty(&g->turns[write]))
        g->timer[write] = loop_after(g->loop, MAX(1, wait_of(g, write)), write ? turn_write : turn_read, g);
}

static void disarm(ThrottleGroup *g, bool write)
{
    if (g->timer[write] && g_queue_is_empty(&g->turns[write])) {
        loop_unwatch(g->loop, g->timer[write]);
        g->timer[write] = 0;
    }
}

static bool next_turn(ThrottleGroup *g, bool write)
{
    ThrottleMember *m;

    g->timer[write] = 0;
    g->refs++; /* who passes may be the last one to leave */
    while (!wait_of(g, write) && (m = g_queue_pop_head(&g->turns[write]))) {
        Waiter *w = g_queue_pop_head(&m->waiting[write]);

        if (!g_queue_is_empty(&m->waiting[write]))
            g_queue_push_tail(&g->turns[write], m);
        charge(g, write, w->len);
        let(w);
    }
    arm(g, write);
    throttle_group_put(g);
    return false;
}

CO_FN void throttle_pass(ThrottleMember *m, bool write, uint64_t len)
{
    ThrottleGroup *g = m->group;
    Waiter w = { co_self(), len, false };

    if (!g || m->free)
        return;
    if (g_queue_is_empty(&g->turns[write]) && !wait_of(g, write)) {
        charge(g, write, len);
        return;
    }
    if (g_queue_is_empty(&m->waiting[write]))
        g_queue_push_tail(&g->turns[write], m);
    g_queue_push_tail(&m->waiting[write], &w);
    arm(g, write);
    while (!w.let)
        co_yield();
}

void throttle_free(ThrottleMember *m, bool on)
{
    m->free = on;
    for (unsigned write = 0; on && m->group && write < 2; write++) {
        Waiter *w;

        g_queue_remove(&m->group->turns[write], m);
        disarm(m->group, write);
        while ((w = g_queue_pop_head(&m->waiting[write])))
            let(w);
    }
}

/* ---- groups ---- */
ThrottleGroup *throttle_group_find(Loop *loop, const char *name)
{
    g_autofree char *key = g_strconcat("throttle-group/", name, NULL);

    return loop_named(loop, key);
}

ThrottleGroup *throttle_group_get(Loop *loop, const char *name)
{
    ThrottleGroup *g = throttle_group_find(loop, name);

    if (g) {
        g->refs++;
        return g;
    }
    g = g_new0(ThrottleGroup, 1);
    g->loop = loop;
    g->name = g_strdup(name);
    g->key = g_strconcat("throttle-group/", name, NULL);
    g->refs = 1;
    throttle_limits_init(&g->limits);
    loop_name(loop, g->key, g);
    return g;
}

void throttle_group_put(ThrottleGroup *g)
{
    if (--g->refs)
        return;
    loop_name(g->loop, g->key, NULL);
    g_free(g->name);
    g_free(g->key);
    g_free(g);
}

bool throttle_group_shared(const ThrottleGroup *g) { return g->refs > 1; }
const char *throttle_group_name(const ThrottleGroup *g) { return g->name; }
const ThrottleLimits *throttle_group_limits(const ThrottleGroup *g) { return &g->limits; }

void throttle_group_set(ThrottleGroup *g, const ThrottleLimits *l)
{
    g->limits = *l;
    memset(g->b, 0, sizeof(g->b));
    for (unsigned write = 0; write < 2; write++) {
        if (g->timer[write])
            loop_unwatch(g->loop, g->timer[write]);
        g->timer[write] = 0;
        arm(g, write);
    }
}

void throttle_join(ThrottleMember *m, ThrottleGroup *g)
{
    g->refs++;
    throttle_leave(m);
    m->group = g;
}

void throttle_leave(ThrottleMember *m)
{
    bool was = m->free;

    if (!m->group)
        return;
    throttle_free(m, true);
    m->free = was;
    throttle_group_put(m->group);
    m->group = NULL;
}
