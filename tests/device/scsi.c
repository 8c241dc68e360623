/* tests/device/scsi.c - a SCSI disk, asked as an adapter asks it: INQUIRY, capacity, data, mode pages, mistakes. */
#include "hw/scsi/scsi.h"
#include "tests/device/pcihost.h"

static uint8_t data[2 * 1024 * 1024];
static bool over;
static uint64_t moved;


static void done(ScsiReq *q) { over = true; }
static bool is_over(void *arg) { return over; }

static ScsiBus *machine_of(Vm *vm, unsigned mb, const char *more)
{
    g_autofree char *text = g_strdup_printf("scsi-hd,drive=d0,bus=scsi.0,scsi-id=3%s", more);

    t_pci(vm);
    t_disk(vm, "d0", mb, "serial=S3R");
    dev_plug(vm, NULL, "virtio-scsi-pci", &abort_on_error);
    dev_plug(vm, NULL, text, &abort_on_error);
    return (ScsiBus *)(void *)bus_find(vm, "scsi.0");
}

static ScsiBus *machine(Vm *vm, const char *more) { return machine_of(vm, 4, more); }

/* The command's sense as key << 16 | code, or 0; what it moves goes through `data`. */
static unsigned ask_unit(Vm *vm, const ScsiBus *b, unsigned lun, const uint8_t *cdb)
{
    ScsiReq q = { .dev = scsi_find(b, 3, -1), .done = done };
    struct iovec iov;
    unsigned sense;

    memcpy(q.cdb, cdb, sizeof(q.cdb));
    scsi_prepare(&q, b, 3, lun);
    check(q.len <= sizeof(data));
    if (q.direct) {
        iov = (struct iovec){ data, q.len };
        q.r.iov = &iov;
        q.r.niov = 1;
    } else if (q.dir == SCSI_OUT) {
        memcpy(q.buf, data, q.len);
    }
    over = false;
    scsi_go(&q);
    t_loop(vm, is_over, NULL);
    check(over);
    if (!q.direct && q.dir == SCSI_IN && !q.status)
        memcpy(data, q.buf, q.len);
    moved = q.status ? 0 : q.len;
    sense = q.status ? (unsigned)q.sense[2] << 16 | be16_load(q.sense + 12) : 0;
    scsi_end(&q);
    return sense;
}
#define ask(vm, b, ...) ask_unit(vm, b, 0, (const uint8_t[SCSI_CDB]){ __VA_ARGS__ })

static ScsiBus *ready(Vm *vm, const char *more)
{
    ScsiBus *b = machine(vm, more);

    check_eq(ask(vm, b, 0), 6u << 16 | 0x2900); /* once, after power on */
    check_eq(ask(vm, b, 0), 0);
    return b;
}

static void test_identity(Vm *vm)
{
    ScsiBus *b = machine(vm, ",vendor=ACME,wwn=0x5000c50015ea71ac");

    check_eq(ask(vm, b, 0x12, 0, 0, 0, 36), 0); /* even with a unit attention waiting */
    check_eq(moved, 36);
    check(!memcmp(data + 8, "ACME    MENURA HARDDISK ", 24));
    check_eq(ask(vm, b, 0x12, 0, 0, 0, 5), 0);
    check_eq(moved, 5);
    check_eq(ask(vm, b, 0x12, 1, 0x80, 0, 255), 0);
    check(!memcmp(data + 4, "S3R", 3));
    check_eq(ask(vm, b, 0x12, 1, 0x83, 0, 255), 0);
    check_eq(be64_load(data + 4 + 4 + 3 + 4), 0x5000c50015ea71ac);
    check_eq(ask(vm, b, 0x12, 1, 0x99, 0, 255), 5u << 16 | 0x2400);
    check_eq(ask(vm, b, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64), 0);
    check_eq(be32_load(data), 8);
    check_eq(ask_unit(vm, b, 7, (const uint8_t[SCSI_CDB]){ 0x12, 0, 0, 0, 36 }), 0); /* a unit that is not there */
    check_eq(data[0], 0x7f);
    check_eq(ask_unit(vm, b, 7, (const uint8_t[SCSI_CDB]){ 0 }), 5u << 16 | 0x2500);
    check_eq(ask(vm, b, 0x00), 6u << 16 | 0x2900);
    check_eq(ask(vm, b, 0xfe), 5u << 16 | 0x2000);
}

static void test_data(Vm *vm)
{
    ScsiBus *b = ready(vm, "");

    check_eq(ask(vm, b, 0x25), 0);
    check_eq(be32_load(data), 8191);
    check_eq(be32_load(data + 4), 512);
    check_eq(ask(vm, b, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), 0);
    check_eq(be64_load(data), 8191);
    check_eq(ask(vm, b, 0x28, 0, 0, 0, 0, 9, 0, 0, 2), 0);
    check_eq(moved, 1024);
    check_eq(le32_load(data + 512), 10);
    memset(data, 0x5a, 512);
    check_eq(ask(vm, b, 0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 1), 0); /* WRITE (16), FUA */
    memset(data, 0, 512);
    check_eq(ask(vm, b, 0x08, 0, 0, 20, 1), 0); /* READ (6) */
    check_eq(data[511], 0x5a);
    check_eq(ask(vm, b, 0x28, 0, 0, 0, 0x1f, 0xff, 0, 0, 2), 5u << 16 | 0x2100);
    check_eq(ask(vm, b, 0x35), 0);
    check_eq(ask(vm, b, 0x2f, 0, 0, 0, 0, 9, 0, 0, 2), 0);
    memset(data, 7, 512); /* a pattern over 1000 blocks, in more than one piece */
    check_eq(ask(vm, b, 0x41, 0, 0, 0, 0, 100, 0, 0x03, 0xe8), 0);
    check_eq(ask(vm, b, 0x28, 0, 0, 0, 0x04, 0x4b, 0, 0, 2), 0);
    check_eq(data[0], 7);
    check_eq(le32_load(data + 512), 1100); /* the block behind */
    check_eq(ask(vm, b, 0x93, 1, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 8), 0); /* no data: zeroes */
    check_eq(ask(vm, b, 0x28, 0, 0, 0, 0, 107, 0, 0, 2), 0);
    check_eq(data[0] << 8 | data[512], 7);
}

static void test_unmap(Vm *vm)
{
    ScsiBus *b = ready(vm, "");

    memset(data, 0, 64);
    be16_store(data + 2, 32);
    be64_store(data + 8, 1000);
    be32_store(data + 16, 100);
    be64_store(data + 24, 2000);
    be32_store(data + 32, 1);
    check_eq(ask(vm, b, 0x42, 0, 0, 0, 0, 0, 0, 0, 40), 0);
    be64_store(data + 24, 8191);
    be32_store(data + 32, 2);
    check_eq(ask(vm, b, 0x42, 0, 0, 0, 0, 0, 0, 0, 40), 5u << 16 | 0x2100);
    be16_store(data + 2, 48); /* more than there is */
    check_eq(ask(vm, b, 0x42, 0, 0, 0, 0, 0, 0, 0, 40), 5u << 16 | 0x2600);
}

/* SBC-4 sections 5.20 (READ CAPACITY), 6.6 (pages B0h and B2h). */
static void test_sizes(Vm *vm)
{
    ScsiBus *b = ready(vm, ",logical_block_size=4096,physical_block_size=16K,min_io_size=12K,opt_io_size=20K,discard_granularity=64K");

    check_eq(ask(vm, b, 0x25), 0);
    check_eq(be64_load(data), 1023ull << 32 | 4096);
    check_eq(ask(vm, b, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), 0);
    check_eq(be64_load(data), 1023);
    check_eq(be32_load(data + 8), 4096);
    check_eq(be16_load(data + 12), 2); /* exponent */
    check_eq(be16_load(data + 14), 0x8000);
    check_eq(ask(vm, b, 0x12, 1, 0xb0, 0, 255), 0);
    check_eq(be16_load(data + 6), 3);
    check_eq(be32_load(data + 12), 5);
    check_eq(be32_load(data + 28), 16);
    check_eq(ask(vm, b, 0x12, 1, 0xb2, 0, 255), 0);
    check_eq(be16_load(data + 5), 0xe002);
    check_eq(ask(vm, b, 0x28, 0, 0, 0, 0, 9, 0, 0, 1), 0);
    check_eq(moved, 4096);
    check_eq(le32_load(data), 72);
}

static void test_default_sizes(Vm *vm)
{
    ScsiBus *b = ready(vm, "");

    check_eq(ask(vm, b, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), 0);
    check_eq(be64_load(data + 8), 512ull << 32 | 0x8000);
    check_eq(ask(vm, b, 0x12, 1, 0xb0, 0, 255), 0);
    check_eq(be16_load(data + 6) | be32_load(data + 12), 0);
    check_eq(be32_load(data + 28), 8);
}

static void test_no_discard(Vm *vm)
{
    ScsiBus *b = ready(vm, ",discard_granularity=0");

    check_eq(ask(vm, b, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), 0);
    check_eq(be16_load(data + 14), 0);
    check_eq(ask(vm, b, 0x12, 1, 0xb0, 0, 255), 0);
    check_eq(be64_load(data + 20), 0);
    check_eq(be32_load(data + 28), 0);
    check_eq(ask(vm, b, 0x12, 1, 0xb2, 0, 255), 0);
    check_eq(be16_load(data + 5), 0);
    check_eq(ask(vm, b, 0x42, 0, 0, 0, 0, 0, 0, 0, 0), 5u << 16 | 0x2000);
    check_eq(ask(vm, b, 0x93, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1), 5u << 16 | 0x2400);
}

/* A block larger than the pieces in which a pattern is written. */
static void test_huge_blocks(Vm *vm)
{
    ScsiBus *b = ready(vm, ",logical_block_size=2M");

    memset(data, 7, sizeof(data));
    check_eq(ask(vm, b, 0x41, 0, 0, 0, 0, 0, 0, 0, 2), 0);
    memset(data, 0, sizeof(data));
    check_eq(ask(vm, b, 0x28, 0, 0, 0, 0, 1, 0, 0, 1), 0);
    check_eq(moved, sizeof(data));
    check_eq(data[0] << 8 | data[sizeof(data) - 1], 0x707);
}

static void test_no_block(Vm *vm)
{
    ScsiBus *b = machine_of(vm, 1, ",logical_block_size=2M");

    check_eq(ask(vm, b, 0), 6u << 16 | 0x2900);
    check_eq(ask(vm, b, 0x25), 2u << 16 | 0x0403);
    check_eq(ask(vm, b, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), 2u << 16 | 0x0403);
    check_eq(ask(vm, b, 0x28, 0, 0, 0, 0, 0, 0, 0, 1), 5u << 16 | 0x2100);
}

static void test_mode(Vm *vm)
{
    ScsiBus *b = ready(vm, "");

    check_eq(ask(vm, b, 0x1a, 0, 0x08, 0, 255), 0);
    check_eq(data[3], 8); /* a block descriptor */
    check_eq(data[12] << 8 | data[14], 0x0804);
    check_eq(ask(vm, b, 0x5a, 8, 0x3f, 0, 0, 0, 0, 0, 255), 0);
    check_eq(be16_load(data), moved - 2);
    memset(data, 0, 64);
    data[4] = 8;
    data[5] = 0x12;
    check_eq(ask(vm, b, 0x15, 0x10, 0, 0, 24), 0); /* write cache off */
    check_eq(ask(vm, b, 0x1a, 8, 0x08, 0, 255), 0);
    check_eq(data[6], 0);
    memset(data, 0, 64);
    data[4] = 0x11; /* no such page */
    check_eq(ask(vm, b, 0x15, 0x10, 0, 0, 24), 5u << 16 | 0x2600);
    check_eq(ask(vm, b, 0x1a, 0, 0xc8, 0, 255), 5u << 16 | 0x3900);
    check_eq(ask(vm, b, 0x1b, 0, 0, 0, 0), 0); /* stop */
    check_eq(ask(vm, b, 0x00), 2u << 16 | 0x0402);
    check_eq(ask(vm, b, 0x1b, 0, 0, 0, 1), 0);
    check_eq(ask(vm, b, 0x00), 0);
}

static void test_places(Vm *vm)
{
    ScsiBus *b = machine(vm, "");

    t_disk(vm, "d1", 4, NULL);
    t_disk(vm, "d2", 4, NULL);
    t_refused(vm, NULL, "scsi-hd,drive=d1,bus=scsi.0,scsi-id=3", "scsi-id=3,lun=0 of bus 'scsi.0' is taken");
    dev_plug(vm, NULL, "scsi-hd,drive=d1,bus=scsi.0,scsi-id=3,lun=300", &abort_on_error);
    check_eq(SCSI(dev_plug(vm, NULL, "scsi-hd,drive=d2,bus=scsi.0", &abort_on_error))->id, 0);
    check_eq(ask(vm, b, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64), 0);
    check_eq(be32_load(data), 16);
    check_eq(be16_load(data + 16), 0x4000 | 300);
}

static void test_cd(Vm *vm)
{
    ScsiBus *b;
    Disk *disc;

    t_pci(vm);
    disc = t_disk(vm, "c0", 4, "media=cdrom");
    dev_plug(vm, NULL, "virtio-scsi-pci", &abort_on_error);
    dev_plug(vm, NULL, "scsi-cd,drive=c0,bus=scsi.0,scsi-id=3", &abort_on_error);
    b = (ScsiBus *)(void *)bus_find(vm, "scsi.0");
    check_eq(ask(vm, b, 0x12, 0, 0, 0, 36), 0);
    check_eq(data[0] << 8 | data[1], 0x580);
    check_eq(ask(vm, b, 0x12, 1, 0xb0, 0, 255), 5u << 16 | 0x2400); /* a page of disks */
    check_eq(ask(vm, b, 0), 6u << 16 | 0x2900);
    check_eq(ask(vm, b, 0x25), 0);
    check_eq(be32_load(data) << 12 | be32_load(data + 4), 2047 << 12 | 2048);
    check_eq(ask(vm, b, 0x28, 0, 0, 0, 0, 9, 0, 0, 2), 0);
    check_eq(moved, 4096);
    check_eq(le32_load(data + 2048), 40);
    check_eq(ask(vm, b, 0x28, 0, 0, 0, 0x08, 0, 0, 0, 1), 5u << 16 | 0x2100);
    check_eq(ask(vm, b, 0xbe, 0, 0, 0, 0, 9, 0, 0, 2, 0xf8), 0); /* READ CD, raw */
    check_eq(moved, 2 * 2352);
    check_eq(be32_load(data + 2352 + 12), 0x00021001); /* 00:02:10, mode 1 */
    check_eq(le32_load(data + 2352 + 16), 40);
    check_eq(ask(vm, b, 0x2a, 0, 0, 0, 0, 9, 0, 0, 1), 5u << 16 | 0x2000); /* nothing writes */
    check_eq(ask(vm, b, 0x1e, 0, 0, 0, 1), 0);
    check(!disk_eject(disc, false, NULL)); /* locked: the guest is asked */
    check_eq(ask(vm, b, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), 0);
    check_eq(data[4] << 8 | data[5], 0x0102);
    check_eq(ask(vm, b, 0x1b, 0, 0, 0, 2), 5u << 16 | 0x5302);
    check_eq(ask(vm, b, 0x1e), 0);
    check_eq(ask(vm, b, 0x1b, 0, 0, 0, 2), 0); /* out */
    check(disk_tray_open(disc));
    check_eq(ask(vm, b, 0x00), 2u << 16 | 0x3a02);
    check_eq(ask(vm, b, 0x1b, 0, 0, 0, 3), 0); /* in again */
    check_eq(ask(vm, b, 0x00), 6u << 16 | 0x2800);
    check_eq(ask(vm, b, 0x00), 0);
    check(disk_eject(disc, false, NULL));
    check_eq(ask(vm, b, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), 0);
    check_eq(data[4], 3);
}

TEST("scsi/cd", test_cd);
TEST("scsi/identity", test_identity);
TEST("scsi/data", test_data);
TEST("scsi/unmap", test_unmap);
TEST("scsi/sizes", test_sizes);
TEST("scsi/sizes-default", test_default_sizes);
TEST("scsi/no-discard", test_no_discard);
TEST("scsi/huge-blocks", test_huge_blocks);
TEST("scsi/no-block", test_no_block);
TEST("scsi/mode", test_mode);
TEST("scsi/places", test_places);
