/* tests/device/nvme.c - an NVMe controller as a driver sees it: queues, PRP lists, features, events, mistakes. */
#include "block/disk.h"
#include "tests/device/pcihost.h"

enum { BAR = 0xe0000000, ASQ = 0x10000, ACQ = 0x11000, SQ = 0x12000, CQ = 0x14000, DATA = 0x40000, LIST = 0x30000, ENTRIES = 16 };
enum { CC = BAR + 0x14, CSTS = BAR + 0x1c, ENABLED = 0x00460001 };

typedef struct Queue {
    uint64_t sq, cq;
    unsigned n, tail, head;
    bool phase;
    uint16_t cid;
} Queue;
static Queue admin, io;

typedef struct Wait {
    Vm *vm;
    const Queue *q;
} Wait;

static bool answered(void *arg)
{
    Wait *w = arg;

    return (t_ld(w->vm, w->q->cq + 16 * w->q->head + 14, 2) & 1) == w->q->phase;
}

static void ring(Vm *vm, Queue *q, const uint32_t *dw)
{
    uint64_t at = q->sq + 64ull * q->tail;

    for (unsigned i = 0; i < 16; i++)
        t_st(vm, at + 4 * i, 4, dw[i]);
    t_st(vm, at + 2, 2, ++q->cid);
    q->tail = (q->tail + 1) % ENTRIES;
    t_st(vm, BAR + 0x1000 + 8 * q->n, 4, q->tail);
}

/* The next completion: its status without phase; dword 0 in *result. */
static unsigned reap(Vm *vm, Queue *q, uint32_t *result)
{
    Wait w = { vm, q };
    uint64_t e = q->cq + 16 * q->head;
    unsigned status;

    t_loop(vm, answered, &w);
    check(answered(&w));
    status = (unsigned)t_ld(vm, e + 14, 2) >> 1;
    if (result)
        *result = (uint32_t)t_ld(vm, e, 4);
    q->head = (q->head + 1) % ENTRIES;
    q->phase ^= q->head == 0;
    t_st(vm, BAR + 0x1004 + 8 * q->n, 4, q->head);
    return status;
}

/* opcode, nsid, PRP 1 and 2, dwords 10 to 12 */
static unsigned command(Vm *vm, Queue *q, uint8_t op, uint32_t nsid, uint64_t prp1, uint64_t prp2, uint32_t d10, uint32_t d11, uint32_t d12,
                        uint32_t *result)
{
    uint32_t dw[16] = { op, nsid, [6] = (uint32_t)prp1, (uint32_t)(prp1 >> 32), (uint32_t)prp2, (uint32_t)(prp2 >> 32), d10, d11, d12 };

    ring(vm, q, dw);
    return reap(vm, q, result);
}

static void enable(Vm *vm)
{
    admin = (Queue){ .sq = ASQ, .cq = ACQ, .phase = true };
    t_st(vm, BAR + 0x24, 4, (ENTRIES - 1) << 16 | (ENTRIES - 1));
    t_st(vm, BAR + 0x28, 8, ASQ);
    t_st(vm, BAR + 0x30, 4, ACQ); /* by halves, as some drivers do */
    t_st(vm, BAR + 0x34, 4, 0);
    t_st(vm, CC, 4, ENABLED);
    check_eq(t_ld(vm, CSTS, 4), 1);
}

static Dev *machine(Vm *vm, const char *more)
{
    g_autofree char *text = g_strdup_printf("nvme,serial=S1,drive=hd0%s", more);
    Dev *d;

    t_pci(vm);
    t_disk(vm, "hd0", 4, NULL);
    d = dev_plug(vm, NULL, text, &abort_on_error);
    t_enable(d, 0, BAR);
    enable(vm);
    return d;
}

static void io_queue(Vm *vm)
{
    io = (Queue){ .sq = SQ, .cq = CQ, .n = 1, .phase = true };
    check_eq(command(vm, &admin, 0x05, 0, CQ, 0, (ENTRIES - 1) << 16 | 1, 3, 0, NULL), 0);
    check_eq(command(vm, &admin, 0x01, 0, SQ, 0, (ENTRIES - 1) << 16 | 1, 1 << 16 | 1, 0, NULL), 0);
}

static void test_identify(Vm *vm)
{
    Dev *d = machine(vm, "");

    check_eq(command(vm, &admin, 0x06, 0, DATA, 0, 1, 0, 0, NULL), 0);
    check_eq(t_ld(vm, DATA, 2), 0x1b36);
    check_eq(t_ld(vm, DATA + 4, 4), 0x20203153); /* "S1  " */
    check_eq(command(vm, &admin, 0x06, 1, DATA, 0, 0, 0, 0, NULL), 0);
    check_eq(t_ld(vm, DATA, 8), 8192);
    check_eq(t_ld(vm, DATA + 130, 1), 9);
    check_eq(command(vm, &admin, 0x06, 0, DATA, 0, 2, 0, 0, NULL), 0);
    check_eq(t_ld(vm, DATA, 8), 1); /* namespace 1 and no other */
    check_eq(command(vm, &admin, 0x06, 1, DATA, 0, 3, 0, 0, NULL), 0);
    check_eq(t_ld(vm, DATA, 2), 0x1002);
    check(!t_irq(d)); /* all taken */
    ring(vm, &admin, (uint32_t[16]){ 0x06, 0, [6] = DATA, [10] = 1 });
    check(t_irq(d));
    t_st(vm, BAR + 0x0c, 4, 1); /* INTMS */
    check(!t_irq(d));
    check_eq(t_ld(vm, BAR + 0x10, 4), 1);
    t_st(vm, BAR + 0x10, 4, 1);
    check(t_irq(d));
    reap(vm, &admin, NULL);
    check(!t_irq(d));
}

/* Section 5.15.2.1: optimal sizes in blocks, 0 means 1. */
static void test_sizes(Vm *vm)
{
    machine(vm, ",logical_block_size=4096,physical_block_size=16K,min_io_size=32K,opt_io_size=20K,discard_granularity=64K");
    check_eq(command(vm, &admin, 0x06, 1, DATA, 0, 0, 0, 0, NULL), 0);
    check_eq(t_ld(vm, DATA, 8), 1024);
    check_eq(t_ld(vm, DATA + 24, 1), 0x10);
    check_eq(t_ld(vm, DATA + 64, 8), 15ull << 48 | 15ull << 32 | 3 << 16 | 7); /* NPDA, NPDG, NPWA, NPWG */
    check_eq(t_ld(vm, DATA + 72, 2), 4);                                     /* NOWS */
    check_eq(t_ld(vm, DATA + 130, 1), 12);
    io_queue(vm);
    check_eq(command(vm, &io, 0x02, 1, DATA, 0, 7, 0, 0, NULL), 0);
    check_eq(t_ld(vm, DATA, 4), 56);
}

static void test_default_sizes(Vm *vm)
{
    machine(vm, "");
    check_eq(command(vm, &admin, 0x06, 1, DATA, 0, 0, 0, 0, NULL), 0);
    check_eq(t_ld(vm, DATA + 64, 8), 7ull << 48 | 7ull << 32);
    check_eq(t_ld(vm, DATA + 72, 2), 0);
}

/* Without MDTS and with large blocks a command could ask for 128 GiB. */
static void test_huge_blocks(Vm *vm)
{
    machine(vm, ",mdts=0,logical_block_size=2M");
    io_queue(vm);
    check_eq(command(vm, &io, 0x05, 1, DATA, LIST, 0, 0, 0xffff, NULL), 0x4002);
    check_eq(command(vm, &io, 0x05, 1, DATA, LIST, 0, 0, 2, NULL), 0x4080);
}

static void test_read_write(Vm *vm)
{
    machine(vm, "");
    io_queue(vm);
    check_eq(command(vm, &io, 0x02, 1, DATA, 0, 7, 0, 0, NULL), 0);
    check_eq(t_ld(vm, DATA, 4), 7);
    t_st(vm, DATA, 8, 0x1122334455667788);
    check_eq(command(vm, &io, 0x01, 1, DATA, 0, 9, 0, 1u << 30, NULL), 0); /* FUA */
    t_st(vm, DATA, 8, 0);
    check_eq(command(vm, &io, 0x02, 1, DATA, 0, 9, 0, 0, NULL), 0);
    check_eq(t_ld(vm, DATA, 8), 0x1122334455667788);
    check_eq(command(vm, &io, 0x05, 1, DATA, 0, 9, 0, 0, NULL), 0); /* compare */
    t_st(vm, DATA, 1, 1);
    check_eq(command(vm, &io, 0x05, 1, DATA, 0, 9, 0, 0, NULL) & 0x7ff, 0x285);
    check_eq(command(vm, &io, 0x08, 1, 0, 0, 9, 0, 0, NULL), 0); /* write zeroes */
    check_eq(command(vm, &io, 0x02, 1, DATA, 0, 9, 0, 0, NULL), 0);
    check_eq(t_ld(vm, DATA, 8), 0);
    check_eq(command(vm, &io, 0x00, 1, 0, 0, 0, 0, 0, NULL), 0);          /* flush */
    check_eq(command(vm, &io, 0x00, UINT32_MAX, 0, 0, 0, 0, 0, NULL), 0); /* of all */
    t_st(vm, LIST, 4, 0);
    t_st(vm, LIST + 4, 4, 2);
    t_st(vm, LIST + 8, 8, 16);
    check_eq(command(vm, &io, 0x09, 1, LIST, 0, 0, 4, 0, NULL), 0); /* deallocate */
}

/* 64 KiB from an odd place: a list of pages in descending order that goes on in a second page. */
static void test_prp_list(Vm *vm)
{
    uint64_t list = LIST + 0xff0;

    machine(vm, "");
    io_queue(vm);
    t_st(vm, list, 8, DATA + 0x20000);
    t_st(vm, list + 8, 8, LIST + 0x2000);
    for (unsigned i = 1; i < 16; i++)
        t_st(vm, LIST + 0x2000 + 8 * (i - 1), 8, DATA + 0x20000 - 0x1000 * i);
    check_eq(command(vm, &io, 0x02, 1, DATA + 0xe00, list, 100, 0, 127, NULL), 0);
    check_eq(t_ld(vm, DATA + 0xe00, 4), 100);
    check_eq(t_ld(vm, DATA + 0x20000, 4), 101);
    check_eq(t_ld(vm, DATA + 0x20000 - 0x1000 * 3 + 512, 4), 101 + 3 * 8 + 1);
    check_eq(t_ld(vm, DATA + 0x20000 - 0x1000 * 15 + 512 * 6, 4), 101 + 15 * 8 + 6);
}

static void test_features(Vm *vm)
{
    uint32_t r;

    machine(vm, ",max_ioqpairs=4");
    check_eq(command(vm, &admin, 0x09, 0, 0, 0, 7, 0x003f003f, 0, &r), 0);
    check_eq(r, 0x00030003);
    check_eq(command(vm, &admin, 0x0a, 0, 0, 0, 6, 0, 0, &r), 0);
    check_eq(r, 1);
    check_eq(command(vm, &admin, 0x09, 0, 0, 0, 6, 0, 0, NULL), 0);
    check_eq(command(vm, &admin, 0x0a, 0, 0, 0, 6, 0, 0, &r), 0);
    check_eq(r, 0);
    check_eq(command(vm, &admin, 0x09, 0, 0, 0, 0xff, 0, 0, NULL), 0x4002);
    io_queue(vm);
    check_eq(command(vm, &admin, 0x09, 0, 0, 0, 7, 0, 0, NULL), 0x400c);
    check_eq(command(vm, &admin, 0x05, 0, CQ, 0, 15 << 16 | 5, 3, 0, NULL), 0x4101); /* a fifth */
    check_eq(command(vm, &admin, 0x04, 0, 0, 0, 1, 0, 0, NULL), 0x410c);              /* still used */
    check_eq(command(vm, &admin, 0x00, 0, 0, 0, 1, 0, 0, NULL), 0);
    check_eq(command(vm, &admin, 0x04, 0, 0, 0, 1, 0, 0, NULL), 0);
}

/* A doorbell that does not exist tells the request that waits; once, until the error log was read. */
static void test_events(Vm *vm)
{
    uint32_t r;

    machine(vm, "");
    ring(vm, &admin, (uint32_t[16]){ 0x0c });
    ring(vm, &admin, (uint32_t[16]){ 0x0c });
    t_st(vm, BAR + 0x1000 + 8 * 5, 4, 1);
    t_st(vm, BAR + 0x1000, 4, admin.tail); /* a doorbell that works */
    check_eq(reap(vm, &admin, &r), 0);
    check_eq(r, 0x00010000);
    t_st(vm, BAR + 0x1000 + 8 * 5, 4, 1);
    t_st(vm, BAR + 0x1000, 4, admin.tail);
    check((t_ld(vm, ACQ + 16 * admin.head + 14, 2) & 1) != admin.phase);
    check_eq(command(vm, &admin, 0x02, 0, DATA, 0, 15 << 16 | 1, 0, 0, NULL), 0);
    check_eq(reap(vm, &admin, &r), 0);
    check_eq(r, 0x00010000);
}

static void test_mistakes(Vm *vm)
{
    machine(vm, "");
    io_queue(vm);
    check_eq(command(vm, &io, 0x02, 1, DATA, 0, 8191, 0, 1, NULL), 0x4080);
    check_eq(command(vm, &io, 0x02, 2, DATA, 0, 0, 0, 0, NULL), 0x400b);
    check_eq(command(vm, &io, 0x02, 1, DATA + 1, 0, 0, 0, 0, NULL), 0x4013);
    check_eq(command(vm, &io, 0x02, 1, DATA, 0xf0000000, 0, 0, 127, NULL), 0x0004); /* its list is nowhere */
    check_eq(command(vm, &io, 0x02, 1, DATA, LIST, 0, 0, 2000, NULL), 0x4002); /* MDTS */
    check_eq(command(vm, &io, 0x77, 1, 0, 0, 0, 0, 0, NULL), 0x4001);
    check_eq(command(vm, &admin, 0x02, 0, DATA, 0, 15 << 16 | 1, 0, 0, NULL), 0);
    check_eq(t_ld(vm, DATA, 8), 6); /* errors, the last first */
    check_eq(t_ld(vm, DATA + 12, 2), 0x4001 << 1);
    t_st(vm, CC, 4, 0);
    t_st(vm, BAR + 0x28, 8, 0xf0000000);
    t_st(vm, CC, 4, ENABLED);
    t_st(vm, BAR + 0x1000, 4, 1);
    check_eq(t_ld(vm, CSTS, 4), 3); /* ready, fatal */
    t_st(vm, CC, 4, 0);
    check_eq(t_ld(vm, CSTS, 4), 0);
    enable(vm);
    check_eq(command(vm, &admin, 0x06, 0, DATA, 0, 1, 0, 0, NULL), 0);
}

/* No room for answers: commands wait, none is lost. */
static void test_full(Vm *vm)
{
    unsigned posted = 0;

    machine(vm, "");
    for (unsigned i = 0; i < ENTRIES - 1; i++)
        ring(vm, &admin, (uint32_t[16]){ 0x0a, [10] = 1 });
    t_st(vm, ASQ + 64 * (ENTRIES - 1), 4, 0x0a);
    t_st(vm, ASQ + 64 * (ENTRIES - 1) + 40, 4, 1);
    admin.tail = (admin.tail + 5) % ENTRIES; /* that one and old ones once more */
    t_st(vm, BAR + 0x1000, 4, admin.tail);
    for (unsigned i = 0; i < ENTRIES; i++)
        posted += t_ld(vm, ACQ + 16 * i + 14, 2) & 1;
    check_eq(posted, ENTRIES - 1);
    for (unsigned i = 0; i < ENTRIES - 1 + 5; i++)
        check_eq(reap(vm, &admin, NULL), 0);
}

static bool is_down(void *vm) { return (t_ld(vm, CSTS, 4) & 12) == 8; }

/* With MSI-X each queue has a vector of its own; without, there is only the pin. */
static void test_vectors(Vm *vm)
{
    Dev *d = machine(vm, ",max_ioqpairs=2");

    check_eq(command(vm, &admin, 0x05, 0, CQ, 0, 15 << 16 | 1, 1 << 16 | 3, 0, NULL), 0x4108);
    for (unsigned cap = (unsigned)pci_config_read(PCI(d), 0x34, 1); cap; cap = (unsigned)pci_config_read(PCI(d), cap + 1, 1))
        if (pci_config_read(PCI(d), cap, 1) == 0x11) {
            check_eq(pci_config_read(PCI(d), cap + 2, 2), 2); /* three vectors */
            pci_config_write(PCI(d), cap + 2, 0x8000, 2);
        }
    check_eq(command(vm, &admin, 0x05, 0, CQ, 0, 15 << 16 | 1, 3 << 16 | 3, 0, NULL), 0x4108);
    check_eq(command(vm, &admin, 0x05, 0, CQ, 0, 15 << 16 | 1, 2 << 16 | 3, 0, NULL), 0);
    check(!t_irq(d));
}

static void test_shutdown(Vm *vm)
{
    machine(vm, "");
    t_st(vm, CC, 4, ENABLED | 1 << 14);
    check_eq(t_ld(vm, CSTS, 4) & 12, 4); /* the flush is under way */
    t_loop(vm, is_down, vm);
    check(is_down(vm));
}

TEST("nvme/identify", test_identify);
TEST("nvme/sizes", test_sizes);
TEST("nvme/sizes-default", test_default_sizes);
TEST("nvme/huge-blocks", test_huge_blocks);
TEST("nvme/read-write", test_read_write);
TEST("nvme/prp-list", test_prp_list);
TEST("nvme/features", test_features);
TEST("nvme/events", test_events);
TEST("nvme/mistakes", test_mistakes);
TEST("nvme/full", test_full);
TEST("nvme/vectors", test_vectors);
TEST("nvme/shutdown", test_shutdown);
