/*
 * hw/block/floppy.c - floppy drives: what is in them, where their head is. The format of a medium follows from the
 * size of its image, as the PC's formats are all of 512-byte sectors.
 */
#include "hw/block/fdc.h"

enum { LAST_TRACK = 85 /* where the head meets its stop */ };

/* clang-format off */
static const struct {
    uint16_t sectors; /* of the whole medium */
    FloppyGeometry g;
} formats[] = {
    { 320,  { 40, 1, 8, 2 } },  { 360,  { 40, 1, 9, 2 } },  { 640,  { 40, 2, 8, 2 } },  { 720,  { 40, 2, 9, 2 } },
    { 1440, { 80, 2, 9, 2 } },  { 2400, { 80, 2, 15, 0 } }, { 2880, { 80, 2, 18, 0 } }, { 3200, { 80, 2, 20, 0 } },
    { 3360, { 80, 2, 21, 0 } }, { 3444, { 82, 2, 21, 0 } }, { 5760, { 80, 2, 36, 3 } },
};
/* clang-format on */

bool floppy_ready(const Floppy *f) { return f->disk && disk_present(f->disk); }

/* An image of another size is a medium of the next larger format whose rest cannot be read. */
FloppyGeometry floppy_geometry(const Floppy *f)
{
    uint64_t sectors = f->disk ? disk_size(f->disk) / FLOPPY_SECTOR : 0;

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++)
        if (sectors <= formats[i].sectors)
            return formats[i].g;
    return formats[G_N_ELEMENTS(formats) - 1].g;
}

void floppy_step(Floppy *f, unsigned track)
{
    track = MIN(track, LAST_TRACK);
    if (track != f->track && floppy_ready(f))
        f->changed = 0;
    f->track = (uint8_t)track;
}

static FloppyType type_of(const Floppy *f)
{
    FloppyGeometry g = floppy_geometry(f);

    if (f->type != FLOPPY_AUTO)
        return (FloppyType)f->type;
    if (!floppy_ready(f))
        return FLOPPY_288;
    return g.sectors == 36 ? FLOPPY_288 : g.sectors == 15 ? FLOPPY_120 : FLOPPY_144;
}

uint8_t fdc_drive_type(const Dev *fdc, unsigned unit)
{
    static const uint8_t cmos[] = { [FLOPPY_144] = 4, [FLOPPY_288] = 5, [FLOPPY_120] = 2, [FLOPPY_NONE] = 0 };
    Bus *b = bus_find_type(dev_vm(fdc), "floppy-bus");
    const Floppy *f = b && b->controller == fdc && unit < FLOPPY_UNITS ? ((FloppyBus *)(void *)b)->unit[unit] : NULL;

    return f ? cmos[type_of(f)] : 0;
}

/* ---- the cable ---- */
static bool bus_plug(Bus *bus, Dev *d, Error **err)
{
    FloppyBus *b = (FloppyBus *)(void *)bus;
    Floppy *f = FLOPPY(d);

    for (uint32_t i = 0; f->unit == UINT32_MAX && i < FLOPPY_UNITS; i++)
        if (!b->unit[i])
            f->unit = i;
    if (f->unit >= FLOPPY_UNITS) {
        fail(err, "floppy: there is no place for it");
        return error_hint(err, "the controller has units 0 and 1");
    }
    if (b->unit[f->unit])
        return fail(err, "floppy unit %u is in use", f->unit);
    b->unit[f->unit] = f;
    return true;
}

static void bus_unplug(Bus *bus, Dev *d)
{
    FloppyBus *b = (FloppyBus *)(void *)bus;
    uint32_t n = FLOPPY(d)->unit;

    if (n >= FLOPPY_UNITS || b->unit[n] != FLOPPY(d))
        return;
    b->unit[n] = NULL;
    b->gone(bus->controller, n);
}

static const BusClass bus_class = { .obj = { .name = "floppy-bus", .desc = "cable of a floppy controller", .size = sizeof(FloppyBus) },
                                    .type = "floppy-bus", .plug = bus_plug, .unplug = bus_unplug };

FloppyBus *floppy_bus_new(Dev *controller, void (*gone)(Dev *controller, unsigned unit))
{
    FloppyBus *b = (FloppyBus *)(void *)bus_new(&bus_class, controller, "floppy-bus.0");

    b->gone = gone;
    return b;
}

/* ---- the drive ---- */
static void medium(void *o, bool present)
{
    Floppy *f = o;

    WITH_DEV(&f->dev)
        f->changed = 1;
}
static const DiskOps disk_ops = { .medium = medium };
static void detach(void *disk) { disk_detach(disk); }

static bool init(Obj *o, Error **err)
{
    Floppy *f = FLOPPY(o);

    if (!f->disk) {
        g_autoptr(Opts) none = opts_new();

        f->disk = disk_new(o->vm, o->name, none, err);
        if (!f->disk)
            return false;
        own(o, f->disk, (void (*)(void *))disk_free);
    }
    disk_set_removable(f->disk);
    if (!disk_sizes(&f->conf, 0, err))
        return false;
    if (f->conf.physical != DISK_BLOCK_MIN) /* then the logical one is that, too */
        return fail(err, "logical_block_size=%u, physical_block_size=%u: must be %d for a floppy", f->conf.logical, f->conf.physical, DISK_BLOCK_MIN);
    if (!disk_attach(f->disk, &(DiskUser){ &f->dev, &disk_ops, f, &f->conf, !disk_readonly(f->disk) }, err))
        return false;
    own(o, f->disk, detach);
    return true;
}

/* clang-format off */
static const char *const types[] = { "auto", "144", "288", "120", "none", NULL };
static const Prop props[] = {
    PROP_BOOTINDEX(Floppy),
    PROPS_DISK(Floppy, conf),
    PROPS_DISK_SIZES(Floppy, conf),
    PROP(Floppy, unit, "unit", UINT32_MAX, "0 drive A, 1 drive B; the first that is free when not given"),
    { .name = "drive", PROP_(Floppy, disk), .kind = P_LINK, .space = "drive", .doc = "the medium; empty when not given" },
    PROP_ENUM(Floppy, type, "drive-type", types, "auto", "what firmware is told"),
};
static const Field state[] = { FIELD(Floppy, track), FIELD(Floppy, changed, .reset = 1), TRANSIENT(Floppy, conf, "properties", .keep = true) };
static const DevClass floppy = {
    .obj = { .name = "floppy", .desc = "Floppy drive", .size = sizeof(Floppy), .props = TABLE(props), .init = init },
    .bus = "floppy-bus", .category = "Storage devices", .state = TABLE(state),
};
DEVICE(Floppy, floppy);
/* clang-format on */
