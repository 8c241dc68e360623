/*
 * hw/ide/ata.c - drives ide-hd and ide-cd: life, phases, disk requests and saved state.
 * Source: ATA8-ACS, ATA/ATAPI-7 volume 1. Not modelled: overlap and queueing of PACKET, CFA, security.
 * Invariants: a request in flight is fully described by io_op, io_off, io_len (and buf for writes), so a
 * load issues it again; its memory is its own, so a reset may forget it.
 *
 *   IDLE -exec-> WAIT(disk) <-> IN/OUT(host) -> IDLE
 */
#include "hw/ide/ata.h"

typedef struct AtaIo {
    Ata *a; /* NULL: forgotten */
    BlkReq r;
    struct iovec iov;
    uint8_t *data;
} AtaIo;

static IdeBus *bus_of(const Ata *a) { return (IdeBus *)(void *)a->dev.bus; }
static uint8_t at_rest(const Ata *a) { return a->cd ? ATA_DRDY : ATA_DRDY | ATA_DSC; }

static void ready(Ata *a)
{
    IdeBus *b = bus_of(a);

    if (b)
        b->host->ready(b, a);
}

/* ---- phases ---- */
static void set_buf(Ata *a, uint8_t *data, uint32_t len)
{
    g_free(a->buf);
    a->buf = data;
    a->len = len;
    a->pos = a->block = 0;
}

void ata_end(Ata *a)
{
    a->phase = ATA_IDLE;
    a->step = STEP_DONE;
    set_buf(a, NULL, 0);
    ready(a);
}

void ata_done(Ata *a)
{
    a->status = at_rest(a);
    a->error = 0;
    a->intrq = true;
    ata_end(a);
}

void ata_fail(Ata *a, uint8_t error)
{
    a->status = at_rest(a) | ATA_ERR;
    a->error = error;
    a->intrq = true;
    ata_end(a);
}

static void next_block(Ata *a)
{
    a->block = a->dma ? a->len : MIN(a->len, a->pos + ata_block_size(a));
    if (a->command == 0xa0 && a->step != STEP_PACKET)
        atapi_set_limits(a);
    a->status = at_rest(a) | ATA_DRQ;
}

void ata_offer(Ata *a, uint8_t *data, uint32_t len, AtaStep then)
{
    set_buf(a, data, len);
    a->phase = ATA_IN;
    a->step = (uint8_t)then;
    next_block(a);
    a->intrq |= !a->dma;
    ready(a);
}

void ata_ask(Ata *a, uint32_t len, AtaStep then)
{
    set_buf(a, g_malloc0(len), len);
    a->phase = ATA_OUT;
    a->step = (uint8_t)then;
    next_block(a);
    a->intrq |= !a->dma && !a->no_irq;
    a->no_irq = false;
    ready(a);
}

void ata_moved(Ata *a)
{
    if (a->phase != ATA_IN && a->phase != ATA_OUT)
        return;
    a->pos = a->block;
    if (a->pos < a->len) {
        next_block(a);
        a->intrq = true;
        ready(a);
        return;
    }
    a->phase = ATA_WAIT;
    a->status = ATA_BSY;
    ata_step(a, (AtaStep)a->step, 0);
}

/* The last block of a PIO read was taken: no interrupt follows. */
static void quiet_end(Ata *a)
{
    if (a->dma) {
        ata_done(a);
        return;
    }
    a->status = at_rest(a);
    ata_end(a);
}

void ata_step(Ata *a, AtaStep step, int ret)
{
    switch (step) {
    case STEP_DONE:
        if (a->len && !ret)
            quiet_end(a);
        else if (ret)
            ata_fail(a, ATA_ABRT);
        else
            ata_done(a);
        break;
    case STEP_READ:
    case STEP_NEXT:
    case STEP_WRITE:
    case STEP_WROTE:
    case STEP_TRIM: ata_rw_step(a, step, ret); break;
    default: atapi_step(a, step, ret); break;
    }
}

/* ---- disk requests ---- */
static void io_free(AtaIo *io)
{
    g_free(io->data);
    g_free(io);
}

static void io_finish(Ata *a, AtaIo *io, int ret)
{
    a->io = NULL;
    a->io_op = 0;
    if (io->r.op == BLK_READ && !ret) {
        set_buf(a, g_steal_pointer(&io->data), (uint32_t)io->r.len);
        a->block = a->len;
    }
    ata_step(a, (AtaStep)a->step, ret);
}

static void io_done(void *o, BlkReq *r, int ret)
{
    AtaIo *io = o;
    Ata *a = io->a;

    if (a) {
        IdeBus *b = bus_of(a);
        Dev *host = b ? b->bus.controller : &a->dev;

        dev_enter(host);
        WITH_DEV(&a->dev)
            io_finish(a, io, ret);
        dev_leave(host);
    }
    io_free(io);
}

static void io_start(Ata *a)
{
    AtaIo *io = g_new0(AtaIo, 1);
    bool moves = a->io_op == BLK_READ + 1 || a->io_op == BLK_WRITE + 1;

    io->a = a;
    io->r = (BlkReq){ .op = (BlkOp)(a->io_op - 1), .off = a->io_off, .len = a->io_len };
    if (moves) {
        io->data = g_malloc(a->io_len);
        if (a->io_op == BLK_WRITE + 1)
            memcpy(io->data, a->buf, a->io_len);
        io->iov = (struct iovec){ io->data, a->io_len };
        io->r.iov = &io->iov;
        io->r.niov = 1;
    }
    if (io->r.op == BLK_DISCARD || io->r.op == BLK_ZERO)
        io->r.flags = BLK_MAY_UNMAP;
    a->io = io;
    disk_submit(a->disk, &io->r, io_done, io);
}

void ata_io(Ata *a, BlkOp op, uint64_t off, uint64_t len, AtaStep then)
{
    a->phase = ATA_WAIT;
    a->status = ATA_BSY;
    a->step = (uint8_t)then;
    a->io_op = (uint8_t)(op + 1);
    a->io_off = off;
    a->io_len = len;
    io_start(a);
}

static void forget_io(Ata *a)
{
    if (!a->io)
        return;
    a->io->a = NULL;
    a->io = NULL;
    disk_cancel_all(a->disk);
}

/* ---- commands and reset ---- */
void ata_exec(Ata *a, uint8_t command)
{
    if (a->phase != ATA_IDLE && !(a->cd && command == 0x08)) {
        guest_error(&a->dev, "command %#x while command %#x runs", command, a->command);
        return;
    }
    a->command = command;
    a->intrq = false;
    a->error = 0;
    a->dma = a->lba48 = a->no_irq = false;
    a->status = ATA_BSY;
    a->phase = ATA_WAIT;
    a->step = STEP_DONE;
    WITH_DEV(&a->dev)
        if (!ata_command(a)) {
            guest_unimp(&a->dev, "ATA command %#x", command);
            ata_fail(a, ATA_ABRT);
        }
}

void ata_signature(Ata *a)
{
    memset(&a->r, 0, sizeof(a->r));
    a->r.count[0] = 1;
    a->r.lba[0][0] = 1;
    if (a->cd) {
        a->r.lba[1][0] = 0x14;
        a->r.lba[2][0] = 0xeb;
    }
}

void ata_reset(Ata *a, bool diagnose)
{
    forget_io(a);
    set_buf(a, NULL, 0);
    a->io_op = 0;
    a->phase = ATA_IDLE;
    a->step = STEP_DONE;
    a->intrq = false;
    a->dma = false;
    a->error = 1; /* diagnostic: passed */
    a->status = a->cd ? 0 : ATA_DRDY | ATA_DSC;
    a->halted = false;
    if (diagnose)
        a->multiple = 0;
    ata_signature(a);
}

static void on_reset(Dev *d)
{
    Ata *a = ATA(d);

    ata_reset(a, true);
    a->write_cache = a->read_ahead = a->smart = true;
    a->transfer_mode = 0x45; /* UDMA5 */
    if (a->cd)
        disk_lock_tray(a->disk, false);
}

/* ---- the medium, from the user ---- */
static void medium(void *o, bool present)
{
    Ata *a = o;

    WITH_DEV(&a->dev) {
        a->attention = true;
        mmc_medium(&a->mmc, present);
    }
}

static bool may_eject(void *o, bool force) { return mmc_may_eject(&((Ata *)o)->mmc, force); }
static const DiskOps disk_ops = { .medium = medium, .eject = may_eject };

/* ---- life ---- */
static void detach(void *disk) { disk_detach(disk); }

static bool sizes(Ata *a, Error **err)
{
    if (!disk_sizes(&a->conf, ATA_SECTOR, err))
        return false;
    if (a->conf.logical != ATA_SECTOR)
        return fail(err, "logical_block_size=%u: must be %d for a device on an IDE bus", a->conf.logical, ATA_SECTOR);
    return a->conf.granularity <= ATA_SECTOR ||
           fail(err, "discard_granularity=%u: must be %d, or 0, for a device on an IDE bus", a->conf.granularity, ATA_SECTOR);
}

static bool init(Obj *o, Error **err)
{
    Ata *a = ATA(o);

    a->cd = !strcmp(a->dev.cls->obj.name, "ide-cd");
    if (!a->disk) {
        if (!a->cd) {
            fail(err, "%s needs drive=", a->dev.cls->obj.name);
            return error_hint(err, "add -drive if=none,id=ID,file=.. and drive=ID");
        }
        g_autoptr(Opts) none = opts_new();

        a->disk = disk_new(o->vm, o->name, none, err);
        if (!a->disk)
            return false;
        own(o, a->disk, (void (*)(void *))disk_free);
    }
    if (!a->cd && !disk_present(a->disk))
        return fail(err, "drive '%s' has no medium, which a disk needs", disk_id(a->disk));
    if (!sizes(a, err))
        return false;
    if (!disk_attach(a->disk, &(DiskUser){ &a->dev, &disk_ops, a, &a->conf, !a->cd }, err))
        return false;
    own(o, a->disk, detach);
    return true;
}

static void unplug(Dev *d)
{
    Ata *a = ATA(d);
    IdeBus *b = bus_of(a);

    if (b && b->drv[a->unit] == a)
        b->drv[a->unit] = NULL;
    forget_io(a);
}

static bool check(const Dev *d, Error **err)
{
    const Ata *a = (const Ata *)(const void *)d;
    bool data = a->phase == ATA_IN || a->phase == ATA_OUT;

    if (a->phase > ATA_OUT || a->step >= STEPS || a->len > ATA_CHUNK || a->pos > a->block || a->block > a->len ||
        (data && a->block <= a->pos) || (a->cd && a->sector_size > 2352) || a->sectors > ATA_CHUNK / ATA_SECTOR)
        return fail(err, "impossible transfer state");
    if (a->io_op && (a->phase != ATA_WAIT || a->io_op > BLK_ZERO + 1 || (a->io_len > ATA_CHUNK && a->io_op <= BLK_WRITE + 1)))
        return fail(err, "impossible disk request");
    if ((a->phase == ATA_WAIT) != (a->io_op != 0))
        return fail(err, "waits for nothing");
    if (a->io_op == BLK_WRITE + 1 && a->io_len > a->len)
        return fail(err, "writes more than it holds");
    if (a->multiple > 16 || (a->multiple & (a->multiple - 1)))
        return fail(err, "impossible multiple count");
    return true;
}

static void loaded(Dev *d)
{
    Ata *a = ATA(d);

    forget_io(a);
    if (a->io_op)
        io_start(a);
    if (a->cd)
        disk_lock_tray(a->disk, a->mmc.locked);
}

static bool drained(const Dev *d) { return !((const Ata *)(const void *)d)->io; }

static char *state_key(const Dev *d)
{
    const Ata *a = (const Ata *)(const void *)d;
    g_autofree char *path = obj_path(&d->bus->obj);

    return g_strdup_printf("%s/ide%d", path, a->unit);
}

/* clang-format off */
static const Prop props[] = {
    { .name = "drive", PROP_(Ata, disk), .kind = P_LINK, .space = "drive", .doc = "the disk or disc behind it" },
    PROP_BOOTINDEX(Ata),
    PROPS_DISK(Ata, conf),
    PROPS_DISK_ERRORS(Ata, conf),
    PROPS_DISK_SIZES(Ata, conf),
    PROP_STR(Ata, serial, "serial", NULL, "serial number; default: the drive's, or MN0000n"),
    PROP_STR(Ata, model, "model", NULL, "model name in IDENTIFY"),
    PROP_STR(Ata, version, "ver", NULL, "firmware revision in IDENTIFY"),
    PROP(Ata, wwn, "wwn", 0, "world wide name; 0: none"),
    PROP(Ata, unit, "unit", -1, "0 master, 1 slave; -1: the first free"),
};
#define A8(m, ...) FIELD(Ata, m, __VA_ARGS__)
static const Field regs_fields[] = {
    ARRAY_FIELD(AtaRegs, feature), ARRAY_FIELD(AtaRegs, count), BYTES(AtaRegs, lba), FIELD(AtaRegs, device),
};
static const FieldTable regs_table = TABLE(regs_fields);
static const Field fields[] = {
    STRUCT(Ata, r, &regs_table), A8(status), A8(error), A8(command), A8(phase), A8(step), A8(intrq), A8(dma), A8(lba48),
    A8(no_irq), A8(multiple), A8(transfer_mode), A8(power), A8(write_cache), A8(read_ahead), A8(smart), A8(packet_dma),
    A8(lba), A8(left), A8(sectors), BUF(Ata, buf, len, ATA_CHUNK), A8(pos), A8(block), A8(io_op), A8(io_off), A8(io_len),
    BYTES(Ata, ncq_log), A8(halted), BYTES(Ata, cdb), A8(sense), A8(asc), A8(ascq), STRUCT(Ata, mmc, &mmc_fields), A8(attention, .keep = true),
    A8(sector_size, .reset = CD_SECTOR),
    TRANSIENT(Ata, io, "a request of the host; issued again from io_op", .keep = true),
    TRANSIENT(Ata, cd, "the class's", .keep = true),
};
#define ATA_CLASS(nm, dc)                                                                          \
    { .obj = { .name = nm, .desc = dc, .size = sizeof(Ata), .props = TABLE(props), .init = init },  \
      .bus = "ide", .state = TABLE(fields), .on_reset = on_reset, .check = check, .loaded = loaded, .unplug = unplug, \
      .drained = drained, .state_key = state_key, .category = "Storage devices" }
static const DevClass ide_hd = ATA_CLASS("ide-hd", "ATA hard disk");
static const DevClass ide_cd = ATA_CLASS("ide-cd", "ATAPI CD/DVD drive");
/* clang-format on */
DEVICE(Ata, ide_hd);
DEVICE(Ata, ide_cd);

/* ---- the bus ---- */
static bool bus_plug(Bus *bus, Dev *d, Error **err)
{
    IdeBus *b = (IdeBus *)(void *)bus;
    Ata *a = ATA(d);
    int32_t max = (int32_t)bus->max;

    for (int32_t i = 0; a->unit < 0 && i < max; i++)
        if (!b->drv[i])
            a->unit = i;
    if (a->unit < 0 || a->unit >= max)
        return fail(err, "bus '%s' has no unit %d", bus->obj.name, a->unit);
    if (b->drv[a->unit])
        return fail(err, "unit %d of bus '%s' is taken", a->unit, bus->obj.name);
    b->drv[a->unit] = a;
    return true;
}

static void bus_unplug(Bus *bus, Dev *d)
{
    IdeBus *b = (IdeBus *)(void *)bus;

    for (unsigned i = 0; i < G_N_ELEMENTS(b->drv); i++)
        if (b->drv[i] == ATA(d))
            b->drv[i] = NULL;
}

static char *bus_address(const Bus *b, const Dev *d) { return g_strdup_printf("unit %d", ((const Ata *)(const void *)d)->unit); }

static const BusClass ide_bus_class = {
    .obj = { .name = "IDE", .desc = "ATA cable or port", .size = sizeof(IdeBus) },
    .type = "ide", .plug = bus_plug, .unplug = bus_unplug, .address = bus_address,
};

IdeBus *ide_bus_new(Dev *adapter, unsigned n, unsigned units, const AtaHost *host)
{
    g_autofree char *name = g_strdup_printf("%s.%u", adapter->id ? adapter->id : "ide", n);
    IdeBus *b = (IdeBus *)(void *)bus_new(&ide_bus_class, adapter, name);

    b->bus.max = units;
    b->host = host;
    b->n = n;
    return b;
}
