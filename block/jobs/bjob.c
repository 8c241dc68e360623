/* block/jobs/bjob.c - the common part of block jobs. */
#include "block/jobs/bjob.h"
#include "block/disk-priv.h"
#include <errno.h>
#include <stdlib.h>

enum { SLICE_MS = 100 };

static const char *default_id(Vm *vm, Node *n, const char *device)
{
    Disk *d = graph_disk_of(vm, n);

    return vm_lookup(vm, "node", device) || !d ? NULL : disk_id(d);
}

void *bjob_new(Vm *vm, const JobDriver *d, const BJobArgs *a, Node *n, Error **err)
{
    const char *id = a->id ? a->id : default_id(vm, n, a->device);
    unsigned flags = (a->manual_finalize ? JOB_MANUAL_FINALIZE : 0) | (a->manual_dismiss ? JOB_MANUAL_DISMISS : 0);
    BJob *b;
    Job *j;

    if (!id) {
        fail(err, "An explicit job ID is required for this node");
        return NULL;
    }
    if (a->has_speed && a->speed < 0) {
        fail(err, "Parameter 'speed' expects a non-negative value");
        return NULL;
    }
    j = job_new(vm, d, id, flags, err);
    if (!j)
        return NULL;
    b = job_state(j);
    b->job = j;
    b->node = node_ref(n);
    b->device = g_strdup(a->device);
    if (a->has_speed)
        job_set_speed(j, a->speed, NULL);
    return b;
}

bool bjob_claim(BJob *b, unsigned slot, Node *n, unsigned want, Error **err)
{
    b->claims[slot].who = "a block job";
    return node_claim(&b->claims[slot], n, want, PERM_ALL, err);
}

/* ---- events ---- */
static void tell_end(const BJob *b)
{
    const Job *j = b->job;
    int64_t done, total;

    job_progress(j, &done, &total);

    if (job_cancelled(j))
        event_block_job_cancelled(job_vm(j), &(EventBlockJobCancelled){ .type = job_driver(j)->type, .device = (char *)(uintptr_t)job_id(j), .len = total,
                                                                       .offset = done, .speed = job_speed(j) });
    else
        event_block_job_completed(job_vm(j), &(EventBlockJobCompleted){ .type = job_driver(j)->type, .device = (char *)(uintptr_t)job_id(j), .len = total,
                                                                       .offset = done, .speed = job_speed(j), .error = (char *)(uintptr_t)job_error(j) });
}

void bjob_clean(BJob *b)
{
    if (b->began)
        tell_end(b);
    for (unsigned i = 0; i < BJOB_CLAIMS; i++)
        node_unclaim(&b->claims[i]);
    node_unref(b->node);
    g_free(b->device);
    b->node = NULL;
    b->device = NULL;
}

void bjob_changed(Job *j)
{
    BJob *b = job_state(j);
    int64_t done, total;

    job_progress(j, &done, &total);
    switch (job_status(j)) {
    case JOB_STATUS_READY:
        if (!b->told)
            event_block_job_ready(job_vm(j), &(EventBlockJobReady){ .type = job_driver(j)->type, .device = (char *)(uintptr_t)job_id(j), .len = total,
                                                                   .offset = done, .speed = job_speed(j) });
        b->told = true;
        break;
    case JOB_STATUS_PENDING:
        if (job_flags(j) & JOB_MANUAL_FINALIZE)
            event_block_job_pending(job_vm(j), &(EventBlockJobPending){ .type = job_driver(j)->type, .id = (char *)(uintptr_t)job_id(j) });
        break;
    case JOB_STATUS_RUNNING:
        b->began = true;
        break;
    default:
        break;
    }
}

/* ---- speed ---- */
bool bjob_set_speed(Job *j, int64_t speed, Error **err)
{
    ((BJob *)job_state(j))->next_at = 0;
    return true;
}

CO_FN bool bjob_step(BJob *b, uint64_t bytes)
{
    int64_t speed = job_speed(b->job), now = host_now();

    if (speed && bytes) {
        b->next_at = MAX(b->next_at, now) + (int64_t)((double)bytes / (double)speed * SEC);
        while (b->next_at - now > SLICE_MS * MS && job_speed(b->job)) {
            if (!job_sleep(b->job, MIN(b->next_at - now, SEC)))
                return false;
            now = host_now();
        }
    }
    return job_sleep(b->job, 0); /* others of the loop have their turn */
}

/* ---- errors ---- */
OnError bjob_policy(bool has, BlockdevOnError e)
{
    if (!has)
        return ON_ERROR_REPORT;
    return e == BLOCKDEV_ON_ERROR_IGNORE ? ON_ERROR_IGNORE : e == BLOCKDEV_ON_ERROR_STOP ? ON_ERROR_STOP
         : e == BLOCKDEV_ON_ERROR_ENOSPC || e == BLOCKDEV_ON_ERROR_AUTO_ ? ON_ERROR_ENOSPC : ON_ERROR_REPORT;
}

CO_FN bool bjob_error(BJob *b, bool read, int ret)
{
    OnError p = read ? b->on_read : b->on_write;

    if (p == ON_ERROR_ENOSPC)
        p = ret == -ENOSPC ? ON_ERROR_STOP : ON_ERROR_REPORT;
    event_block_job_error(job_vm(b->job), &(EventBlockJobError){ .device = (char *)(uintptr_t)job_id(b->job),
                                                                .operation = read ? IO_OPERATION_TYPE_READ : IO_OPERATION_TYPE_WRITE,
                                                                .action = p == ON_ERROR_STOP ? BLOCK_ERROR_ACTION_STOP
                                                                          : p == ON_ERROR_IGNORE ? BLOCK_ERROR_ACTION_IGNORE : BLOCK_ERROR_ACTION_REPORT });
    if (p == ON_ERROR_IGNORE)
        return job_sleep(b->job, SLICE_MS * MS);
    if (p != ON_ERROR_STOP)
        return false;
    b->io_status = ret == -ENOSPC ? BLOCK_DEVICE_IO_STATUS_NOSPACE : BLOCK_DEVICE_IO_STATUS_FAILED;
    job_pause(b->job, NULL);
    if (!job_pause_point(b->job))
        return false;
    b->io_status = BLOCK_DEVICE_IO_STATUS_OK;
    return true;
}

/* ---- copying ---- */
static CO_FN int move_data(BCopy *c, uint64_t off, uint64_t len)
{
    struct iovec one;
    BlkReq r = { .op = BLK_READ, .off = off, .len = len, .iov = &one, .niov = 1, .flags = c->read_flags };
    void *buf = c->buf;
    int ret;

    if (!buf) {
        if (posix_memalign(&buf, 4096, BJOB_CHUNK))
            return -ENOMEM;
        c->buf = buf;
    }
    one = (struct iovec){ buf, len };
    ret = blk_submit(c->from, &r);
    c->read_failed = ret;
    r.op = BLK_WRITE;
    r.flags = c->write_flags;
    return ret ? ret : blk_submit(c->to, &r);
}

CO_FN int bjob_copy(BCopy *c, uint64_t off, uint64_t *len)
{
    BlkReq st = { .op = BLK_STATUS, .off = off, .len = MIN(*len, BJOB_CHUNK), .flags = c->read_flags | (c->this_layer ? BLK_THIS_LAYER : 0) };
    int ret = blk_submit(c->from, &st);

    c->read_failed = ret;
    if (ret || !st.len)
        return ret ? ret : -EIO;
    *len = st.len;
    if (c->this_layer && !st.allocated)
        return 0;
    if (st.zero || (!st.allocated && !c->this_layer && !c->from->backing))
        return blk_zero(c->to, off, st.len, (c->write_flags & ~(unsigned)BLK_COMPRESS) | BLK_MAY_UNMAP);
    return move_data(c, off, st.len);
}
