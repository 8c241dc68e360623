/*
 * accel/tcg/tlb.c - what a TLB miss does: the walk, the fill, and the slow paths of loads and stores.
 * Invariant: a page is in a W side only while it is plain RAM, dirty in the guest's tables, every logging
 * client's bit is set, and it holds no code.
 */
#include "accel/tcg/tcg.h"
#include "util/shared.h"

typedef struct Place {
    uint8_t *host; /* of the byte, or NULL: I/O */
    uint64_t pa, off;
    RamBlock *block;
    bool writable;
} Place;

/* Another vCPU took code from a page, before it made the page writable: what we have of it must go before we write there. */
static bool code_pending(const TcgCpu *t) { return UNLIKELY(cpu_requests(t->cpu) & REQ_CODE); }

static bool all_dirty(const RamBlock *b, uint64_t off)
{
    return ram_is_dirty(b, DIRTY_DISPLAY, off) && ram_is_dirty(b, DIRTY_MIGRATE, off) && ram_is_dirty(b, DIRTY_CODE, off);
}

/* The RAM where pa is: all of it that lies together, so a handful of them is all there is. NULL: I/O. */
static const RamRange *ram_range(TcgCpu *t, AddrSpace *as, uint64_t pa)
{
    for (unsigned i = 0; i < RANGES; i++)
        if (t->range[i].as == as && pa - t->range[i].ram.at < t->range[i].ram.len) {
            t->last_range = i;
            return &t->range[i].ram;
        }
    t->last_range = t->next_range++ % RANGES;
    t->range[t->last_range].as = NULL;
    if (!as_ram_range(as, pa, &t->range[t->last_range].ram))
        return NULL;
    t->range[t->last_range].as = as;
    return &t->range[t->last_range].ram;
}

uint8_t *tcg_ram(X86 *s, uint64_t pa, RamBlock **block, uint64_t *off, bool *writable)
{
    AddrSpace *as = s->env.cpu->mem[s->smm];
    TcgCpu *t = s->tcg;
    const RamRange *r;

    if (!t)
        return as_ram(as, pa, block, off, writable);
    r = &t->range[t->last_range].ram;
    if (UNLIKELY(t->range[t->last_range].as != as || pa - r->at >= r->len)) {
        r = ram_range(t, as, pa);
        if (!r)
            return NULL;
    }
    *block = r->block;
    *off = r->off + (pa - r->at);
    *writable = r->writable;
    return r->host + (pa - r->at);
}

/* Where va lies; fills the TLB. False: fault set. */
static bool place(Env *e, uint64_t va, bool write, Place *p)
{
    X86 *s = x86(e);
    Walk w;

    if (code64(s) && !canonical(s, va))
        return x86_raise(s, EXC_GP, 0);
    if (!x86_page_walk(s, va, (write ? ACC_W : ACC_R) | (s->cpl == 3 ? ACC_USER : 0), &w)) {
        if (log_on(LOG_MMU))
            log_print("mmu: cpu %u: page fault, error %#x, of %#" PRIx64 "\n", e->cpu->index, w.fault, va);
        return x86_raise_pf(s, va, w.fault);
    }
    p->pa = w.pa;
    if (log_on(LOG_MMU))
        log_print("mmu: cpu %u: %s of %#" PRIx64 " at %#" PRIx64 "\n", e->cpu->index, write ? "store" : "load", va, w.pa);
    p->host = tcg_ram(s, w.pa, &p->block, &p->off, &p->writable);
    if (UNLIKELY(s->tcg->nwatches) && tcg_page_watched(s->tcg, va))
        return true;
    if (p->host && (!write || (p->writable && all_dirty(p->block, p->off) && !code_pending(s->tcg)))) {
        tcg_fill(s->tcg, write, va, p->host, &w);
        tcg_window_fill(s->tcg, write, p->writable, va, p->block, p->off, &w);
    }
    return true;
}

/* RAM was written: another vCPU may have translated what was there, since it was looked at before the store. */
static void written(const Place *p, unsigned n)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!all_dirty(p->block, p->off))
        ram_mark_dirty(p->block, p->off, n);
}

static bool may_be_code(const TcgCpu *t, const Place *p) { return !ram_is_dirty(p->block, DIRTY_CODE, p->off) || code_pending(t); }

static bool store_part(Env *e, const Place *p, uint64_t pa, unsigned n, const void *in)
{
    X86 *s = x86(e);

    if (p->host && p->writable) {
        if (may_be_code(s->tcg, p) && !tcg_code_store(s->tcg, p->block, p->off, n))
            return false;
        shared_copy(p->host, in, n);
        written(p, n);
        return true;
    }
    as_write(e->cpu->mem[s->smm], pa, in, n, (MemAttrs){ .secure = s->smm });
    return true;
}

static void load_part(Env *e, const Place *p, unsigned n, void *out)
{
    X86 *s = x86(e);

    if (p->host)
        shared_copy(out, p->host, n);
    else
        as_read(e->cpu->mem[s->smm], p->pa, out, n, (MemAttrs){ .secure = s->smm });
}

/* Both parts of an access that may cross a page are found before either is touched. */
static bool places(Env *e, uint64_t va, unsigned n, bool write, Place p[2], unsigned *first)
{
    *first = MIN(PAGE - (unsigned)(va & (PAGE - 1)), n);
    if (UNLIKELY(*first < n) && x86_past_end(x86(e), va, n))
        return x86_raise(x86(e), EXC_GP, 0);
    return place(e, va, write, &p[0]) && (*first == n || place(e, va + *first, write, &p[1]));
}

/* Helpers walk through long operands: outside 64-bit code linear addresses wrap at 4 GiB. */
static uint64_t wrapped(Env *e, uint64_t va) { return UNLIKELY(va >> 32) && !code64(x86(e)) ? (uint32_t)va : va; }

bool mem_writable(Env *e, uint64_t va, unsigned n)
{
    Place p[2];
    unsigned first;

    return places(e, wrapped(e, va), n, true, p, &first);
}

/* What helpers copy has one of these sizes nearly always: one move then, as the guest sees it. */
static inline void copy(void *to, const void *from, unsigned n)
{
    switch (n) {
    case 1: shared_copy(to, from, 1); break;
    case 2: shared_copy(to, from, 2); break;
    case 4: shared_copy(to, from, 4); break;
    case 8: shared_copy(to, from, 8); break;
    default: shared_copy(to, from, n);
    }
}

bool mem_load(Env *e, uint64_t va, unsigned n, void *out, bool for_write)
{
    Place p[2];
    unsigned first;
    const uint8_t *host;

    va = wrapped(e, va);
    host = tlb_hit(for_write ? e->view->w : e->view->r, va, n);
    if (LIKELY(host)) {
        copy(out, host, n);
        return true;
    }
    if (!places(e, va, n, for_write, p, &first))
        return false;
    if (UNLIKELY(x86(e)->tcg->nwatches) && !tcg_watch(x86(e)->tcg, va, n, for_write))
        return false;
    if (for_write && p[0].host && p[0].writable && may_be_code(x86(e)->tcg, &p[0]) &&
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
    uint8_t *host;

    va = wrapped(e, va);
    host = tlb_hit(e->view->w, va, n);
    if (LIKELY(host)) {
        copy(host, in, n);
        return true;
    }
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

/* 16 bytes, not aligned, or I/O: under one lock of the VM's software CPU, which the rare plain accesses to the
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

/* Aligned, but not in the TLB: RAM is still compared and swapped in one piece, whatever page it is. */
static bool cas_missed(Env *e, uint64_t va, unsigned n, void *old, const void *new, bool *ok)
{
    TcgCpu *t = x86(e)->tcg;
    Place p;

    if (!place(e, va, true, &p))
        return false;
    if (!p.host || !p.writable)
        return cas_locked(e, va, n, old, new, ok);
    if (UNLIKELY(t->nwatches) && !tcg_watch(t, va, n, true))
        return false;
    if (may_be_code(t, &p) && !tcg_code_store(t, p.block, p.off, n))
        return false;
    *ok = cas_host(p.host, n, old, new);
    written(&p, n);
    return true;
}

bool mem_cas(Env *e, uint64_t va, unsigned n, void *old, const void *new_, bool *ok)
{
    uint8_t *p;

    va = wrapped(e, va);
    if (UNLIKELY(n > 8 || va & (n - 1)))
        return cas_locked(e, va, n, old, new_, ok);
    p = tlb_hit(e->view->w, va, n);
    if (UNLIKELY(!p))
        return cas_missed(e, va, n, old, new_, ok);
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
    return at.writable && all_dirty(at.block, at.off) && !code_pending(x86(e)->tcg) ? at.host : NULL;
}
