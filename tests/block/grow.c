/* tests/block/grow.c - a format's file: it grows by writes, tells data from holes; a guessed raw image stays raw. */
#include "block/node.h"
#include "tests/lib/t.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char *empty_file(off_t size)
{
    char *path = g_strdup("/tmp/menura-grow.XXXXXX");
    int fd = g_mkstemp(path);

    check(fd >= 0 && !ftruncate(fd, size));
    close(fd);
    return path;
}

static Node *open_node(Vm *vm, const char *format, const char *path)
{
    g_autofree char *text = g_strdup_printf(format, path);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);

    return node_open(vm->loop, o, false, &abort_on_error);
}

static int rw(Node *n, BlkOp op, uint64_t off, void *buf, size_t len)
{
    struct iovec one = { buf, len };
    BlkReq r = { .op = op, .off = off, .len = len, .iov = buf ? &one : NULL, .niov = buf ? 1 : 0 };

    return blk_sync(n, &r);
}

static uint64_t length(const char *path)
{
    struct stat st;

    check(!stat(path, &st));
    return (uint64_t)st.st_size;
}

static void file_grows(Vm *vm)
{
    g_autofree char *path = empty_file(0);
    Node *n = open_node(vm, "driver=file,filename=%s", path);
    uint8_t buf[5000], back[9000];

    memset(buf, 0x31, sizeof(buf));
    check_eq(rw(n, BLK_WRITE, 0, buf, 512), -EIO); /* a disk does not grow */
    n->grows = true;
    check_eq(rw(n, BLK_WRITE, 1000, buf, sizeof(buf)), 0);
    check_eq(n->size, 6000);
    check_eq(length(path), 6000);
    memset(back, 0xff, sizeof(back));
    check_eq(rw(n, BLK_READ, 0, back, sizeof(back)), 0); /* across the end: zeros */
    check(!back[0] && back[1000] == 0x31 && back[5999] == 0x31 && !back[6000] && !back[8999]);
    check_eq(rw(n, BLK_READ, 1ull << 40, back, 512), 0);
    check(!back[0]);
    check_eq(rw(n, BLK_WRITE, UINT64_MAX - 100, buf, 512), -EIO);
    check_eq(rw(n, BLK_WRITE, 1ull << 63, buf, 512), -EIO);
    check_eq(rw(n, BLK_ZERO, 4096, NULL, 100000), 0); /* zeros move the end, too */
    check_eq(n->size, 104096);
    check_eq(length(path), 104096);
    check_eq(rw(n, BLK_DISCARD, 100000, NULL, 100000), 0);
    check_eq(length(path), 104096);
    check_eq(rw(n, BLK_TRUNCATE, 8192, NULL, 0), 0);
    check_eq(n->size, 8192);
    check_eq(rw(n, BLK_READ, 1000, back, 3000), 0);
    check(!memcmp(back, buf, 3000));
    node_unref(n);
    g_unlink(path);
}
TEST("grow/file", file_grows);

/* O_DIRECT: pieces at the end go through whole blocks. */
static void direct_grows(Vm *vm)
{
    g_autofree char *path = empty_file(0);
    g_autofree char *text = g_strdup_printf("driver=file,cache.direct=on,filename=%s", path);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);
    Error *e = NULL;
    Node *n = node_open(vm->loop, o, false, &e);
    uint8_t buf[3000], back[3000];

    if (n) {
        n->grows = true;
        memset(buf, 0x42, sizeof(buf));
        check_eq(rw(n, BLK_WRITE, 4000, buf, sizeof(buf)), 0);
        check_eq(rw(n, BLK_WRITE, 7000, buf, sizeof(buf)), 0);
        check_eq(rw(n, BLK_READ, 4000, back, sizeof(back)), 0);
        check(!memcmp(buf, back, sizeof(buf)));
        node_unref(n);
    }
    error_free(e);
    g_unlink(path);
}
TEST("grow/direct", direct_grows);

static void status(Vm *vm)
{
    g_autofree char *path = empty_file(4 << 20);
    Node *n = open_node(vm, "driver=raw,filename=%s", path);
    uint8_t buf[65536];
    BlkReq r = { .op = BLK_STATUS, .off = 0, .len = 4 << 20 };

    memset(buf, 1, sizeof(buf));
    check_eq(rw(n, BLK_WRITE, 1 << 20, buf, sizeof(buf)), 0);
    check_eq(blk_sync(n, &r), 0);
    check(r.zero && r.allocated);
    check_eq(r.len, 1 << 20);
    r = (BlkReq){ .op = BLK_STATUS, .off = 1 << 20, .len = 3 << 20 };
    check_eq(blk_sync(n, &r), 0);
    check(!r.zero && r.allocated && r.map_file == n->file);
    check_eq(r.map, 1 << 20);
    check_eq(r.len, 65536);
    node_unref(n);
    g_unlink(path);
}
TEST("grow/status", status);

/* The guest of a guessed raw image cannot make it look like another format; of a named one it can. */
static void guessed(Vm *vm)
{
    g_autofree char *path = empty_file(1 << 20);
    Node *n = open_node(vm, "filename=%s", path);
    char head[512] = "QFI\xfb", other[512] = "plain";

    check(n->probed);
    check_eq(rw(n, BLK_WRITE, 0, head, sizeof(head)), -EPERM);
    check_eq(rw(n, BLK_WRITE, 0, other, sizeof(other)), 0);
    check_eq(rw(n, BLK_WRITE, 0, head, 3), 0);
    check_eq(rw(n, BLK_WRITE, 3, head + 3, 1), -EPERM); /* nor piece by piece */
    check_eq(rw(n, BLK_WRITE, 512, head, sizeof(head)), 0);
    node_unref(n);
    n = open_node(vm, "driver=raw,filename=%s", path);
    check_eq(rw(n, BLK_WRITE, 0, head, sizeof(head)), 0);
    node_unref(n);
    g_unlink(path);
}
TEST("grow/guessed", guessed);
