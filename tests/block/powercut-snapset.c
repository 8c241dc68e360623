/*
 * tests/block/powercut-snapset.c - the snapshot folder and the mains. Writers work on two disks, snapshots are made, gone
 * back to and deleted; the power goes now and then, for all four files at once. What is left must hold each disk's flushed
 * bytes or later ones, or, in the middle of going back, wholly the old or wholly the new set; and each snapshot exactly.
 *   t-powercut-snapset; POWER_CUTS=N in the environment: so many cuts (default 200)
 */
#include "block/image.h"
#include "block/snapset/snapset.h"
#include "tests/block/power.h"
#include "tests/lib/t.h"
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

enum { DISKS = 2, FILES = DISKS + 2, INDEX = DISKS, BLOCKS, DISK = 5 * 65536 + 3 * 512, SECTORS = DISK / 512, MAYBE = 24, WRITERS = 3, SNAPS = 6 };
typedef struct Sector {
    uint32_t stable, maybe[MAYBE];
    unsigned nmaybe;
} Sector;
typedef uint32_t Content[DISKS][SECTORS];
typedef struct Kept { /* what a snapshot must hold */
    uint32_t id;
    Content is;
} Kept;
typedef struct Bench {
    Vm *vm;
    Power *p[FILES];
    Node *n[FILES];
    SnapSet *s;
    unsigned image[DISKS];
    Sector now[DISKS][SECTORS];
    Kept kept[SNAPS];
    unsigned nkept;
    uint32_t making, deleting, going; /* ids of what is under way; 0: nothing */
    Content target;
    Rng rng;
    uint32_t next;
    uint64_t cuts, cuts_left, one_in;
    int begun, ended_writers;
    bool checking, ended;
} Bench;

static void fill(uint8_t *sector, uint32_t v)
{
    for (unsigned i = 0; i < 512; i += 4)
        le32_store(sector + i, v);
}

static bool holds(const uint8_t *sector, uint32_t v)
{
    uint8_t want[512];

    fill(want, v);
    return !memcmp(want, sector, 512);
}

/* ---- after a cut ---- */
typedef struct After {
    Power *p[FILES];
    Node *n[FILES];
    SnapSet *s;
} After;

static CO_FN void open_after(Bench *b, After *a)
{
    for (int i = 0; i < FILES; i++) {
        GByteArray *left = power_cut(b->p[i]);

        a->p[i] = power_new(1);
        g_byte_array_append(a->p[i]->now, left->data, left->len);
        g_byte_array_free(left, TRUE);
        a->n[i] = power_open(b->vm->loop, a->p[i], false);
    }
    a->s = snapset_open(b->vm->loop, a->n[INDEX], a->n[BLOCKS], &abort_on_error);
    for (int i = 0; i < DISKS; i++) {
        unsigned image;
        SnapStamp st = { 0 };

        check(snapset_attach(a->s, i ? "b" : "a", a->n[i], &st, &image, &abort_on_error));
    }
    check(snapset_resume(a->s, &abort_on_error) && snapset_consistent(a->s));
}

static void close_after(After *a)
{
    snapset_free(a->s);
    for (int i = 0; i < FILES; i++) {
        node_unref(a->n[i]);
        power_free(a->p[i]);
    }
}

static CO_FN bool exactly(const After *a, const Content want)
{
    g_autofree uint8_t *buf = g_malloc(DISK);

    for (int d = 0; d < DISKS; d++) {
        check_eq(blk_read(a->n[d], 0, buf, DISK), 0);
        for (unsigned i = 0; i < SECTORS; i++)
            if (!holds(buf + i * 512, want[d][i]))
                return false;
    }
    return true;
}

static CO_FN void possible(Bench *b, const After *a)
{
    g_autofree uint8_t *buf = g_malloc(DISK);

    for (int d = 0; d < DISKS; d++) {
        check_eq(blk_read(a->n[d], 0, buf, DISK), 0);
        for (unsigned i = 0; i < SECTORS; i++) {
            const Sector *s = &b->now[d][i];
            bool ok = holds(buf + i * 512, s->stable);

            for (unsigned k = 0; k < s->nmaybe && !ok; k++)
                ok = holds(buf + i * 512, s->maybe[k]);
            if (!ok)
                t_fail(__FILE__, __LINE__, "cut %" PRIu64 ": sector %u of disk %d holds %#x, flushed was %#x, %u values since", b->cuts, i, d,
                       le32_load(buf + i * 512), s->stable, s->nmaybe);
        }
    }
}

static void content_of(const Bench *b, Content out)
{
    for (int d = 0; d < DISKS; d++)
        for (unsigned i = 0; i < SECTORS; i++)
            out[d][i] = b->now[d][i].stable;
}

static CO_FN void examine(Bench *b)
{
    After a;
    Content now;
    unsigned order = (unsigned)rng_next(&b->rng);

    open_after(b, &a);
    if (b->going) {
        content_of(b, now);
        check(exactly(&a, b->target) || exactly(&a, now));
    } else {
        possible(b, &a);
    }
    for (unsigned k = 0; k < b->nkept; k++) {
        const Kept *v = &b->kept[(k + order) % b->nkept];
        g_autofree char *id = g_strdup_printf("%u", v->id);

        if (!snapset_find(a.s, id)) {
            if (v->id != b->deleting && v->id != b->making)
                t_fail(__FILE__, __LINE__, "cut %" PRIu64 ": snapshot %u is gone", b->cuts, v->id);
            continue;
        }
        check(snapset_restore(a.s, v->id, &abort_on_error));
        if (!exactly(&a, v->is))
            t_fail(__FILE__, __LINE__, "cut %" PRIu64 ": snapshot %u is not what it was", b->cuts, v->id);
    }
    check(snapset_consistent(a.s) && snapset_count(a.s) <= b->nkept);
    close_after(&a);
}

static CO_FN void before(Power *p, void *arg)
{
    Bench *b = arg;

    if (b->checking || !b->cuts_left || rng_next(&b->rng) % b->one_in)
        return;
    b->checking = true;
    b->cuts++;
    b->cuts_left--;
    examine(b);
    b->checking = false;
}

/* ---- work ---- */
static unsigned room(const Bench *b, int d, unsigned first, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (b->now[d][first + i].nmaybe >= MAYBE - 1)
            return i;
    return n;
}

static CO_FN void step(Bench *b, int d, unsigned lo, unsigned hi)
{
    unsigned first = lo + (unsigned)(rng_next(&b->rng) % (hi - lo)), n = 1 + (unsigned)(rng_next(&b->rng) % (rng_next(&b->rng) % 4 ? 20 : 200));
    uint32_t v = rng_next(&b->rng) % 4 ? ++b->next * 2654435761u | 1 : 0;
    g_autofree uint8_t *buf = g_malloc(512 * 200);
    struct iovec one = { buf, 0 };
    BlkReq r = { .op = v ? BLK_WRITE : BLK_ZERO, .off = first * 512ull, .iov = &one, .niov = v ? 1 : 0 };

    n = room(b, d, first, MIN(n, hi - first));
    if (!n)
        return;
    r.len = one.iov_len = n * 512;
    for (unsigned i = 0; i < n; i++) {
        Sector *s = &b->now[d][first + i];

        fill(buf + i * 512, v);
        s->maybe[s->nmaybe++] = v;
    }
    check_eq(snapset_before(b->s, b->image[d], r.off, r.len), 0);
    check_eq(blk_submit(b->n[d], &r), 0);
}

static void write_some(void *arg)
{
    Bench *b = arg;
    int me = b->begun++;
    unsigned lo = SECTORS / WRITERS * (unsigned)me, hi = lo + SECTORS / WRITERS;

    for (int i = 0; i < 6 && b->cuts_left; i++)
        step(b, (int)(rng_next(&b->rng) % DISKS), lo, hi); /* edges share clusters with the neighbours */
    b->ended_writers++;
}

/* All writers are at rest: the last value of each sector is the one. */
static CO_FN void settle(Bench *b)
{
    for (int d = 0; d < DISKS; d++)
        check_eq(blk_flush(b->n[d]), 0);
    for (int d = 0; d < DISKS; d++)
        for (unsigned i = 0; i < SECTORS; i++) {
            Sector *s = &b->now[d][i];

            if (s->nmaybe)
                s->stable = s->maybe[s->nmaybe - 1];
            s->nmaybe = 0;
        }
}

static CO_FN void make(Bench *b)
{
    SnapInfo info = { .id = snapset_next_id(b->s), .tag = "s" };
    Kept *k = &b->kept[b->nkept++];

    k->id = b->making = info.id;
    content_of(b, k->is);
    check(snapset_save(b->s, &info, b->image, DISKS, &abort_on_error));
    b->making = 0;
}

static CO_FN void drop(Bench *b, unsigned which)
{
    b->deleting = b->kept[which].id;
    check(snapset_delete(b->s, b->deleting, &abort_on_error));
    b->deleting = 0;
    b->kept[which] = b->kept[--b->nkept];
}

static CO_FN void go_back(Bench *b, unsigned which)
{
    memcpy(b->target, b->kept[which].is, sizeof(Content));
    b->going = b->kept[which].id;
    check(snapset_restore(b->s, b->going, &abort_on_error));
    b->going = 0;
    for (int d = 0; d < DISKS; d++)
        for (unsigned i = 0; i < SECTORS; i++)
            b->now[d][i].stable = b->target[d][i];
}

static CO_FN void attach(Bench *b)
{
    SnapStamp st = { 0 };

    for (int d = 0; d < DISKS; d++)
        check(snapset_attach(b->s, d ? "b" : "a", b->n[d], &st, &b->image[d], &abort_on_error));
}

/* As at the end of a machine and the start of the next, which writes its log anew. */
static CO_FN void reopen(Bench *b)
{
    for (int d = 0; d < DISKS; d++)
        check_eq(snapset_detach(b->s, b->image[d], &(SnapStamp){ 0 }, true), 0);
    snapset_free(b->s);
    b->s = snapset_open(b->vm->loop, b->n[INDEX], b->n[BLOCKS], &abort_on_error);
    attach(b);
}

static void between(void *arg)
{
    Bench *b = arg;
    unsigned what = (unsigned)(rng_next(&b->rng) % 5), which = b->nkept ? (unsigned)(rng_next(&b->rng) % b->nkept) : 0;

    settle(b);
    if (b->nkept < 2 || (what == 0 && b->nkept < SNAPS))
        make(b);
    else if (what == 1)
        drop(b, which);
    else if (what == 2)
        reopen(b);
    else
        go_back(b, which);
    check(snapset_consistent(b->s));
    b->ended = true;
}

static void begin(void *b) { attach(b); }

static void round_of(Bench *b)
{
    b->begun = b->ended_writers = 0;
    for (int w = 0; w < WRITERS; w++)
        co_enter(co_new(write_some, b));
    while (b->ended_writers < WRITERS)
        loop_iterate(b->vm->loop, true);
    b->ended = false;
    co_enter(co_new(between, b));
    while (!b->ended)
        loop_iterate(b->vm->loop, true);
}

static void cuts(Vm *vm)
{
    const char *wanted = g_getenv("POWER_CUTS"), *seed = g_getenv("POWER_SEED");
    Bench *b = g_new0(Bench, 1);

    if (wanted)
        alarm(0); /* meson's limit holds */
    mallopt(M_MMAP_THRESHOLD, 1 << 30); /* images come and go: their pages stay */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    b->vm = vm;
    b->rng.s = seed ? g_ascii_strtoull(seed, NULL, 10) : 1;
    b->cuts_left = wanted ? g_ascii_strtoull(wanted, NULL, 10) : 200;
    b->one_in = 7;
    for (int i = 0; i < FILES; i++) {
        b->p[i] = power_new(rng_next(&b->rng));
        b->p[i]->forgets = b->p[i]->slow = true;
        if (i < DISKS) {
            g_byte_array_set_size(b->p[i]->now, DISK);
            memset(b->p[i]->now->data, 0, DISK);
            g_byte_array_append(b->p[i]->durable, b->p[i]->now->data, DISK);
        }
        b->n[i] = power_open(vm->loop, b->p[i], false);
    }
    b->s = snapset_open(vm->loop, b->n[INDEX], b->n[BLOCKS], &abort_on_error);
    blk_run(vm->loop, begin, b);
    for (int i = 0; i < FILES; i++) {
        b->p[i]->before = before;
        b->p[i]->arg = b;
    }
    while (b->cuts_left)
        round_of(b);
    for (int i = 0; i < FILES; i++)
        b->p[i]->before = NULL;
    snapset_free(b->s);
    for (int i = 0; i < FILES; i++) {
        node_unref(b->n[i]);
        power_free(b->p[i]);
    }
    g_free(b);
}
TEST("powercut/snapset", cuts);
