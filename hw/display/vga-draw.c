/*
 * hw/display/vga-draw.c - what the monitor shows: text, planar, CGA and 256-colour modes, VBE modes.
 * Source: IBM VGA technical reference, CRT and attribute controllers. Left out: split of panning at line compare
 * in text modes, underline.
 * Invariants: sizes come from registers and are bounded here; every address is wrapped into vram.
 */
#include "hw/display/vga.h"

enum { TEXT_W = 160, TEXT_H = 100, BLINK_NS = 266 * 1000 * 1000 };

static uint32_t dac(const Vga *s, unsigned i)
{
    const uint8_t *p = s->palette + 3 * (i & s->dac_mask & 255);
    bool eight = vbe_on(s) && s->vbe[VBE_ENABLE] & VBE_DAC8;
    unsigned r = p[0], g = p[1], b = p[2];

    if (!eight) { /* six bits: the top ones fill the bottom */
        r = (r & 63) << 2 | (r >> 4 & 3);
        g = (g & 63) << 2 | (g >> 4 & 3);
        b = (b & 63) << 2 | (b >> 4 & 3);
    }
    return r << 16 | g << 8 | b;
}

/* A colour of four bits, through the attribute controller's palette. */
static uint32_t colour(const Vga *s, unsigned i)
{
    unsigned v = s->ar[i & s->ar[0x12] & 15] & 0x3f, select = s->ar[0x14];

    if (s->ar[0x10] & 0x80)
        v = (v & 15) | (select & 3) << 4;
    return dac(s, v | (select & 12) << 4);
}

static uint8_t vram_at(const Vga *s, uint64_t at) { return vga_mem(s)[at & (s->vram->size - 1)]; }
static uint32_t start(const Vga *s) { return (uint32_t)(s->cr[0x0c] << 8 | s->cr[0x0d]) * 4; }
static uint32_t pitch(const Vga *s) { return (uint32_t)s->cr[0x13] << 3; }

static unsigned lines(const Vga *s)
{
    return (s->cr[0x12] | (s->cr[7] & 2) << 7 | (s->cr[7] & 0x40) << 3) + 1u;
}

static uint32_t *surface(Vga *s, int w, int h, unsigned *row)
{
    pixman_image_t *i = ui_surface(s->con);

    if (!i || pixman_image_get_width(i) != w || pixman_image_get_height(i) != h)
        i = ui_resize(s->con, w, h);
    *row = (unsigned)pixman_image_get_stride(i) / 4;
    return pixman_image_get_data(i);
}

/* ---- text ---- */
typedef struct Text {
    unsigned cols, rows, cw, ch;
} Text;

static Text text_size(const Vga *s)
{
    Text t = { .cols = s->cr[1] + 1u, .ch = (s->cr[9] & 31) + 1u, .cw = s->sr[1] & 1 ? 8 : 9 };
    unsigned h = lines(s);

    t.rows = MAX(1, h / t.ch);
    t.cols = MIN(t.cols, TEXT_W);
    t.rows = MIN(t.rows, TEXT_H);
    return t;
}

static unsigned font_at(const Vga *s, unsigned attr)
{
    unsigned m = s->sr[3], n = attr & 8 ? (m >> 2 & 3) | (m >> 3 & 4) : (m & 3) | (m >> 2 & 4);

    return (n & 3) * 0x4000 + (n >> 2) * 0x2000;
}

static void glyph(const Vga *s, const Text *t, uint32_t *to, unsigned row, unsigned c, unsigned attr)
{
    bool blinks = s->ar[0x10] & 8, hidden = blinks && attr & 0x80 && !s->blink;
    uint32_t fg = colour(s, attr & 15), bg = colour(s, attr >> 4 & (blinks ? 7 : 15));
    unsigned font = font_at(s, attr) + c * 32;
    bool line = s->ar[0x10] & 4 && c >= 0xc0 && c <= 0xdf;

    for (unsigned y = 0; y < t->ch; y++) {
        unsigned bits = hidden ? 0 : vram_at(s, 4ull * (font + y) + 2);

        for (unsigned x = 0; x < 8; x++)
            to[y * row + x] = bits & 0x80 >> x ? fg : bg;
        if (t->cw == 9)
            to[y * row + 8] = line && bits & 1 ? fg : bg;
    }
}

static void cursor(const Vga *s, const Text *t, uint32_t *px, unsigned row)
{
    unsigned at = (unsigned)(s->cr[0x0e] << 8 | s->cr[0x0f]) - start(s) / 4, per = pitch(s) / 4;
    unsigned first = s->cr[0x0a] & 31, last = MIN(s->cr[0x0b] & 31, t->ch - 1), x, y;
    uint32_t c;

    if (s->cr[0x0a] & 0x20 || !s->blink || !per || at / per >= t->rows || at % per >= t->cols)
        return;
    x = at % per;
    y = at / per;
    c = colour(s, vram_at(s, start(s) + 4ull * at + 1) & 15);
    for (unsigned l = first; l <= last; l++)
        for (unsigned i = 0; i < t->cw; i++)
            px[(y * t->ch + l) * row + x * t->cw + i] = c;
}

static void draw_text(Vga *s)
{
    Text t = text_size(s);
    unsigned row;
    uint32_t *px = surface(s, (int)(t.cols * t.cw), (int)(t.rows * t.ch), &row);

    for (unsigned y = 0; y < t.rows; y++)
        for (unsigned x = 0; x < t.cols; x++) {
            uint64_t at = start(s) + (uint64_t)y * pitch(s) + 4 * x;

            glyph(s, &t, px + y * t.ch * row + x * t.cw, row, vram_at(s, at), vram_at(s, at + 1));
        }
    cursor(s, &t, px, row);
}

/* ---- graphics ---- */
typedef struct Mode {
    unsigned w, h, rep; /* scan lines that show the same row */
    bool wide;          /* 256 colours: two clocks a pixel */
} Mode;

static Mode graphics_size(const Vga *s)
{
    Mode m = { .w = (s->cr[1] + 1u) * 8, .h = lines(s), .rep = (s->cr[9] & 31) + 1u, .wide = s->gr[5] & 0x40 };

    if (s->cr[9] & 0x80)
        m.h /= 2;
    if ((s->cr[0x17] & 3) != 3)
        m.rep = 1; /* the scan line selects memory (CGA, Hercules) */
    m.h = MAX(1, m.h / m.rep);
    if (m.wide)
        m.w /= 2;
    return m;
}

static unsigned pixel(const Vga *s, const Mode *m, uint64_t line, unsigned x)
{
    uint64_t at;
    unsigned v = 0;

    if (m->wide)
        return vram_at(s, line + x);
    at = line + x / 8 * 4;
    if (s->gr[5] & 0x20) { /* two bits a pixel, planes 0 and 1 one after the other */
        unsigned p = x >> 2 & 1, shift = 6 - (x & 3) * 2;

        return (vram_at(s, at + p) >> shift & 3u) | (vram_at(s, at + p + 2) >> shift & 3u) << 2;
    }
    for (unsigned p = 0; p < 4; p++)
        v |= (vram_at(s, at + p) >> (7 - (x & 7)) & 1u) << p;
    return v;
}

static uint64_t line_at(const Vga *s, const Mode *m, unsigned y, unsigned compare)
{
    unsigned per = (s->cr[9] & 31) + 1u, row, scan;
    bool split = y * m->rep * (s->cr[9] & 0x80 ? 2 : 1) > compare;
    uint64_t at = split ? 0 : start(s);

    if (split)
        y -= compare / (m->rep * (s->cr[9] & 0x80 ? 2 : 1)) + 1;
    if ((s->cr[0x17] & 3) == 3)
        return at + (uint64_t)y * pitch(s);
    row = y / per;
    scan = y % per;
    at += (uint64_t)row * pitch(s);
    if (!(s->cr[0x17] & 1))
        at = (at & ~0x4000ull) | (scan & 1) << 14;
    if (!(s->cr[0x17] & 2))
        at = (at & ~0x8000ull) | (scan & 2) << 14;
    return at;
}

static void draw_graphics(Vga *s)
{
    Mode m = graphics_size(s);
    unsigned row, compare = s->cr[0x18] | (s->cr[7] & 0x10) << 4 | (s->cr[9] & 0x40) << 3, pan = s->ar[0x13] & 7;
    uint32_t *px = surface(s, (int)m.w, (int)m.h, &row), map[256];

    for (unsigned i = 0; i < 256; i++)
        map[i] = m.wide ? dac(s, i) : colour(s, i & 15);
    for (unsigned y = 0; y < m.h; y++) {
        uint64_t line = line_at(s, &m, y, compare);

        for (unsigned x = 0; x < m.w; x++)
            px[y * row + x] = map[pixel(s, &m, line, x + (m.wide ? pan / 2 : pan))];
    }
}

/* ---- VBE ---- */
static uint32_t five(unsigned v) { return v << 3 | v >> 2; }

static uint32_t vbe_pixel(const Vga *s, uint64_t line, unsigned x, const uint32_t *map)
{
    uint8_t b[4];
    uint16_t v;
    uint64_t at = line + (uint64_t)x * ((s->vbe[VBE_BPP] + 7u) / 8);

    for (unsigned i = 0; i < 4; i++)
        b[i] = vram_at(s, at + i);
    v = le16_load(b);
    switch (s->vbe[VBE_BPP]) {
    case 8: return map[b[0]];
    case 15: return five(v >> 10 & 31) << 16 | five(v >> 5 & 31) << 8 | five(v & 31);
    case 16: return five(v >> 11) << 16 | (v >> 5 & 63) << 10 | (v >> 9 & 3) << 8 | five(v & 31);
    default: return b[2] << 16 | b[1] << 8 | b[0];
    }
}

static uint32_t vbe_pitch(const Vga *s)
{
    return s->vbe[VBE_BPP] == 4 ? s->vbe[VBE_VWIDTH] / 2u : s->vbe[VBE_VWIDTH] * ((s->vbe[VBE_BPP] + 7u) / 8);
}

static void draw_vbe(Vga *s)
{
    unsigned w = s->vbe[VBE_XRES], h = s->vbe[VBE_YRES], row, bytes = (s->vbe[VBE_BPP] + 7u) / 8;
    uint32_t *px = surface(s, (int)w, (int)h, &row), map[256];
    Mode planar = { .w = w, .h = h, .rep = 1 };

    for (unsigned i = 0; i < 256; i++)
        map[i] = dac(s, i);
    for (unsigned y = 0; y < h; y++) {
        uint64_t line = (uint64_t)(y + s->vbe[VBE_YOFF]) * vbe_pitch(s);

        if (s->vbe[VBE_BPP] == 4) {
            for (unsigned x = 0; x < w; x++)
                px[y * row + x] = colour(s, pixel(s, &planar, line, x + s->vbe[VBE_XOFF]));
            continue;
        }
        line += (uint64_t)s->vbe[VBE_XOFF] * bytes;
        if (bytes == 4 && in_range(line, 4ull * w, s->vram->size))
            memcpy(px + y * row, vga_mem(s) + line, 4ull * w);
        else
            for (unsigned x = 0; x < w; x++)
                px[y * row + x] = vbe_pixel(s, line, x, map);
    }
}

/* ---- the console ---- */
static void draw_blank(Vga *s)
{
    Text t = text_size(s);
    unsigned row, w = t.cols * t.cw, h = t.rows * t.ch;
    uint32_t *px = surface(s, (int)w, (int)h, &row);

    for (unsigned y = 0; y < h; y++)
        memset(px + y * row, 0, 4 * w);
}

static void update(void *o)
{
    Vga *s = o;
    Vm *vm = s->pci.dev.obj.vm;
    bool graphics = s->gr[6] & 1, on = s->ar_index & 0x20, phase = vm_now(vm) / BLINK_NS & 1;
    bool changed = s->stale || (!graphics && !vbe_on(s) && phase != s->blink);
    pixman_image_t *i;

    ram_log_sync(vm, s->vram);
    if (!ram_take_dirty(vm, s->vram, DIRTY_DISPLAY, 0, s->vram->size, NULL) && !changed)
        return;
    s->stale = false;
    s->blink = phase;
    if (vbe_on(s))
        draw_vbe(s);
    else if (!on)
        draw_blank(s);
    else if (graphics)
        draw_graphics(s);
    else
        draw_text(s);
    i = ui_surface(s->con);
    ui_damage(s->con, 0, 0, pixman_image_get_width(i), pixman_image_get_height(i));
}

static void invalidate(void *o) { VGA(o)->stale = true; }

static void as_text(void *o, GString *out)
{
    const Vga *s = o;
    Text t = text_size(s);

    if (s->gr[6] & 1 || vbe_on(s))
        return;
    for (unsigned y = 0; y < t.rows; y++) {
        gsize line = out->len;

        for (unsigned x = 0; x < t.cols; x++) {
            g_string_append_unichar(out, ui_cp437(vram_at(s, start(s) + (uint64_t)y * pitch(s) + 4 * x)));
        }
        while (out->len > line && out->str[out->len - 1] == ' ')
            g_string_truncate(out, out->len - 1);
        g_string_append_c(out, '\n');
    }
}
const UiConsoleOps vga_console_ops = { .update = update, .invalidate = invalidate, .text = as_text };
