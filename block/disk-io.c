/*
 * block/disk-io.c - a device's requests: from the device's thread over the VM loop into coroutines
 * and back; error policy, retry after cont, throttle.
 *
 *   submit -> queue -(kick, throttle)-> coroutine -> done -(report)-> device
 *                ^                         | error, policy stop
 *                +---------- cont -----  stopped
 */
#include "block/cor.h"
#include "block/disk-priv.h"
#include "core/api/block.h"
#include "block/iov.h"
#include "block/nbd/client-priv.h"
#include <errno.h>

static const BlockErrorAction actions[] = {
    [ON_ERROR_REPORT] = BLOCK_ERROR_ACTION_REPORT, [ON_ERROR_IGNORE] = BLOCK_ERROR_ACTION_IGNORE, [ON_ERROR_STOP] = BLOCK_ERROR_ACTION_STOP
};

static bool is_write(const BlkReq *r) { return r->op != BLK_READ && r->op != BLK_STATUS; }

/* ---- a stopped VM's disks are on the host's disk, so that the files can be copied ---- */
static void flush_body(void *arg)
{
    Disk *d = arg;

    blk_flush(d->node); /* who takes the node away drains first */
    d->flushing = false;
    g_cond_broadcast(&d->idle);
}

static void start_flush(void *d) { co_enter(co_new(flush_body, d)); }

static void flush_when_idle(Disk *d)
{
    if (!d->flush_wanted || d->flushing || disk_busy(d) || !d->node)
        return;
    d->flush_wanted = d->wrote = false;
    d->flushing = true;
    loop_post(d->vm->loop, start_flush, d);
}

/* ---- back to the device ---- */
static void report(void *arg)
{
    Disk *d = arg;
    DiskItem *it;

    d->reporting = false;
    while ((it = g_queue_pop_head(
                &d->done))) { /* bounded: `done` callbacks queue, they do not add here */
        bool w = is_write(it->r);

        d->in_flight--;
        d->stats.ns[w] += (uint64_t)(host_now() - it->since);
        d->stats.failed[w] += it->ret != 0;
        it->done(it->o, it->r, it->ret);
        g_free(it);
    }
    if (!d->in_flight)
        g_cond_broadcast(&d->idle);
    flush_when_idle(d);
}

static void finished(DiskItem *it, int ret)
{
    Disk *d = it->d;

    it->ret = ret;
    g_queue_push_tail(&d->done, it);
    if (!d->reporting) {
        d->reporting = true;
        loop_post(d->vm->loop, report, d);
    }
}

static OnError policy(const Disk *d, const BlkReq *r, int ret)
{
    OnError p = is_write(r) ? d->werror : d->rerror;

    if (p == ON_ERROR_ENOSPC)
        return ret == -ENOSPC ? ON_ERROR_STOP : ON_ERROR_REPORT;
    return p;
}

static void emit(Disk *d)
{
    const DiskFault *f = &d->fault;
    g_autofree char *path = disk__qom_path(d);
    bool blockdev = vm_lookup(d->vm, "node", d->id) == d;

    d->told = host_now();
    event_block_io_error(d->vm, &(EventBlockIoError){ .qom_path = path, .device = blockdev ? (char[]){ "" } : d->id, .node_name = (char *)disk_node_name(d),
                                                      .operation = f->write ? IO_OPERATION_TYPE_WRITE : IO_OPERATION_TYPE_READ,
                                                      .action = f->action, .has_nospace = disk__can_stop(d), .nospace = f->ret == -ENOSPC,
                                                      .reason = (char *)g_strerror(-f->ret) });
}

static bool emit_later(void *arg)
{
    Disk *d = arg;

    d->teller = 0;
    emit(d);
    return false;
}

/* At once; or, where one was told less than a second ago, at the end of that second, the latest one: a guest that goes on asking a broken disk
 * does not drown who listens. */
static void tell(Disk *d, bool write, BlockErrorAction action, int ret)
{
    int64_t since = host_now() - d->told;

    d->fault = (DiskFault){ write, action, ret };
    if (d->teller)
        return;
    if (!d->told || since >= SEC)
        emit(d);
    else
        d->teller = loop_after(d->vm->loop, SEC - since, emit_later, d);
}

static void failed(DiskItem *it, int ret)
{
    Disk *d = it->d;
    OnError p = d->draining ? ON_ERROR_REPORT : policy(d, it->r, ret);

    tell(d, is_write(it->r), actions[p], ret);
    if (p != ON_ERROR_STOP) {
        finished(it, p == ON_ERROR_IGNORE ? 0 : ret);
        return;
    }
    if (!d->failed)
        d->nospace = ret == -ENOSPC; /* the first one is the reason */
    d->failed = true;
    g_queue_push_tail(&d->stopped, it);
    vm_request(d->vm, VM_IO_ERROR, CAUSE_NONE);
}

/* ---- in a coroutine ---- */
CO_FN int disk__before(Disk *d, const BlkReq *r)
{
    uint64_t size = d->node->size;

    if (!d->guard.before || r->op == BLK_READ || r->op == BLK_STATUS || r->op == BLK_FLUSH)
        return 0;
    if (r->op == BLK_TRUNCATE) /* what is cut off, or was beyond the end */
        return d->guard.before(d->guard.o, MIN(r->off, size), MAX(r->off, size) - MIN(r->off, size));
    return in_range(r->off, r->len, size) ? d->guard.before(d->guard.o, r->off, r->len) : 0;
}

void disk_set_guard(Disk *d, const DiskGuard *g) { d->guard = g ? *g : (DiskGuard){ 0 }; }
bool disk_guarded(const Disk *d) { return d->guard.before; }

void disk__unguard(Disk *d)
{
    DiskGuard g = d->guard;

    d->guard = (DiskGuard){ 0 };
    if (g.gone)
        g.gone(g.o);
}

bool disk__may_move(Disk *d, Node *to, Error **err) { return !d->guard.may_move || d->guard.may_move(d->guard.o, to, err); }

void disk__moved(Disk *d)
{
    if (d->guard.moved)
        d->guard.moved(d->guard.o);
}

static CO_FN int perform(Disk *d, BlkReq *r)
{
    BlkReq zero;
    int ret;

    if (!d->node || (d->removable && d->tray_open))
        return -ENOMEDIUM;
    if (is_write(r) && r->op != BLK_FLUSH && disk_readonly(d))
        return -EPERM;
    if (r->op == BLK_DISCARD && !d->unmap)
        return 0;
    ret = disk__before(d, r);
    if (ret)
        return ret;
    if (r->op == BLK_WRITE || r->op == BLK_ZERO)
        r->flags |= d->write_through ? BLK_FUA : 0;
    if (r->op == BLK_ZERO && !d->unmap)
        r->flags &= ~(unsigned)BLK_MAY_UNMAP;
    if (r->op == BLK_WRITE && d->detect_zeroes != DETECT_OFF && iov_all_zero(r->iov, r->niov)) {
        zero = (BlkReq){ .op = BLK_ZERO, .off = r->off, .len = r->len, .flags = r->flags };
        if (d->detect_zeroes == DETECT_UNMAP)
            zero.flags |= BLK_MAY_UNMAP;
        return blk_submit(d->node, &zero);
    }
    return d->copy_on_read && r->op == BLK_READ ? blk_copy_on_read(d->node, r) : blk_submit(d->node, r);
}

static void body(void *arg)
{
    DiskItem *it = arg;
    int ret;

    if (it->r->op == BLK_READ || it->r->op == BLK_WRITE)
        throttle_pass(&it->d->throttle, is_write(it->r), it->r->len);
    ret = perform(it->d, it->r);
    if (ret && ret != -ENOMEDIUM)
        failed(it, ret);
    else
        finished(it, ret);
}

/* ---- from the device ---- */
static void unthrottle(Disk *d, bool on)
{
    throttle_free(&d->throttle, on);
    if (d->node)
        blk_unthrottle(d->node, on);
}

static void kick(void *arg)
{
    Disk *d = arg;
    DiskItem *it;

    d->kicked = false;
    if (d->draining)
        unthrottle(d, true);
    while ((it = g_queue_pop_head(&d->queue)))
        co_enter(co_new(body, it));
}

static void post_kick(Disk *d)
{
    if (!d->kicked) {
        d->kicked = true;
        loop_post(d->vm->loop, kick, d);
    }
}

void disk_submit(Disk *d, BlkReq *r, void (*done)(void *o, BlkReq *r, int ret), void *o)
{
    DiskItem *it = g_new0(DiskItem, 1);
    bool w = is_write(r);

    *it = (DiskItem){ .d = d, .r = r, .done = done, .o = o, .since = host_now() };
    d->in_flight++;
    d->wrote |= w;
    if (r->op == BLK_READ || r->op == BLK_WRITE) {
        d->stats.ops[w]++;
        d->stats.bytes[w] += r->len;
    }
    d->stats.flushes += r->op == BLK_FLUSH;
    d->stats.discards += r->op == BLK_DISCARD;
    g_queue_push_tail(&d->queue, it);
    post_kick(d);
}

unsigned disk_in_flight(const Disk *d) { return d->in_flight; }
bool disk_busy(const Disk *d) { return d->flushing || d->in_flight > g_queue_get_length((GQueue *)&d->stopped) || d->kicked || d->reporting; }

static void give_up_stopped(Disk *d)
{
    DiskItem *it;

    while ((it = g_queue_pop_head(&d->stopped)))
        finished(it, -ECANCELED);
    d->failed = false;
}

void disk__drain(Disk *d)
{
    if (d->ops && d->ops->drain)
        d->ops->drain(d->user, true);
    d->draining = true;
    post_kick(d); /* who waits at a throttle is let go there */
    give_up_stopped(d);
    while (d->in_flight || d->kicked || d->reporting || d->flushing) {
        if (loop_is_mine(d->vm->loop))
            loop_iterate(d->vm->loop, true);
        else
            lock_wait(&d->vm->lock, &d->idle, host_now() + 10 * MS);
    }
    d->draining = false;
    unthrottle(d, false);
    if (d->ops && d->ops->drain)
        d->ops->drain(d->user, false);
}

void disk_cancel_all(Disk *d)
{
    if (d->in_flight)
        disk__drain(d);
}

/* cont after an I/O error: once more, from the start of each request */
static void on_state(void *self, RunState now)
{
    Disk *d = self;
    DiskItem *it;

    d->flush_wanted = now != RUN_RUNNING && d->wrote;
    flush_when_idle(d);
    if (now != RUN_RUNNING || g_queue_is_empty(&d->stopped))
        return;
    d->failed = false;
    while ((it = g_queue_pop_tail(&d->stopped)))
        g_queue_push_head(&d->queue, it);
    post_kick(d);
}

/* A coroutine ends on the thread that it began on. */
static void on_ending(void *self)
{
    Disk *d = self;
    unsigned depth;

    disk__drain(d);
    d->draining = true; /* what others still have under way does not wait any more */
    post_kick(d);
    if (loop_is_mine(d->vm->loop)) {
        nbd__end_all(d->vm->loop);
        return;
    }
    depth = lock_drop_all(&d->vm->lock); /* the loop needs it */
    nbd__end_all(d->vm->loop);
    lock_retake(&d->vm->lock, depth);
}

void disk__io_init(Disk *d)
{
    g_cond_init(&d->idle);
    d->listener = (VmListener){ .state = on_state, .ending = on_ending, .self = d };
    vm_listen(d->vm, &d->listener);
}

void disk__io_fini(Disk *d)
{
    lock_take(&d->vm->lock);
    disk__drain(d);
    if (d->teller)
        loop_unwatch(d->vm->loop, d->teller);
    vm_unlisten(d->vm, &d->listener);
    lock_drop(&d->vm->lock);
    g_cond_clear(&d->idle);
}
