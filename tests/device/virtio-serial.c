/* tests/device/virtio-serial.c - ports of virtio-serial: the conversation on the control queues, data both ways; and the balloon. */
#include "chr/chr.h"
#include "hw/virtio/balloon.h"
#include "tests/device/pcihost.h"

enum { BAR = 0xe0000000, SIZE = 8, RINGS = 0x100000, STRIDE = 0x4000, DATA = 0x200000 };

static uint64_t desc(unsigned q) { return RINGS + q * STRIDE; }
static uint64_t avail(unsigned q) { return desc(q) + 0x1000; }
static uint64_t used(unsigned q) { return desc(q) + 0x2000; }
static uint64_t buffer(unsigned q, unsigned i) { return DATA + (q * SIZE + i) * 0x1000; }

static void open_device(Vm *vm, uint32_t features, unsigned queues)
{
    t_st(vm, BAR + 0x14, 1, 3);
    t_st(vm, BAR + 8, 4, 0);
    t_st(vm, BAR + 0xc, 4, features);
    t_st(vm, BAR + 8, 4, 1);
    t_st(vm, BAR + 0xc, 4, 1);
    t_st(vm, BAR + 0x14, 1, 11);
    for (unsigned q = 0; q < queues; q++) {
        t_st(vm, BAR + 0x16, 2, q);
        t_st(vm, BAR + 0x18, 2, SIZE);
        t_st(vm, BAR + 0x20, 8, desc(q));
        t_st(vm, BAR + 0x28, 8, avail(q));
        t_st(vm, BAR + 0x30, 8, used(q));
        t_st(vm, BAR + 0x1c, 2, 1);
    }
    t_st(vm, BAR + 0x14, 1, 15);
}

/* One buffer more in queue q. */
static void give(Vm *vm, unsigned q, uint32_t len, bool writable)
{
    unsigned n = (unsigned)t_ld(vm, avail(q) + 2, 2), i = n % SIZE;

    t_st(vm, desc(q) + 16 * i, 8, buffer(q, i));
    t_st(vm, desc(q) + 16 * i + 8, 8, len | (writable ? 2ull << 32 : 0));
    t_st(vm, avail(q) + 4 + 2 * i, 2, i);
    t_st(vm, avail(q) + 2, 2, n + 1);
    t_st(vm, BAR + 0x3000 + 4 * q, 2, q);
}

static unsigned done(Vm *vm, unsigned q) { return (unsigned)t_ld(vm, used(q) + 2, 2); }

static void say(Vm *vm, unsigned id, unsigned event, unsigned value)
{
    uint64_t at = buffer(3, (unsigned)t_ld(vm, avail(3) + 2, 2) % SIZE);

    t_st(vm, at, 4, id);
    t_st(vm, at + 4, 2, event);
    t_st(vm, at + 6, 2, value);
    give(vm, 3, 8, false);
}

static void hear(Vm *vm, unsigned i, unsigned id, unsigned event, unsigned value)
{
    check(done(vm, 2) > i);
    check_eq(t_ld(vm, buffer(2, i), 4), id);
    check_eq(t_ld(vm, buffer(2, i) + 4, 2), event);
    check_eq(t_ld(vm, buffer(2, i) + 6, 2), value);
}

static void test_ports(Vm *vm)
{
    Chr *ring = chr_new_short(vm, "r", "ringbuf:64", &abort_on_error);
    GByteArray *got;

    t_pci(vm);
    t_enable(dev_plug(vm, NULL, "virtio-serial-pci,id=vs,max_ports=4", &abort_on_error), 4, BAR);
    dev_plug(vm, NULL, "virtserialport,bus=vs.0,chardev=r,name=org.test,id=p", &abort_on_error);
    check_eq(t_ld(vm, BAR + 0x2004, 4), 4);
    open_device(vm, 2, 6);
    for (unsigned i = 0; i < 4; i++)
        give(vm, 2, 64, true);
    say(vm, ~0u, 0, 1); /* DEVICE_READY */
    hear(vm, 0, 1, 1, 1); /* PORT_ADD */
    say(vm, 1, 3, 1); /* PORT_READY */
    hear(vm, 1, 1, 7, 1); /* PORT_NAME */
    check_eq(t_ld(vm, buffer(2, 1) + 8, 8), 0x747365742e67726full); /* "org.test" */
    hear(vm, 2, 1, 6, 1); /* PORT_OPEN: the other end is there */
    say(vm, 1, 6, 1);
    t_st(vm, buffer(5, 0), 4, 'a' | 'b' << 8 | 'c' << 16);
    give(vm, 5, 3, false);
    check_eq(done(vm, 5), 1);
    got = chr_ring_read(ring, 64);
    check(got->len == 3 && !memcmp(got->data, "abc", 3));
    g_byte_array_unref(got);
    say(vm, 9, 3, 1); /* no such port */
    check_eq(done(vm, 3), 4);
}

/* The first port of a device without several: port 0, queues 0 and 1. */
static void test_console(Vm *vm)
{
    Chr *ring = chr_new_short(vm, "r", "ringbuf:64", &abort_on_error);
    GByteArray *got;
    Error *err = NULL;

    t_pci(vm);
    t_enable(dev_plug(vm, NULL, "virtio-serial-pci,id=vs", &abort_on_error), 4, BAR);
    dev_plug(vm, NULL, "virtconsole,bus=vs.0,chardev=r", &abort_on_error);
    check(!dev_plug(vm, NULL, "virtconsole,bus=vs.0,nr=0", &err));
    error_free(err);
    open_device(vm, 0, 2);
    t_st(vm, buffer(1, 0), 1, 'x');
    give(vm, 1, 1, false);
    t_st(vm, BAR + 0x2008, 4, '!'); /* emergency write */
    got = chr_ring_read(ring, 64);
    check(got->len >= 2 && !memcmp(got->data, "x!", 2));
    g_byte_array_unref(got);
}

static void test_balloon(Vm *vm)
{
    uint64_t n;

    t_pci(vm);
    vm->cfg.ram_size = 16 * MiB;
    t_enable(dev_plug(vm, NULL, "virtio-balloon", &abort_on_error), 4, BAR);
    open_device(vm, 0, 2);
    check(balloon_set(vm, 12 * MiB, &abort_on_error));
    check_eq(t_ld(vm, BAR + 0x2000, 4), 1024);
    check_eq(t_ld(vm, BAR + 0x1000, 1), 2); /* the configuration changed */
    t_st(vm, 0x800000, 4, 0x1234);
    t_st(vm, 0x801000, 4, 0x5678);
    t_st(vm, buffer(0, 0), 4, 0x800);
    t_st(vm, buffer(0, 0) + 4, 4, 0xfffff); /* not RAM */
    give(vm, 0, 8, false);
    check_eq(done(vm, 0), 1);
    check_eq(t_ld(vm, 0x800000, 4), 0); /* it went to the host */
    check_eq(t_ld(vm, 0x801000, 4), 0x5678);
    t_st(vm, BAR + 0x2004, 4, 1);
    check(balloon_actual(vm, &n, &abort_on_error));
    check_eq(n, 16 * MiB - 4096);
}

TEST("virtio-serial/ports", test_ports);
TEST("virtio-serial/console", test_console);
TEST("virtio-serial/balloon", test_balloon);
