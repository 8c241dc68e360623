/*
 * hw/fw/pcisetup.c - PCI as firmware leaves it: bus numbers, BARs, bridge windows, interrupt lines, and the chipset
 * registers that machines cannot have out of reset. Sources: PCI 3.0, PCI-PCI bridge 1.2, PIIX3/PIIX4, ICH9, Q35.
 * Left out: ROM BARs, hot-plug reserves.
 */
#include "hw/fw/acpi-priv.h"
#include <stdlib.h>

enum { IO, MEM, PREF, KINDS };
enum { MAX_WANTS = 4096, IO_FIRST = 0xc000, IO_LAST = 0xfeff };

typedef struct Want { /* a BAR, or a window of a bridge */
    uint32_t bdf;
    unsigned bar;     /* config offset; 0: window */
    int child;        /* bus behind the window */
    uint64_t size, align;
    uint8_t kind;
    bool wide;
    uint8_t bus;
} Want;
typedef struct Setup {
    const FwPlatform *p;
    GArray *wants;
    unsigned buses;
    uint64_t next64;
} Setup;

static uint32_t rd(const Setup *s, uint32_t bdf, unsigned reg, unsigned size)
{
    return s->p->pci_read(s->p->root, bdf, reg, size);
}

static void wr(const Setup *s, uint32_t bdf, unsigned reg, uint32_t v, unsigned size)
{
    s->p->pci_write(s->p->root, bdf, reg, v, size);
}

/* ---- sizing ---- */
static void probe_bar(Setup *s, uint32_t bdf, unsigned *reg)
{
    uint32_t old = rd(s, bdf, *reg, 4), lo, hi = UINT32_MAX;
    Want w = { .bdf = bdf, .bar = *reg, .bus = (uint8_t)(bdf >> 8), .child = -1 };
    uint64_t mask;

    wr(s, bdf, *reg, UINT32_MAX, 4);
    lo = rd(s, bdf, *reg, 4);
    wr(s, bdf, *reg, old, 4);
    if (!lo || lo == UINT32_MAX)
        return;
    w.kind = lo & 1 ? IO : lo & 8 ? PREF : MEM;
    w.wide = !(lo & 1) && (lo & 6) == 4;
    if (w.wide) {
        wr(s, bdf, *reg + 4, UINT32_MAX, 4);
        hi = rd(s, bdf, *reg + 4, 4);
        wr(s, bdf, *reg + 4, 0, 4);
        *reg += 4;
    }
    mask = (uint64_t)hi << 32 | (lo & (lo & 1 ? ~3u : ~15u));
    if (w.kind == IO)
        mask |= 0xffffffffffff0000ull;
    w.size = w.align = ~mask + 1;
    if (is_pow2(w.size) && s->wants->len < MAX_WANTS)
        g_array_append_val(s->wants, w);
}

static void scan_bus(Setup *s, uint8_t bus);

static void scan_function(Setup *s, uint32_t bdf)
{
    bool bridge = (rd(s, bdf, 0x0e, 1) & 0x7f) == 1;

    wr(s, bdf, 0x04, rd(s, bdf, 0x04, 2) & ~7u, 2);
    for (unsigned reg = 0x10; reg < (bridge ? 0x18u : 0x28u); reg += 4)
        probe_bar(s, bdf, &reg);
    if (bridge && s->buses < 255) {
        uint8_t child = (uint8_t)++s->buses;

        wr(s, bdf, 0x18, bdf >> 8, 1);
        wr(s, bdf, 0x19, child, 1);
        wr(s, bdf, 0x1a, 0xff, 1);
        scan_bus(s, child); /* at most 255 buses in all */
        wr(s, bdf, 0x1a, s->buses, 1);
        for (uint8_t k = 0; k < KINDS; k++) {
            Want w = { .bdf = bdf, .child = child, .kind = k, .bus = (uint8_t)(bdf >> 8), .wide = k == PREF };

            g_array_append_val(s->wants, w);
        }
    }
}

static void scan_bus(Setup *s, uint8_t bus)
{
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        uint32_t bdf = (uint32_t)bus << 8 | devfn;

        if (rd(s, bdf, 0, 2) != 0xffff)
            scan_function(s, bdf);
        else if (!(devfn & 7))
            devfn |= 7;
        if (!(devfn & 7) && !(rd(s, bdf, 0x0e, 1) & 0x80))
            devfn |= 7;
    }
}

/* ---- placing ---- */
static bool is_high(const Setup *s, const Want *w) { return w->wide && w->size >= 256 * MiB && s->p->hole64_len; }

/* Largest alignment first, so that nothing is lost between. */
static int by_align(const void *a, const void *b)
{
    const Want *x = *(const Want *const *)a, *y = *(const Want *const *)b;

    return x->align < y->align ? 1 : x->align > y->align ? -1 : 0;
}

static GPtrArray *wants_of(Setup *s, uint8_t bus, uint8_t kind)
{
    GPtrArray *v = g_ptr_array_new();

    for (guint i = 0; i < s->wants->len; i++) {
        Want *w = &g_array_index(s->wants, Want, i);

        if (w->bus == bus && w->kind == kind && w->size)
            g_ptr_array_add(v, w);
    }
    g_ptr_array_sort(v, by_align);
    return v;
}

/* What the bus needs of one kind from an aligned base. */
static uint64_t need(Setup *s, uint8_t bus, uint8_t kind, uint64_t *align)
{
    GPtrArray *v = wants_of(s, bus, kind);
    uint64_t at = 0;

    *align = kind == IO ? 4 * KiB : MiB;
    for (guint i = 0; i < v->len; i++) {
        const Want *w = v->pdata[i];

        if (is_high(s, w) && bus == 0)
            continue;
        at = align_up(at, w->align) + w->size;
        *align = MAX(*align, w->align);
    }
    g_ptr_array_free(v, TRUE);
    return at;
}

/* Children have higher bus numbers than their parents. */
static void size_windows(Setup *s)
{
    for (unsigned bus = s->buses; bus > 0; bus--)
        for (guint i = 0; i < s->wants->len; i++) {
            Want *w = &g_array_index(s->wants, Want, i);

            if (w->bar || w->child != (int)bus)
                continue;
            w->size = need(s, (uint8_t)bus, w->kind, &w->align);
            w->size = w->size ? align_up(w->size, w->kind == IO ? 4 * KiB : MiB) : 0;
        }
}

static void write_window(Setup *s, const Want *w, uint64_t at)
{
    uint64_t last = at + w->size - 1;

    if (w->kind == IO) {
        wr(s, w->bdf, 0x1c, (uint32_t)(at >> 8) & 0xf0, 1);
        wr(s, w->bdf, 0x1d, (uint32_t)(last >> 8) & 0xf0, 1);
    } else if (w->kind == MEM) {
        wr(s, w->bdf, 0x20, (uint32_t)(at >> 16) & 0xfff0, 2);
        wr(s, w->bdf, 0x22, (uint32_t)(last >> 16) & 0xfff0, 2);
    } else {
        wr(s, w->bdf, 0x24, (uint32_t)(at >> 16) & 0xfff0, 2);
        wr(s, w->bdf, 0x26, (uint32_t)(last >> 16) & 0xfff0, 2);
        wr(s, w->bdf, 0x28, (uint32_t)(at >> 32), 4);
        wr(s, w->bdf, 0x2c, (uint32_t)(last >> 32), 4);
    }
}

static void place_bus(Setup *s, uint8_t bus, uint8_t kind, uint64_t at, uint64_t end);

static void place(Setup *s, const Want *w, uint64_t at)
{
    if (!w->bar) {
        write_window(s, w, at);
        place_bus(s, (uint8_t)w->child, w->kind, at, at + w->size);
        return;
    }
    wr(s, w->bdf, w->bar, (uint32_t)at, 4);
    if (w->wide)
        wr(s, w->bdf, w->bar + 4, (uint32_t)(at >> 32), 4);
    wr(s, w->bdf, 0x04, rd(s, w->bdf, 0x04, 2) | (w->kind == IO ? 1 : 2), 2);
}

/* Recursion: a window's bus has a higher number, so the depth is at most 255. */
static void place_bus(Setup *s, uint8_t bus, uint8_t kind, uint64_t at, uint64_t end)
{
    GPtrArray *v = wants_of(s, bus, kind);

    for (guint i = 0; i < v->len; i++) {
        const Want *w = v->pdata[i];

        if (is_high(s, w)) {
            uint64_t high = align_up(s->next64, w->align);

            if (in_range(high - s->p->hole64, w->size, s->p->hole64_len)) {
                place(s, w, high);
                s->next64 = high + w->size;
                continue;
            }
        }
        at = align_up(at, w->align);
        if (!in_range(at, w->size, end))
            continue; /* no room: it stays off, as with any firmware */
        place(s, w, at);
        at += w->size;
    }
    g_ptr_array_free(v, TRUE);
}

static void place_root(Setup *s)
{
    const FwPlatform *p = s->p;
    uint64_t first = MAX(p->hole, 0xc0000000ull), align;
    uint64_t mem = need(s, 0, MEM, &align);

    if (p->q35 && fw__ecam(p) + 256 * MiB > first && fw__ecam(p) < p->hole_end)
        first = fw__ecam(p) + 256 * MiB;
    first = align_up(first, 16 * MiB);
    s->next64 = p->hole64;
    place_bus(s, 0, IO, IO_FIRST, IO_LAST + 1);
    place_bus(s, 0, PREF, first, p->hole_end - align_up(mem, align));
    place_bus(s, 0, MEM, align_down(p->hole_end - mem, align), p->hole_end);
}

/* ---- interrupts and the rest ---- */
static const uint8_t pirq_irq[4] = { 10, 10, 11, 11 };

static void set_lines(Setup *s, uint8_t bus, unsigned up_slot, unsigned up_pin, bool behind)
{
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        uint32_t bdf = (uint32_t)bus << 8 | devfn;
        unsigned pin, slot = devfn >> 3, wire;

        if (rd(s, bdf, 0, 2) == 0xffff)
            continue;
        pin = rd(s, bdf, 0x3d, 1);
        if (pin < 1 || pin > 4)
            continue;
        wire = behind ? fw__pin_wire(s->p, up_slot, (up_pin + slot + pin - 1) & 3) : fw__pin_wire(s->p, slot, pin - 1);
        wr(s, bdf, 0x3c, pirq_irq[wire & 3], 1);
    }
}

/* Swizzle: a bridge's pin depends on the slot behind it; up to the root. */
static void route_all(Setup *s)
{
    uint8_t parent[256] = { 0 }, slot[256] = { 0 };

    for (guint i = 0; i < s->wants->len; i++) {
        const Want *w = &g_array_index(s->wants, Want, i);

        if (w->child > 0) {
            parent[w->child] = (uint8_t)(w->bdf >> 8);
            slot[w->child] = (uint8_t)(w->bdf >> 3 & 31);
        }
    }
    set_lines(s, 0, 0, 0, false);
    for (unsigned bus = 1; bus <= s->buses; bus++) {
        unsigned at = bus, add = 0;

        while (parent[at]) { /* numbers only fall */
            add += slot[at];
            at = parent[at];
        }
        set_lines(s, (uint8_t)bus, slot[at], add, true);
    }
}

static void port(const FwPlatform *p, uint16_t at, unsigned size, uint32_t v)
{
    as_store(p->vm->ports, at, size, v, MEM_CPU);
}

static void chipset_i440fx(Setup *s)
{
    const FwPlatform *p = s->p;

    wr(s, 0, 0x59, 0x30, 1);
    for (unsigned r = 0x5a; r <= 0x5f; r++)
        wr(s, 0, r, 0x33, 1);
    for (unsigned i = 0; i < 4; i++)
        wr(s, p->isa_devfn, 0x60 + i, pirq_irq[i], 1);
    if (!p->pm_devfn)
        return;
    wr(s, p->pm_devfn, 0x40, p->pm_base | 1u, 4);
    wr(s, p->pm_devfn, 0x80, 1, 1);
    wr(s, p->pm_devfn, 0x90, 0x701, 4); /* SMBus */
    wr(s, p->pm_devfn, 0xd2, 9, 1);
    wr(s, p->pm_devfn, 0x04, rd(s, p->pm_devfn, 0x04, 2) | 1, 2);
    wr(s, p->pm_devfn, 0x3c, 9, 1);
}

static void chipset_q35(Setup *s)
{
    const FwPlatform *p = s->p;

    wr(s, 0, 0x90, 0x30, 1);
    for (unsigned r = 0x91; r <= 0x96; r++)
        wr(s, 0, r, 0x33, 1);
    wr(s, 0, 0x64, (uint32_t)(p->ecam >> 32), 4);
    wr(s, 0, 0x60, (uint32_t)p->ecam | 1, 4);
    for (unsigned i = 0; i < 4; i++) {
        wr(s, p->isa_devfn, 0x60 + i, pirq_irq[i], 1);
        wr(s, p->isa_devfn, 0x68 + i, pirq_irq[i], 1);
    }
    wr(s, p->isa_devfn, 0x40, p->pm_base | 1u, 4);
    wr(s, p->isa_devfn, 0x44, 0x80, 1); /* ACPI on, SCI on IRQ 9 */
    wr(s, p->isa_devfn, 0xf0, 0xfed1c001, 4);
}

void fw_pci_setup(const FwPlatform *p)
{
    Setup s = { .p = p, .wants = g_array_new(FALSE, FALSE, sizeof(Want)) };

    mem_begin(p->vm);
    if (p->q35)
        chipset_q35(&s);
    else
        chipset_i440fx(&s);
    scan_bus(&s, 0);
    size_windows(&s);
    place_root(&s);
    for (guint i = 0; i < s.wants->len; i++) {
        const Want *w = &g_array_index(s.wants, Want, i);

        if (w->child > 0)
            wr(&s, w->bdf, 0x04, rd(&s, w->bdf, 0x04, 2) | 7, 2);
    }
    route_all(&s);
    mem_commit(p->vm);
    port(p, 0x4d0, 1, 0);
    port(p, 0x4d1, 1, 0x0e); /* 9, 10, 11 are level */
    if (p->acpi_enable)
        port(p, 0xb2, 1, p->acpi_enable);
    g_array_free(s.wants, TRUE);
}
