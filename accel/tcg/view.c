/*
 * accel/tcg/view.c - views: one for each address space (PCID) and privilege class, so that a change of either is a
 * change of a pointer. What each flush of the guest's drops, and what stays.
 * Invariants: an entry of a view that is used holds for its PCID, or is global; the fill lists name every valid
 * entry; a jump-cache entry is there only while its view maps the pc to that block.
 */
#include "accel/tcg/tcg.h"

static bool is_used(const TcgCpu *t, unsigned asid) { return t->asid[asid].used; }
static View *view_at(const TcgCpu *t, unsigned asid, unsigned kind) { return &t->view[asid * VIEWS + kind]; }

static void clear_view(TcgCpu *t, View *w)
{
    for (unsigned i = 0; i < TLB_N; i++)
        w->r[i] = w->w[i] = (TlbEnt){ tlb_none(i), 0 };
    for (unsigned i = 0; i < JC_N; i++)
        w->jc[i] = (JcEnt){ JC_NONE, NULL };
    w->nused[0] = w->nused[1] = w->njused = 0;
    w->gen = ++t->gens; /* never that of another view */
}

bool tcg_views_init(TcgCpu *t)
{
    t->view = g_try_malloc0_n(ASIDS * VIEWS, sizeof(View)); /* pages of zeroes until an address space is used */
    if (!t->view)
        return false;
    for (unsigned k = 0; k < VIEWS; k++)
        clear_view(t, view_at(t, 0, k));
    t->asid[0].used = true;
    t->s->env.view = t->view;
    return true;
}

void tcg_views_free(TcgCpu *t) { g_free(t->view); }

void tcg_set_view(X86 *s, unsigned kind)
{
    TcgCpu *t = s->tcg;

    if (!t)
        return;
    t->kind = kind;
    s->env.view = view_at(t, t->now, kind);
}

/* ---- dropping ---- */
static void flush_side(View *w, unsigned side, bool keep_global)
{
    TlbEnt *e = side ? w->w : w->r;
    unsigned kept = 0;

    for (unsigned i = 0; i < w->nused[side]; i++) {
        unsigned k = w->used[side][i];

        if (keep_global && tlb_bit(w->global[side], k) && e[k].tag != tlb_none(k))
            w->used[side][kept++] = (uint16_t)k;
        else
            e[k] = (TlbEnt){ tlb_none(k), 0 };
    }
    w->nused[side] = kept;
}

static void flush_jc(View *w, bool keep_global)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < w->njused; i++) {
        unsigned k = w->jused[i];

        if (keep_global && tlb_bit(w->jglobal, k) && w->jc[k].blk)
            w->jused[kept++] = (uint16_t)k;
        else
            w->jc[k] = (JcEnt){ JC_NONE, NULL };
    }
    w->njused = kept;
}

static void flush_asid(TcgCpu *t, unsigned asid, bool keep_global)
{
    for (unsigned k = 0; k < VIEWS; k++) {
        View *w = view_at(t, asid, k);

        flush_side(w, 0, keep_global);
        flush_side(w, 1, keep_global);
        flush_jc(w, keep_global);
        w->gen = ++t->gens;
    }
}

void tcg_flush_all(X86 *s)
{
    TcgCpu *t = s->tcg;

    if (!t)
        return;
    t->flushes++;
    for (unsigned a = 0; a < ASIDS; a++)
        if (is_used(t, a))
            flush_asid(t, a, false);
    memset(t->bloom, 0, sizeof(t->bloom));
    memset(t->large, 0, sizeof(t->large));
    memset(t->wbloom, 0, sizeof(t->wbloom));
    t->nhuge = 0;
}

void tcg_flush_nonglobal(X86 *s)
{
    TcgCpu *t = s->tcg;

    for (unsigned a = 0; t && a < ASIDS; a++)
        if (is_used(t, a))
            flush_asid(t, a, true);
}

/* What tells address spaces apart: the PCID, and system management mode, which has memory of its own. */
static unsigned asid_key(const X86 *s, unsigned pcid) { return pcid | (s->smm ? 1u << 12 : 0); }

static int find_asid(const TcgCpu *t, unsigned pcid)
{
    for (unsigned a = 0; a < ASIDS; a++)
        if (t->asid[a].used && t->asid[a].pcid == pcid)
            return (int)a;
    return -1;
}

void tcg_flush_pcid(X86 *s, unsigned pcid)
{
    int a = s->tcg ? find_asid(s->tcg, asid_key(s, pcid)) : -1;

    if (a >= 0)
        flush_asid(s->tcg, (unsigned)a, true);
}

void tcg_memory_changed(TcgCpu *t)
{
    memset(t->phys, 0, sizeof(t->phys));
    tcg_flush_all(t->s);
}

/* ---- address spaces ---- */
static unsigned oldest_asid(const TcgCpu *t)
{
    unsigned best = t->now ? 0 : 1;

    for (unsigned a = 0; a < ASIDS; a++) {
        if (!t->asid[a].used)
            return a;
        if (a != t->now && t->asid[a].stamp < t->asid[best].stamp)
            best = a;
    }
    return best;
}

void tcg_set_cr3(X86 *s, bool keep)
{
    TcgCpu *t = s->tcg;
    unsigned pcid = asid_key(s, s->cr4 & CR4_PCIDE ? s->cr3 & 0xfff : 0), a;
    int found;

    if (!t)
        return;
    found = find_asid(t, pcid);
    a = found >= 0 ? (unsigned)found : oldest_asid(t);
    if (found < 0) {
        for (unsigned k = 0; k < VIEWS && !t->asid[a].used; k++)
            clear_view(t, view_at(t, a, k));
        flush_asid(t, a, false);
    } else if (!keep) {
        flush_asid(t, a, true);
        t->flushes++;
    }
    t->asid[a] = (Asid){ true, (uint16_t)pcid, ++t->stamp };
    t->now = a;
    tcg_set_view(s, t->kind);
}

/* ---- one page ---- */
static bool is_huge(const TcgCpu *t, uint64_t va)
{
    if (t->nhuge == HUGE_N)
        return true;
    for (unsigned i = 0; i < t->nhuge; i++)
        if (t->huge[i] == va >> 30)
            return true;
    return false;
}

static void note_huge(TcgCpu *t, uint64_t va)
{
    if (!is_huge(t, va))
        t->huge[t->nhuge++] = va >> 30; /* the last one fills it: from then on everything is */
}

static unsigned bloom_bit(uint64_t page) { return (unsigned)(page ^ page >> 12 ^ page >> 24) & (BLOOM - 1); }

/* Every entry of [va, va + len) of one view. */
static void drop_range(View *w, uint64_t va, uint64_t len)
{
    for (unsigned side = 0; side < 2; side++) {
        TlbEnt *e = side ? w->w : w->r;

        for (unsigned i = 0; i < w->nused[side]; i++) {
            unsigned k = w->used[side][i];

            if (e[k].tag != tlb_none(k) && e[k].tag - va < len)
                e[k] = (TlbEnt){ tlb_none(k), 0 };
        }
    }
}

static void drop_code_range(View *w, uint64_t va, uint64_t len)
{
    for (unsigned i = 0; i < w->njused; i++) {
        JcEnt *j = &w->jc[w->jused[i]];

        if (j->blk && (jc_pc(j) - va < len || (j->blk->crosses && (jc_pc(j) | (PAGE - 1)) + 1 - va < len)))
            *j = (JcEnt){ JC_NONE, NULL };
    }
}

static void flush_view_page(View *w, uint64_t va, bool large, bool code)
{
    unsigned i = (va >> 12) & (TLB_N - 1);
    uint64_t from = large ? va & ~0x1fffffull : va & -(uint64_t)PAGE, len = large ? 0x200000 : PAGE;

    if ((w->r[i].tag ^ va) < PAGE)
        w->r[i] = (TlbEnt){ tlb_none(i), 0 };
    if ((w->w[i].tag ^ va) < PAGE)
        w->w[i] = (TlbEnt){ tlb_none(i), 0 };
    if (large)
        drop_range(w, from, len);
    if (large || code)
        drop_code_range(w, from, len);
}

static void flush_page(TcgCpu *t, uint64_t va, int only)
{
    bool large = tlb_bit(t->large, bloom_bit(va >> 21)), code = tlb_bit(t->bloom, bloom_bit(va >> 12));

    if (is_huge(t, va)) { /* the kernel's map of all memory: rarely changed */
        tcg_flush_all(t->s);
        return;
    }
    for (unsigned a = 0; a < ASIDS; a++)
        for (unsigned k = 0; k < VIEWS && is_used(t, a) && (only < 0 || only == (int)a); k++)
            flush_view_page(view_at(t, a, k), va, large, code);
    for (unsigned i = 0; i < FETCH_N && (large || code); i++)
        if (large ? t->fetch[i].vpage >> 9 == va >> 21 : t->fetch[i].vpage == va >> 12)
            t->fetch[i].gen = 0;
}

void tcg_flush_page(X86 *s, uint64_t va)
{
    if (s->tcg)
        flush_page(s->tcg, va, -1);
}

void tcg_flush_pcid_page(X86 *s, unsigned pcid, uint64_t va)
{
    int a = s->tcg ? find_asid(s->tcg, asid_key(s, pcid)) : -1;

    if (a >= 0)
        flush_page(s->tcg, va, a);
}

/* ---- filling ---- */
void tcg_fill(TcgCpu *t, bool write, uint64_t va, const uint8_t *host, const Walk *walk)
{
    View *w = t->s->env.view;
    unsigned i = (va >> 12) & (TLB_N - 1);
    TlbEnt *e = write ? &w->w[i] : &w->r[i];

    if (e->tag == tlb_none(i)) { /* a slot emptied by a page flush may be listed twice */
        if (w->nused[write] == TLB_N)
            flush_side(w, write, false);
        w->used[write][w->nused[write]++] = (uint16_t)i;
    }
    t->fills++;
    e->tag = va & -(uint64_t)PAGE;
    e->addend = (uint64_t)(uintptr_t)host - va;
    tlb_put_bit(w->global[write], i, walk->global);
    if (write)
        tlb_put_bit(t->wbloom, bloom_bit((uint64_t)(uintptr_t)host >> 12), true);
    tcg_filled(t, va, walk);
}

void tcg_filled(TcgCpu *t, uint64_t va, const Walk *walk)
{
    if (walk->page_bits > 12)
        tlb_put_bit(t->large, bloom_bit(va >> 21), true);
    if (walk->page_bits > 21)
        note_huge(t, va);
}

/* ---- writable sides ---- */
void tcg_strip(TcgCpu *t, const uint8_t *host)
{
    uint64_t page = (uint64_t)(uintptr_t)host >> 12;

    if (host && !tlb_bit(t->wbloom, bloom_bit(page)))
        return;
    for (unsigned v = 0; v < ASIDS * VIEWS; v++) {
        View *w = &t->view[v];

        if (!is_used(t, v / VIEWS))
            continue;
        if (!host) {
            flush_side(w, 1, false);
            continue;
        }
        for (unsigned i = 0; i < w->nused[1]; i++) {
            unsigned k = w->used[1][i];

            if (w->w[k].tag != tlb_none(k) && (w->w[k].tag + w->w[k].addend) >> 12 == page)
                w->w[k] = (TlbEnt){ tlb_none(k), 0 };
        }
    }
    if (!host)
        memset(t->wbloom, 0, sizeof(t->wbloom));
}

void tcg_strip_todo(TcgCpu *t)
{
    g_mutex_lock(&t->todo_lock);
    for (guint i = 0; i < t->strip->len; i++)
        tcg_strip(t, g_array_index(t->strip, uint8_t *, i));
    g_array_set_size(t->strip, 0);
    cpu_request_clear(t->cpu, REQ_STRIP); /* last: who asked waits for it */
    g_mutex_unlock(&t->todo_lock);
}

/* ---- jump cache ---- */
void tcg_jc_put(TcgCpu *t, uint64_t pc, Block *b, bool global)
{
    View *w = t->s->env.view;
    unsigned k = jc_slot(pc);

    if (w->jc[k].tag == JC_NONE) { /* a slot emptied by a page flush may be listed twice */
        if (w->njused == JC_N)
            flush_jc(w, false);
        w->jused[w->njused++] = (uint16_t)k;
    }
    w->jc[k] = (JcEnt){ pc ^ t->s->env.jc_key, b };
    tlb_put_bit(w->jglobal, k, global && !b->crosses);
    tlb_put_bit(t->bloom, bloom_bit(pc >> 12), true);
    if (b->crosses)
        tlb_put_bit(t->bloom, bloom_bit((pc >> 12) + 1), true);
}

void tcg_jc_drop(TcgCpu *t, uint64_t pc)
{
    JcEnt *j = &t->s->env.view->jc[jc_slot(pc)];

    if (j->blk && jc_pc(j) == pc)
        *j = (JcEnt){ JC_NONE, NULL };
}

void tcg_modes_forget(TcgCpu *t)
{
    for (unsigned v = 0; v < ASIDS * VIEWS; v++)
        if (is_used(t, v / VIEWS))
            flush_jc(&t->view[v], false);
    memset(t->front, 0, sizeof(t->front));
    t->nmodes = 0;
}

static unsigned mode_number(TcgCpu *t, uint64_t mode)
{
    for (unsigned i = 0; i < t->nmodes; i++)
        if (t->modes[i] == mode)
            return i;
    if (t->nmodes == JC_MODES)
        tcg_modes_forget(t);
    t->modes[t->nmodes] = mode;
    return t->nmodes++;
}

void tcg_mode_changed(X86 *s)
{
    TcgCpu *t = s->tcg;
    uint64_t mode = s->env.mode;
    unsigned h = (unsigned)((mode * 0x9e3779b97f4a7c15ull) >> 56) & (MODE_FRONT - 1);

    if (!t)
        return;
    if (UNLIKELY(!t->front[h].n || t->front[h].mode != mode)) {
        unsigned n = mode_number(t, mode); /* may empty the front */

        t->front[h].mode = mode;
        t->front[h].n = n + 1;
    }
    s->env.jc_key = (uint64_t)(t->front[h].n - 1) << JC_KEY_SHIFT;
}
