/* tests/device/virtio.c - a driver of our own for virtio-blk-pci and virtio-rng-pci, well behaved and not. */
#include "tests/device/pcihost.h"
#include "core/cpu.h"

enum { BAR = 0xe0000000, SIZE = 8, DESC = 0x1000, AVAIL = 0x2000, USED = 0x3000, HEAD = 0x4000, INDIRECT = 0x5000, DATA = 0x10000 };
enum { NEXT = 1, WRITE = 2, INDIRECT_F = 4 };

static uint16_t avail;

static void setup_sized(Vm *vm, const char *device, uint32_t features, unsigned size)
{
    t_pci(vm);
    t_disk(vm, "d0", 4, NULL);
    avail = 0;
    t_enable(dev_plug(vm, NULL, device, &abort_on_error), 4, BAR);
    t_st(vm, BAR + 0x14, 1, 0);
    t_st(vm, BAR + 0x14, 1, 3);
    t_st(vm, BAR + 8, 4, 0);
    t_st(vm, BAR + 0xc, 4, features);
    t_st(vm, BAR + 8, 4, 1);
    t_st(vm, BAR + 0xc, 4, 1);
    t_st(vm, BAR + 0x14, 1, 11);
    check_eq(t_ld(vm, BAR + 0x14, 1), 11);
    t_st(vm, BAR + 0x16, 2, 0);
    t_st(vm, BAR + 0x18, 2, size);
    t_st(vm, BAR + 0x20, 4, DESC);
    t_st(vm, BAR + 0x24, 4, 0);
    t_st(vm, BAR + 0x28, 8, AVAIL);
    t_st(vm, BAR + 0x30, 8, USED);
    t_st(vm, BAR + 0x1c, 2, 1);
    t_st(vm, BAR + 0x14, 1, 15);
}

static void setup(Vm *vm, const char *device, uint32_t features) { setup_sized(vm, device, features, SIZE); }

static void desc_in(Vm *vm, uint64_t table, unsigned n, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
    t_st(vm, table + 16 * n, 8, addr);
    t_st(vm, table + 16 * n + 8, 4, len);
    t_st(vm, table + 16 * n + 12, 2, flags);
    t_st(vm, table + 16 * n + 14, 2, next);
}

static void kick(Vm *vm, unsigned head)
{
    t_st(vm, AVAIL + 4 + 2 * (avail++ % SIZE), 2, head);
    t_st(vm, AVAIL + 2, 2, avail);
    t_st(vm, BAR + 0x3000, 2, 0);
}

static bool all_used(void *vm) { return t_ld(vm, USED + 2, 2) == avail; }

static void header(Vm *vm, uint32_t type, uint64_t sector)
{
    t_st(vm, HEAD, 4, type);
    t_st(vm, HEAD + 4, 4, 0);
    t_st(vm, HEAD + 8, 8, sector);
    t_st(vm, HEAD + 16, 1, 0xee);
}

static unsigned request(Vm *vm, uint32_t type, uint64_t sector, uint32_t len)
{
    header(vm, type, sector);
    desc_in(vm, DESC, 0, HEAD, 16, NEXT, 1);
    desc_in(vm, DESC, 1, DATA, len, NEXT | (type == 1 || type > 8 ? 0 : WRITE), 2);
    desc_in(vm, DESC, 2, HEAD + 16, 1, WRITE, 0);
    kick(vm, 0);
    t_loop(vm, all_used, vm);
    return (unsigned)t_ld(vm, HEAD + 16, 1);
}

static void test_blk(Vm *vm)
{
    setup(vm, "virtio-blk-pci,drive=d0,serial=abc", 0);
    check_eq(t_ld(vm, BAR + 0x2000, 8), 8192);
    check_eq(request(vm, 0, 17, 1024), 0);
    check_eq(t_ld(vm, DATA + 512, 4), 18);
    check_eq(t_ld(vm, USED + 8, 4), 1025);
    check(t_pci_irqs());
    check_eq(t_ld(vm, BAR + 0x1000, 1), 1);
    check(!t_pci_irqs());
    t_st(vm, DATA, 4, 0xabcdef);
    check_eq(request(vm, 1, 3, 512), 0);
    t_st(vm, DATA, 4, 0);
    check_eq(request(vm, 0, 3, 512), 0);
    check_eq(t_ld(vm, DATA, 4), 0xabcdef);
    check_eq(request(vm, 8, 0, 20), 0);
    check_eq(t_ld(vm, DATA, 4), 'a' | 'b' << 8 | 'c' << 16);
    check_eq(request(vm, 0, 8191, 1024), 1); /* beyond the end */
    check_eq(request(vm, 0, ~0ull, 512), 1);
    check_eq(request(vm, 99, 0, 512), 2);
}

/* Section 5.2.4: sizes in blocks; places and lengths in sectors of 512 all the same. */
static void test_sizes(Vm *vm)
{
    enum { CONFIG = BAR + 0x2000, BLK_SIZE = 1 << 6, TOPOLOGY = 1 << 10 };

    setup(vm, "virtio-blk-pci,drive=d0,logical_block_size=4096,physical_block_size=16K,min_io_size=12K,opt_io_size=20K,discard_granularity=64K", 0);
    t_st(vm, BAR, 4, 0);
    check_eq(t_ld(vm, BAR + 4, 4) & (BLK_SIZE | TOPOLOGY), BLK_SIZE | TOPOLOGY);
    check_eq(t_ld(vm, CONFIG, 8), 8192);
    check_eq(t_ld(vm, CONFIG + 19, 1), 56);
    check_eq(t_ld(vm, CONFIG + 20, 4), 4096);
    check_eq(t_ld(vm, CONFIG + 24, 4), 3 << 16 | 2); /* min_io_size, alignment_offset, physical_block_exp */
    check_eq(t_ld(vm, CONFIG + 28, 4), 5);
    check_eq(t_ld(vm, CONFIG + 44, 4), 128);
    check_eq(request(vm, 0, 16, 4096), 0);
    check_eq(t_ld(vm, DATA + 512, 4), 17);
    check_eq(request(vm, 0, 17, 4096), 1);
    check_eq(request(vm, 0, 16, 512), 1);
    check_eq(request(vm, 1, 16, 2048), 1);
    for (unsigned type = 11; type <= 13; type += 2) { /* discard, write zeroes */
        t_st(vm, DATA, 8, 16);
        t_st(vm, DATA + 8, 8, 8);
        check_eq(request(vm, type, 0, 16), 0);
        t_st(vm, DATA + 8, 8, 4);
        check_eq(request(vm, type, 0, 16), 1);
    }
}

static void test_default_sizes(Vm *vm)
{
    setup(vm, "virtio-blk-pci,drive=d0", 0);
    check_eq(t_ld(vm, BAR + 0x2000 + 19, 1), 63);
    check_eq(t_ld(vm, BAR + 0x2000 + 20, 8), 512);
    check_eq(t_ld(vm, BAR + 0x2000 + 28, 4), 0);
    check_eq(t_ld(vm, BAR + 0x2000 + 44, 4), 1);
}

static void test_wrong_sizes(Vm *vm)
{
    static const char *const wrong[][2] = {
        { "logical_block_size=1000", "logical_block_size=1000: must be a power of two from 512 to 2097152" },
        { "logical_block_size=256", "logical_block_size=256: must be a power of two from 512 to 2097152" },
        { "physical_block_size=4M", "physical_block_size=4194304: must be a power of two from 512 to 2097152" },
        { "logical_block_size=4096,physical_block_size=512", "physical_block_size=512: must not be less than logical_block_size=4096" },
        { "logical_block_size=4096,min_io_size=512", "min_io_size=512: must be a multiple of logical_block_size=4096" },
        { "opt_io_size=513", "opt_io_size=513: must be a multiple of logical_block_size=512" },
        { "logical_block_size=4096,discard_granularity=512", "discard_granularity=512: must be a multiple of logical_block_size=4096" },
        { "min_io_size=32M", "min_io_size=33554432: must be at most 65535 logical blocks" },
    };

    t_pci(vm);
    t_disk(vm, "d0", 4, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autofree char *text = g_strdup_printf("virtio-blk-pci,drive=d0,%s", wrong[i][0]);

        t_refused(vm, NULL, text, wrong[i][1]);
    }
    dev_plug(vm, NULL, "virtio-blk-pci,drive=d0,logical_block_size=2M,discard_granularity=0", &abort_on_error);
}

static void test_indirect(Vm *vm)
{
    setup(vm, "virtio-blk-pci,drive=d0", 1u << 28 | 1u << 29);
    header(vm, 0, 40);
    desc_in(vm, INDIRECT, 0, HEAD, 16, NEXT, 1);
    desc_in(vm, INDIRECT, 1, DATA, 512, NEXT | WRITE, 2);
    desc_in(vm, INDIRECT, 2, DATA + 4096, 512, NEXT | WRITE, 3);
    desc_in(vm, INDIRECT, 3, HEAD + 16, 1, WRITE, 0);
    desc_in(vm, DESC, 5, INDIRECT, 64, INDIRECT_F, 0);
    t_st(vm, AVAIL + 4 + 2 * SIZE, 2, 3); /* used_event: not yet */
    kick(vm, 5);
    t_loop(vm, all_used, vm);
    check_eq(t_ld(vm, HEAD + 16, 1), 0);
    check_eq(t_ld(vm, DATA + 4096, 4), 41);
    check_eq(t_ld(vm, USED + 4, 4), 5);
    check_eq(t_ld(vm, USED + 4 + 8 * SIZE, 2), 1); /* avail_event */
}

static void broken_by(Vm *vm, unsigned head)
{
    kick(vm, head);
    check(t_ld(vm, BAR + 0x14, 1) & 0x40);
}

static void test_loop(Vm *vm)
{
    setup(vm, "virtio-blk-pci,drive=d0", 0);
    desc_in(vm, DESC, 0, DATA, 16, NEXT, 1);
    desc_in(vm, DESC, 1, DATA, 16, NEXT, 0);
    broken_by(vm, 0);
}

static void test_head(Vm *vm)
{
    setup(vm, "virtio-blk-pci,drive=d0", 0);
    broken_by(vm, SIZE);
}

static void test_order(Vm *vm)
{
    setup(vm, "virtio-blk-pci,drive=d0", 0);
    desc_in(vm, DESC, 0, DATA, 16, NEXT | WRITE, 1);
    desc_in(vm, DESC, 1, DATA, 16, 0, 0);
    broken_by(vm, 0);
}

static void test_runaway(Vm *vm)
{
    setup(vm, "virtio-blk-pci,drive=d0", 0);
    avail = 1000;
    broken_by(vm, 0);
    t_st(vm, BAR + 0x14, 1, 0); /* a reset mends it */
    check_eq(t_ld(vm, BAR + 0x14, 1), 0);
}

static void test_nested_indirect(Vm *vm)
{
    setup(vm, "virtio-blk-pci,drive=d0", 1u << 28);
    desc_in(vm, DESC, 0, INDIRECT, 16, INDIRECT_F, 0);
    desc_in(vm, INDIRECT, 0, INDIRECT, 16, INDIRECT_F, 0);
    broken_by(vm, 0);
}

static void test_nowhere(Vm *vm)
{
    setup(vm, "virtio-blk-pci,drive=d0", 0);
    header(vm, 0, 0);
    desc_in(vm, DESC, 0, HEAD, 16, NEXT, 1);
    desc_in(vm, DESC, 1, 0xfffffffffffff000ull, 512, NEXT | WRITE, 2);
    desc_in(vm, DESC, 2, HEAD + 16, 1, WRITE, 0);
    kick(vm, 0);
    t_loop(vm, all_used, vm);
    check(t_ld(vm, HEAD + 16, 1) <= 1); /* done, whatever became of the data */
}

/* A request in flight is built again from its head. */
static void test_move(Vm *vm)
{
    GByteArray *s;
    Dev *d;

    setup(vm, "virtio-blk-pci,drive=d0,id=b", 0);
    d = vm_find_dev(vm, "b");
    header(vm, 0, 9);
    desc_in(vm, DESC, 0, HEAD, 16, NEXT, 1);
    desc_in(vm, DESC, 1, DATA, 512, NEXT | WRITE, 2);
    desc_in(vm, DESC, 2, HEAD + 16, 1, WRITE, 0);
    kick(vm, 0);
    s = dev_save(d);
    check(dev_load(d, s->data, s->len, &abort_on_error));
    t_loop(vm, all_used, vm);
    check_eq(t_ld(vm, USED + 2, 2), 1);
    check_eq(t_ld(vm, DATA, 4), 9);
    g_byte_array_unref(s);
}

static void test_rng(Vm *vm)
{
    setup(vm, "virtio-rng-pci", 0);
    desc_in(vm, DESC, 0, DATA, 64, WRITE, 0);
    kick(vm, 0);
    check_eq(t_ld(vm, USED + 8, 4), 64);
    check(t_ld(vm, DATA, 8) || t_ld(vm, DATA + 8, 8));
}

/* A queue full of chains that end at once, and one more before the device says from when on it wants kicks: all are used, whatever
 * the device does in one go. Each entry of the ring names the same chain. */
static void full_queue(Vm *vm, const char *device, unsigned size)
{
    setup_sized(vm, device, 1u << 29, size);
    t_st(vm, HEAD, 8, 8); /* virtio-blk: GET_ID */
    desc_in(vm, DESC, 0, strstr(device, "blk") ? HEAD : DATA, 16, strstr(device, "blk") ? NEXT : WRITE, 1);
    desc_in(vm, DESC, 1, DATA, 21, WRITE, 0);
    for (unsigned lap = 0; lap < 3; lap++) {
        uint16_t event;

        for (unsigned i = 0; i < size; i++)
            t_st(vm, AVAIL + 4 + 2 * i, 2, 0);
        avail = (uint16_t)(avail + size);
        t_st(vm, AVAIL + 2, 2, avail);
        t_st(vm, BAR + 0x3000, 2, 0);
        check_eq(t_ld(vm, USED + 2, 2), avail);
        event = (uint16_t)t_ld(vm, USED + 4 + 8 * size, 2);
        t_st(vm, AVAIL + 2, 2, ++avail);
        if (event == (uint16_t)(avail - 1))
            t_st(vm, BAR + 0x3000, 2, 0);
        t_step(vm, MS);
        check_eq(t_ld(vm, USED + 2, 2), avail);
    }
}

static void test_full(Vm *vm) { full_queue(vm, "virtio-blk-pci,drive=d0", 256); }
static void test_full_rng(Vm *vm) { full_queue(vm, "virtio-rng-pci", 64); }

/* On an accelerator that signals eventfds a kick is served by the loop; what is pending when the VM stops is served then. */
static bool signals(Vm *vm) { return true; }

static void submit_kicked(Vm *vm)
{
    header(vm, 0, 17);
    desc_in(vm, DESC, 0, HEAD, 16, NEXT, 1);
    desc_in(vm, DESC, 1, DATA, 512, NEXT | WRITE, 2);
    desc_in(vm, DESC, 2, HEAD + 16, 1, WRITE, 0);
    kick(vm, 0);
}

static void test_eventfd(Vm *vm)
{
    static Accel fast;
    Disk *d;

    fast = *vm->accel;
    fast.eventfds = signals;
    vm->accel = &fast;
    vm_cont(vm);
    setup(vm, "virtio-blk-pci,drive=d0,id=v", 0);
    d = vm_lookup(vm, "drive", "d0");
    submit_kicked(vm);
    check_eq(disk_in_flight(d), 0); /* the loop has not looked yet */
    t_loop(vm, all_used, vm);
    check_eq(t_ld(vm, DATA, 4), 17);
    submit_kicked(vm);
    check_eq(disk_in_flight(d), 0);
    vm_stop(vm, RUN_PAUSED);
    check_eq(disk_in_flight(d), 1);
    t_loop(vm, all_used, vm);
    submit_kicked(vm); /* by hand while it is stopped: no eventfd is there */
    check_eq(disk_in_flight(d), 1);
    t_loop(vm, all_used, vm);
    vm_cont(vm);
    submit_kicked(vm);
    dev_unplug_now(vm_find_dev(vm, "v")); /* with a kick on its way */
}

static void test_no_eventfd(Vm *vm)
{
    static Accel fast;

    fast = *vm->accel;
    fast.eventfds = signals;
    vm->accel = &fast;
    vm_cont(vm);
    setup(vm, "virtio-blk-pci,drive=d0,ioeventfd=off", 0);
    submit_kicked(vm);
    check_eq(disk_in_flight(vm_lookup(vm, "drive", "d0")), 1);
    t_loop(vm, all_used, vm);
}

/* Section 4.1.4.9: registers by configuration space, with memory decoding off. */
static void test_window(Vm *vm)
{
    PciDev *p;
    unsigned c;

    t_pci(vm);
    p = PCI(dev_plug(vm, NULL, "virtio-rng-pci", &abort_on_error));
    for (c = p->config[0x34]; c && !(p->config[c] == 9 && p->config[c + 3] == 5); c = p->config[c + 1])
        ;
    check(c);
    check_eq(pci_config_read(p, c + 2, 1), 20);
    pci_config_write(p, c + 4, 4, 1);
    pci_config_write(p, c + 8, 0x14, 4); /* device_status */
    pci_config_write(p, c + 12, 1, 4);
    check_eq(pci_config_read(p, c + 16, 1), 0);
    pci_config_write(p, c + 16, 3, 4);
    check_eq(pci_config_read(p, c + 16, 4) & 0xff, 3);
    pci_config_write(p, c + 8, 0x18, 4); /* queue_size */
    pci_config_write(p, c + 12, 2, 4);
    check_eq(pci_config_read(p, c + 16, 2), 64);
    pci_config_write(p, c + 12, 3, 4); /* no such length, no such place, no such BAR */
    pci_config_write(p, c + 16, 7, 4);
    pci_config_write(p, c + 12, 4, 4);
    pci_config_write(p, c + 8, 0x7ffffffe, 4);
    pci_config_write(p, c + 16, 7, 4);
    pci_config_write(p, c + 4, 77, 1);
    check_eq(pci_config_read(p, c + 16, 4), 7);
    pci_config_write(p, c + 4, 4, 1);
    pci_config_write(p, c + 8, 0x18, 4);
    check_eq(pci_config_read(p, c + 16, 2), 64);
    dev_reset(&p->dev);
    check_eq(pci_config_read(p, c + 12, 4), 0);
}

TEST("virtio/window", test_window);
TEST("virtio/eventfd", test_eventfd);
TEST("virtio/no-eventfd", test_no_eventfd);
TEST("virtio/blk", test_blk);
TEST("virtio/sizes", test_sizes);
TEST("virtio/sizes-default", test_default_sizes);
TEST("virtio/sizes-wrong", test_wrong_sizes);
TEST("virtio/indirect", test_indirect);
TEST("virtio/loop", test_loop);
TEST("virtio/head", test_head);
TEST("virtio/order", test_order);
TEST("virtio/runaway", test_runaway);
TEST("virtio/nested-indirect", test_nested_indirect);
TEST("virtio/nowhere", test_nowhere);
TEST("virtio/move-in-flight", test_move);
TEST("virtio/rng", test_rng);
TEST("virtio/full-queue", test_full);
TEST("virtio/full-queue-rng", test_full_rng);
