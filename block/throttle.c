/* block/throttle.c - leaky buckets: what passed leaks away at `rate`; who finds the bucket full
 * waits. */
#include "block/throttle.h"

/* clang-format off */
static const struct {
    const char *name, *old;
} keys[THROTTLES] = {
    [THROTTLE_BPS]     = { "bps-total", "bps" },     [THROTTLE_BPS_RD]  = { "bps-read", "bps_rd" },
    [THROTTLE_BPS_WR]  = { "bps-write", "bps_wr" },  [THROTTLE_IOPS]    = { "iops-total", "iops" },
    [THROTTLE_IOPS_RD] = { "iops-read", "iops_rd" }, [THROTTLE_IOPS_WR] = { "iops-write", "iops_wr" },
};
/* clang-format on */

static bool number(Opts *o, const char *name, const char *old, uint64_t *out, Error **err)
{
    g_autofree char *key = g_strconcat("throttling.", name, NULL);

    return opts_get_size(o, key, 0, out, err) && (*out || opts_get_size(o, old, 0, out, err));
}

bool throttle_parse(Throttle *t, Opts *o, Error **err)
{
    for (unsigned i = 0; i < THROTTLES; i++) {
        g_autofree char *max = g_strconcat(keys[i].name, "-max", NULL),
                        *old_max = g_strconcat(keys[i].old, "_max", NULL);
        g_autofree char *len = g_strconcat("throttling.", max, "-length", NULL);
        uint64_t rate, burst;

        if (!number(o, keys[i].name, keys[i].old, &rate, err) ||
            !number(o, max, old_max, &burst, err))
            return false;
        opts_get(o, len); /* bursts are not limited in length apart from their size */
        if (burst && burst < rate)
            return fail(err, "throttling.%s must not be lower than throttling.%s", max,
                        keys[i].name);
        t->b[i].rate = (double)rate;
        t->b[i].burst = burst ? (double)burst : (double)rate / 10;
        t->on |= rate;
    }
    opts_get(o, "throttling.group");
    return number(o, "iops-size", "iops_size", &t->iops_size, err);
}

static double wait_for(const Bucket *b)
{
    return b->rate > 0 && b->level > b->burst ? (b->level - b->burst) / b->rate : 0;
}

int64_t throttle_wait(Throttle *t, int64_t now, bool write, uint64_t len)
{
    double pass = t->last ? (double)(now - t->last) / SEC : 0, wait = 0;
    double ops = t->iops_size && len > t->iops_size ? (double)len / (double)t->iops_size : 1;

    t->last = now;
    for (unsigned i = 0; i < THROTTLES; i++) {
        Bucket *b = &t->b[i];
        bool applies = i % 3 == 0 || (i % 3 == 2) == write;

        b->level = MAX(0, b->level - pass * b->rate);
        if (applies)
            wait = MAX(wait, wait_for(b));
    }
    if (wait > 0)
        return MAX(1, (int64_t)(wait * SEC));
    for (unsigned i = 0; i < THROTTLES; i++)
        if (i % 3 == 0 || (i % 3 == 2) == write)
            t->b[i].level += i < THROTTLE_IOPS ? (double)len : ops;
    return 0;
}
