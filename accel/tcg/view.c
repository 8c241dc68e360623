/*
 * accel/tcg/view.c - views: one for each address space (PCID) and privilege class, so that a change of either is a
 * change of a pointer. What each flush of the guest's drops, and what stays.
 * Invariants: an entry of a view that is used holds for its PCID, or is global; the kernel's views may serve all PCIDs:
 * they then hold what is global, and what is not of loose_asid only. The fill lists name every valid entry; a jump-cache
 * entry is there only while its view maps the pc to that block, a code page while the view maps it there, executable.
 */
#include "accel/tcg/tcg.h"
#include <sys/mman.h>

enum { HUGE = 2 << 20 };

static void clear_entry(View *w, unsigned table, unsigned k)
{
    switch (table) {
    case FILL_R: w->r[k] = (TlbEnt){ tlb_none(k), 0 }; break;
    case FILL_W: w->w[k] = (TlbEnt){ tlb_none(k), 0 }; break;
    case FILL_JC:
        w->jc[k] = (JcEnt){ jc_none(k), NULL };
        w->jc_blk[k] = NULL;
        break;
    default: w->cp[k] = (CpEnt){ .vpage = ~0ull }; break;
    }
}

static void make_ready(TcgCpu *t, View *w)
{
    static const unsigned n[FILL_TABLES] = { TLB_N, TLB_N, JC_N, CP_N };

    if (w->ready)
        return;
    for (unsigned table = 0; table < FILL_TABLES; table++)
        for (unsigned i = 0; i < n[table]; i++)
            clear_entry(w, table, i);
    for (unsigned i = 0; i < WIN_SLOTS; i++)
        w->win[i] = (WinSlot){ WIN_NONE, 0 };
    w->ready = true;
    t->ready[t->nready++] = (uint8_t)(w - t->view);
}

bool tcg_views_init(TcgCpu *t)
{
    size_t n = align_up(GROUPS * VIEWS * sizeof(View), HUGE);

    /* Pages of zeroes until an address space is used; large ones, because generated code looks at all of a view at random. */
    t->views = mmap(NULL, n + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (t->views == MAP_FAILED) {
        t->views = NULL;
        return false;
    }
    t->view = (View *)align_up((uintptr_t)t->views, HUGE);
    madvise(t->view, n, MADV_HUGEPAGE); /* a hint: it may fail */
    t->shared = true;
    for (unsigned k = 0; k < VIEWS; k++)
        t->view[ASIDS * VIEWS + k].shared = true;
    for (unsigned k = 0; k < VIEWS; k++)
        make_ready(t, tcg_view_at(t, 0, k));
    t->asid[0].used = true;
    t->s->env.view = tcg_view_at(t, 0, VIEW_KERNEL);
    return true;
}

void tcg_views_free(TcgCpu *t)
{
    for (unsigned i = 0; i < t->nready; i++)
        tcg_window_free(&t->view[t->ready[i]]);
    if (t->views)
        munmap(t->views, align_up(GROUPS * VIEWS * sizeof(View), HUGE) + HUGE);
}

void tcg_set_view(X86 *s, unsigned kind)
{
    TcgCpu *t = s->tcg;

    if (!t)
        return;
    t->kind = kind;
    s->env.view = tcg_view_at(t, t->now, kind);
    if (UNLIKELY(t->win_always) && kind == VIEW_USER)
        tcg_window_always(t);
}

/* ---- what a table holds ---- */
static void filled(View *w, unsigned table, unsigned k, bool global)
{
    Fills *f = &w->fills[table];

    if (!tlb_bit(f->listed, k)) {
        tlb_put_bit(f->listed, k, true);
        f->used[f->n++] = (uint16_t)k;
    }
    tlb_put_bit(f->global, k, global);
    if (!global && f->nloose <= LOOSE) {
        if (f->nloose < LOOSE)
            f->loose[f->nloose] = (uint16_t)k;
        f->nloose++;
    }
}

static unsigned flush_table(View *w, unsigned table, bool keep_global)
{
    Fills *f = &w->fills[table];
    unsigned kept = 0, n = f->n;

    for (unsigned i = 0; i < n; i++) {
        unsigned k = f->used[i];

        if (keep_global && tlb_bit(f->global, k)) {
            f->used[kept++] = (uint16_t)k;
            continue;
        }
        tlb_put_bit(f->listed, k, false);
        clear_entry(w, table, k);
    }
    f->n = kept;
    f->nloose = 0;
    return n - kept;
}

static void flush_view(TcgCpu *t, View *w, bool keep_global)
{
    tcg_window_flush(t, w);
    if (!keep_global)
        memset(w->cp_gone, 0, sizeof(w->cp_gone));
    for (unsigned table = 0; table < FILL_TABLES; table++)
        flush_table(w, table, keep_global);
}

/* What is not global leaves; the answer is how much that was. */
static unsigned drop_loose(View *w)
{
    unsigned n = 0;

    for (unsigned table = 0; table < FILL_TABLES; table++) {
        Fills *f = &w->fills[table];

        if (f->nloose > LOOSE) {
            n += flush_table(w, table, true);
            continue;
        }
        n += f->nloose;
        for (unsigned i = 0; i < f->nloose; i++)
            if (!tlb_bit(f->global, f->loose[i]))
                clear_entry(w, table, f->loose[i]);
        f->nloose = 0;
    }
    return n;
}

/* ---- dropping ---- */
#define FOREACH_VIEW(t, w) for (unsigned w##_i = 0; w##_i < t->nready && (w = &t->view[t->ready[w##_i]]); w##_i++)

static unsigned drop_shared(TcgCpu *t)
{
    unsigned n = 0;

    for (unsigned k = 0; k < VIEWS; k++)
        if (t->view[ASIDS * VIEWS + k].ready)
            n += drop_loose(&t->view[ASIDS * VIEWS + k]);
    return n;
}

/* Of one address space: all but what is global. */
static void flush_asid(TcgCpu *t, unsigned asid)
{
    t->walk_gen++;
    for (unsigned k = 0; k < VIEWS; k++)
        if (t->view[asid * VIEWS + k].ready)
            flush_view(t, &t->view[asid * VIEWS + k], true);
    if (t->loose_asid == asid)
        drop_shared(t);
}

static void flush_views(TcgCpu *t, bool keep_global)
{
    View *w;

    t->walk_gen++;
    FOREACH_VIEW(t, w)
        flush_view(t, w, keep_global);
}

void tcg_flush_all(X86 *s)
{
    TcgCpu *t = s->tcg;

    if (!t)
        return;
    t->flushes++;
    flush_views(t, false);
    memset(t->bloom, 0, sizeof(t->bloom));
    memset(t->crossed, 0, sizeof(t->crossed));
    memset(t->large, 0, sizeof(t->large));
    memset(t->wbloom, 0, sizeof(t->wbloom));
    t->nhuge = 0;
    t->keys = 0;
}

/* Entries say what PKRU allowed: those of keys that allow less now must go. */
void tcg_pkru_changed(X86 *s, uint32_t old)
{
    uint32_t less = s->pkru & ~old;

    for (unsigned key = 0; s->tcg && key < 16; key++)
        if (less >> (2 * key) & 3 && s->tcg->keys >> key & 1) {
            tcg_flush_all(s);
            return;
        }
}

void tcg_flush_nonglobal(X86 *s)
{
    if (s->tcg)
        flush_views(s->tcg, true);
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
        flush_asid(s->tcg, (unsigned)a);
}

void tcg_memory_changed(TcgCpu *t)
{
    memset(t->range, 0, sizeof(t->range));
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

/* An address space that is not the last one's enters the views that all share. */
static void change_shared(TcgCpu *t, unsigned a)
{
    enum { LOOK = 256, AGAIN = 4096, MANY = 96 };
    bool many;

    if (t->loose_asid == a || tcg_in_smm(t, a))
        return;
    t->loose_asid = a;
    t->loose += drop_shared(t);
    if (++t->switches < (t->shared ? LOOK : AGAIN))
        return;
    many = t->loose / t->switches > MANY; /* a kernel whose pages are not global: sharing costs more than it gives */
    t->loose = t->switches = 0;
    if (t->shared && !many)
        return;
    t->shared = !many;
    tcg_flush_all(t->s);
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
        t->walk_gen++; /* its entries were another's */
        for (unsigned k = 0; k < VIEWS; k++)
            if (t->view[a * VIEWS + k].ready)
                flush_view(t, &t->view[a * VIEWS + k], false);
        if (t->loose_asid == a)
            drop_shared(t);
    } else if (!keep) {
        flush_asid(t, a);
        t->flushes++;
    }
    t->asid[a] = (Asid){ true, (uint16_t)pcid, ++t->stamp };
    change_shared(t, a);
    for (unsigned k = 0; k < VIEWS; k++)
        make_ready(t, tcg_view_at(t, a, k));
    tcg_window_enter(t, tcg_view_at(t, a, VIEW_USER), s->cr3 & -(uint64_t)PAGE, (found < 0 || !keep) && a != t->now);
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

/* Thousands of 2 MiB pieces of the kernel's map of all memory: a wrong yes costs a walk through all that is cached. */
static unsigned large_bit(uint64_t va) { return (unsigned)(va >> 21 ^ va >> 36) & (LARGE_BLOOM - 1); }
static unsigned bloom_bit(uint64_t page) { return (unsigned)(page ^ page >> 12 ^ page >> 24) & (BLOOM - 1); }

/* Every entry of [va, va + len) of one view. */
static void drop_range(View *w, uint64_t va, uint64_t len)
{
    for (unsigned side = FILL_R; side <= FILL_W; side++) {
        const TlbEnt *e = side == FILL_W ? w->w : w->r;
        const Fills *f = &w->fills[side];

        for (unsigned i = 0; i < f->n; i++)
            if (e[f->used[i]].tag != tlb_none(f->used[i]) && e[f->used[i]].tag - va < len)
                clear_entry(w, side, f->used[i]);
    }
}

static void drop_code_range(View *w, uint64_t va, uint64_t len)
{
    const Fills *f = &w->fills[FILL_JC];

    for (unsigned i = 0; i < f->n; i++) {
        const JcEnt *j = &w->jc[f->used[i]];
        const Block *b = w->jc_blk[f->used[i]];

        if (b && (jc_pc(j) - va < len || (b->crosses && (jc_pc(j) | (PAGE - 1)) + 1 - va < len)))
            clear_entry(w, FILL_JC, f->used[i]);
    }
    for (uint64_t at = va; at - va < len; at += PAGE)
        if (w->cp[cp_slot(at >> 12)].vpage == at >> 12)
            clear_entry(w, FILL_CP, cp_slot(at >> 12));
}

/* Blocks that begin in this page have one slot in eight at most; those that end in it begin at the end of the one before. */
static void drop_code_page(View *w, uint64_t va, bool crossed)
{
    const Fills *f = &w->fills[FILL_JC];

    if (w->cp[cp_slot(va >> 12)].vpage == va >> 12)
        clear_entry(w, FILL_CP, cp_slot(va >> 12));
    else if (!tlb_bit(w->cp_gone, cp_gone_bit(va >> 12)))
        return;
    for (unsigned i = 0; i < JC_N / 64; i++)
        for (uint64_t left = f->listed[i] & jc_page_slots(va, i); left; left &= left - 1) {
            unsigned k = i * 64 + (unsigned)__builtin_ctzll(left);

            if (w->jc_blk[k] && jc_pc(&w->jc[k]) - va < PAGE)
                clear_entry(w, FILL_JC, k);
        }
    for (uint64_t pc = va - 15; crossed && pc != va; pc++) {
        const Block *b = w->jc_blk[jc_slot(pc)];

        if (b && jc_pc(&w->jc[jc_slot(pc)]) == pc && b->crosses)
            clear_entry(w, FILL_JC, jc_slot(pc));
    }
}

static void flush_view_page(TcgCpu *t, View *w, uint64_t va, bool large, bool code, bool crossed)
{
    enum { LARGE = 0x200000 };
    unsigned i = (va >> 12) & (TLB_N - 1);
    uint64_t from = va & -(uint64_t)(large ? LARGE : PAGE);

    tcg_window_drop(t, w, large ? from : va & -(uint64_t)PAGE, large ? LARGE : PAGE);
    if ((w->r[i].tag ^ va) < PAGE)
        clear_entry(w, FILL_R, i);
    if ((w->w[i].tag ^ va) < PAGE)
        clear_entry(w, FILL_W, i);
    if (large)
        drop_range(w, from, LARGE);
    if (large)
        drop_code_range(w, from, LARGE);
    else if (code)
        drop_code_page(w, from, crossed);
}

/* only: of one address space and of the views that all share; -1: of all */
static void flush_page(TcgCpu *t, uint64_t va, int only)
{
    bool large = tlb_bit(t->large, large_bit(va)), code = tlb_bit(t->bloom, bloom_bit(va >> 12));
    bool crossed = tlb_bit(t->crossed, bloom_bit(va >> 12));
    View *w;

    t->walk_gen++;
    if (is_huge(t, va)) { /* the kernel's map of all memory: rarely changed */
        tcg_flush_all(t->s);
        return;
    }
    FOREACH_VIEW(t, w) {
        unsigned group = (unsigned)(w - t->view) / VIEWS;

        if (only < 0 || group == (unsigned)only || group == ASIDS)
            flush_view_page(t, w, va, large, code, crossed);
    }
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

void tcg_note_written(TcgCpu *t, const uint8_t *host) { tlb_put_bit(t->wbloom, bloom_bit((uint64_t)(uintptr_t)host >> 12), true); }
bool tcg_is_large(const TcgCpu *t, uint64_t va) { return tlb_bit(t->large, large_bit(va)); }

/* ---- filling ---- */
X86WalkEnt *tcg_walk_ent(X86 *s, uint64_t va, bool *hit)
{
    TcgCpu *t = s->tcg;
    uint64_t gen;
    X86WalkEnt *w;

    if (!t)
        return NULL;
    gen = t->walk_gen * ASIDS + t->now + 1; /* 0: never used */
    w = &t->walks[(va >> 21 ^ va >> 30 ^ t->now * 37u) % WALKS];
    *hit = w->key == va >> 21 && w->gen == gen && w->table;
    if (!*hit)
        *w = (X86WalkEnt){ .key = va >> 21, .gen = gen };
    return w;
}

void tcg_fill(TcgCpu *t, bool write, uint64_t va, const uint8_t *host, const Walk *walk)
{
    View *w = t->s->env.view;
    unsigned i = (va >> 12) & (TLB_N - 1);
    TlbEnt *e = write ? &w->w[i] : &w->r[i];

    t->fills++;
    e->tag = va & -(uint64_t)PAGE;
    e->addend = (uint64_t)(uintptr_t)host - va;
    filled(w, write ? FILL_W : FILL_R, i, walk->global);
    if (write)
        tcg_note_written(t, host);
    if (walk->user)
        t->keys |= (uint16_t)(1u << walk->pkey);
    tcg_filled(t, va, walk);
}

void tcg_filled(TcgCpu *t, uint64_t va, const Walk *walk)
{
    if (walk->page_bits > 12)
        tlb_put_bit(t->large, large_bit(va), true);
    if (walk->page_bits > 21)
        note_huge(t, va);
}

/* ---- writable sides ---- */
static void strip_view(View *w, uint64_t page)
{
    const Fills *f = &w->fills[FILL_W];

    for (unsigned i = 0; i < f->n; i++) {
        const TlbEnt *e = &w->w[f->used[i]];

        if (e->tag != tlb_none(f->used[i]) && (e->tag + e->addend) >> 12 == page)
            clear_entry(w, FILL_W, f->used[i]);
    }
}

void tcg_strip(TcgCpu *t, const uint8_t *host)
{
    uint64_t page = (uint64_t)(uintptr_t)host >> 12;
    View *w;

    if (host && !tlb_bit(t->wbloom, bloom_bit(page)))
        return;
    if (!host)
        memset(t->wbloom, 0, sizeof(t->wbloom));
    FOREACH_VIEW(t, w) {
        tcg_window_strip(t, w, host);
        if (host)
            strip_view(w, page);
        else
            flush_table(w, FILL_W, false);
    }
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

/* ---- jump cache, code pages ---- */
void tcg_cp_put(TcgCpu *t, uint64_t vpage, CodePage *page, bool global)
{
    View *w = t->s->env.view;
    unsigned k = cp_slot(vpage);

    if (w->cp[k].vpage != ~0ull && w->cp[k].vpage != vpage)
        tlb_put_bit(w->cp_gone, cp_gone_bit(w->cp[k].vpage), true);
    w->cp[k] = (CpEnt){ vpage, page, global };
    filled(w, FILL_CP, k, global);
    tlb_put_bit(t->bloom, bloom_bit(vpage), true);
}

void tcg_jc_put(TcgCpu *t, uint64_t pc, Block *b, bool global)
{
    View *w = t->s->env.view;
    unsigned k = jc_slot(pc);

    w->jc[k] = (JcEnt){ pc ^ t->s->env.jc_key, b->host };
    w->jc_blk[k] = b;
    filled(w, FILL_JC, k, global && !b->crosses);
    tlb_put_bit(t->bloom, bloom_bit(pc >> 12), true);
    if (b->crosses) {
        tlb_put_bit(t->bloom, bloom_bit((pc >> 12) + 1), true);
        tlb_put_bit(t->crossed, bloom_bit((pc >> 12) + 1), true);
    }
}

void tcg_jc_drop(TcgCpu *t, uint64_t pc)
{
    View *w = t->s->env.view;
    unsigned k = jc_slot(pc);

    if (w->jc_blk[k] && jc_pc(&w->jc[k]) == pc)
        clear_entry(w, FILL_JC, k);
}

void tcg_modes_forget(TcgCpu *t)
{
    View *w;

    FOREACH_VIEW(t, w)
        flush_table(w, FILL_JC, false);
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
    unsigned h = tcg_front_slot(mode);

    if (!t)
        return;
    if (UNLIKELY(!t->front[h].n || t->front[h].mode != mode)) {
        unsigned n = mode_number(t, mode); /* may empty the front */

        t->front[h].mode = mode;
        t->front[h].n = n + 1;
    }
    s->env.jc_key = (uint64_t)(t->front[h].n - 1) << JC_KEY_SHIFT;
}
