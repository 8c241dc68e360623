/* tests/block/power.c - see power.h */
#include "tests/block/power.h"
#include "block/iov.h"
#include <errno.h>

enum { ROOM = 64 << 20 };
typedef struct Pending {
    uint64_t at;
    uint8_t sector[512];
} Pending;

Power *power_new(uint64_t seed)
{
    Power *p = g_new0(Power, 1);

    p->now = g_byte_array_new();
    p->durable = g_byte_array_new();
    p->pending = g_array_new(FALSE, FALSE, sizeof(Pending));
    p->rng.s = seed;
    p->fail_after = -1;
    return p;
}

void power_free(Power *p)
{
    g_byte_array_free(p->now, TRUE);
    g_byte_array_free(p->durable, TRUE);
    g_array_free(p->pending, TRUE);
    g_free(p);
}

static void grow(GByteArray *a, uint64_t size)
{
    guint was = a->len;

    if (size <= was)
        return;
    g_byte_array_set_size(a, (guint)size);
    memset(a->data + was, 0, size - was);
}

/* The sectors that [off, off+len) touches, as they are now. */
static void note(Power *p, uint64_t off, uint64_t len)
{
    if (!p->forgets)
        return;
    for (uint64_t at = align_down(off, 512); at < off + len; at += 512) {
        Pending w = { at, { 0 } };

        memcpy(w.sector, p->now->data + at, MIN(512, p->now->len - at));
        g_array_append_val(p->pending, w);
    }
}

static void apply(GByteArray *to, const Pending *w)
{
    grow(to, w->at + 512);
    memcpy(to->data + w->at, w->sector, 512);
}

static void flush(Power *p, guint n, uint64_t size)
{
    grow(p->durable, size); /* a new end of the file lasts, too */
    for (guint i = 0; i < n; i++)
        apply(p->durable, &g_array_index(p->pending, Pending, i));
    g_array_remove_range(p->pending, 0, n);
}

GByteArray *power_cut(Power *p)
{
    GByteArray *out = g_byte_array_sized_new(p->durable->len);
    unsigned chance = (unsigned)(rng_next(&p->rng) % 5); /* of 4: none, some, all */

    g_byte_array_append(out, p->durable->data, p->durable->len);
    if (chance == 0)
        return out;
    if (rng_next(&p->rng) % 4 == 0) { /* backwards */
        for (guint i = p->pending->len; i-- > 0;)
            if (rng_next(&p->rng) % 4 < chance)
                apply(out, &g_array_index(p->pending, Pending, i));
        return out;
    }
    for (guint i = 0; i < p->pending->len; i++)
        if (rng_next(&p->rng) % 4 < chance)
            apply(out, &g_array_index(p->pending, Pending, i));
    return out;
}

static void wake(void *co) { co_wake(co); }

static CO_FN void dawdle(Power *p, Loop *loop)
{
    for (uint64_t n = p->slow ? rng_next(&p->rng) % 4 : 0; n; n--) {
        loop_post(loop, wake, co_self());
        co_yield();
    }
}

static CO_FN int change(Power *p, const BlkReq *r)
{
    if (p->fail_after >= 0 && p->fail_after-- == 0) {
        p->fail_after = 0;
        p->writes_failed++;
        return -EIO;
    }
    if (r->off > ROOM || r->len > ROOM)
        return -EFBIG;
    if (r->op == BLK_TRUNCATE) {
        grow(p->now, r->off);
        g_byte_array_set_size(p->now, (guint)r->off);
        return 0;
    }
    if (r->op == BLK_DISCARD && rng_next(&p->rng) % 2)
        return 0;
    grow(p->now, align_up(r->off + r->len, 512));
    if (r->op == BLK_WRITE)
        iov_gather(r->iov, r->niov, 0, p->now->data + r->off, r->len);
    else
        memset(p->now->data + r->off, 0, r->len);
    note(p, r->off, r->len);
    return 0;
}

static int read_now(const Power *p, const BlkReq *r)
{
    uint64_t there = r->off < p->now->len ? MIN(r->len, p->now->len - r->off) : 0;

    iov_zero(r->iov, r->niov, 0, r->len);
    if (there)
        iov_scatter(r->iov, r->niov, 0, p->now->data + r->off, there);
    return 0;
}

static CO_FN int power_submit(Node *n, BlkReq *r)
{
    Power *p = *(Power **)n->opaque;
    guint pending;
    uint64_t size;

    p->requests++;
    if (r->op != BLK_READ && r->op != BLK_STATUS && p->before)
        p->before(p, p->arg);
    dawdle(p, n->loop);
    switch (r->op) {
    case BLK_READ:
        return read_now(p, r);
    case BLK_FLUSH:
        pending = p->pending->len; /* what ends meanwhile is not covered */
        size = p->now->len;
        dawdle(p, n->loop);
        flush(p, MIN(pending, p->pending->len), p->forgets ? size : 0);
        return 0;
    case BLK_STATUS:
        return -ENOTSUP;
    default:
        return change(p, r);
    }
}

static CO_FN bool power_node_open(Node *n, Opts *o, Error **err)
{
    uint64_t at;

    if (!opts_get_u64(o, "at", 0, &at, err))
        return false;
    *(Power **)n->opaque = (Power *)(uintptr_t)at;
    n->size = (*(Power **)n->opaque)->now->len;
    n->filename = g_strdup("power");
    return true;
}

static const BlkDriver power = { .name = "power", .size = sizeof(Power *), .protocol = true, .open = power_node_open, .submit = power_submit };
BLK_DRIVER(power);

Node *power_open(Loop *loop, Power *p, bool readonly)
{
    g_autofree char *at = g_strdup_printf("%" PRIu64, (uint64_t)(uintptr_t)p);
    g_autoptr(Opts) o = opts_new();

    opts_set(o, "driver", "power");
    opts_set(o, "at", at);
    return node_open(loop, o, readonly, &abort_on_error);
}
