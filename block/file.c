/*
 * block/file.c - driver "file" (also "host_device", "host_cdrom"): a regular file or block device.
 * A read that the page cache can answer is served at once (preadv2 with RWF_NOWAIT), and so are small requests to a file that
 * lies in memory and, where the loop has time, small writes to the page cache. Other reads, writes and flushes go to io_uring
 * unless aio=threads, the rest and what io_uring did in part to the thread pool. A file whose size is no multiple of 512 reads
 * as if padded with zeros.
 */
#include "block/priv.h"
#include "block/uring.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { AT_ONCE_MAX = 128 << 10, PAGE = 4096 };
#define SLOW_WRITE (20 * MS) /* of the page cache: it makes us wait for the disk .. */
#define SLOW_FOR (100 * MS) /* .. and does so for a while */
typedef struct File {
    int fd;
    Uring *uring; /* NULL: not asked for yet, or there is none */
    uint32_t align;
    bool device, no_lock, no_punch, no_zero, no_uring;
    bool in_memory; /* tmpfs */
    bool no_nowait; /* this file system does not know RWF_NOWAIT */
    int64_t slow_until; /* host time */
    uint64_t data, data_end; /* STATUS found data there; to call a new hole so does no harm */
    unsigned want, unshared; /* locks held */
} File;

static bool describe_open_error(const char *name, int e, bool readonly, Error **err)
{
    fail_errno_is(err, e, "cannot open '%s'%s", name, readonly ? "" : " for writing");
    if (e == ENOENT)
        error_hint(err, "create a disk with: truncate -s 10G '%s'", name);
    else if (!readonly && (e == EACCES || e == EROFS || e == EPERM))
        error_hint(err, "make the file writable, or use readonly=on or snapshot=on");
    return false;
}

static bool find_size(Node *n, File *f, Error **err)
{
    struct stat st;
    struct statfs fs;
    uint64_t bytes = 0;

    if (fstat(f->fd, &st) < 0)
        return fail_errno(err, "cannot stat '%s'", n->filename);
    if (S_ISDIR(st.st_mode)) {
        fail(err, "'%s' is a directory, not a disk image", n->filename);
        return error_hint(err, "name an image file");
    }
    f->device = S_ISBLK(st.st_mode);
    f->in_memory = S_ISREG(st.st_mode) && !fstatfs(f->fd, &fs) && fs.f_type == TMPFS_MAGIC;
    if (f->device && ioctl(f->fd, BLKGETSIZE64, &bytes) < 0)
        return fail_errno(err, "cannot get the size of '%s'", n->filename);
    n->size = f->device ? bytes : S_ISREG(st.st_mode) ? align_up((uint64_t)st.st_size, 512) : 0;
    return true;
}

static void find_alignment(Node *n, File *f)
{
    int sector = 512;

    f->align = 1;
    if (!n->direct)
        return;
    f->align = 4096;
    if (f->device && !ioctl(f->fd, BLKSSZGET, &sector) && is_pow2((uint64_t)sector))
        f->align = (uint32_t)sector;
}

static int open_fd(const char *name, int flags)
{
    int fd = open(name, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static bool aio_mode(const Node *n, const char *v, bool *threads, Error **err)
{
    *threads = v && !strcmp(v, "threads");
    if (v && !*threads && strcmp(v, "native") && strcmp(v, "io_uring"))
        return fail(err, "aio=%s: must be threads, native or io_uring", v);
    return !v || strcmp(v, "native") || n->direct ||
           fail(err, "aio=native was specified, but it requires cache.direct=on, which was not specified.");
}

static CO_FN bool file_open(Node *n, Opts *o, Error **err)
{
    File *f = n->opaque;
    const char *name = opts_get(o, "filename"), *locking = opts_get(o, "locking");

    f->fd = -1;
    if (!aio_mode(n, opts_get(o, "aio"), &f->no_uring, err))
        return false;
    if (!name || !*name) {
        fail(err, "driver file needs a file name");
        return error_hint(err, "file=PATH or file.filename=PATH");
    }
    if (locking && strcmp(locking, "auto") && strcmp(locking, "on") && strcmp(locking, "off"))
        return fail(err, "locking=%s: must be auto, on or off", locking);
    f->no_lock = locking && !strcmp(locking, "off");
    n->filename = g_strdup(name);
    f->fd = open_fd(name, (n->readonly ? O_RDONLY : O_RDWR) | (n->direct ? O_DIRECT : 0));
    if (f->fd == -EINVAL && n->direct) {
        f->fd = -1;
        fail(err, "'%s': this file system cannot do direct I/O", name);
        return error_hint(err, "use cache=writeback instead of cache=none");
    }
    if (f->fd < 0)
        return describe_open_error(name, -f->fd, n->readonly, err);
    if (!find_size(n, f, err)) {
        close(f->fd);
        return false;
    }
    find_alignment(n, f);
    return true;
}

static CO_FN void file_close(Node *n)
{
    File *f = n->opaque;

    uring_close(f->uring);
    if (f->fd < 0)
        return;
    block__file_unlock(f->fd);
    close(f->fd);
}

static void file_limits(Node *n, BlkLimits *out)
{
    File *f = n->opaque;

    out->align = f->align;
    out->mem_align = n->direct ? MAX(f->align, 512) : 1;
}

static bool file_permissions(Node *n, Node *parent, unsigned want, unsigned share, Error **err)
{
    File *f = n->opaque;
    unsigned unshared = PERM_ALL & ~share;

    if (f->no_lock)
        return true;
    if (!block__file_lock(f->fd, n->filename, want, unshared, f->want, f->unshared, err))
        return false;
    f->want = want;
    f->unshared = unshared;
    return true;
}

/* Another descriptor of the same file; the locks move with it. */
static CO_FN bool file_set_readonly(Node *n, bool readonly, Error **err)
{
    File *f = n->opaque;
    unsigned want = f->want, unshared = f->unshared;
    int fd = open_fd(n->filename, (readonly ? O_RDONLY : O_RDWR) | (n->direct ? O_DIRECT : 0)), old = f->fd;

    if (fd < 0)
        return describe_open_error(n->filename, -fd, readonly, err);
    block__file_unlock(old); /* its locks would refuse ours */
    close(old);
    f->fd = fd;
    f->want = f->unshared = 0;
    n->readonly = readonly;
    find_alignment(n, f);
    block__limits(n);
    if (readonly)
        want &= ~(unsigned)(PERM_WRITE | PERM_RESIZE);
    return file_permissions(n, NULL, want, PERM_ALL & ~unshared, err);
}

static CO_FN bool file_reopen(Node *n, Opts *o, bool apply, Error **err)
{
    const char *name = opts_get(o, "filename"), *locking = opts_get(o, "locking");
    bool threads;

    if (!aio_mode(n, opts_get(o, "aio"), &threads, err))
        return false;
    if (!name)
        return fail(err, "Parameter 'filename' is missing");
    if (strcmp(name, n->filename))
        return fail(err, "Cannot change the option 'filename'");
    return !locking || ((File *)n->opaque)->no_lock == !strcmp(locking, "off") || fail(err, "Cannot change the option 'locking'");
}

/* ---- requests ---- */
typedef struct Job {
    File *f;
    BlkReq *r;
    bool extends; /* past what was the end */
} Job;

/* Read or write all of it; a read past the end of the file gives zeros. */
static int transfer(File *f, BlkReq *r, int flags)
{
    g_autofree struct iovec *rest = NULL;
    struct iovec *v = r->iov;
    int n = r->niov;
    size_t done = 0;

    for (;;) {
        ssize_t k = r->op == BLK_READ ? preadv2(f->fd, v, n, (off_t)(r->off + done), flags)
                                      : pwritev(f->fd, v, n, (off_t)(r->off + done));

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        if (k == 0 && r->op == BLK_WRITE)
            return -ENOSPC;
        if (k == 0 && !flags) {
            iov_zero(r->iov, r->niov, done, r->len - done);
            return 0;
        }
        done += (size_t)k;
        if (done >= r->len)
            return 0;
        if (flags)
            return -EAGAIN;
        if (!rest)
            rest = g_new(struct iovec, r->niov);
        n = iov_slice(r->iov, r->niov, done, r->len - done, rest);
        v = rest;
    }
}

static int job_rw(void *arg)
{
    Job *j = arg;
    int ret = transfer(j->f, j->r, 0);

    if (!ret && j->r->op == BLK_WRITE && (j->r->flags & BLK_FUA) && fdatasync(j->f->fd) < 0)
        ret = -errno;
    return ret;
}

static int job_flush(void *arg)
{
    Job *j = arg;

    return fdatasync(j->f->fd) < 0 ? -errno : 0;
}

static int allocate(File *f, int mode, const BlkReq *r)
{
    while (fallocate(f->fd, mode, (off_t)r->off, (off_t)r->len) < 0)
        if (errno != EINTR)
            return errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV || errno == EINVAL
                       ? -ENOTSUP
                       : -errno;
    return 0;
}

static int job_discard(void *arg)
{
    Job *j = arg;
    int ret = j->f->no_punch ? -ENOTSUP
                             : allocate(j->f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, j->r);

    if (ret == -ENOTSUP)
        j->f->no_punch = true;
    return ret;
}

static int job_zero(void *arg)
{
    Job *j = arg;
    int ret = -ENOTSUP;

    if ((j->r->flags & (BLK_MAY_UNMAP | BLK_RESERVE)) == BLK_MAY_UNMAP && !j->extends)
        ret = job_discard(arg);
    if (ret == -ENOTSUP && !j->f->no_zero) { /* moves the end, too */
        ret = allocate(j->f, FALLOC_FL_ZERO_RANGE, j->r);
        if (ret == -ENOTSUP)
            j->f->no_zero = true;
    }
    if (!ret && (j->r->flags & BLK_FUA) && fdatasync(j->f->fd) < 0)
        ret = -errno;
    return ret;
}

static int job_truncate(void *arg)
{
    Job *j = arg;

    if (ftruncate(j->f->fd, (off_t)j->r->off) < 0)
        return -errno;
    if (!(j->r->flags & BLK_RESERVE) || !j->r->off)
        return 0;
    return allocate(j->f, 0, &(BlkReq){ .off = 0, .len = j->r->off });
}

/* Data or hole at off? r->len shrinks to what is alike. */
static int job_status(void *arg)
{
    Job *j = arg;
    BlkReq *r = j->r;
    off_t data = lseek(j->f->fd, (off_t)r->off, SEEK_DATA), hole;

    r->allocated = true;
    r->map = r->off;
    if (data < 0 && errno == ENXIO) { /* a hole up to the end */
        r->zero = true;
        return 0;
    }
    if (data < 0)
        return 0;
    if ((uint64_t)data > r->off) {
        r->zero = true;
        r->len = MIN(r->len, (uint64_t)data - r->off);
        return 0;
    }
    hole = lseek(j->f->fd, (off_t)r->off, SEEK_HOLE);
    if (hole > (off_t)r->off)
        r->len = MIN(r->len, (uint64_t)hole - r->off);
    return 0;
}

static void status_keep(Node *n, File *f, BlkReq *r)
{
    r->map_file = n;
    if (r->zero || (r->off >= f->data && r->off + r->len <= f->data_end))
        return;
    f->data = r->off;
    f->data_end = r->off + r->len;
}

static int status_at_once(const Node *n, File *f, BlkReq *r)
{
    Job j = { f, r, false };

    if (r->off >= f->data && r->off < f->data_end) {
        r->map = r->off;
        r->len = MIN(r->len, f->data_end - r->off);
        return 0;
    }
    return loop_patient(n->loop) ? job_status(&j) : 1;
}

/* Without waiting for the disk, or hardly. 1: it must go another way. */
static int at_once(const Node *n, File *f, BlkReq *r)
{
    int64_t start;
    int ret;

    if (r->op == BLK_STATUS)
        return status_at_once(n, f, r);
    if (r->op == BLK_ZERO && loop_patient(n->loop) && r->len <= AT_ONCE_MAX) /* a new table of a format */
        return job_zero(&(Job){ f, r, r->off + r->len > n->size });
    if (n->direct || (r->op != BLK_READ && r->op != BLK_WRITE) || r->flags & BLK_FUA)
        return 1;
    if (f->in_memory && r->len <= AT_ONCE_MAX)
        return transfer(f, r, 0);
    if (r->op == BLK_READ) {
        ret = f->no_nowait ? 1 : transfer(f, r, RWF_NOWAIT);
        f->no_nowait |= ret == -EOPNOTSUPP;
        return ret ? 1 : 0;
    }
    if (f->device || !loop_patient(n->loop) || r->len > AT_ONCE_MAX || (r->off | r->len) % PAGE) /* half a page may have to be read */
        return 1;
    start = host_now();
    if (start < f->slow_until)
        return 1;
    ret = transfer(f, r, 0);
    if (host_now() - start > SLOW_WRITE)
        f->slow_until = start + SLOW_FOR;
    return ret;
}

static bool have_uring(const Node *n, File *f)
{
    if (!f->uring && !f->no_uring) {
        f->uring = uring_open(n->loop);
        f->no_uring = !f->uring;
    }
    return f->uring;
}

/* 1: it was not, or not wholly, done. */
static CO_FN int by_uring(File *f, const BlkReq *r)
{
    int ret = uring_submit(f->uring, f->fd, r);

    if (!ret && r->op == BLK_FLUSH)
        return 0;
    if (ret >= 0 ? (uint64_t)ret < r->len : ret == -EAGAIN || ret == -EINTR || ret == -EOPNOTSUPP)
        return 1;
    if (ret > 0 && r->op == BLK_WRITE && r->flags & BLK_FUA)
        return by_uring(f, &(BlkReq){ .op = BLK_FLUSH });
    return MIN(ret, 0);
}

static CO_FN int file_submit(Node *n, BlkReq *r)
{
    static int (*const jobs[])(
        void *) = { [BLK_READ] = job_rw,          [BLK_WRITE] = job_rw,  [BLK_FLUSH] = job_flush,
                    [BLK_DISCARD] = job_discard,  [BLK_ZERO] = job_zero, [BLK_STATUS] = job_status,
                    [BLK_TRUNCATE] = job_truncate };
    File *f = n->opaque;
    Job j = { f, r, r->off + r->len > n->size };
    int ret;

    if (r->op >= G_N_ELEMENTS(jobs) || !jobs[r->op])
        return -ENOTSUP;
    if (r->op == BLK_TRUNCATE && f->device)
        return -ENOTSUP;
    ret = at_once(n, f, r);
    if (ret > 0 && (r->op == BLK_READ || r->op == BLK_WRITE || r->op == BLK_FLUSH) && have_uring(n, f))
        ret = by_uring(f, r);
    if (ret > 0)
        ret = blk_in_pool(n->loop, jobs[r->op], &j);
    if (r->op == BLK_TRUNCATE || r->op == BLK_DISCARD || r->op == BLK_ZERO)
        f->data_end = 0;
    if (!ret && r->op == BLK_TRUNCATE)
        n->size = align_up(r->off, 512);
    if (!ret && r->op == BLK_STATUS)
        status_keep(n, f, r);
    return ret;
}

const BlkDriver block__file = {
    .name = "file",
    .size = sizeof(File),
    .protocol = true,
    .open = file_open,
    .close = file_close,
    .submit = file_submit,
    .limits = file_limits,
    .permissions = file_permissions,
    .set_readonly = file_set_readonly,
    .reopen = file_reopen,
};
BLK_DRIVER(block__file);
static const BlkDriver host_device = {
    .name = "host_device",
    .size = sizeof(File),
    .protocol = true,
    .open = file_open,
    .close = file_close,
    .submit = file_submit,
    .limits = file_limits,
    .permissions = file_permissions,
    .set_readonly = file_set_readonly,
    .reopen = file_reopen,
};
BLK_DRIVER(host_device);
static const BlkDriver host_cdrom = {
    .name = "host_cdrom",
    .size = sizeof(File),
    .protocol = true,
    .open = file_open,
    .close = file_close,
    .submit = file_submit,
    .limits = file_limits,
    .permissions = file_permissions,
};
BLK_DRIVER(host_cdrom);
