/* tests/device/pflash.c - the flash chip against the command cycles of Intel's data sheet, and its image. */
#include "block/disk.h"
#include "hw/block/pflash.h"
#include "tests/lib/t.h"
#include <glib/gstdio.h>

enum { AT = 0xff000000u, SIZE = 64 << 10, BLOCK = 4096 };

static char *image(void)
{
    char *path = g_strdup_printf("%s/t-pflash.%d", g_get_tmp_dir(), (int)g_random_int_range(0, 1 << 30));
    g_autofree char *data = g_malloc(SIZE);

    for (unsigned i = 0; i < SIZE; i++)
        data[i] = (char)(i >> 8 | 0x10);
    check(g_file_set_contents(path, data, SIZE, NULL));
    return path;
}

static void release(void *p) { disk_free(p); }

static Dev *plug(Vm *vm, const char *path, const char *drive_more, const char *more)
{
    g_autofree char *drive = g_strdup_printf("file=%s,format=raw%s", path, drive_more),
                    *text = g_strdup_printf("cfi.pflash01,drive=f0%s", more);
    g_autoptr(Opts) o = opts_parse(drive, NULL, &abort_on_error);
    Dev *d;

    own(&vm->root, disk_new(vm, "f0", o, &abort_on_error), release);
    d = t_plug(vm, text);
    lock_take(&vm->lock);
    region_map(vm->sysmem, AT, pflash_region(d), 0);
    lock_drop(&vm->lock);
    return d;
}

static uint64_t rd(Vm *vm, unsigned off, unsigned size)
{
    uint64_t v = 0;

    check(as_load(vm->mem, AT + off, size, &v, MEM_CPU) == MEM_OK);
    return v;
}

static void wr(Vm *vm, unsigned off, uint8_t v) { as_store(vm->mem, AT + off, 1, v, MEM_CPU); }

static void commands(Vm *vm)
{
    g_autofree char *path = image();

    plug(vm, path, "", "");
    check_eq(rd(vm, 0x100, 4), 0x11111111);
    wr(vm, 0, 0x98); /* query */
    check_eq(rd(vm, 0x10, 1), 'Q');
    check_eq(rd(vm, 0x10, 4), 'Q' | 'R' << 8 | 'Y' << 16 | 1 << 24);
    check_eq(rd(vm, 0x27, 1), 16); /* 2^16 bytes */
    check_eq(rd(vm, 0x2d, 2), SIZE / BLOCK - 1);
    check_eq(rd(vm, 0x2f, 2), BLOCK / 256);
    wr(vm, 0, 0x90);
    check_eq(rd(vm, 0, 2), 0x1889);
    wr(vm, 0, 0x50);
    wr(vm, 0, 0x70);
    check_eq(rd(vm, 5, 1), 0);
    wr(vm, 0x102, 0x40); /* program: bits only go from one to zero */
    wr(vm, 0x102, 0x0f);
    check_eq(rd(vm, 0, 1), 0x80);
    wr(vm, 0, 0xff);
    check_eq(rd(vm, 0x102, 1), 0x01);
    wr(vm, 0x1fff, 0x20); /* erase */
    wr(vm, 0x1fff, 0xd0);
    check_eq(rd(vm, 0, 1), 0x80);
    wr(vm, 0, 0xff);
    check_eq(rd(vm, 0x1000, 8), UINT64_MAX);
    check_eq(rd(vm, 0x1ff8, 8), UINT64_MAX);
    check_eq(rd(vm, 0x0fff, 1), 0x1f);
    check_eq(rd(vm, 0x2000, 1), 0x30);
    wr(vm, 0x1000, 0x20);
    wr(vm, 0x1000, 0x55); /* not the confirmation */
    check_eq(rd(vm, 0, 1), 0xb0);
    wr(vm, 0, 0x50);
    g_unlink(path);
}
TEST("pflash/commands", commands);

static void buffered(Vm *vm)
{
    g_autofree char *path = image();

    plug(vm, path, "", "");
    wr(vm, 0x1000, 0x20);
    wr(vm, 0x1000, 0xd0);
    wr(vm, 0x1010, 0xe8);
    check_eq(rd(vm, 0, 1), 0x80);
    wr(vm, 0x1010, 3); /* four bytes */
    for (unsigned i = 0; i < 4; i++)
        wr(vm, 0x1010 + i, (uint8_t)(0xa0 + i));
    wr(vm, 0x1010, 0xd0);
    wr(vm, 0, 0xff);
    check_eq(rd(vm, 0x1010, 4), 0xa3a2a1a0);
    check_eq(rd(vm, 0x1014, 1), 0xff);
    wr(vm, 0x1ffe, 0xe8); /* across two blocks: refused */
    wr(vm, 0x1ffe, 3);
    for (unsigned i = 0; i < 4; i++)
        wr(vm, 0x1ffe + i, 0);
    wr(vm, 0, 0x70);
    check_eq(rd(vm, 0, 1) & 0xb0, 0xb0);
    wr(vm, 0, 0x50);
    check_eq(rd(vm, 0x1ffe, 1), 0xff);
    g_unlink(path);
}
TEST("pflash/buffered", buffered);

/* The image follows, and survives the VM. */
static void persists(Vm *unused)
{
    g_autofree char *path = image(), *data = NULL;
    gsize n;
    Vm *vm = t_vm();

    plug(vm, path, "", "");
    wr(vm, 0x3000, 0x20);
    wr(vm, 0x3000, 0xd0);
    wr(vm, 0x3001, 0x10);
    wr(vm, 0x3001, 0x5a);
    vm_free(vm); /* in status mode: nothing has asked for it yet */
    check(g_file_get_contents(path, &data, &n, NULL));
    check_eq(n, SIZE);
    check_eq((uint8_t)data[0x3000], 0xff);
    check_eq((uint8_t)data[0x3001], 0x5a);
    check_eq((uint8_t)data[0x2fff], 0x3f);
    g_unlink(path);
}
TEST("pflash/persists", persists);

static void read_only(Vm *vm)
{
    g_autofree char *path = image();

    plug(vm, path, ",readonly=on", "");
    wr(vm, 0x100, 0x40);
    wr(vm, 0x100, 0x00);
    check_eq(rd(vm, 0, 1), 0x92); /* ready, programming failed, locked */
    wr(vm, 0, 0xff);
    check_eq(rd(vm, 0x100, 1), 0x11);
    g_unlink(path);
}
TEST("pflash/read-only", read_only);

static void secure(Vm *vm)
{
    g_autofree char *path = image();
    uint64_t v;

    plug(vm, path, "", ",secure=on");
    wr(vm, 0x100, 0x90);
    check_eq(rd(vm, 0, 1), 0x10);
    as_load(vm->mem, AT, 1, &v, (MemAttrs){ .secure = true });
    check_eq(v, 0x10); /* it was no command */
    as_store(vm->mem, AT, 1, 0x90, (MemAttrs){ .secure = true });
    as_load(vm->mem, AT, 1, &v, (MemAttrs){ .secure = true });
    check_eq(v, 0x89);
    check_eq(rd(vm, 0, 1), 0x10); /* others see the array */
    g_unlink(path);
}
TEST("pflash/secure", secure);

static void moves(Vm *vm)
{
    g_autofree char *path = image(), *other = image();
    Vm *b = t_vm();
    Dev *from = plug(vm, path, "", ""), *to = plug(b, other, "", "");
    GByteArray *s;

    wr(vm, 0x1010, 0xe8);
    wr(vm, 0x1010, 1);
    wr(vm, 0x1010, 0x12);
    s = dev_save(from);
    check(dev_load(to, s->data, s->len, &abort_on_error));
    wr(b, 0x1011, 0x01); /* goes on where the other stood */
    wr(b, 0x1010, 0xd0);
    wr(b, 0, 0xff);
    check_eq(rd(b, 0x1010, 2), (0x10 & 0x12) | (0x10 & 0x01) << 8);
    g_byte_array_unref(s);
    vm_free(b);
    g_unlink(path);
    g_unlink(other);
}
TEST("pflash/moves", moves);
