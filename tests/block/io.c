/* tests/block/io.c - requests through the graph: raw, windows, bounce, overlay, locks, disk and its
 * error policy. */
#include "block/disk.h"
#include "tests/lib/t.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = 4 * 1024 * 1024 };

static char *make_image(size_t size)
{
    char *path = g_strdup("/tmp/menura-block.XXXXXX");
    int fd = g_mkstemp(path);
    g_autofree uint8_t *data = g_malloc(size);

    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i / 512 * 7 + i);
    check(write(fd, data, size) == (ssize_t)size);
    close(fd);
    return path;
}

static uint8_t pattern(size_t i) { return (uint8_t)(i / 512 * 7 + i); }

static int rw(Node *n, BlkOp op, uint64_t off, void *buf, size_t len)
{
    struct iovec v[3] = { { buf, len / 3 },
                          { (char *)buf + len / 3, len / 3 },
                          { (char *)buf + len / 3 * 2, len - len / 3 * 2 } };
    BlkReq r = { .op = op, .off = off, .len = len, .iov = v, .niov = 3 };

    return blk_sync(n, &r);
}

static int plain(Node *n, BlkOp op, uint64_t off, uint64_t len)
{
    BlkReq r = { .op = op, .off = off, .len = len };

    return blk_sync(n, &r);
}

static Node *open_text(Vm *vm, const char *path, const char *more, bool ro)
{
    g_autofree char *text = g_strdup_printf("filename=%s%s", path, more);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);

    return node_open(vm->loop, o, ro, &abort_on_error);
}

static void raw(Vm *vm)
{
    g_autofree char *path = make_image(SIZE - 100);
    Node *n = open_text(vm, path, ",driver=raw", false), *w;
    uint8_t buf[5000];

    check_eq(n->size, align_up(SIZE - 100, 512));
    check_eq(rw(n, BLK_READ, 12345, buf, sizeof(buf)), 0);
    for (size_t i = 0; i < sizeof(buf); i++)
        check_eq(buf[i], pattern(12345 + i));
    check_eq(rw(n, BLK_READ, SIZE - 512, buf, 512), 0); /* the tail past the end reads as zero */
    check_eq(buf[411], pattern(SIZE - 101));
    check_eq(buf[412], 0);
    check_eq(rw(n, BLK_READ, SIZE - 100, buf, 512), -EIO);
    check_eq(rw(n, BLK_READ, UINT64_MAX - 10, buf, 512), -EIO);
    memset(buf, 0x5a, sizeof(buf));
    check_eq(rw(n, BLK_WRITE, 777, buf, 999), 0);
    check_eq(plain(n, BLK_ZERO, 2000, 100000), 0);
    check_eq(plain(n, BLK_DISCARD, 1024, 512), 0);
    check_eq(plain(n, BLK_FLUSH, 0, 0), 0);
    check_eq(rw(n, BLK_READ, 776, buf, 3000), 0);
    check_eq(buf[0], pattern(776));
    check_eq(buf[1], 0x5a);
    check_eq(buf[1999 - 776], pattern(1999));
    check_eq(buf[2000 - 776], 0);
    node_unref(n);
    w = open_text(vm, path, ",driver=raw,offset=4096,size=8192", true);
    check_eq(w->size, 8192);
    check_eq(rw(w, BLK_READ, 0, buf, 10), 0);
    check_eq(rw(w, BLK_READ, 8000, buf, 512), -EIO);
    check_eq(rw(w, BLK_WRITE, 0, buf, 10), -EACCES);
    node_unref(w);
    g_unlink(path);
}
TEST("block/raw", raw);

/* O_DIRECT wants alignment: the node bounces; where the file system cannot, nothing to test. */
static void direct(Vm *vm)
{
    g_autofree char *path = make_image(SIZE);
    g_autofree char *text = g_strdup_printf("filename=%s,driver=raw,cache.direct=on", path);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);
    Error *e = NULL;
    Node *n = node_open(vm->loop, o, false, &e);
    uint8_t buf[3000], back[3000];

    if (n) {
        memset(buf, 0x77, sizeof(buf));
        check_eq(rw(n, BLK_WRITE, 5001, buf, sizeof(buf)), 0);
        check_eq(rw(n, BLK_READ, 5001, back, sizeof(back)), 0);
        check(!memcmp(buf, back, sizeof(buf)));
        check_eq(rw(n, BLK_READ, 5000, back, 1), 0);
        check_eq(back[0], pattern(5000));
        check_eq(rw(n, BLK_READ, 8001, back, 1), 0);
        check_eq(back[0], pattern(8001));
        node_unref(n);
    }
    error_free(e);
    g_unlink(path);
}
TEST("block/direct", direct);

/* Requests that are done at once, in the page cache or a file in memory, and those beside them that are not, against an array. */
static void at_once_in(Vm *vm, const char *folder)
{
    g_autofree char *path = g_strdup_printf("%s/menura-at-once.XXXXXX", folder);
    g_autofree uint8_t *want = g_malloc0(SIZE), *buf = g_malloc(SIZE), *disk = NULL;
    Rng rng = { .s = 5 };
    gsize len = 0;
    Node *n;

    close(g_mkstemp(path));
    check_eq(truncate(path, SIZE), 0);
    n = open_text(vm, path, ",driver=raw", false);
    for (int i = 0; i < 400; i++) {
        uint64_t unit = rng_next(&rng) % 3 ? 4096 : 1, most = rng_next(&rng) % 4 ? 65536 : 200000;
        uint64_t off = align_down(rng_next(&rng) % (SIZE - most), unit), size = MAX(align_down(rng_next(&rng) % most, unit), unit);
        struct iovec one = { buf, size };
        BlkReq w = { .op = BLK_WRITE, .off = off, .len = size, .iov = &one, .niov = 1, .flags = i % 5 ? 0 : BLK_FUA };

        check_eq(rw(n, BLK_READ, off, buf, size), 0);
        check(!memcmp(buf, want + off, size));
        memset(buf, i, size);
        check_eq(blk_sync(n, &w), 0);
        memset(want + off, i, size);
    }
    check_eq(plain(n, BLK_FLUSH, 0, 0), 0);
    node_unref(n);
    check(g_file_get_contents(path, (char **)&disk, &len, NULL));
    check(len == SIZE && !memcmp(disk, want, SIZE));
    g_unlink(path);
}

static void at_once(Vm *vm)
{
    loop_set_patient(vm->loop);
    at_once_in(vm, "/tmp");
    if (g_access("/dev/shm", W_OK) == 0)
        at_once_in(vm, "/dev/shm");
}
TEST("block/at-once", at_once);

/* Random operations on an overlay against a plain array; the base must not change. */
static void overlay(Vm *vm)
{
    g_autofree char *path = make_image(SIZE);
    Node *n = node_overlay(open_text(vm, path, ",driver=raw", true), &abort_on_error);
    g_autofree uint8_t *model = g_malloc(SIZE), *buf = g_malloc(SIZE);
    Rng rng = { 42 };

    for (size_t i = 0; i < SIZE; i++)
        model[i] = pattern(i);
    for (int round = 0; round < 400; round++) {
        uint64_t off = rng_next(&rng) % SIZE, len = MIN(rng_next(&rng) % 20000 + 1, SIZE - off);

        switch (rng_next(&rng) % 4) {
        case 0:
            memset(buf, round, len);
            memset(model + off, round, len);
            check_eq(rw(n, BLK_WRITE, off, buf, len), 0);
            break;
        case 1:
            memset(model + off, 0, len);
            check_eq(plain(n, BLK_ZERO, off, len), 0);
            break;
        case 2: /* whole sectors read zero afterwards, the edges stay */
            off = align_down(off, 512);
            len = align_down(len, 512);
            memset(model + off, 0, len);
            check_eq(plain(n, BLK_DISCARD, off, len), 0);
            break;
        default:
            check_eq(rw(n, BLK_READ, off, buf, len), 0);
            check(!memcmp(buf, model + off, len));
        }
    }
    check_eq(rw(n, BLK_READ, 0, buf, SIZE), 0);
    check(!memcmp(buf, model, SIZE));
    node_unref(n);
    n = open_text(vm, path, ",driver=raw", true);
    check_eq(rw(n, BLK_READ, 0, buf, SIZE), 0);
    for (size_t i = 0; i < SIZE; i++)
        check_eq(buf[i], pattern(i));
    node_unref(n);
    g_unlink(path);
}
TEST("block/overlay", overlay);

static void locks(Vm *vm)
{
    g_autofree char *path = make_image(65536);
    Node *a = open_text(vm, path, ",driver=raw", false),
         *b = open_text(vm, path, ",driver=raw", false);
    Node *c = open_text(vm, path, ",driver=raw", true);
    unsigned reader = PERM_CONSISTENT_READ, writer = reader | PERM_WRITE | PERM_RESIZE;
    unsigned share = PERM_ALL & ~(unsigned)(PERM_WRITE | PERM_RESIZE);
    Error *e = NULL;

    check(node_permissions(a, writer, share, &abort_on_error));
    check(!node_permissions(b, writer, share, &e));
    check(strstr(error_text(e), "\"write\" lock") && error_hint_text(e));
    error_free(e);
    check(!node_permissions(c, reader, share, NULL));
    check(node_permissions(a, 0, PERM_ALL, &abort_on_error));
    check(node_permissions(b, reader, share, &abort_on_error));
    check(node_permissions(c, reader, share, &abort_on_error));
    check(!node_permissions(a, writer, share, NULL));
    node_unref(b);
    node_unref(c);
    check(node_permissions(a, writer, share, &abort_on_error));
    node_unref(a);
    g_unlink(path);
}
TEST("block/locks", locks);

/* A second descriptor of what path is open as: what a ring or a child that was forked in the meantime holds. */
static int hold(const char *path)
{
    struct stat want, have;

    check(!stat(path, &want));
    for (int fd = 3; fd < 1024; fd++)
        if (!fstat(fd, &have) && have.st_dev == want.st_dev && have.st_ino == want.st_ino)
            return fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return -1;
}

static void closed_but_held(Vm *vm)
{
    g_autofree char *path = make_image(65536);
    Node *n = open_text(vm, path, ",driver=raw", false);
    unsigned share = PERM_ALL & ~(unsigned)(PERM_WRITE | PERM_RESIZE);
    int held;

    check(node_permissions(n, PERM_CONSISTENT_READ | PERM_WRITE, share, &abort_on_error));
    held = hold(path);
    check(held >= 0);
    node_unref(n);
    n = open_text(vm, path, ",driver=raw", false);
    check(node_permissions(n, PERM_CONSISTENT_READ | PERM_WRITE, share, &abort_on_error));
    node_unref(n);
    close(held);
    g_unlink(path);
}
TEST("block/closed-but-held", closed_but_held);

static void probing(Vm *vm)
{
    g_autofree char *path = make_image(65536);
    g_autofree char *text = g_strdup_printf("filename=%s", path);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error),
                    raw_opts = opts_parse(text, NULL, &abort_on_error);
    g_autoptr(Opts) bad = opts_parse("driver=null-co,size=1M,bogus=1", NULL, &abort_on_error);
    Error *e = NULL;
    Node *n;
    int fd = open(path, O_WRONLY);

    check(pwrite(fd, "QFI\xfb", 4, 0) == 4);
    close(fd);
    check(!node_open(vm->loop, o, false, &e));
    check(strstr(error_text(e), "qcow2") && strstr(error_hint_text(e), "convert"));
    error_free(e);
    opts_set(raw_opts, "driver", "raw");
    n = node_open(vm->loop, raw_opts, false, &abort_on_error);
    node_unref(n);
    e = NULL;
    check(!node_open(vm->loop, bad, false, &e) && strstr(error_text(e), "bogus"));
    error_free(e);
    g_unlink(path);
}
TEST("block/probing", probing);

/* ---- the disk of a device ---- */
typedef struct Seen {
    int done, ret;
} Seen;

static void count(void *o, BlkReq *r, int ret)
{
    Seen *s = o;

    s->done++;
    s->ret = ret;
}

static bool tick(void *arg) { return true; }

static void wait_done(Vm *vm, Seen *s, int n)
{
    guint id = loop_after(vm->loop, MS, tick, NULL);
    int64_t end = host_now() + 5 * SEC;

    while (s->done < n && host_now() < end)
        loop_iterate(vm->loop, true);
    loop_unwatch(vm->loop, id);
    check_eq(s->done, n);
}

/* A node that fails on demand, like a disk that is full or was pulled out. */
static int fault_errno;
static int writes_before_fault, flushes, forced;

static bool fault_open(Node *n, Opts *o, Error **err)
{
    n->size = MiB;
    return true;
}

static int fault_submit(Node *n, BlkReq *r)
{
    if (r->op == BLK_WRITE && fault_errno && writes_before_fault-- <= 0)
        return -fault_errno;
    flushes += r->op == BLK_FLUSH;
    forced += r->op == BLK_WRITE && r->flags & BLK_FUA;
    return 0;
}

static const BlkDriver fault = {
    .name = "fault", .protocol = true, .open = fault_open, .submit = fault_submit
};
BLK_DRIVER(fault);

static char *last_event;

static void on_event(void *self, const char *name, const char *json)
{
    g_free(last_event);
    last_event = g_strconcat(name, " ", json, NULL);
}

static Disk *disk(Vm *vm, const char *id, const char *text)
{
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);

    return disk_new(vm, id, o, &abort_on_error);
}

static void policy(Vm *vm)
{
    Disk *d = disk(vm, "hd0", "driver=fault,werror=stop,if=none");
    Disk *e = disk(vm, "hd1", "driver=fault");
    VmListener l = { .event = on_event };
    char data[512] = { 1 };
    struct iovec one = { data, 512 };
    BlkReq r = { .op = BLK_WRITE, .len = 512, .iov = &one, .niov = 1 };
    Seen s = { 0 };

    vm_listen(vm, &l);
    check(disk_attach(d, &(DiskUser){ .writes = true }, &abort_on_error));
    check(!disk_attach(d, &(DiskUser){ .writes = true }, NULL));
    fault_errno = EIO;
    writes_before_fault = 0;
    disk_submit(e, &r, count, &s); /* default: report all but ENOSPC */
    wait_done(vm, &s, 1);
    check_eq(s.ret, -EIO);
    check(strstr(last_event, "BLOCK_IO_ERROR") && strstr(last_event, "\"action\": \"report\""));
    s = (Seen){ 0 };
    disk_submit(d, &r, count, &s);
    for (int i = 0; i < 50; i++)
        loop_iterate(vm->loop, false);
    check_eq(s.done, 0);
    check(disk_io_error(d, NULL) && vm->state == RUN_IO_ERROR);
    fault_errno = 0;
    vm_cont(vm);
    wait_done(vm, &s, 1);
    check_eq(s.ret, 0);
    check(!disk_io_error(d, NULL));
    fault_errno = ENOSPC;
    s = (Seen){ 0 };
    disk_submit(e, &r, count, &s);
    for (int i = 0; i < 50; i++)
        loop_iterate(vm->loop, false);
    check(!s.done && vm->state == RUN_IO_ERROR);
    disk_cancel_all(e); /* the guest resets the controller meanwhile */
    check_eq(s.done, 1);
    vm_unlisten(vm, &l);
    disk_detach(d);
    disk_free(d);
    disk_free(e);
    g_free(last_event);
    last_event = NULL;
}
TEST("block/policy", policy);

static void bad_options(Vm *vm)
{
    static const char *const bad[] = { "file=/nonexistent/x",
                                       "driver=null-co,cache=fast",
                                       "driver=null-co,nonsense=1",
                                       "driver=null-co,werror=maybe",
                                       "driver=nbd",
                                       "file=/tmp",
                                       "driver=null-co,media=tape",
                                       "driver=null-co,detect-zeroes=unmap",
                                       "file=sheepdog:x" };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(Opts) o = opts_parse(bad[i], NULL, &abort_on_error);
        Error *e = NULL;

        if (disk_new(vm, "x", o, &e))
            t_fail(__FILE__, __LINE__, "%s was accepted", bad[i]);
        check(strstr(error_text(e), "-drive x"));
        error_free(e);
    }
}
TEST("block/bad-options", bad_options);

static void medium(Vm *vm)
{
    g_autofree char *path = make_image(65536), *text = g_strdup_printf("file=%s,media=cdrom", path);
    Disk *d = disk(vm, "cd0", text);
    uint8_t b[4];

    check(disk_present(d) && disk_readonly(d) && disk_removable(d));
    check_str(disk_format(d), "raw");
    check_eq(disk_read_now(d, 513, b, 1), 0);
    check_eq(b[0], pattern(513));
    disk_lock_tray(d, true);
    check(!disk_eject(d, false, NULL) && disk_eject(d, true, &abort_on_error));
    check(disk_tray_open(d) && !disk_present(d) && disk_size(d) == 0);
    check(disk_change(d, path, NULL, &abort_on_error));
    check(!disk_tray_open(d) && disk_size(d) == 65536);
    disk_free(d);
    g_unlink(path);
}
TEST("block/medium", medium);

static void resize_and_throttle(Vm *vm)
{
    g_autofree char *path = make_image(65536),
                    *text = g_strdup_printf("file=%s,format=raw,throttling.iops-total=100", path);
    Disk *d = disk(vm, "hd", text);
    char data[512] = { 1 };
    struct iovec one = { data, 512 };
    BlkReq r = { .op = BLK_WRITE, .len = 512, .iov = &one, .niov = 1 };
    BlkReq v[30];
    Seen s = { 0 };
    int64_t t0 = host_now();

    check(disk_resize(d, 131072, &abort_on_error));
    check_eq(disk_size(d), 131072);
    check(!disk_resize(d, 1000, NULL));
    for (int i = 0; i < 30; i++) {
        v[i] = r;
        disk_submit(d, &v[i], count, &s);
    }
    wait_done(vm, &s, 30);
    check(host_now() - t0 > 150 * MS); /* 30 at 100 a second, a tenth of a second's worth at once */
    check_eq(disk_stats(d).ops[1], 30);
    disk_free(d);
    g_unlink(path);
}
TEST("block/resize-throttle", resize_and_throttle);

static void blockdev(Vm *vm)
{
    g_autofree char *path = make_image(65536);
    g_autofree char *proto = g_strdup_printf("driver=file,node-name=p0,filename=%s", path);
    g_autoptr(Opts) a = opts_parse(proto, NULL, &abort_on_error);
    g_autoptr(Opts) b =
        opts_parse("driver=raw,node-name=f0,file=p0,discard=unmap", NULL, &abort_on_error);
    Disk *d;

    check(disk_add_blockdev(vm, a, &abort_on_error) && disk_add_blockdev(vm, b, &abort_on_error));
    d = vm_lookup(vm, "drive", "f0");
    check(d && disk_size(d) == 65536);
    check(!disk_del_blockdev(vm, "p0", NULL)); /* in use by f0 */
    check(disk_del_blockdev(vm, "f0", &abort_on_error));
    check(disk_del_blockdev(vm, "p0", &abort_on_error));
    g_unlink(path);
}
TEST("block/blockdev", blockdev);

/* What a power cut would show: which writes were made durable, by cache mode. */
static void cache_modes(Vm *vm)
{
    static const struct {
        const char *opt;
        int flushes, forced;
    } modes[] = { { "cache=writeback", 1, 0 }, { "cache=writethrough", 1, 1 }, { "cache=unsafe", 0, 0 },
                  { "cache.writeback=off,cache.no-flush=off", 1, 1 } };

    fault_errno = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        g_autofree char *text = g_strconcat("driver=fault,", modes[i].opt, NULL);
        Disk *d = disk(vm, "hd", text);
        char data[512] = { 1 };
        struct iovec one = { data, 512 };
        BlkReq w = { .op = BLK_WRITE, .len = 512, .iov = &one, .niov = 1 }, f = { .op = BLK_FLUSH };
        Seen s = { 0 };

        flushes = forced = 0;
        disk_submit(d, &w, count, &s);
        disk_submit(d, &f, count, &s);
        wait_done(vm, &s, 2);
        check_eq(flushes, modes[i].flushes);
        check_eq(forced, modes[i].forced);
        disk_free(d);
    }
}
TEST("block/cache-modes", cache_modes);

/* QEMU's tools and we refuse each other; nothing to test where they are not installed. */
static int tool(const char *format, const char *path)
{
    g_autofree char *cmd = g_strdup_printf(format, path);
    const char *argv[] = { "/bin/sh", "-c", cmd, NULL };
    int status = -1;

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL,
                 NULL, NULL, &status, NULL);
    return status;
}

static void qemu_locks(Vm *vm)
{
    g_autofree char *img = g_find_program_in_path("qemu-img"), *path = NULL;
    unsigned reader = PERM_CONSISTENT_READ, writer = reader | PERM_WRITE | PERM_RESIZE;
    unsigned share = PERM_ALL & ~(unsigned)(PERM_WRITE | PERM_RESIZE);
    Node *n;

    if (!img)
        return;
    path = make_image(65536);
    n = open_text(vm, path, ",driver=raw", false);
    check_eq(tool("qemu-io -f raw -c 'write 0 512' %s", path), 0);
    check(node_permissions(n, writer, share, &abort_on_error));
    check(tool("qemu-io -f raw -c 'write 0 512' %s", path) != 0);
    check(node_permissions(n, reader, share, &abort_on_error));
    check(tool("qemu-io -f raw -c 'write 0 512' %s", path) != 0);
    check_eq(tool("qemu-io -r -f raw -c 'read 0 512' %s", path), 0);
    node_unref(n);
    n = open_text(vm, path, ",driver=raw", false);
    check_eq(tool("(sleep 1; echo quit) | qemu-io -f raw %s >/dev/null & sleep 0.4; exit 0", path), 0);
    check(!node_permissions(n, writer, share, NULL));
    g_usleep(1500000);
    check(node_permissions(n, writer, share, &abort_on_error));
    node_unref(n);
    g_unlink(path);
}
TEST("block/qemu-locks", qemu_locks);
