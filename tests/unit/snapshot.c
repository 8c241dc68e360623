/*
 * tests/unit/snapshot.c - snapshots of a machine: RAM, devices and disks go back together, any number of times, in the same
 * process and in another; a tree of them; what was changed by others is refused; inside qcow2 images as QEMU does it.
 */
#include "block/drive.h"
#include "block/graph.h"
#include "block/image.h"
#include "core/machine.h"
#include "migrate/snapshot.h"
#include "tests/lib/t.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DISK = 4 * 1024 * 1024, RAM_AT = 0x200000 };
typedef struct Bench {
    char *dir, *disk, *snaps;
    Vm *vm;
    Disk *d;
} Bench;

/* A pc with `jmp $` at the reset vector, a disk, and a folder unless `snaps` is NULL. Its loop is ours. */
static void start(Bench *b, const char *format, bool folder)
{
    g_autofree char *rom = g_strconcat(b->dir, "/rom", NULL), *text = g_strdup_printf("if=ide,index=0,format=%s,file=%s", format, b->disk);
    uint8_t code[65536] = { 0 };
    DriveInfo *drive;

    code[0xfff0] = 0xeb;
    code[0xfff1] = 0xfe;
    check(g_file_set_contents(rom, (char *)code, sizeof(code), NULL));
    b->vm = vm_new("pc");
    b->vm->cfg.bios = g_strdup(rom);
    b->vm->cfg.ram_size = 16 * MiB;
    check(vm_set_accel(b->vm, "tcg", NULL, &abort_on_error));
    drive = drive_add(b->vm, machine_find("pc"), opts_parse(text, NULL, &abort_on_error), &abort_on_error);
    b->d = drive->disk;
    check(vm_init_machine(b->vm, "pc", NULL, &abort_on_error));
    if (folder)
        check(snapshot_folder(b->vm, b->snaps, &abort_on_error));
    lock_take(&b->vm->lock);
}

static void stop(Bench *b)
{
    lock_drop(&b->vm->lock);
    vm_free(b->vm);
    b->vm = NULL;
}

static void again(Bench *b, const char *format, bool folder)
{
    stop(b);
    start(b, format, folder);
}

static void begin(Bench *b)
{
    g_autofree char *dir = g_strdup("/tmp/menura-snap.XXXXXX");

    *b = (Bench){ 0 };
    b->dir = g_strdup(g_mkdtemp(dir));
    b->disk = g_strconcat(b->dir, "/disk", NULL);
    b->snaps = g_strconcat(b->dir, "/snaps", NULL);
}

static void raw_disk(Bench *b)
{
    int fd = open(b->disk, O_RDWR | O_CREAT, 0600);

    check(fd >= 0 && !ftruncate(fd, DISK));
    close(fd);
}

static void empty_dir(const char *path)
{
    GDir *d = g_dir_open(path, 0, NULL);
    const char *name;

    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        g_unlink(file);
    }
    if (d)
        g_dir_close(d);
    g_rmdir(path);
}

static void end(Bench *b)
{
    if (b->vm)
        stop(b);
    empty_dir(b->snaps);
    empty_dir(b->dir);
    g_free(b->dir);
    g_free(b->disk);
    g_free(b->snaps);
}

/* The same number everywhere: RAM (two pages far apart, others zero), a device's register, three places of the disk. */
static void put(Bench *b, uint32_t v)
{
    uint8_t block[512];

    for (unsigned i = 0; i < 512; i += 4)
        le32_store(block + i, v);
    as_store(b->vm->mem, RAM_AT, 4, v, MEM_CPU);
    as_store(b->vm->mem, 12 * MiB + 8, 4, ~(uint64_t)v & UINT32_MAX, MEM_CPU);
    as_store(b->vm->ports, 0x21, 1, v & 0xff, MEM_CPU);
    check(!disk_write_now(b->d, 0, block, 512) && !disk_write_now(b->d, 65536 * 3 - 256, block, 512) &&
          !disk_write_now(b->d, DISK - 512, block, 512));
}

static uint64_t peek(AddrSpace *as, uint64_t addr, unsigned size)
{
    uint64_t v = 0;

    as_load(as, addr, size, &v, MEM_CPU);
    return v;
}

static void check_is(Bench *b, uint32_t v)
{
    static const uint64_t places[] = { 0, 65536 * 3 - 256, DISK - 512 };
    uint8_t block[512];

    check_eq(peek(b->vm->mem, RAM_AT, 4), v);
    check_eq(peek(b->vm->mem, 12 * MiB + 8, 4), (uint32_t)~v);
    check_eq(peek(b->vm->mem, 8 * MiB, 8), 0);
    check_eq(peek(b->vm->ports, 0x21, 1), v & 0xff);
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        check(!disk_read_now(b->d, places[i], block, 512));
        check_eq(le32_load(block), v);
        check_eq(le32_load(block + 508), v);
    }
}

static void save(Bench *b, const char *tag) { check(snapshot_save(b->vm, tag, &abort_on_error)); }

static void load(Bench *b, const char *tag, uint32_t v)
{
    check(snapshot_load(b->vm, tag, &abort_on_error));
    check_is(b, v);
}

static void refused(bool ok, Error **e, const char *part)
{
    check(!ok);
    if (!strstr(error_text(*e), part))
        t_fail(__FILE__, __LINE__, "\"%s\" has no \"%s\"", error_text(*e), part);
    g_clear_pointer(e, error_free);
}

/* one - two - three, and four beside two. */
static void tree(Bench *b, const char *format, bool folder)
{
    Error *e = NULL;

    start(b, format, folder);
    put(b, 1);
    save(b, "one");
    put(b, 2);
    save(b, "two");
    put(b, 3);
    check_is(b, 3);
    for (int i = 0; i < 3; i++) {
        load(b, "one", 1);
        put(b, 100 + (uint32_t)i);
    }
    load(b, "two", 2);
    put(b, 3);
    save(b, "three");
    load(b, "one", 1);
    put(b, 4);
    save(b, "four");
    again(b, format, folder);
    load(b, "three", 3);
    load(b, "two", 2);
    load(b, "four", 4);
    load(b, "one", 1);
    check(snapshot_delete(b->vm, "two", &abort_on_error));
    refused(snapshot_load(b->vm, "two", &e), &e, "does not exist");
    load(b, "three", 3);
    put(b, 5);
    save(b, "four"); /* takes the place of the other */
    put(b, 6);
    load(b, "one", 1);
    load(b, "four", 5);
    check(snapshot_delete(b->vm, "one", &abort_on_error) && snapshot_delete(b->vm, "three", &abort_on_error));
    check_is(b, 5);
    put(b, 7);
    again(b, format, folder);
    load(b, "four", 5);
    check(snapshot_delete(b->vm, "four", &abort_on_error));
    check_is(b, 5);
}

static Node *open_image(Bench *b, const char *name, Error **err)
{
    g_autofree char *text = g_strdup_printf("driver=raw,file.driver=file,file.filename=%s/%s", b->dir, name);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);

    return node_open(b->vm->loop, o, false, err);
}

/* As a job that mirrors does it: the same contents, then the place. */
static void move_to(Bench *b, const char *name, Error **err)
{
    g_autofree char *path = g_strdup_printf("%s/%s", b->dir, name);
    g_autofree uint8_t *all = g_malloc(DISK);
    Node *to;

    check(!disk_read_now(b->d, 0, all, DISK));
    check(g_file_set_contents(path, (char *)all, DISK, NULL));
    to = open_image(b, name, &abort_on_error);
    graph_replace(b->vm, disk_node(b->d), to, err);
    node_unref(to);
}

/* The disk goes on in another image, as when it is mirrored there: snapshots of before are loaded into that one, here and by the next machine with it. */
static void other_image(Vm *other)
{
    Bench b;
    Error *e = NULL;

    begin(&b);
    raw_disk(&b);
    start(&b, "raw", true);
    put(&b, 1);
    save(&b, "one");
    put(&b, 2);
    move_to(&b, "second", &abort_on_error);
    check_is(&b, 2);
    put(&b, 3);
    save(&b, "three");
    load(&b, "one", 1);
    put(&b, 4);
    again(&b, "raw", true); /* with the image of before: nobody knows it now */
    refused(snapshot_load(b.vm, "one", &e), &e, "not part of the snapshot");
    stop(&b);
    g_free(b.disk);
    b.disk = g_strconcat(b.dir, "/second", NULL);
    start(&b, "raw", true);
    load(&b, "three", 3);
    load(&b, "one", 1);
    move_to(&b, "disk", &abort_on_error); /* and back */
    put(&b, 5);
    load(&b, "three", 3);
    end(&b);
}
TEST("snapshot/another-image", other_image);

static void folder_raw(Vm *other)
{
    Bench b;

    begin(&b);
    raw_disk(&b);
    tree(&b, "raw", true);
    end(&b);
}
TEST("snapshot/folder", folder_raw);

static void make_qcow2(void *arg)
{
    g_autoptr(Opts) o = opts_parse("size=4M", NULL, &abort_on_error);
    Bench *b = arg;

    check(blk_driver_find("qcow2")->image->create(b->vm->loop, b->disk, o, &abort_on_error));
}

static void qcow2_disk(Bench *b)
{
    b->vm = vm_new("x");
    blk_run(b->vm->loop, make_qcow2, b);
    vm_free(b->vm);
    b->vm = NULL;
}

static void folder_qcow2(Vm *other)
{
    Bench b;

    begin(&b);
    qcow2_disk(&b);
    tree(&b, "qcow2", true);
    end(&b);
}
TEST("snapshot/folder-qcow2", folder_qcow2);

static void touch_disk(Bench *b)
{
    int fd = open(b->disk, O_RDWR);

    check(fd >= 0 && pwrite(fd, "x", 1, 99) == 1);
    close(fd);
}

/* Between two runs somebody else writes: said at once, refused when asked for, and a new set can begin. */
static void changed(Vm *other)
{
    Error *e = NULL;
    Bench b;

    begin(&b);
    raw_disk(&b);
    start(&b, "raw", true);
    put(&b, 1);
    save(&b, "one");
    put(&b, 2);
    stop(&b);
    g_usleep(20000); /* the file system's clock ticks */
    touch_disk(&b);
    start(&b, "raw", true);
    refused(snapshot_load(b.vm, "one", &e), &e, "something else has changed that image");
    refused(snapshot_save(b.vm, "more", &e), &e, "delete these first");
    again(&b, "raw", true); /* once refused stays so */
    refused(snapshot_load(b.vm, "one", &e), &e, "something else has changed that image");
    check(snapshot_delete(b.vm, "one", &abort_on_error));
    again(&b, "raw", true);
    put(&b, 3);
    save(&b, "three");
    put(&b, 4);
    load(&b, "three", 3);
    end(&b);
}
TEST("snapshot/changed-by-others", changed);

/* One machine at a time, and no snapshot of what would not last. */
static void not_so(Vm *other)
{
    Error *e = NULL;
    Bench b, c;

    begin(&b);
    raw_disk(&b);
    start(&b, "raw", true);
    put(&b, 1);
    save(&b, "one");
    begin(&c);
    raw_disk(&c);
    start(&c, "raw", false);
    lock_drop(&c.vm->lock);
    refused(snapshot_folder(c.vm, b.snaps, &e), &e, "in use by another machine");
    lock_take(&c.vm->lock);
    end(&c);
    end(&b);
}
TEST("snapshot/folder-in-use", not_so);

/* Inside the image: the same tree. Then a raw disk, whose refusal reads as QEMU's. */
static void check_image(void *arg)
{
    Bench *b = arg;
    Node *n = disk_node(b->d);
    BlkCheck c = { .lines = g_string_new(NULL) };

    check_eq(blk_flush(n), 0);
    check_eq((n->drv->image->check)(n, &c, 0), 0);
    if (c.corruptions || c.leaks)
        t_fail(__FILE__, __LINE__, "the image has %s", c.lines->str);
    g_string_free(c.lines, TRUE);
}

static void inside_qcow2(Vm *other)
{
    Error *e = NULL;
    Bench b;

    begin(&b);
    qcow2_disk(&b);
    tree(&b, "qcow2", false);
    put(&b, 8);
    save(&b, "last");
    blk_run(b.vm->loop, check_image, &b);
    put(&b, 9);
    load(&b, "last", 8);
    blk_run(b.vm->loop, check_image, &b);
    stop(&b);
    g_unlink(b.disk);
    raw_disk(&b);
    start(&b, "raw", false);
    refused(snapshot_save(b.vm, "x", &e), &e, "Device 'ide0-hd0' is writable but does not support snapshots");
    refused(snapshot_load(b.vm, "x", &e), &e, "Device 'ide0-hd0' is writable but does not support snapshots");
    end(&b);
}
TEST("snapshot/inside-qcow2", inside_qcow2);
