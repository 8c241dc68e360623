/* tests/device/parallel.c - the parallel port prints what is strobed, and is busy while the back end is. */
#include "chr/chr.h"
#include "tests/lib/t.h"
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { DATA, STATUS, CONTROL };
static unsigned rd(Dev *d, unsigned r) { return (unsigned)t_read(d, 0, r, 1); }
static void wr(Dev *d, unsigned r, unsigned v) { t_write(d, 0, r, 1, v); }

static void put(Dev *d, char c, unsigned control)
{
    wr(d, DATA, (unsigned char)c);
    wr(d, CONTROL, control | 1);
    wr(d, CONTROL, control);
}

static void prints(Vm *vm)
{
    Chr *r = chr_new_short(vm, "r", "ringbuf:64", &abort_on_error);
    Dev *d = t_plug(vm, "isa-parallel,chardev=r");
    GByteArray *got;

    check_eq(rd(d, STATUS) & 0xf8, 0xd8);
    check_eq(rd(d, CONTROL), 0xcc);
    put(d, 'o', 0x0c);
    check_eq(rd(d, STATUS) & 0xc0, 0x80); /* acknowledged, once */
    check_eq(rd(d, STATUS) & 0xc0, 0xc0);
    put(d, 'k', 0x1c);
    check(t_irq(d));
    rd(d, STATUS);
    check(!t_irq(d));
    got = chr_ring_read(r, 64);
    check(got->len == 2 && !memcmp(got->data, "ok", 2));
    g_byte_array_unref(got);
    wr(d, DATA, 0x5a);
    check_eq(rd(d, DATA), 0x5a);
    wr(d, CONTROL, 0x2c); /* the pins are inputs, pulled up */
    check_eq(rd(d, DATA), 0xff);
}

/* A pipe that nobody reads fills; the printer says busy, and a reset of it forgets the character. */
static void busy(Vm *vm)
{
    g_autofree char *dir = g_dir_make_tmp("menura-XXXXXX", NULL), *path = g_strconcat(dir, "/s", NULL);
    g_autofree char *text = g_strconcat("unix:", path, ",server=on,wait=off", NULL);
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char sink[65536];
    Dev *d;

    chr_new_short(vm, "p", text, &abort_on_error);
    g_strlcpy(a.sun_path, path, sizeof(a.sun_path));
    check(!connect(fd, (struct sockaddr *)&a, sizeof(a)));
    for (int i = 0; i < 100; i++)
        loop_iterate(vm->loop, false);
    d = t_plug(vm, "isa-parallel,chardev=p");
    for (unsigned i = 0; i < 10000000 && rd(d, STATUS) & 0x80; i++)
        put(d, 'x', 0x0c);
    check(!(rd(d, STATUS) & 0x80));
    for (int i = 0; i < 1000 && !(rd(d, STATUS) & 0x80); i++) {
        check(read(fd, sink, sizeof(sink)) > 0);
        loop_iterate(vm->loop, false);
    }
    check(rd(d, STATUS) & 0x80);
    close(fd);
    unlink(path);
    rmdir(dir);
}

TEST("parallel/prints", prints);
TEST("parallel/busy", busy);
