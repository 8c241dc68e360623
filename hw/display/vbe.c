/*
 * hw/display/vbe.c - the Bochs display interface: index at port 1CEh, data at 1CFh; again in BAR 2 at 500h.
 * Source: Bochs VBE_DISPI convention. Plain RegionOps: two overlapping 16-bit ports at odd distance, and the
 * value of a register depends on the capability bit.
 */
#include "hw/display/vga.h"

enum { MAX_X = 2560, MAX_Y = 1600, ID = 0xb0c5 };

static unsigned pixel_bytes(const Vga *s) { return s->vbe[VBE_BPP] == 4 ? 0 : (s->vbe[VBE_BPP] + 7u) / 8; }

static unsigned stride(const Vga *s, unsigned width) { return pixel_bytes(s) ? width * pixel_bytes(s) : width / 2; }

/* The virtual screen follows from its width. */
static void fit(Vga *s)
{
    unsigned w = s->vbe[VBE_VWIDTH];

    if (w < s->vbe[VBE_XRES] || !stride(s, w) || (uint64_t)stride(s, w) * s->vbe[VBE_YRES] > s->vram->size)
        w = s->vbe[VBE_XRES];
    s->vbe[VBE_VWIDTH] = (uint16_t)w;
    s->vbe[VBE_VHEIGHT] = (uint16_t)MIN(stride(s, w) ? s->vram->size / stride(s, w) : 0, 0xffff);
}

static void enable(Vga *s, uint16_t v)
{
    bool was = vbe_on(s);

    s->vbe[VBE_ENABLE] = v & (VBE_ON | VBE_CAPS | VBE_DAC8 | VBE_LFB | VBE_NOCLEAR);
    if (!(v & VBE_ON) || was) {
        if (!(v & VBE_ON))
            s->vbe[VBE_BANK] = 0;
        return;
    }
    if ((uint64_t)stride(s, s->vbe[VBE_XRES]) * s->vbe[VBE_YRES] > s->vram->size) {
        guest_error(&s->pci.dev, "a mode larger than the memory");
        s->vbe[VBE_ENABLE] &= (uint16_t)~VBE_ON;
        return;
    }
    s->vbe[VBE_VWIDTH] = s->vbe[VBE_XRES];
    s->vbe[VBE_XOFF] = s->vbe[VBE_YOFF] = 0;
    fit(s);
    if (!(v & VBE_NOCLEAR)) {
        uint64_t n = MIN((uint64_t)stride(s, s->vbe[VBE_XRES]) * s->vbe[VBE_YRES], s->vram->size);

        memset(vga_mem(s), 0, n);
        ram_mark_dirty(s->vram, 0, n);
    }
}

static bool valid_bpp(unsigned v) { return v == 4 || v == 8 || v == 15 || v == 16 || v == 24 || v == 32; }

static void write_reg(Vga *s, uint16_t v)
{
    unsigned n = s->vbe_index;

    switch (n) {
    case VBE_ID:
        if ((v & 0xfff0) == 0xb0c0)
            s->vbe[n] = v;
        break;
    case VBE_XRES:
        if (!vbe_on(s) && v && v <= MAX_X && !(v & 7))
            s->vbe[n] = v;
        break;
    case VBE_YRES:
        if (!vbe_on(s) && v && v <= MAX_Y)
            s->vbe[n] = v;
        break;
    case VBE_BPP:
        if (!vbe_on(s) && valid_bpp(v ? v : 8))
            s->vbe[n] = v ? v : 8;
        break;
    case VBE_ENABLE: enable(s, v); break;
    case VBE_BANK:
        if (in_range(v * 0x10000ull, 0x10000, s->vram->size))
            s->vbe[n] = v;
        break;
    case VBE_VWIDTH:
        s->vbe[n] = v;
        fit(s);
        break;
    case VBE_XOFF:
    case VBE_YOFF: s->vbe[n] = v; break;
    default: break;
    }
    s->stale = true;
    vga_update_bank(s);
}

static uint16_t read_reg(const Vga *s, unsigned n)
{
    if (s->vbe[VBE_ENABLE] & VBE_CAPS && n >= VBE_XRES && n <= VBE_BPP)
        return n == VBE_XRES ? MAX_X : n == VBE_YRES ? MAX_Y : 32;
    if (n == VBE_VRAM64K)
        return (uint16_t)(s->vram->size / 65536);
    return n < VBE_REGS ? s->vbe[n] : 0;
}

static MemResult port_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    *val = off ? read_reg(o, VGA(o)->vbe_index) : VGA(o)->vbe_index;
    return MEM_OK;
}

static MemResult port_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    if (off)
        write_reg(o, (uint16_t)val);
    else
        VGA(o)->vbe_index = (uint16_t)val;
    return MEM_OK;
}
const RegionOps vbe_port_ops = { .read = port_read, .write = port_write, .takes = { 1, 2, true }, .does = { 1, 2, true } };

static MemResult mmio_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    *val = read_reg(o, (unsigned)(off / 2));
    return MEM_OK;
}

static MemResult mmio_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    uint16_t old = VGA(o)->vbe_index;

    VGA(o)->vbe_index = (uint16_t)(off / 2);
    write_reg(o, (uint16_t)val);
    VGA(o)->vbe_index = old;
    return MEM_OK;
}
const RegionOps vbe_mmio_ops = { .read = mmio_read, .write = mmio_write, .takes = { 2, 4 }, .does = { 2, 2 } };

void vbe_reset(Vga *s)
{
    memset(s->vbe, 0, sizeof(s->vbe));
    s->vbe[VBE_ID] = ID;
    s->vbe[VBE_BPP] = 8;
    s->vbe_index = 0;
}
