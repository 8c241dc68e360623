/*
 * accel/tcg/tlb.c - views, their fills and flushes, and the slow paths of loads and stores.
 * Invariant: a page is in a W side only while it is plain RAM, dirty in the guest's tables, every logging
 * client's bit is set, and it holds no code.
 */
#include "accel/tcg/tcg.h"

void tcg_views_init(TcgCpu *t)
{
    for (unsigned k = 0; k < VIEWS; k++) {
        View *w = &t->view[k];

        for (unsigned i = 0; i < TLB_N; i++)
            w->r[i].tag = w->w[i].tag = tlb_none(i);
        w->gen = ++t->gens;
    }
}

void tcg_set_view(X86 *s, unsigned view)
{
    if (s->tcg)
        s->env.view = &s->tcg->view[view];
}

static void flush_side(View *w, unsigned side)
{
    TlbEnt *t = side ? w->w : w->r;

    for (unsigned i = 0; i < w->nused[side]; i++) {
        unsigned k = w->used[side][i];

        t[k] = (TlbEnt){ tlb_none(k), 0 };
    }
    w->nused[side] = 0;
}

static void forget_code(TcgCpu *t, unsigned k)
{
    View *w = &t->view[k];

    w->gen = ++t->gens; /* never that of another view: links are checked by it */
    memset(w->jb, 0, sizeof(w->jb));
    memset(t->bloom[k], 0, sizeof(t->bloom[k]));
}

void tcg_flush_all(X86 *s)
{
    TcgCpu *t = s->tcg;

    if (!t)
        return;
    t->flushes++;
    for (unsigned k = 0; k < VIEWS; k++) {
        flush_side(&t->view[k], 0);
        flush_side(&t->view[k], 1);
        forget_code(t, k);
    }
}

void tcg_flush_nonglobal(X86 *s) { tcg_flush_all(s); } /* global entries are cheap to walk again */

void tcg_flush_w(TcgCpu *t)
{
    for (unsigned k = 0; k < VIEWS; k++)
        flush_side(&t->view[k], 1);
}

static unsigned bloom_bit(uint64_t va) { return (unsigned)(va >> 12 ^ va >> 24) & (BLOOM - 1); }

void tcg_flush_page(X86 *s, uint64_t va)
{
    TcgCpu *t = s->tcg;
    unsigned i = (va >> 12) & (TLB_N - 1), b = bloom_bit(va);

    if (!t)
        return;
    for (unsigned k = 0; k < VIEWS; k++) {
        View *w = &t->view[k];

        if ((w->r[i].tag ^ va) < PAGE)
            w->r[i] = (TlbEnt){ tlb_none(i), 0 };
        if ((w->w[i].tag ^ va) < PAGE)
            w->w[i] = (TlbEnt){ tlb_none(i), 0 };
        if (t->bloom[k][b / 64] >> (b % 64) & 1)
            forget_code(t, k);
    }
}

static void fill(TcgCpu *t, bool write, uint64_t va, const uint8_t *host)
{
    View *w = t->s->env.view;
    unsigned i = (va >> 12) & (TLB_N - 1);
    TlbEnt *e = write ? &w->w[i] : &w->r[i];

    if (e->tag == tlb_none(i)) { /* a slot invalidated by a page flush may be listed twice */
        if (w->nused[write] == TLB_N)
            flush_side(w, write);
        w->used[write][w->nused[write]++] = (uint16_t)i;
    }
    t->fills++;
    e->tag = va & -(uint64_t)PAGE;
    e->addend = (uint64_t)(uintptr_t)host - va;
}

typedef struct Place {
    uint8_t *host; /* of the byte, or NULL: I/O */
    uint64_t pa, off;
    RamBlock *block;
    bool writable;
} Place;

static bool all_dirty(const RamBlock *b, uint64_t off)
{
    return ram_is_dirty(b, DIRTY_DISPLAY, off) && ram_is_dirty(b, DIRTY_MIGRATE, off) && ram_is_dirty(b, DIRTY_CODE, off);
}

/* Where va lies; fills the TLB. False: fault set. */
static bool place(Env *e, uint64_t va, bool write, Place *p)
{
    X86 *s = x86(e);
    Walk w;

    if (code64(s) && !canonical(s, va))
        return x86_raise(s, EXC_GP, 0);
    if (!x86_page_walk(s, va, (write ? ACC_W : ACC_R) | (s->cpl == 3 ? ACC_USER : 0), &w))
        return x86_raise_pf(s, va, w.fault);
    p->pa = w.pa;
    p->host = as_ram(e->cpu->mem[s->smm], w.pa, &p->block, &p->off, &p->writable);
    if (UNLIKELY(s->tcg->nwatches) && tcg_page_watched(s->tcg, va))
        return true;
    if (p->host && !write)
        fill(s->tcg, false, va, p->host);
    else if (p->host && p->writable && all_dirty(p->block, p->off))
        fill(s->tcg, true, va, p->host);
    return true;
}

static bool store_part(Env *e, const Place *p, uint64_t pa, unsigned n, const void *in)
{
    X86 *s = x86(e);

    if (p->host && p->writable) {
        if (!ram_is_dirty(p->block, DIRTY_CODE, p->off) && !tcg_code_store(s->tcg, p->block, p->off, n))
            return false;
        memcpy(p->host, in, n);
        if (!all_dirty(p->block, p->off))
            ram_mark_dirty(p->block, p->off, n);
        return true;
    }
    as_write(e->cpu->mem[s->smm], pa, in, n, (MemAttrs){ .secure = s->smm });
    return true;
}

static void load_part(Env *e, const Place *p, unsigned n, void *out)
{
    X86 *s = x86(e);

    if (p->host)
        memcpy(out, p->host, n);
    else
        as_read(e->cpu->mem[s->smm], p->pa, out, n, (MemAttrs){ .secure = s->smm });
}

/* Both parts of an access that may cross a page are found before either is touched. */
static bool places(Env *e, uint64_t va, unsigned n, bool write, Place p[2], unsigned *first)
{
    *first = MIN(PAGE - (unsigned)(va & (PAGE - 1)), n);
    if (*first < n && code64(x86(e)) && !canonical(x86(e), va + n - 1))
        return x86_raise(x86(e), EXC_GP, 0);
    return place(e, va, write, &p[0]) && (*first == n || place(e, va + *first, write, &p[1]));
}

bool mem_load(Env *e, uint64_t va, unsigned n, void *out, bool for_write)
{
    Place p[2];
    unsigned first;

    if (!places(e, va, n, for_write, p, &first))
        return false;
    if (UNLIKELY(x86(e)->tcg->nwatches) && !tcg_watch(x86(e)->tcg, va, n, for_write))
        return false;
    if (for_write && p[0].host && p[0].writable && !ram_is_dirty(p[0].block, DIRTY_CODE, p[0].off) &&
        !tcg_code_store(x86(e)->tcg, p[0].block, p[0].off, first))
        return false;
    load_part(e, &p[0], first, out);
    if (first < n)
        load_part(e, &p[1], n - first, (uint8_t *)out + first);
    return true;
}

bool mem_store(Env *e, uint64_t va, unsigned n, const void *in)
{
    Place p[2];
    unsigned first;

    if (!places(e, va, n, true, p, &first))
        return false;
    if (UNLIKELY(x86(e)->tcg->nwatches) && !tcg_watch(x86(e)->tcg, va, n, true))
        return false;
    if (!store_part(e, &p[0], p[0].pa, first, in))
        return false;
    return first == n || store_part(e, &p[1], p[1].pa, n - first, (const uint8_t *)in + first);
}

static bool cas_host(void *host, unsigned n, void *old, const void *new)
{
    switch (n) {
    case 1: return __atomic_compare_exchange((uint8_t *)host, (uint8_t *)old, (uint8_t *)(uintptr_t)new, false, 5, 5);
    case 2: return __atomic_compare_exchange((uint16_t *)host, (uint16_t *)old, (uint16_t *)(uintptr_t)new, false, 5, 5);
    case 4: return __atomic_compare_exchange((uint32_t *)host, (uint32_t *)old, (uint32_t *)(uintptr_t)new, false, 5, 5);
    case 8: return __atomic_compare_exchange((uint64_t *)host, (uint64_t *)old, (uint64_t *)(uintptr_t)new, false, 5, 5);
    default: return false;
    }
}

/* 16 bytes, across pages, or I/O: under one lock of the VM's software CPU, which the rare plain accesses to the
 * same bytes do not take; guests use these only against each other. */
static bool cas_locked(Env *e, uint64_t va, unsigned n, void *old, const void *new, bool *ok)
{
    uint8_t now[16];

    lock_take(&e->cpu->vm->lock);
    if (!mem_load(e, va, n, now, true)) {
        lock_drop(&e->cpu->vm->lock);
        return false;
    }
    *ok = !memcmp(now, old, n);
    if (!*ok)
        memcpy(old, now, n);
    bool done = mem_store(e, va, n, *ok ? new : now);

    lock_drop(&e->cpu->vm->lock);
    return done;
}

bool mem_cas(Env *e, uint64_t va, unsigned n, void *old, const void *new_, bool *ok)
{
    uint8_t *p = tlb_hit(e->view->w, va, n);

    if (UNLIKELY(!p && n <= 8)) {
        uint64_t v; /* fills the TLB if it can be filled; serves SMC */

        if (!mem_load(e, va, n, &v, true))
            return false;
        p = tlb_hit(e->view->w, va, n);
    }
    if (UNLIKELY(!p || n > 8 || va & (n - 1)))
        return cas_locked(e, va, n, old, new_, ok);
    *ok = cas_host(p, n, old, new_);
    return true;
}

uint8_t *mem_page(Env *e, uint64_t va, bool write, unsigned *left)
{
    uint8_t *p = tlb_hit(write ? e->view->w : e->view->r, va, 1);
    Place at;

    *left = PAGE - (unsigned)(va & (PAGE - 1));
    if (LIKELY(p))
        return p;
    if (!place(e, va, write, &at) || !at.host)
        return NULL;
    if (UNLIKELY(x86(e)->tcg->nwatches) && tcg_page_watched(x86(e)->tcg, va))
        return NULL; /* like I/O: one access at a time */
    if (!write)
        return at.host;
    return at.writable && all_dirty(at.block, at.off) ? at.host : NULL;
}
