/*
 * hw/display/vga-mem.c - the guest's window at A0000h: four planes with latches, write and read modes.
 * Source: IBM VGA technical reference, graphics controller; FreeVGA "Accessing the VGA Display Memory".
 * Plain RegionOps: this is memory. Chain-4 and VBE banks are RAM instead (vga_update_bank).
 */
#include "hw/display/vga.h"

static uint32_t spread(unsigned planes) /* a bit per plane -> a byte per plane */
{
    uint32_t v = 0;

    for (unsigned p = 0; p < 4; p++)
        v |= planes >> p & 1 ? 0xffu << 8 * p : 0;
    return v;
}

static bool chain4(const Vga *s) { return s->sr[4] & 8; }

/* Where the window lies in the 128 KiB from A0000h; false: not this address. */
static bool translate(const Vga *s, uint64_t off, uint32_t *addr)
{
    static const struct {
        uint32_t at, size;
    } maps[4] = { { 0, 0x20000 }, { 0, 0x10000 }, { 0x10000, 0x8000 }, { 0x18000, 0x8000 } };
    unsigned m = s->gr[6] >> 2 & 3;

    if (off < maps[m].at || !in_range(off - maps[m].at, 1, maps[m].size))
        return false;
    *addr = (uint32_t)(off - maps[m].at);
    return true;
}

static void store(Vga *s, uint64_t at, uint8_t v)
{
    if (at < s->vram->size)
        vga_mem(s)[at] = v;
}

static uint8_t load(const Vga *s, uint64_t at) { return at < s->vram->size ? vga_mem(s)[at] : 0xff; }

static uint32_t logic(const Vga *s, uint32_t v, uint32_t latch)
{
    switch (s->gr[3] >> 3 & 3) {
    case 1: return v & latch;
    case 2: return v | latch;
    case 3: return v ^ latch;
    default: return v;
    }
}

/* What the graphics controller makes of a byte: a byte per plane. */
static uint32_t graphics_data(const Vga *s, uint8_t val)
{
    unsigned turn = s->gr[3] & 7;
    uint32_t latch = le32_load(s->latch), v, bits;
    uint8_t rotated = (uint8_t)(val >> turn | val << ((8 - turn) & 7)), mask = s->gr[8];

    switch (s->gr[5] & 3) {
    case 1: return latch;
    case 2: v = logic(s, spread(val), latch); break;
    case 3:
        v = spread(s->gr[0]);
        mask &= rotated;
        break;
    default:
        bits = spread(s->gr[1]);
        v = logic(s, (rotated * 0x01010101u & ~bits) | (spread(s->gr[0]) & bits), latch);
        break;
    }
    bits = mask * 0x01010101u;
    return (v & bits) | (latch & ~bits);
}

static void write_byte(Vga *s, uint64_t off, uint8_t val)
{
    uint32_t a, v;
    unsigned plane;

    if (!translate(s, off, &a))
        return;
    if (chain4(s)) {
        if (s->sr[2] >> (a & 3) & 1)
            store(s, a, val);
    } else if (s->gr[5] & 0x10) { /* odd/even */
        plane = (s->gr[4] & 2) | (a & 1);
        a = (a & ~1u) << 1;
        if (s->sr[2] >> plane & 1)
            store(s, a | plane, val);
    } else {
        v = graphics_data(s, val);
        a *= 4;
        for (plane = 0; plane < 4; plane++)
            if (s->sr[2] >> plane & 1)
                store(s, a + plane, (uint8_t)(v >> 8 * plane));
    }
    if (a < s->vram->size)
        ram_mark_dirty(s->vram, a & ~3u, 4);
}

static uint8_t read_byte(Vga *s, uint64_t off)
{
    uint32_t a, differ;

    if (!translate(s, off, &a))
        return 0xff;
    if (chain4(s))
        return load(s, a);
    if (s->gr[5] & 0x10)
        return load(s, (a & ~1u) << 1 | (s->gr[4] & 2) | (a & 1));
    for (unsigned p = 0; p < 4; p++)
        s->latch[p] = load(s, 4ull * a + p);
    if (!(s->gr[5] & 8))
        return s->latch[s->gr[4] & 3];
    differ = (le32_load(s->latch) ^ spread(s->gr[2])) & spread(s->gr[7]);
    return (uint8_t)~(differ | differ >> 8 | differ >> 16 | differ >> 24);
}

static MemResult window_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    *val = 0;
    for (unsigned i = 0; i < size; i++)
        *val |= (uint64_t)read_byte(VGA(o), off + i) << 8 * i;
    return MEM_OK;
}

static MemResult window_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    for (unsigned i = 0; i < size; i++)
        write_byte(VGA(o), off + i, (uint8_t)(val >> 8 * i));
    return MEM_OK;
}
const RegionOps vga_window_ops = { .read = window_read, .write = window_write, .takes = { 1, 8, true }, .does = { 1, 8, true } };

/* Linear modes need no callbacks: the first 64 KiB of the window are RAM. */
void vga_update_bank(Vga *s)
{
    bool linear = vbe_on(s) && s->vbe[VBE_BPP] > 4;
    bool mode13 = chain4(s) && (s->sr[2] & 15) == 15 && (s->gr[6] >> 2 & 3) == 1;
    uint64_t at = linear ? (uint64_t)s->vbe[VBE_BANK] * 0x10000 : 0;
    bool on = (linear || mode13) && in_range(at, 0x10000, s->vram->size);

    if (on && s->bank->alias_off != at)
        region_set_alias_off(s->bank, at);
    if (s->bank->enabled != on)
        region_set_enabled(s->bank, on);
}
