/*
 * accel/tcg/piece.c - how much of the guest's memory around a page lies together, in its address space and in RAM, with the same
 * rights: what a window maps at once.
 */
#include "accel/tcg/tcg.h"

bool tcg_may_be_written(const RamBlock *b, uint64_t off)
{
    return ram_is_dirty(b, DIRTY_DISPLAY, off) && ram_is_dirty(b, DIRTY_MIGRATE, off) && ram_is_dirty(b, DIRTY_CODE, off);
}

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 1 << 5, PTE_D = 1 << 6, PTE_SOFT = 7 << 9 };
static const uint64_t PTE_ADDR = 0x000ffffffffff000, PTE_IGNORED = 0x7full << 52;

/* In the guest's table, next to the entry of va: is this page where a larger piece would have it? */
static bool alike(uint64_t e, uint64_t of, int64_t pages, bool write)
{
    const uint64_t free = PTE_A | PTE_D | PTE_SOFT | PTE_IGNORED;

    return !((e ^ (of + (uint64_t)pages * PAGE)) & ~free) && e & PTE_A && (!write || e & PTE_D);
}

/* The RAM where pa is, if that is the piece: the guest's table may say something else by now than the TLB. NULL: it does. */
static const RamRange *leads_to(TcgCpu *t, uint64_t pa, const Piece *m)
{
    RamBlock *b;
    uint64_t off;
    bool writable;

    if (t->s->env.a20_off || !tcg_ram(t->s, pa, &b, &off, &writable) || b != m->block || off != m->off || (m->write && !writable))
        return NULL;
    return &t->range[t->last_range].ram;
}

/* May the page j pages from the one whose entry in the guest's table is *e be part of the same piece? */
static bool joins(const Piece *m, const RamRange *r, uint64_t off, const uint64_t *e, int64_t j)
{
    uint64_t at = off + (uint64_t)(j * PAGE);

    return at - r->off < r->len && alike(__atomic_load_n(e + j, __ATOMIC_RELAXED), *e, j, m->write) && (!m->write || tcg_may_be_written(m->block, at));
}

/* Pages around it that the guest has touched as well, and that lie in RAM as they do in its address space. */
static void neighbours(TcgCpu *t, Piece *m)
{
    enum { AHEAD = 31, BEHIND = 8 };
    bool hit = false;
    const X86WalkEnt *k = tcg_walk_ent(t->s, m->va, &hit);
    unsigned i = m->va >> 12 & 511, rights = PTE_P | PTE_U | (m->write ? PTE_W : 0);
    const uint64_t *e = hit ? k->table + i : NULL;
    uint64_t off = m->off;
    const RamRange *r;

    if (!hit || (*e & (k->rights | PTE_P) & rights) != rights)
        return;
    r = leads_to(t, *e & PTE_ADDR, m);
    for (int64_t j = 1; r && j <= AHEAD && i + j < 512 && joins(m, r, off, e, j); j++)
        m->n++;
    for (int64_t j = 1; r && j <= BEHIND && j <= i && joins(m, r, off, e, -j); j++) {
        m->n++;
        m->va -= PAGE;
        m->off -= PAGE;
    }
}

/* All of a large page, if it is one and all of it is RAM. */
static bool whole(TcgCpu *t, Piece *m)
{
    enum { LARGE = 2 << 20 };
    uint64_t in = m->va & (LARGE - 1), off = m->off - in;
    const RamRange *r;
    Walk now;

    if (!x86_page_walk(t->s, m->va, ACC_PEEK | ACC_USER, &now) || now.page_bits < 21 || !now.user || (m->write && !(now.dirty && now.prot & 2)))
        return false;
    r = leads_to(t, now.pa & -(uint64_t)PAGE, m);
    if (!r || m->off < in || off < r->off || off + LARGE > r->off + r->len)
        return false;
    for (unsigned i = 0; m->write && i < LARGE / PAGE; i++)
        if (!tcg_may_be_written(m->block, off + i * (uint64_t)PAGE))
            return false;
    *m = (Piece){ m->va - in, m->block, off, LARGE / PAGE, m->write };
    return true;
}

void tcg_piece_grow(TcgCpu *t, Piece *m)
{
    if (!tcg_is_large(t, m->va) || !whole(t, m))
        neighbours(t, m);
}
