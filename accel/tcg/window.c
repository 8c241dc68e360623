/*
 * accel/tcg/window.c - windows: pieces of the host's address space where a user view's memory is mapped a second time, page by
 * page, so that the host's own page tables check the accesses of compiled code. What is not there faults, and the access goes
 * by the TLB instead: its block says where (FaultPoint).
 * Invariants: a window maps a page only while the TLB of its view could still hold it, writable only while its W side could.
 * It belongs to the vCPU's thread. Without one, or when the host refuses, everything works by the TLB.
 */
#include "accel/tcg/tcg.h"
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
/* Sanitizers have SIGSEGV and most of the address space for themselves: everything by the TLB then. */
#if defined(__SANITIZE_ADDRESS__) || MENURA_TSAN
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { WIN_PAGES = 65536, PROT_RW = PROT_READ | PROT_WRITE };
static const uint64_t SIZE = 1ull << WIN_SHIFT, GUARD = 4ull << 30;

typedef struct WinPage {
    uint64_t vpage; /* + 1; NOTHING: free */
    RamBlock *block;
    uint64_t off;
    bool writable;
} WinPage;

typedef struct Window {
    struct {
        uint8_t *base; /* where the slot's part of the address space begins; NULL: not reserved */
        uint64_t tag;
        unsigned mapped;
    } slot[WIN_SLOTS];
    View *view;
    uint64_t cr3;        /* whose it is */
    unsigned seen, need; /* times that code was interrupted; when so many, it is opened */
    int64_t budget;      /* us that it may spend, a part of the time that code runs */
    unsigned pieces;     /* of the host's address space, at most */
    unsigned n; /* of used */
    uint16_t used[WIN_PAGES];
    bool listed[WIN_PAGES];
    WinPage page[WIN_PAGES];
} Window;
enum { NOTHING = 0 };
enum { ENOUGH = 4, MOST_SAMPLES = 512, APART = 1000, PART = 16, NEW_INSNS = 64, START = 10000, MOST_BUDGET = 50000, COST_PUT = 6, COST_FAULT = 2 };
static _Thread_local TcgCpu *here;
static struct sigaction before;

static unsigned page_slot(uint64_t vpage) { return (unsigned)(vpage ^ vpage >> 14 ^ vpage >> 28) & (WIN_PAGES - 1); }
static uint64_t tag_of(uint64_t va) { return va >> WIN_SHIFT & 0xffff; }

static uint8_t *place_of(const Window *n, uint64_t va)
{
    return n->slot[window_slot((unsigned)tag_of(va))].base + (va & (SIZE - 1) & -(uint64_t)PAGE);
}

/* False: the host has no room for one piece more. */
static bool forbid(void *at, uint64_t len)
{
    return mmap(at, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

static void close_slot(View *w, unsigned i) { w->win[i] = (WinSlot){ WIN_NONE, 0 }; }

static void open_slot(View *w, unsigned i)
{
    const Window *n = w->window;

    w->win[i] = (WinSlot){ n->slot[i].tag, (uint64_t)(uintptr_t)n->slot[i].base - (n->slot[i].tag << WIN_SHIFT) };
}

static void unmap(TcgCpu *t, Window *n, WinPage *p)
{
    uint64_t va = (p->vpage - 1) << 12;

    n->budget -= COST_PUT;
    if (!forbid(place_of(n, va), PAGE)) {
        tcg_window_flush(t, n->view);
        return;
    }
    n->slot[window_slot((unsigned)tag_of(va))].mapped--;
    t->win_pages--;
    p->vpage = NOTHING;
}

void tcg_window_flush(TcgCpu *t, View *w)
{
    Window *n = w->window;

    if (n && !w->mode)
        n->seen = 0; /* an address space that is changed often is not worth it */
    if (!n || !n->n)
        return;
    n->budget -= n->pieces * 3 / 2;
    for (unsigned i = 0; i < WIN_SLOTS; i++)
        if (n->slot[i].mapped) {
            if (!forbid(n->slot[i].base - GUARD, SIZE + 2 * GUARD)) /* many pieces become one */
                g_error("cannot unmap guest memory: %s", g_strerror(errno));
            t->win_pages -= n->slot[i].mapped;
            n->slot[i].mapped = 0;
        }
    for (unsigned i = 0; i < n->n; i++) {
        n->page[n->used[i]].vpage = NOTHING;
        n->listed[n->used[i]] = false;
    }
    n->n = 0;
    t->win_pieces -= n->pieces;
    n->pieces = 0;
    t->win_flushes++;
}

void tcg_window_off(TcgCpu *t, View *w)
{
    if (!w->mode)
        return;
    tcg_window_flush(t, w);
    w->mode = 0;
    for (unsigned i = 0; i < WIN_SLOTS; i++)
        close_slot(w, i);
}

static void penalty(TcgCpu *t, View *w)
{
    Window *n = w->window;

    n->need = MIN(n->need * 4, MOST_SAMPLES);
    n->seen = 0;
    t->win_offs++;
    tcg_window_off(t, w);
}

/*
 * The view is entered, maybe for another address space. fresh: nothing of it was kept, so it may be another even with the same
 * tables: guests use the page of a process that ended for the next one.
 */
void tcg_window_enter(TcgCpu *t, View *w, uint64_t cr3, bool fresh)
{
    Window *n = w->window;

    if (!n || (n->cr3 == cr3 && !fresh))
        return;
    tcg_window_off(t, w);
    n->cr3 = cr3;
    n->seen = 0;
    n->need = ENOUGH;
}

void tcg_window_drop(TcgCpu *t, View *w, uint64_t va, uint64_t len)
{
    Window *n = w->window;
    bool any = false;

    if (!n || !n->n)
        return;
    for (uint64_t at = va; at - va < len; at += PAGE) {
        WinPage *p = &n->page[page_slot(at >> 12)];

        if (p->vpage != (at >> 12) + 1)
            continue;
        n->slot[window_slot((unsigned)tag_of(at))].mapped--;
        p->vpage = NOTHING;
        t->win_pages--;
        any = true;
    }
    if (any && !forbid(place_of(n, va), len))
        tcg_window_flush(t, w);
}

static void strip(TcgCpu *t, Window *n, WinPage *p)
{
    p->writable = false;
    n->pieces++;
    t->win_pieces++;
    if (mprotect(place_of(n, (p->vpage - 1) << 12), PAGE, PROT_READ))
        unmap(t, n, p);
}

/* Those of this host page; NULL: all but those that everybody who logs knows as written. */
void tcg_window_strip(TcgCpu *t, View *w, const uint8_t *host)
{
    Window *n = w->window;

    for (unsigned i = 0; n && i < n->n; i++) {
        WinPage *p = &n->page[n->used[i]];

        if (p->vpage == NOTHING || !p->writable)
            continue;
        if (host ? p->block->host + p->off == host : !tcg_may_be_written(p->block, p->off))
            strip(t, n, p);
        else if (!host)
            tcg_note_written(t, p->block->host + p->off);
    }
}

static bool reserve(View *w, uint64_t va)
{
    Window *n = w->window;
    unsigned i = window_slot((unsigned)tag_of(va));
    uint8_t *p;

    if (n->slot[i].base && w->win[i].tag != WIN_NONE)
        return n->slot[i].tag == tag_of(va);
    if (!n->slot[i].base) {
        p = mmap(NULL, SIZE + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return false;
        n->slot[i].base = p + GUARD;
    }
    n->slot[i].tag = tag_of(va);
    open_slot(w, i);
    return true;
}

/* A piece is up to three of the areas that the host lets a process have; they are for all vCPUs, and half of them for others. */
static unsigned most_pieces(const TcgCpu *t)
{
    static gsize most; /* + 1 */

    if (g_once_init_enter(&most)) {
        g_autofree char *text = NULL;

        g_file_get_contents("/proc/sys/vm/max_map_count", &text, NULL, NULL);
        g_once_init_leave(&most, (text ? strtoul(text, NULL, 10) : 65530) / 6 + 1);
    }
    return (unsigned)(most - 1) / MAX(t->cpu->vm->cfg.max_cpus, 1u);
}

static void full(TcgCpu *t)
{
    for (unsigned i = 0; i < t->nready; i++)
        tcg_window_flush(t, &t->view[t->ready[i]]);
}

/* What is mapped there is another's, or will be part of something larger. */
static void note(TcgCpu *t, Window *n, uint64_t va, RamBlock *b, uint64_t off, bool write)
{
    unsigned k = page_slot(va >> 12);
    WinPage *p = &n->page[k];

    if (p->vpage != NOTHING && p->vpage != (va >> 12) + 1)
        unmap(t, n, p);
    if (p->vpage == NOTHING) {
        n->slot[window_slot((unsigned)tag_of(va))].mapped++;
        t->win_pages++;
    }
    *p = (WinPage){ (va >> 12) + 1, b, off, write };
    if (!n->listed[k])
        n->used[n->n++] = (uint16_t)k;
    n->listed[k] = true;
    if (write)
        tcg_note_written(t, b->host + off);
}

/* Memory of the guest, n pages of it that lie together, as one piece. The addresses are those of pages. */
static bool map(TcgCpu *t, View *w, const Piece *m)
{
    Window *n = w->window;
    uint8_t *at = place_of(n, m->va);

    if (t->win_pieces >= most_pieces(t))
        full(t);
    n->pieces++;
    t->win_pieces++;
    n->budget -= COST_PUT;
    t->win_puts++;
    if (mmap(at, m->n * (uint64_t)PAGE, m->write ? PROT_RW : PROT_READ, MAP_SHARED | MAP_FIXED | MAP_POPULATE, m->block->fd,
             (off_t)(m->block->fd_offset + m->off)) == MAP_FAILED)
        return false;
    for (unsigned i = 0; i < m->n; i++)
        note(t, n, m->va + i * (uint64_t)PAGE, m->block, m->off + i * (uint64_t)PAGE, m->write);
    return true;
}

/* False: nothing is better than before. */
static bool put(TcgCpu *t, View *w, Piece m)
{
    Window *n = w->window;
    WinPage *p = &n->page[page_slot(m.va >> 12)];

    if (!w->mode || t->nwatches || m.va >> 47 || m.block->fd < 0 || !m.block->shared || m.block->readonly || !reserve(w, m.va) || t->win_tails)
        return false;
    if (n->budget < 0 && !t->win_always) {
        penalty(t, w);
        return false;
    }
    if (p->vpage == (m.va >> 12) + 1 && p->block == m.block && p->off == m.off && (p->writable || !m.write))
        return false;
    tcg_piece_grow(t, &m);
    return map(t, w, &m);
}

void tcg_window_fill(TcgCpu *t, bool write, bool writable, uint64_t va, RamBlock *b, uint64_t off, const Walk *walk)
{
    const X86 *s = t->s;
    View *w = s->env.view;

    if (LIKELY(!w->mode))
        return;
    /* what may be written without a change of the guest's table need not fault again then */
    write |= writable && walk->dirty && walk->prot & 2 &&
             !(s->pkru >> (2 * walk->pkey) & 3) && tcg_may_be_written(b, off) && !(cpu_requests(t->cpu) & REQ_CODE);
    put(t, w, (Piece){ va & -(uint64_t)PAGE, b, off & -(uint64_t)PAGE, 1, write });
}

/* ---- faults ---- */
static bool put_known(TcgCpu *t, View *w, uint64_t va, bool write)
{
    const uint8_t *host = tlb_hit(w->w, va, 1);
    bool writable = host != NULL;

    if (!host && !write)
        host = tlb_hit(w->r, va, 1);
    for (unsigned i = 0; host && i < RANGES; i++) {
        const RamRange *r = &t->range[i].ram;

        if (!t->range[i].as || (uint64_t)(host - r->host) >= r->len)
            continue;
        return put(t, w, (Piece){ va & -(uint64_t)PAGE, r->block, (r->off + (uint64_t)(host - r->host)) & -(uint64_t)PAGE, 1, writable });
    }
    return false;
}

static bool mend(TcgCpu *t, const uint8_t *addr, bool write)
{
    View *w = t->s->env.view;
    Window *n = w->window;

    for (unsigned i = 0; n && i < WIN_SLOTS; i++)
        if (n->slot[i].base && (uint64_t)(addr - n->slot[i].base) < SIZE)
            return put_known(t, w, (n->slot[i].tag << WIN_SHIFT) + (uint64_t)(addr - n->slot[i].base), write);
    return false;
}

static const uint8_t *tail_of(const TcgCpu *t, const uint8_t *pc)
{
    const CodeCache *c = &t->code;
    const Block *b;

    if (pc < c->rx + c->stubs || pc >= c->rx + c->used)
        return NULL;
    b = tcg_block_at(t, pc);
    for (unsigned i = 0; i < b->npoints; i++)
        if ((size_t)(pc - b->host) - b->point[i].from < b->point[i].len)
            return b->cold + b->point[i].tail;
    return NULL;
}

void tcg_window_ask(TcgCpu *t, const uint8_t *ret)
{
    const Block *b = tcg_block_at(t, ret);

    for (unsigned i = 0; i < b->npoints; i++)
        if (b->point[i].tail - (size_t)(ret - b->cold) < b->point[i].ahead)
            jit_slot(&t->code, b, &b->point[i], window_slot((unsigned)tag_of(t->s->env.jit.addr)));
}

/* Faults that nothing is done about must come to an end as well. */
static void spend(TcgCpu *t, unsigned us)
{
    View *w = t->s->env.view;

    if (!w->window)
        return;
    w->window->budget -= us;
    if (w->window->budget < 0 && w->mode && !t->win_always)
        penalty(t, w);
}

static bool ours(ucontext_t *u, const siginfo_t *info)
{
    enum { WRITE = 2 };
    greg_t *r = u->uc_mcontext.gregs;
    const uint8_t *tail;

    if (!here || !here->s->env.in_host || info->si_code <= 0)
        return false;
    tail = tail_of(here, (const uint8_t *)(uintptr_t)r[REG_RIP]);
    if (!tail)
        return false;
    here->win_faults++;
    spend(here, COST_FAULT);
    if (info->si_code == SI_KERNEL || !mend(here, info->si_addr, r[REG_ERR] & WRITE))
        r[REG_RIP] = (greg_t)(uintptr_t)tail;
    return true;
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    int e = errno;
    bool mine = ours(context, info);

    errno = e;
    if (mine)
        return;
    sigaction(sig, &before, NULL); /* as if we had not been here: the instruction runs again, */
    if (info->si_code <= 0)
        raise(sig); /* .. or whoever sent it meant it */
}

static void install(void)
{
    static gsize done;

    if (g_once_init_enter(&done)) {
        struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };

        sigaction(SIGSEGV, &sa, &before);
        g_once_init_leave(&done, 1);
    }
}

/* ---- when ---- */
void tcg_windows_init(TcgCpu *t, bool wanted, bool always)
{
    t->code.windows = wanted && !SANITIZED;
    t->win_always = t->code.windows && always;
}

void tcg_windows_here(TcgCpu *t) { here = t; }

/* The slots of what the TLB has. */
static void open_known(View *w)
{
    for (unsigned side = FILL_R; side <= FILL_W; side++) {
        const TlbEnt *e = side == FILL_W ? w->w : w->r;
        const Fills *f = &w->fills[side];

        for (unsigned i = 0; i < f->n; i++)
            if (e[f->used[i]].tag != tlb_none(f->used[i]) && !(e[f->used[i]].tag >> 47))
                reserve(w, e[f->used[i]].tag);
    }
}

static Window *make(TcgCpu *t, View *w)
{
    Window *n = mmap(NULL, sizeof(Window), PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (n == MAP_FAILED)
        return NULL;
    n->view = w;
    n->need = ENOUGH;
    n->cr3 = t->s->cr3 & -(uint64_t)PAGE;
    w->window = n;
    install();
    return n;
}

static void on(TcgCpu *t, View *w)
{
    bool any = t->win_always;

    open_known(w);
    for (unsigned i = 0; i < WIN_SLOTS; i++)
        any |= w->win[i].tag != WIN_NONE;
    w->window->seen = 0;
    if (!any) /* the host has no address space left for it: not soon again */
        w->window->need = MOST_SAMPLES;
    if (!any)
        return;
    w->mode = ENV_MODE_WINDOW;
    w->window->budget = START;
    t->win_ons++;
}

void tcg_window_always(TcgCpu *t)
{
    View *w = t->s->env.view;

    if (!w->mode && !t->s->smm && (w->window || make(t, w)))
        on(t, w);
}

void tcg_window_tails(TcgCpu *t, bool tails)
{
    t->win_tails = tails;
    if (tails)
        tcg_window_flush(t, t->s->env.view);
}

/* Compiled code was interrupted: what does its view spend on its window, or is it worth one? */
void tcg_window_sample(TcgCpu *t)
{
    View *w = t->s->env.view;
    Window *n = w->window;
    int64_t now, gap;

    if (!t->code.windows || t->kind != VIEW_USER || t->s->smm || t->s->env.fault.kind)
        return;
    now = host_thread_time() / US;
    gap = MIN(now - t->win_at, 4 * APART);
    if (gap < APART)
        return;
    t->win_at = now;
    if (!n)
        n = make(t, w);
    if (!n)
        return;
    if (t->translated - t->win_translated > NEW_INSNS)
        n->seen = 0; /* its code is not warm yet, and would be made twice */
    t->win_translated = t->translated;
    if (w->mode) {
        n->budget = MIN(n->budget + gap / PART, MOST_BUDGET);
    } else if (++n->seen >= n->need) {
        on(t, w);
        x86_update_mode(t->s);
    }
}

void tcg_window_free(View *w)
{
    for (unsigned i = 0; w->window && i < WIN_SLOTS; i++)
        if (w->window->slot[i].base)
            munmap(w->window->slot[i].base - GUARD, SIZE + 2 * GUARD);
    if (w->window)
        munmap(w->window, sizeof(Window));
    w->window = NULL;
}

void tcg_window_stats(const TcgCpu *t, GString *out)
{
    if (t->code.windows)
        g_string_append_printf(out, "  windows: %" PRIu64 " opened, %" PRIu64 " closed for their cost, %" PRIu64 " emptied; %" PRIu64
                               " pieces mapped for %" PRIu64 " faults, %u pages now\n", t->win_ons, t->win_offs, t->win_flushes, t->win_puts, t->win_faults, t->win_pages);
}
