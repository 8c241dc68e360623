/* tests/block/threads.c - a disk as vCPUs use it: the VM loop on its own thread, requests from others, resets between. */
#include "block/disk.h"
#include "tests/lib/t.h"
#include <glib/gstdio.h>
#include <stdio.h>
#include <unistd.h>

enum { SLOTS = 16, ROUNDS = 300, BYTES = 4096, AREA = 1 << 20 };
typedef struct Slot {
    BlkReq r;
    struct iovec one;
    uint8_t data[BYTES];
    bool busy;
} Slot;
typedef struct Guest {
    Vm *vm;
    Disk *d;
    unsigned index, done, failed;
    Slot slot[SLOTS];
} Guest;

static void on_done(void *o, BlkReq *r, int ret)
{
    Guest *g = o;
    Slot *s = container_of(r, Slot, r);

    g->done++;
    g->failed += ret != 0;
    s->busy = false;
}

/* Each guest has an area of its own: it writes a slot, waits, reads it back. */
static void start(Guest *g, unsigned i, BlkOp op)
{
    Slot *s = &g->slot[i];

    s->one = (struct iovec){ s->data, BYTES };
    s->r = (BlkReq){ .op = op,
                     .off = (uint64_t)g->index * AREA + i * BYTES,
                     .len = BYTES,
                     .iov = &s->one,
                     .niov = 1 };
    s->busy = true;
    disk_submit(g->d, &s->r, on_done, g);
}

static void wait_idle(Guest *g)
{
    for (bool any = true; any;) {
        any = false;
        lock_take(&g->vm->lock);
        for (unsigned i = 0; i < SLOTS; i++)
            any |= g->slot[i].busy;
        lock_drop(&g->vm->lock);
        if (any)
            g_usleep(20);
    }
}

static gpointer guest(gpointer arg)
{
    Guest *g = arg;

    for (unsigned round = 0; round < ROUNDS; round++) {
        lock_take(&g->vm->lock);
        for (unsigned i = 0; i < SLOTS; i++) {
            memset(g->slot[i].data, (int)(round + i + g->index), BYTES);
            start(g, i, BLK_WRITE);
        }
        if (round % 10 == 9)
            disk_cancel_all(g->d); /* a controller reset */
        lock_drop(&g->vm->lock);
        wait_idle(g);
        lock_take(&g->vm->lock);
        for (unsigned i = 0; i < SLOTS; i++) {
            memset(g->slot[i].data, 0xee, BYTES);
            start(g, i, BLK_READ);
        }
        lock_drop(&g->vm->lock);
        wait_idle(g);
        for (unsigned i = 0; i < SLOTS; i++)
            check_eq(g->slot[i].data[round % BYTES], (uint8_t)(round + i + g->index));
    }
    return NULL;
}

static void stress(Vm *vm, const char *more)
{
    g_autofree char *path = g_strdup("/tmp/menura-threads.XXXXXX"), *text = NULL;
    g_autofree Guest *g = g_new0(Guest, 3);
    GThread *t[3];
    g_autoptr(Opts) o = NULL;
    Disk *d;
    int fd = g_mkstemp(path);
    int64_t t0 = host_now();

    check(!ftruncate(fd, 4 * AREA));
    close(fd);
    text = g_strdup_printf("file=%s,format=raw%s", path, more);
    o = opts_parse(text, NULL, &abort_on_error);
    d = disk_new(vm, "hd", o, &abort_on_error);
    check(disk_attach(d, &(DiskUser){ .writes = true }, &abort_on_error));
    loop_start(vm->loop);
    for (unsigned i = 0; i < 3; i++) {
        g[i].vm = vm;
        g[i].d = d;
        g[i].index = i;
        t[i] = g_thread_new("guest", guest, &g[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        g_thread_join(t[i]);
        check_eq(g[i].done, ROUNDS * SLOTS * 2);
        check_eq(g[i].failed, 0);
    }
    printf("# %s: %d requests, %.1f us each\n", *more ? more : "plain", 3 * ROUNDS * SLOTS * 2,
           (double)(host_now() - t0) / 1e3 / (3 * ROUNDS * SLOTS * 2));
    loop_stop(vm->loop);
    disk_free(d);
    g_unlink(path);
}

static void plain(Vm *vm) { stress(vm, ""); }
static void snapshot(Vm *vm) { stress(vm, ",snapshot=on"); }
TEST("threads/plain", plain);
TEST("threads/snapshot", snapshot);
