/*
 * target/x86/string.c - string instructions in bulk: as much as lies inside the pages of source and
 * destination goes in one host operation; element by element across pages, for MMIO, close overlaps and
 * DF = 1. Registers are exact at a fault: the instruction restarts where it stopped.
 */
#include "target/x86/helper.h"
#include "util/shared.h"

/* how: size 0-1, asize 2-3, rep 4-5 (1 rep/repe, 2 repne), segment 6-8, 9: 64-bit code */
typedef struct Str {
    X86 *s;
    Env *e;
    unsigned size, asize, rep, seg;
    bool code64, down;
    uint64_t amask;
} Str;

static Str decode(Env *e, uint64_t how)
{
    unsigned asize = how >> 2 & 3;

    return (Str){ x86(e), e, how & 3, asize, how >> 4 & 3, how >> 6 & 7, how >> 9 & 1, x86(e)->eflags & EF_DF,
                  asize == 3 ? ~0ull : asize == 2 ? 0xffffffff : 0xffff };
}

static uint64_t count(const Str *t) { return t->rep ? t->e->v[RCX] & t->amask : 1; }

static void set_reg(const Str *t, unsigned r, uint64_t v)
{
    t->e->v[r] = t->asize == 1 ? (t->e->v[r] & ~0xffffull) | (v & 0xffff) : v & t->amask;
}

static void advance(const Str *t, unsigned reg, uint64_t n)
{
    uint64_t by = n << t->size;

    set_reg(t, reg, t->e->v[reg] + (t->down ? -by : by));
}

static void counted(const Str *t, uint64_t n)
{
    if (t->rep)
        set_reg(t, RCX, t->e->v[RCX] - n);
}

/* Linear address of an element, limits checked; false: fault. */
static bool linear(const Str *t, unsigned reg, unsigned seg, bool write, uint64_t *va)
{
    uint64_t off = t->e->v[reg] & t->amask;

    if (t->code64) {
        *va = seg >= SEG_FS ? off + seg_base(t->s, seg) : off;
        return x86_aligned(t->s, *va, 1u << t->size, 1u << t->size);
    }
    if (t->e->mode >> (MODE_CHECK_SHIFT + seg) & 1 && !target_segchk(t->e, off, seg | t->size << 3 | (unsigned)write << 7))
        return false;
    *va = (uint32_t)(off + seg_base(t->s, seg));
    return x86_aligned(t->s, *va, 1u << t->size, 1u << t->size);
}

/* Something looks at every iteration: a single step, a debug register. */
static bool watched(const Str *t) { return UNLIKELY(t->e->mode & MODE_ONE); }

/* Elements that may go in one go from here: within page, count, and the segment when it must be checked. */
static uint64_t run_length(const Str *t, uint64_t va, uint64_t n)
{
    uint64_t bytes = 4096 - (va & 4095);

    if (t->down || watched(t) || (!t->code64 && t->e->mode >> MODE_CHECK_SHIFT & 0x3f) || t->asize == 1)
        return 1;
    return MIN(n, bytes >> t->size);
}

static bool stop_for_irq(const Str *t) { return __atomic_load_n(&t->e->exit_req, __ATOMIC_RELAXED) || watched(t); }

/* Leave in the middle: the instruction is executed again after what is pending was served. */
static uint64_t interrupted(const Str *t)
{
    t->s->eflags |= EF_RF; /* no second stop at its own breakpoint; and so it is pushed */
    t->e->fault = (Fault){ FAULT_AGAIN, 1, 0 };
    return 0;
}

/* The same downwards (DF = 1): elements from the one at va to the start of its page. */
static uint64_t down_length(const Str *t, uint64_t va, uint64_t n)
{
    uint64_t end = (va & 4095) + (1u << t->size);

    if (watched(t) || (!t->code64 && t->e->mode >> MODE_CHECK_SHIFT & 0x3f))
        return 1;
    return t->asize == 1 || end > 4096 ? 1 : MIN(n, end >> t->size);
}

/* Memory of k elements ending with the one at va; NULL: fault set, or not plain RAM. */
static uint8_t *down_page(const Str *t, uint64_t va, uint64_t k, bool write)
{
    unsigned left;

    return mem_page(t->e, va - ((k - 1) << t->size), write, &left);
}

static bool copy_down(const Str *t, uint64_t dst, uint64_t src, uint64_t *n)
{
    uint64_t k = MIN(down_length(t, dst, *n), down_length(t, src, *n)), v = 0;

    if (src - dst < 4096 && dst != src) /* an overlap that repeats itself downwards */
        k = MIN(k, (src - dst) >> t->size);
    if (k > 1) {
        uint8_t *p = down_page(t, src, k, false), *d = p ? down_page(t, dst, k, true) : NULL;

        if (t->e->fault.kind)
            return false;
        if (p && d) {
            shared_copy(d, p, k << t->size);
            *n = k;
            return true;
        }
    }
    *n = 1;
    return mem_load(t->e, src, 1u << t->size, &v, false) && mem_store(t->e, dst, 1u << t->size, &v);
}

static bool copy_some(const Str *t, uint64_t dst, uint64_t src, uint64_t *n)
{
    uint8_t *d, *p;
    unsigned left;
    uint64_t k = MIN(run_length(t, dst, *n), run_length(t, src, *n)), v = 0, bytes;

    if (t->down)
        return copy_down(t, dst, src, n);
    if (dst - src < 4096 && dst != src) /* a forward overlap repeats itself: stop where it starts */
        k = MIN(k, (dst - src) >> t->size);
    if (k > 1) {
        p = mem_page(t->e, src, false, &left);
        d = p ? mem_page(t->e, dst, true, &left) : NULL;
        if (t->e->fault.kind)
            return false;
        if (p && d) {
            bytes = k << t->size;
            shared_copy(d, p, bytes);
            *n = k;
            return true;
        }
    }
    *n = 1;
    return mem_load(t->e, src, 1u << t->size, &v, false) && mem_store(t->e, dst, 1u << t->size, &v);
}

uint64_t hx_movs(Env *e, uint64_t how, uint64_t b, uint64_t c);
uint64_t hx_stos(Env *e, uint64_t how, uint64_t b, uint64_t c);
uint64_t hx_lods(Env *e, uint64_t how, uint64_t b, uint64_t c);
uint64_t hx_cmps(Env *e, uint64_t how, uint64_t b, uint64_t c);
uint64_t hx_scas(Env *e, uint64_t how, uint64_t b, uint64_t c);
uint64_t hx_ins(Env *e, uint64_t how, uint64_t b, uint64_t c);
uint64_t hx_outs(Env *e, uint64_t how, uint64_t b, uint64_t c);

/* The destination is refused; what is wrong with the source's page comes before that. */
static void source_first(const Str *t, uint64_t src)
{
    const Fault refused = t->e->fault;
    uint64_t v;

    t->e->fault.kind = FAULT_NONE;
    if (mem_load(t->e, src, 1u << t->size, &v, false))
        t->e->fault = refused;
}

uint64_t hx_movs(Env *e, uint64_t how, uint64_t b, uint64_t c)
{
    Str t = decode(e, how);

    for (uint64_t left = count(&t); left;) { /* bound: rcx, polled every page */
        uint64_t src, dst, n = left;

        if (!linear(&t, RSI, t.seg, false, &src))
            return 0;
        if (!linear(&t, RDI, SEG_ES, true, &dst)) {
            source_first(&t, src);
            return 0;
        }
        if (!copy_some(&t, dst, src, &n))
            return 0;
        advance(&t, RSI, n);
        advance(&t, RDI, n);
        counted(&t, n);
        left -= n;
        if (left && stop_for_irq(&t))
            return interrupted(&t);
    }
    return 0;
}

static void fill(uint8_t *d, uint64_t v, unsigned size, uint64_t n)
{
    if (size == 0 || v == 0)
        shared_fill(d, (int)(v & 0xff), n << size);
    else
        for (uint64_t i = 0; i < n; i++)
            shared_copy(d + (i << size), &v, 1u << size);
}

uint64_t hx_stos(Env *e, uint64_t how, uint64_t b, uint64_t c)
{
    Str t = decode(e, how);

    for (uint64_t left = count(&t); left;) {
        uint64_t dst, n, v = trunc_to(e->v[RAX], t.size);
        unsigned room;
        uint8_t *d = NULL;

        if (!linear(&t, RDI, SEG_ES, true, &dst))
            return 0;
        n = run_length(&t, dst, left);
        if (n > 1)
            d = mem_page(e, dst, true, &room);
        if (e->fault.kind)
            return 0;
        if (d)
            fill(d, v, t.size, n);
        else if (n = 1, !mem_store(e, dst, 1u << t.size, &v))
            return 0;
        advance(&t, RDI, n);
        counted(&t, n);
        left -= n;
        if (left && stop_for_irq(&t))
            return interrupted(&t);
    }
    return 0;
}

static void deposit(uint64_t *r, unsigned size, uint64_t v)
{
    *r = size == 0 ? (*r & ~0xffull) | (uint8_t)v : size == 1 ? (*r & ~0xffffull) | (uint16_t)v : size == 2 ? (uint32_t)v : v;
}

uint64_t hx_lods(Env *e, uint64_t how, uint64_t b, uint64_t c)
{
    Str t = decode(e, how);

    for (uint64_t left = count(&t); left; left--) {
        uint64_t src, v = 0;

        if (!linear(&t, RSI, t.seg, false, &src) || !mem_load(e, src, 1u << t.size, &v, false))
            return 0;
        deposit(&e->v[RAX], t.size, v);
        advance(&t, RSI, 1);
        counted(&t, 1);
        if (left > 1 && stop_for_irq(&t))
            return interrupted(&t);
    }
    return 0;
}

static bool compare(const Str *t, uint64_t a, uint64_t b)
{
    unsigned bits = 8u << t->size;
    uint64_t r = trunc_to(a - b, t->size);

    a = trunc_to(a, t->size);
    b = trunc_to(b, t->size);
    t->e->cc = (Cc){ .kind = CC_SUB, .size = (uint8_t)t->size, .res = r, .a = a, .b = b };
    (void)bits;
    return r == 0;
}

/* Ends the loop after this element? */
static bool decided(const Str *t, bool equal) { return t->rep && equal != (t->rep == 1); }

static bool element(const Str *t, unsigned reg, unsigned seg, uint64_t *v)
{
    uint64_t va;

    return linear(t, reg, seg, false, &va) && mem_load(t->e, va, 1u << t->size, v, false);
}

/* CMPS, SCAS: AMD's CPUs read the source first and keep the flags of the last comparison at a fault; Intel's do neither. */
uint64_t hx_cmps(Env *e, uint64_t how, uint64_t b, uint64_t c)
{
    Str t = decode(e, how);
    const Cc before = e->cc; /* what a fault later on restores */
    bool amd = t.s->vendor_amd;

    for (uint64_t left = count(&t); left; left--) {
        uint64_t x = 0, y = 0;
        bool equal;

        if ((amd && !element(&t, RSI, t.seg, &x)) || !element(&t, RDI, SEG_ES, &y) || (!amd && !element(&t, RSI, t.seg, &x))) {
            if (!amd)
                e->cc = before;
            return 0;
        }
        equal = compare(&t, x, y);
        advance(&t, RSI, 1);
        advance(&t, RDI, 1);
        counted(&t, 1);
        if (decided(&t, equal))
            break;
        if (left > 1 && stop_for_irq(&t))
            return interrupted(&t);
    }
    return 0;
}

uint64_t hx_scas(Env *e, uint64_t how, uint64_t b, uint64_t c)
{
    Str t = decode(e, how);
    const Cc before = e->cc; /* what a fault later on restores */

    for (uint64_t left = count(&t); left; left--) {
        uint64_t y = 0;
        bool equal;

        if (!element(&t, RDI, SEG_ES, &y)) {
            if (!t.s->vendor_amd)
                e->cc = before;
            return 0;
        }
        equal = compare(&t, e->v[RAX], y);
        advance(&t, RDI, 1);
        counted(&t, 1);
        if (decided(&t, equal))
            break;
        if (left > 1 && stop_for_irq(&t))
            return interrupted(&t);
    }
    return 0;
}

/* IOPL and the TSS's bitmap. */
bool x86_port_allowed(X86 *s, uint16_t port, unsigned bytes)
{
    uint64_t map, bits;

    if (!(s->cr0 & CR0_PE) || (s->cpl <= iopl(s) && !vm86(s)))
        return true;
    if (!(s->tr.attr & 8) || s->tr.limit < 103)
        return x86_raise(s, EXC_GP, 0);
    if (!x86_read_sys(s, s->tr.base + 102, 2, &map))
        return false;
    if (map + port / 8 + 1 > s->tr.limit)
        return x86_raise(s, EXC_GP, 0);
    if (!x86_read_sys(s, s->tr.base + map + port / 8, 2, &bits))
        return false;
    return !(bits >> (port & 7) & ((1u << bytes) - 1)) || x86_raise(s, EXC_GP, 0);
}

uint64_t hx_ins(Env *e, uint64_t how, uint64_t b, uint64_t c)
{
    Str t = decode(e, how);
    unsigned size = MIN(t.size, 2), left_page;
    uint16_t port = (uint16_t)e->v[RDX];

    t.size = size;
    if (!x86_port_allowed(t.s, port, 1u << size))
        return 0;
    for (uint64_t left = count(&t); left; left--) {
        uint64_t dst, v = 0;

        if (!linear(&t, RDI, SEG_ES, true, &dst))
            return 0;
        mem_page(e, dst, true, &left_page); /* the port is not read when the store would fault */
        if (e->fault.kind)
            return 0;
        as_load(e->cpu->ports, port, 1u << size, &v, MEM_CPU);
        x86_io_break(t.s, port, 1u << size);
        if (!mem_store(e, dst, 1u << size, &v))
            return 0;
        advance(&t, RDI, 1);
        counted(&t, 1);
        if (left > 1 && stop_for_irq(&t))
            return interrupted(&t);
    }
    return 0;
}

uint64_t hx_outs(Env *e, uint64_t how, uint64_t b, uint64_t c)
{
    Str t = decode(e, how);
    unsigned size = MIN(t.size, 2);
    uint16_t port = (uint16_t)e->v[RDX];

    t.size = size;
    if (!x86_port_allowed(t.s, port, 1u << size))
        return 0;
    for (uint64_t left = count(&t); left; left--) {
        uint64_t src, v = 0;

        if (!linear(&t, RSI, t.seg, false, &src) || !mem_load(e, src, 1u << size, &v, false))
            return 0;
        advance(&t, RSI, 1);
        counted(&t, 1);
        as_store(e->cpu->ports, port, 1u << size, v, MEM_CPU);
        x86_io_break(t.s, port, 1u << size);
        if (left > 1 && stop_for_irq(&t))
            return interrupted(&t);
    }
    return 0;
}
