/*
 * hw/display/vga.c - the standard VGA ("VGA", PCI 1234:1111): ports as register tables, life.
 * Source: IBM VGA technical reference, FreeVGA register descriptions. Left out: EDID, light pen, feature
 * connector, timing (retrace bits just alternate).
 */
#include "hw/display/vga.h"

enum { PORTS = 0x3b0, NPORTS = 0x30 };

static const Vga *of(const Dev *d) { return (const Vga *)(const void *)d; }
static bool is_colour(const Dev *d) { return of(d)->msr & 1; }
static bool is_mono(const Dev *d) { return !(of(d)->msr & 1); }
static bool crt_open(const Dev *d) { return !(of(d)->cr[0x11] & 0x80); }

static void changed(Dev *d, unsigned n, uint64_t old)
{
    VGA(d)->stale = true;
    vga_update_bank(VGA(d));
}
static void changed1(Dev *d, uint64_t old) { VGA(d)->stale = true; }

/* Protected with CR0..CR7, but for the bit of the line compare. */
static void overflow_w(Dev *d, uint64_t val, unsigned lanes)
{
    Vga *s = VGA(d);
    uint8_t mask = crt_open(d) ? 0xff : 0x10;

    s->cr[7] = (uint8_t)((s->cr[7] & ~mask) | (val & mask));
    s->stale = true;
}

/* ---- attribute controller: one port for index and data ---- */
static void attribute_w(Dev *d, uint64_t val, unsigned lanes)
{
    Vga *s = VGA(d);
    unsigned n = s->ar_index & 31;

    if (!s->ar_data)
        s->ar_index = (uint8_t)(val & 0x3f);
    else if (n < 0x15 && (n >= 16 || !(s->ar_index & 0x20)))
        s->ar[n] = (uint8_t)(n < 16 ? val & 0x3f : val);
    s->ar_data = !s->ar_data;
    s->stale = true;
}
static uint64_t attribute_value(const Dev *d) { return of(d)->ar[of(d)->ar_index & 31]; }

static uint64_t st00_value(const Dev *d) { return 0x10; }
static void st01_read(Dev *d, unsigned lanes)
{
    VGA(d)->st01 ^= 0x09; /* display enable and vertical retrace */
    VGA(d)->ar_data = false;
}

/* ---- palette ---- */
static void dac_read_w(Dev *d, uint64_t old)
{
    VGA(d)->dac_sub = 0;
    VGA(d)->dac_state = 3;
}

static void dac_write_w(Dev *d, uint64_t old)
{
    VGA(d)->dac_sub = 0;
    VGA(d)->dac_state = 0;
}

static uint64_t dac_value(const Dev *d) { return of(d)->palette[of(d)->dac_read * 3 + of(d)->dac_sub % 3]; }

static void dac_next(Dev *d, unsigned lanes)
{
    Vga *s = VGA(d);

    if (++s->dac_sub >= 3) {
        s->dac_sub = 0;
        s->dac_read++;
    }
}

static void dac_data_w(Dev *d, uint64_t val, unsigned lanes)
{
    Vga *s = VGA(d);

    s->dac_in[s->dac_sub % 3] = (uint8_t)val;
    if (++s->dac_sub < 3)
        return;
    memcpy(s->palette + 3 * s->dac_write, s->dac_in, 3);
    s->dac_sub = 0;
    s->dac_write++;
    s->stale = true;
}

/* clang-format off */
static const Reg sr_regs[] = {
    { "reset",       0, REG(Vga, sr[0]), .rw = 0x03 }, { "clocking mode", 1, REG(Vga, sr[1]), .rw = 0x3d, .write = changed1 },
    { "map mask", 2, .at = offsetof(Vga, sr[2]), .size = 1, .count = 1, .stride = 1, .at_stride = 1, .rw = 0x0f, .write_n = changed },
    { "character map", 3, REG(Vga, sr[3]), .rw = 0x3f, .write = changed1 },
    { "memory mode", 4, .at = offsetof(Vga, sr[4]), .size = 1, .count = 1, .stride = 1, .at_stride = 1, .rw = 0x0e, .write_n = changed },
};
#define GR(nm, i, bits) { nm, i, .at = offsetof(Vga, gr[i]), .size = 1, .count = 1, .stride = 1, .at_stride = 1, .rw = bits, .write_n = changed }
static const Reg gr_regs[] = {
    GR("set/reset", 0, 0x0f), GR("enable set/reset", 1, 0x0f), GR("color compare", 2, 0x0f), GR("data rotate", 3, 0x1f),
    GR("read map select", 4, 0x03), GR("graphics mode", 5, 0x7b), GR("miscellaneous", 6, 0x0f), GR("color don't care", 7, 0x0f),
    GR("bit mask", 8, 0xff),
};
static const Reg cr_regs[] = {
    { "CR0..CR6", 0, .at = offsetof(Vga, cr[0]), .size = 1, .count = 7, .stride = 1, .at_stride = 1, .rw = 0xff, .when = crt_open, .write_n = changed },
    { "overflow", 7, REG(Vga, cr[7]), .wrote = overflow_w },
    { "CR8..CR18", 8, .at = offsetof(Vga, cr[8]), .size = 1, .count = 17, .stride = 1, .at_stride = 1, .rw = 0xff, .write_n = changed },
};
static const RegTable sr_table = TABLE(sr_regs), gr_table = TABLE(gr_regs), cr_table = TABLE(cr_regs);
static const Reg regs[] = {
    { "CRTC index",       0x04, REG(Vga, cr_index), .rw = 0xff, .bank = is_mono },
    { "CRTC data",        0x05, INDEXED(Vga, cr_index, &cr_table), .bank = is_mono },
    { "input status 1",   0x0a, REG(Vga, st01), .ro = true, .on_read = st01_read, .bank = is_mono },
    { "feature control",  0x0a, REG(Vga, fcr), .rw = 0x03, .wo = true, .bank = is_mono },
    { "attribute",        0x10, REG(Vga, ar_index), .wrote = attribute_w },
    { "attribute data",   0x11, NOFIELD(1), .value = attribute_value },
    { "input status 0",   0x12, NOFIELD(1), .ro = true, .value = st00_value },
    { "misc output",      0x12, REG(Vga, msr), .rw = 0xef, .wo = true, .write = changed1 },
    { "sequencer index",  0x14, REG(Vga, sr_index), .rw = 0x07 },
    { "sequencer data",   0x15, INDEXED(Vga, sr_index, &sr_table) },
    { "PEL mask",         0x16, REG(Vga, dac_mask), .rw = 0xff, .reset = 0xff, .write = changed1 },
    { "DAC state",        0x17, REG(Vga, dac_state), .ro = true },
    { "PEL read index",   0x17, REG(Vga, dac_read), .rw = 0xff, .wo = true, .write = dac_read_w },
    { "PEL write index",  0x18, REG(Vga, dac_write), .rw = 0xff, .write = dac_write_w },
    { "PEL data",         0x19, NOFIELD(1), .value = dac_value, .on_read = dac_next, .wrote = dac_data_w },
    { "feature control",  0x1a, REG(Vga, fcr), .ro = true },
    { "misc output",      0x1c, REG(Vga, msr), .ro = true },
    { "graphics index",   0x1e, REG(Vga, gr_index), .rw = 0x0f },
    { "graphics data",    0x1f, INDEXED(Vga, gr_index, &gr_table) },
    { "CRTC index",       0x24, REG(Vga, cr_index), .rw = 0xff, .bank = is_colour },
    { "CRTC data",        0x25, INDEXED(Vga, cr_index, &cr_table), .bank = is_colour },
    { "input status 1",   0x2a, REG(Vga, st01), .ro = true, .on_read = st01_read, .bank = is_colour },
    { "feature control",  0x2a, REG(Vga, fcr), .rw = 0x03, .wo = true, .bank = is_colour },
};
/* clang-format on */
static const Bank banks[] = { { "vga", NPORTS, TABLE(regs), .unclaimed = 0xff, .quiet = true } };

/* ---- life ---- */
static void free_console(void *c) { ui_console_free(c); }

static bool make_console(Vga *s)
{
    UiConsoleOps ops = vga_console_ops;

    ops.o = s;
    s->con = ui_console_new(s->pci.dev.obj.vm, s->pci.dev.obj.name, &ops);
    own(&s->pci.dev.obj, s->con, free_console);
    return true;
}

static bool init(Obj *o, Error **err)
{
    Vga *s = VGA(o);
    uint64_t size = (uint64_t)s->vgamem_mb * MiB;
    Region *lfb, *mmio, *ports = dev_region(&s->pci.dev, 0);

    if (!is_pow2(s->vgamem_mb) || s->vgamem_mb > 256)
        return fail(err, "vgamem_mb=%u: want a power of two up to 256", s->vgamem_mb);
    s->vram = ram_new(o, "vga.vram", size, err);
    if (!s->vram)
        return false;
    ram_log(s->vram, DIRTY_DISPLAY, true);
    lfb = region_ram(o, "vga.vram", s->vram);
    pci_set_bar(&s->pci, 0, lfb, BAR_PREFETCH);
    s->bank = region_alias(o, "vga.bank", lfb, 0, 0x10000);
    mmio = region_box(o, "vga.mmio", 0x1000);
    region_map(mmio, 0x400, region_alias(o, "vga.ports", ports, 0x10, 0x20), 0);
    region_map(mmio, 0x500, dev_region_io(&s->pci.dev, "vga.dispi", 0x20, &vbe_mmio_ops), 0);
    pci_set_bar(&s->pci, 2, mmio, 0);
    return make_console(s);
}

static bool plug(Dev *d, Error **err)
{
    Vga *s = VGA(d);
    PciBus *b = s->pci.pbus;

    region_map(b->io, PORTS, dev_region(d, 0), 1);
    region_map(b->io, 0x1ce, dev_region_io(d, "vbe", 3, &vbe_port_ops), 1);
    region_map(b->mem, 0xa0000, dev_region_io(d, "vga.window", VGA_WINDOW, &vga_window_ops), 1);
    region_map(b->mem, 0xa0000, s->bank, 2);
    region_set_enabled(s->bank, false);
    return true;
}

static void on_reset(Dev *d)
{
    Vga *s = VGA(d);

    vbe_reset(s);
    s->msr = 1;
    s->stale = true;
    memset(vga_mem(s), 0, s->vram->size);
    ram_mark_dirty(s->vram, 0, s->vram->size);
    vga_update_bank(s);
}

static void loaded(Dev *d)
{
    VGA(d)->stale = true;
    vga_update_bank(VGA(d));
}

static bool check(const Dev *d, Error **err)
{
    const Vga *s = of(d);

    if (s->vbe[VBE_XRES] > 2560 || s->vbe[VBE_YRES] > 1600)
        return fail(err, "impossible screen size");
    if (vbe_on(s) && (!s->vbe[VBE_XRES] || !s->vbe[VBE_YRES]))
        return fail(err, "a screen without pixels");
    return s->dac_sub < 3 || fail(err, "impossible palette state");
}

/* clang-format off */
static const Prop props[] = { PROP(Vga, vgamem_mb, "vgamem_mb", 16, "video memory in MiB, a power of two") };
static const Field fields[] = {
    BYTES(Vga, sr), BYTES(Vga, gr), BYTES(Vga, ar), BYTES(Vga, cr), FIELD(Vga, ar_data), FIELD(Vga, dac_sub), BYTES(Vga, dac_in),
    BYTES(Vga, palette), BYTES(Vga, latch), FIELD(Vga, vbe_index), ARRAY_FIELD(Vga, vbe),
    TRANSIENT(Vga, vram, "memory", .keep = true), TRANSIENT(Vga, con, "wiring", .keep = true),
    TRANSIENT(Vga, bank, "wiring", .keep = true), TRANSIENT(Vga, stale, "drawn again after a load", .keep = true),
    TRANSIENT(Vga, blink, "drawn again", .keep = true),
};
static const PciClass vga = {
    PCI_DEVICE(Vga, "VGA", "standard VGA with VBE"),
    .dev.obj.init = init, .dev.obj.props = TABLE(props), .dev.state = TABLE(fields), .dev.banks = banks, .dev.nbanks = 1,
    .dev.plug = plug, .dev.on_reset = on_reset, .dev.loaded = loaded, .dev.check = check, .dev.category = "Display devices",
    .vendor = 0x1234, .device = 0x1111, .revision = 2, .class_id = 0x030000, .romfile = "vgabios-stdvga.bin",
};
/* clang-format on */
DEVICE_OF(Vga, vga, &vga.dev);
