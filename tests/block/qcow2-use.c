/* tests/block/qcow2-use.c - qcow2 images as -drive and -blockdev name them: probing, chains, locks, refusals. */
#include "block/disk.h"
#include "block/image.h"
#include "tests/lib/t.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

enum { SIZE = 1 << 20 };

static char *folder;

static char *in_folder(const char *name) { return g_build_filename(folder, name, NULL); }

typedef struct Make {
    Vm *vm;
    const char *path, *options, *backing;
    bool again; /* only another backing file */
} Make;

static void make_body(void *arg)
{
    Make *m = arg;
    const BlkImageOps *ops = blk_driver_find("qcow2")->image;
    g_autoptr(Opts) o = opts_parse(m->options, NULL, &abort_on_error), open = opts_new();
    Node *n;

    if (!m->again) {
        check(ops->create(m->vm->loop, m->path, o, &abort_on_error));
        return;
    }
    opts_set(open, "driver", "qcow2");
    opts_set(open, "filename", m->path);
    opts_set(open, "backing", NULL);
    n = node_open(m->vm->loop, open, false, &abort_on_error);
    check(ops->set_backing(n, m->backing, "qcow2", &abort_on_error));
    node_unref(n);
}

static char *make(Vm *vm, const char *name, const char *options)
{
    char *path;
    Make m;

    if (!folder)
        folder = g_dir_make_tmp("menura-use.XXXXXX", NULL);
    path = in_folder(name);
    m = (Make){ vm, path, options, NULL, false };
    blk_run(vm->loop, make_body, &m);
    return path;
}

static void clean(void)
{
    GDir *d = g_dir_open(folder, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(d))) {
        g_autofree char *path = in_folder(name);

        g_unlink(path);
    }
    g_dir_close(d);
    g_rmdir(folder);
    g_clear_pointer(&folder, g_free);
}

static Node *open_text(Vm *vm, const char *text, bool ro, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(text, NULL, &abort_on_error);

    return node_open(vm->loop, o, ro, err);
}

static Node *open_file(Vm *vm, const char *path, bool ro, Error **err)
{
    g_autofree char *text = g_strdup_printf("filename=%s", path);

    return open_text(vm, text, ro, err);
}

static void refuses(Vm *vm, const char *path, bool ro, const char *why)
{
    Error *e = NULL;
    Node *n = open_file(vm, path, ro, &e);

    check(!n);
    if (!strstr(error_text(e), why))
        t_fail(__FILE__, __LINE__, "\"%s\" lacks \"%s\"", error_text(e), why);
    error_free(e);
}

static int rw(Node *n, BlkOp op, uint64_t off, void *buf, size_t len)
{
    struct iovec one = { buf, len };
    BlkReq r = { .op = op, .off = off, .len = len, .iov = &one, .niov = 1 };

    return blk_sync(n, &r);
}

static void poke(const char *path, off_t at, uint64_t v, unsigned size)
{
    uint8_t b[8];
    int fd = open(path, O_WRONLY);

    be_store(b, size, v);
    check(pwrite(fd, b, size, at) == (ssize_t)size);
    close(fd);
}

static uint64_t look(const char *path, off_t at, unsigned size)
{
    uint8_t b[8];
    int fd = open(path, O_RDONLY);

    check(pread(fd, b, size, at) == (ssize_t)size);
    close(fd);
    return be_load(b, size);
}

static void drives(Vm *vm)
{
    g_autofree char *base G_GNUC_UNUSED = make(vm, "base.qcow2", "size=1M"), *top = make(vm, "top.qcow2", "size=1M,backing_file=base.qcow2,backing_fmt=qcow2");
    g_autofree char *text = g_strdup_printf("file=%s", top), *snap = g_strdup_printf("file=%s,snapshot=on", top), *before = NULL, *after = NULL;
    g_autoptr(Opts) a = opts_parse(text, NULL, &abort_on_error), b = opts_parse(snap, NULL, &abort_on_error);
    uint8_t buf[512] = { 7 };
    gsize n1, n2;
    Disk *d = disk_new(vm, "d", a, &abort_on_error);

    check_str(disk_format(d), "qcow2"); /* by its first bytes */
    check_eq(disk_size(d), SIZE);
    check_eq(disk_write_now(d, 4096, buf, 512), 0);
    disk_free(d);
    check(g_file_get_contents(top, &before, &n1, NULL));
    d = disk_new(vm, "d", b, &abort_on_error);
    check_str(disk_format(d), "qcow2");
    memset(buf, 9, 512);
    check_eq(disk_write_now(d, 4096, buf, 512), 0);
    buf[0] = 0;
    check_eq(disk_read_now(d, 4096, buf, 512), 0);
    check_eq(buf[0], 9);
    disk_free(d);
    check(g_file_get_contents(top, &after, &n2, NULL));
    check(n1 == n2 && !memcmp(before, after, n1));
    clean();
}
TEST("qcow2-use/drives", drives);

static void spellings(Vm *vm)
{
    g_autofree char *path = make(vm, "a.qcow2", "size=1M");
    static const char *const ways[] = { "driver=qcow2,file.driver=file,file.filename=%s", "driver=qcow2,filename=%s", "driver=qcow2,file.filename=%s",
                                        "{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"filename\": \"%s\"}}",
                                        "filename=json:{\"driver\":\"qcow2\",,\"file.filename\":\"%s\"}", "filename=file:%s",
                                        "driver=raw,file.driver=qcow2,file.file.filename=%s", "driver=qcow2,filename=%s,l2-cache-size=1M,lazy-refcounts=on" };

    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autoptr(GString) text = g_string_new(ways[i]);
        Node *n;

        g_string_replace(text, "%s", path, 0);
        n = open_text(vm, text->str, false, &abort_on_error);
        check_eq(n->size, SIZE);
        node_unref(n);
    }
    clean();
}
TEST("qcow2-use/spellings", spellings);

static void blockdevs(Vm *vm)
{
    g_autofree char *base = make(vm, "base.qcow2", "size=1M"), *top = make(vm, "top.qcow2", "size=1M,backing_file=nowhere.qcow2,backing_fmt=qcow2");
    g_autofree char *lines[] = { g_strdup_printf("driver=file,node-name=f0,filename=%s", base), g_strdup("driver=qcow2,node-name=b0,file=f0,read-only=on"),
                                 g_strdup_printf("driver=file,node-name=f1,filename=%s", top), g_strdup("driver=qcow2,node-name=b1,file=f1,backing=b0") };
    Disk *d;

    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(Opts) o = opts_parse(lines[i], NULL, &abort_on_error);

        check(disk_add_blockdev(vm, o, &abort_on_error));
    }
    d = vm_lookup(vm, "drive", "b1");
    check_eq(disk_size(d), SIZE);
    check(!disk_del_blockdev(vm, "b0", NULL)); /* below b1 */
    check(disk_del_blockdev(vm, "b1", &abort_on_error) && disk_del_blockdev(vm, "b0", &abort_on_error));
    for (int i = 0; i < 4; i += 2)
        g_free(g_steal_pointer(&lines[i]));
    g_free(g_steal_pointer(&lines[1]));
    g_free(g_steal_pointer(&lines[3]));
    clean();
}
TEST("qcow2-use/blockdevs", blockdevs);

static void chains(Vm *vm)
{
    g_autofree char *a = make(vm, "a.qcow2", "size=1M"), *b = make(vm, "b.qcow2", "size=1M,backing_file=a.qcow2,backing_fmt=qcow2");
    Make m = { vm, a, "", "b.qcow2", true };
    g_autofree char *none = g_strdup_printf("{\"driver\": \"qcow2\", \"filename\": \"%s\", \"backing\": null}", b);
    Node *n = open_file(vm, b, false, &abort_on_error);

    check(n->backing && n->backing->size == SIZE && n->backing->readonly);
    node_unref(n);
    blk_run(vm->loop, make_body, &m); /* a on b on a */
    refuses(vm, b, true, "is its own backing file");
    n = open_text(vm, none, false, &abort_on_error);
    check(!n->backing);
    node_unref(n);
    m.backing = "missing.qcow2";
    blk_run(vm->loop, make_body, &m);
    refuses(vm, b, true, "missing.qcow2");
    clean();
}
TEST("qcow2-use/chains", chains);

static void locks(Vm *vm)
{
    g_autofree char *path = make(vm, "a.qcow2", "size=1M"), *share = g_strdup_printf("filename=%s,force-share=on", path);
    Node *n = open_file(vm, path, false, &abort_on_error), *m;

    refuses(vm, path, false, "lock");
    refuses(vm, path, true, "lock");
    m = open_text(vm, share, true, &abort_on_error); /* as qemu-img info -U does */
    node_unref(m);
    node_unref(n);
    n = open_file(vm, path, true, &abort_on_error);
    m = open_file(vm, path, true, &abort_on_error);
    refuses(vm, path, false, "lock");
    node_unref(n);
    node_unref(m);
    clean();
}
TEST("qcow2-use/locks", locks);

static void refusals(Vm *vm)
{
    static const struct {
        off_t at;
        uint64_t v;
        unsigned size;
        const char *why;
    } rows[] = { { 4, 4, 4, "version 4" },          { 20, 8, 4, "cluster size" },     { 20, 22, 4, "cluster size" },
                 { 24, 1ull << 62, 8, "L1 table" }, { 36, 5 << 20, 4, "L1 table" },   { 40, 12345, 8, "invalid offset" },
                 { 48, 1, 8, "invalid offset" },    { 56, 1 << 30, 4, "refcount table" }, { 56, 0, 4, "refcount table" },
                 { 60, 1 << 20, 4, "snapshots" },   { 72, 1ull << 40, 8, "unknown feature 40" }, { 72, 1ull << 63, 8, "not supported" },
                 { 96, 7, 4, "64 bits" },           { 100, 4096 * 64, 4, "header" },  { 32, 2, 4, "encrypt.key-secret" },
                 { 8, 1 << 20, 8, "backing file" }, { 72, 2, 8, "marked corrupt" } };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = make(vm, "bad.qcow2", "size=1M");

        poke(path, rows[i].at, rows[i].v, rows[i].size);
        refuses(vm, path, false, rows[i].why);
    }
    clean();
}
TEST("qcow2-use/refusals", refusals);

/* An L2 entry that leads to the header: the write is refused, the image marked, and only read from then on. */
static void corrupt(Vm *vm)
{
    g_autofree char *path = make(vm, "a.qcow2", "size=1M");
    uint8_t buf[512] = { 1 };
    Node *n = open_file(vm, path, false, &abort_on_error);
    uint64_t l2;

    check_eq(rw(n, BLK_WRITE, 0, buf, 512), 0);
    node_unref(n);
    l2 = look(path, (off_t)look(path, 40, 8), 8) & 0xfffffffffffe00ull;
    poke(path, (off_t)l2, 1ull << 63 | 0x10000, 8); /* where the refcount table is */
    n = open_file(vm, path, false, &abort_on_error);
    check_eq(rw(n, BLK_WRITE, 0, buf, 512), -EIO);
    check_eq(rw(n, BLK_WRITE, 65536, buf, 512), -EACCES);
    check_eq(rw(n, BLK_READ, 65536, buf, 512), 0);
    node_unref(n);
    check_eq(look(path, 72, 8) & 2, 2);
    refuses(vm, path, false, "marked corrupt");
    n = open_file(vm, path, true, &abort_on_error);
    node_unref(n);
    clean();
}
TEST("qcow2-use/corrupt", corrupt);

/* cache=none: small clusters and table entries are pieces of the host's blocks. */
static void direct(Vm *vm)
{
    g_autofree char *path = make(vm, "a.qcow2", "size=1M,cluster_size=512"), *text = g_strdup_printf("filename=%s,cache.direct=on", path);
    g_autofree uint8_t *model = g_malloc0(SIZE), *buf = g_malloc(SIZE);
    Rng rng = { 5 };
    Error *e = NULL;
    Node *n = open_text(vm, text, false, &e);

    for (int i = 0; n && i < 200; i++) {
        uint64_t off = rng_next(&rng) % SIZE, most = SIZE - off, want = rng_next(&rng) % 3000 + 1, len = MIN(want, most);

        memset(model + off, i, len);
        check_eq(rw(n, BLK_WRITE, off, model + off, len), 0);
    }
    if (n) {
        node_unref(n);
        n = open_file(vm, path, true, &abort_on_error);
        check_eq(rw(n, BLK_READ, 0, buf, SIZE), 0);
        check(!memcmp(buf, model, SIZE));
        node_unref(n);
    }
    error_free(e); /* a file system that cannot */
    clean();
}
TEST("qcow2-use/direct", direct);

static void note_done(void *o, BlkReq *r, int ret) { *(int *)o = ret; }

static int submitted(Vm *vm, Disk *d, BlkOp op, uint64_t off, void *buf)
{
    struct iovec one = { buf, 512 };
    BlkReq r = { .op = op, .off = off, .len = 512, .iov = &one, .niov = 1 };
    int ret = 1;

    disk_submit(d, &r, note_done, &ret);
    for (int i = 0; i < 5000 && ret > 0; i++) {
        loop_iterate(vm->loop, false);
        g_usleep(1000);
    }
    return ret;
}

static int written(Vm *vm, Disk *d, uint64_t off, void *buf) { return submitted(vm, d, BLK_WRITE, off, buf); }

/* Every second write to the file finds the host's disk full: the VM stops each time, cont goes on, and nothing is lost. */
static void full_disk(Vm *vm)
{
    static const char rules[] = "file.inject-error.0.event=write_aio,file.inject-error.0.errno=28,file.inject-error.0.state=2,file.inject-error.0.iotype=write,"
                                "file.set-state.0.event=write_aio,file.set-state.0.state=1,file.set-state.0.new_state=2,"
                                "file.set-state.1.event=write_aio,file.set-state.1.state=2,file.set-state.1.new_state=1";
    g_autofree char *path = make(vm, "f.qcow2", "size=1M,cluster_size=4k"), *text = g_strdup_printf("driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=%s,%s", path, rules);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);
    Disk *d = disk_new(vm, "d", o, &abort_on_error);
    unsigned stops = 0;
    bool nospace = false;
    Node *n;

    check(disk_attach(d, &(DiskUser){ .writes = true }, &abort_on_error));
    vm_cont(vm);
    for (unsigned i = 0; i <= 100; i++) { /* the last one: all is in the file */
        uint8_t buf[512] = { (uint8_t)i, 1 };
        struct iovec one = { buf, 512 };
        BlkReq r = { .op = i < 100 ? BLK_WRITE : BLK_FLUSH, .off = i * 8192, .len = 512, .iov = &one, .niov = 1 };
        int ret = 1;

        disk_submit(d, &r, note_done, &ret);
        for (unsigned k = 0; k < 5000 && ret > 0; k++) {
            loop_iterate(vm->loop, false);
            g_usleep(100);
            if (vm->state != RUN_IO_ERROR)
                continue;
            check(disk_io_error(d, &nospace) && nospace);
            stops++;
            vm_cont(vm);
        }
        check_eq(ret, 0);
    }
    check(stops > 20);
    disk_detach(d);
    disk_free(d);
    n = open_file(vm, path, false, &abort_on_error);
    for (unsigned i = 0; i < 100; i++) {
        uint8_t buf[512];

        check_eq(rw(n, BLK_READ, i * 8192, buf, 512), 0);
        check(buf[0] == i && buf[1] == 1);
    }
    node_unref(n);
    clean();
}
TEST("qcow2-use/full-disk", full_disk);

/* copy-on-read=on: what was read once is in the layer, and the base may go. */
static void copy_on_read(Vm *vm)
{
    g_autofree char *base = make(vm, "base.qcow2", "size=1M"), *top = make(vm, "top.qcow2", "size=1M,backing_file=base.qcow2,backing_fmt=qcow2");
    g_autofree char *text = g_strdup_printf("file=%s,copy-on-read=on", top), *alone = g_strdup_printf("{\"filename\":\"%s\",\"backing\":null}", top);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);
    Node *n = open_file(vm, base, false, &abort_on_error);
    uint8_t buf[512] = { 0x77 };
    Disk *d;

    check_eq(rw(n, BLK_WRITE, 8192, buf, 512), 0);
    check_eq(rw(n, BLK_WRITE, 524288, buf, 512), 0);
    node_unref(n);
    d = disk_new(vm, "d", o, &abort_on_error);
    buf[0] = 0;
    check_eq(submitted(vm, d, BLK_READ, 8192, buf), 0);
    check_eq(buf[0], 0x77);
    disk_free(d);
    n = open_text(vm, alone, true, &abort_on_error);
    check_eq(rw(n, BLK_READ, 8192, buf, 512), 0);
    check_eq(buf[0], 0x77);
    check_eq(rw(n, BLK_READ, 524288, buf, 512), 0); /* nobody read that */
    check_eq(buf[0], 0);
    node_unref(n);
    clean();
}
TEST("qcow2-use/copy-on-read", copy_on_read);

/* What a stopped VM has written is in its image, tables and all, while the image is still open. */
static void stopped(Vm *vm)
{
    g_autofree char *path = make(vm, "a.qcow2", "size=1M"), *text = g_strdup_printf("file=%s,format=qcow2", path), *copy = in_folder("copy.qcow2"), *bytes = NULL;
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);
    Disk *d = disk_new(vm, "d", o, &abort_on_error);
    uint8_t buf[512] = { 0x42 };
    gsize n;
    Node *c;

    check(disk_attach(d, &(DiskUser){ .writes = true }, &abort_on_error));
    vm_cont(vm);
    check_eq(written(vm, d, 65536, buf), 0);
    vm_request(vm, VM_STOP, CAUSE_NONE);
    for (int i = 0; i < 200; i++) {
        loop_iterate(vm->loop, false);
        g_usleep(1000);
    }
    check(g_file_get_contents(path, &bytes, &n, NULL) && g_file_set_contents(copy, bytes, (gssize)n, NULL));
    c = open_file(vm, copy, true, &abort_on_error);
    buf[0] = 0;
    check_eq(rw(c, BLK_READ, 65536, buf, 512), 0);
    check_eq(buf[0], 0x42);
    node_unref(c);
    disk_detach(d);
    disk_free(d);
    clean();
}
TEST("qcow2-use/stopped", stopped);
