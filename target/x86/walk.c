/*
 * target/x86/walk.c - the page walk in all modes. Tables are read through host pointers into RAM; A and D
 * bits are set by compare-and-swap, so that vCPUs may race. The last table of a walk is remembered (tcg_walk_ent()),
 * so most walks read one entry; what they find wrong there is said by a walk from the top. Source: Intel SDM vol. 3A chapter 4.
 */
#include "target/x86/cpu.h"

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 32, PTE_D = 64, PTE_PS = 128, PTE_G = 256 };
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_X = 16, PF_PK = 32 };
#define PTE_NX   (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

typedef struct Level {
    uint64_t *host;
    RamBlock *block; /* host: of the entry, in RAM */
    uint64_t off, at, entry;
} Level;

typedef struct Walker {
    X86 *s;
    AddrSpace *as;
    uint64_t va;
    uint64_t a20; /* mask of physical addresses */
    uint64_t rsvd; /* bits of an 8-byte entry that must be 0 */
    unsigned access, n;
    Level level[5];
    bool peek;
    Walk *out;
} Walker;

static unsigned error_code(const Walker *w, unsigned code)
{
    bool nx = w->s->efer & EFER_NXE && (w->s->cr4 & CR4_PAE || long_mode(w->s));

    return code | (w->access & ACC_W ? PF_W : 0) | (w->access & ACC_USER ? PF_U : 0) |
           (w->access & ACC_X && (nx || w->s->cr4 & CR4_SMEP) ? PF_X : 0);
}

static bool fail_walk(Walker *w, unsigned code)
{
    w->out->fault = error_code(w, code);
    return false;
}

/* Entry at physical `at`, or not present when nothing is there. */
static bool entry(Walker *w, uint64_t at, bool wide, uint64_t *e)
{
    Level *l = &w->level[w->n];
    bool writable;
    uint64_t v = 0;

    at &= w->a20;
    l->host = (uint64_t *)(void *)(w->peek ? as_ram(w->as, at, &l->block, &l->off, &writable)
                                           : tcg_ram(w->s, at, &l->block, &l->off, &writable));
    l->at = at;
    if (l->host)
        v = wide ? __atomic_load_n(l->host, __ATOMIC_RELAXED) : __atomic_load_n((uint32_t *)(void *)l->host, __ATOMIC_RELAXED);
    else if (as_load(w->as, at, wide ? 8 : 4, &v, (MemAttrs){ .secure = w->s->smm, .peek = w->peek }) != MEM_OK)
        v = 0;
    l->entry = *e = v;
    w->out->entry_at[w->out->levels] = at;
    w->out->entry[w->out->levels++] = v;
    w->n++;
    return v & PTE_P;
}

/* Set A (and D on the last for a write) in every level. False: somebody changed an entry, walk again. */
static bool mark(Walker *w, bool wide)
{
    for (unsigned i = 0; i < w->n; i++) {
        Level *l = &w->level[i];
        uint64_t want = l->entry | PTE_A | (i + 1 == w->n && w->access & ACC_W ? PTE_D : 0), old = l->entry;

        if (want == old || w->peek)
            continue;
        if (!l->host) {
            as_store(w->as, l->at, wide ? 8 : 4, want, (MemAttrs){ .secure = w->s->smm });
            continue;
        }
        if (wide) {
            if (!__atomic_compare_exchange_n(l->host, &old, want, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
                return false;
        } else {
            uint32_t o = (uint32_t)old;

            if (!__atomic_compare_exchange_n((uint32_t *)(void *)l->host, &o, (uint32_t)want, false, __ATOMIC_SEQ_CST,
                                             __ATOMIC_RELAXED))
                return false;
        }
        l->entry = want;
        ram_mark_dirty(l->block, l->off, 8);
    }
    return true;
}

/* Does the key of a user page forbid this data access? */
static bool key_closed(const Walker *w, unsigned key)
{
    const X86 *s = w->s;
    uint32_t bits;

    if (!(s->cr4 & CR4_PKE) || !long_mode(s) || !w->out->user || w->access & ACC_X)
        return false;
    bits = s->pkru >> (2 * key) & 3;
    return bits & 1 || (bits & 2 && w->access & ACC_W && (w->access & ACC_USER || s->cr0 & CR0_WP));
}

/* rights: W and U of all levels and-ed; nx of all or-ed */
static bool check(Walker *w, unsigned rights, bool nx, uint64_t last)
{
    const X86 *s = w->s;
    bool user = rights & PTE_U, write = rights & PTE_W, as_user = w->access & ACC_USER, closed;

    w->out->user = user;
    w->out->prot = 1 | (write ? 2 : 0) | (nx ? 0 : 4);
    w->out->pkey = last >> 59 & 15;
    w->out->dirty = last & PTE_D;
    w->out->global = last & PTE_G && s->cr4 & CR4_PGE;
    if (w->access & ACC_PEEK)
        return true;
    closed = key_closed(w, w->out->pkey);
    if ((as_user && !user) || (w->access & ACC_X && (nx || (!as_user && user && s->cr4 & CR4_SMEP))) ||
        (w->access & ACC_W && !write && (as_user || s->cr0 & CR0_WP)) ||
        (!as_user && user && !(w->access & ACC_X) && s->cr4 & CR4_SMAP && !(s->eflags & EF_AC && s->cpl < 3)) || closed)
        return fail_walk(w, PF_P | (closed ? PF_PK : 0)); /* the key is reported whatever else forbids it */
    return true;
}

static bool finish(Walker *w, uint64_t e, unsigned bits, unsigned rights, bool nx, bool wide, bool *again)
{
    uint64_t mask = (1ull << bits) - 1, frame = e & PTE_ADDR & ~mask;

    if (!check(w, rights, nx, e))
        return false;
    if (!wide && bits == 22) /* PSE-36 */
        frame = (e & 0xffc00000) | (e >> 13 & 0xff) << 32;
    w->out->page_bits = (uint8_t)bits;
    w->out->pa = frame | (w->va & mask);
    if (!mark(w, wide)) {
        *again = true;
        return false;
    }
    if (w->access & ACC_W)
        w->out->dirty = true;
    return true;
}

static bool walk_32(Walker *w, bool *again)
{
    uint64_t e;
    unsigned rights;

    if (!entry(w, (w->s->cr3 & 0xfffff000) + (w->va >> 22 & 1023) * 4, false, &e))
        return fail_walk(w, 0);
    rights = e & (PTE_W | PTE_U);
    if (e & PTE_PS && w->s->cr4 & CR4_PSE) {
        if (e & 1 << 21)
            return fail_walk(w, PF_P | PF_RSVD);
        return finish(w, e, 22, rights, false, false, again);
    }
    if (!entry(w, (e & 0xfffff000) + (w->va >> 12 & 1023) * 4, false, &e))
        return fail_walk(w, 0);
    return finish(w, e & 0xffffffff, 12, rights & e, false, false, again);
}

static uint64_t reserved_bits(const X86 *s)
{
    uint64_t r = PTE_ADDR & ~((1ull << s->phys_bits) - 1);

    return r | (s->efer & EFER_NXE ? 0 : PTE_NX) | (long_mode(s) ? 0 : 0x7ff0000000000000ull);
}

/* The walk came to a page: its last table is remembered. */
static void remember(Walker *w, unsigned rights, bool nx)
{
    const Level *l = &w->level[w->n - 1];
    bool hit;
    X86WalkEnt *k = w->peek || !l->host ? NULL : tcg_walk_ent(w->s, w->va, &hit);
    uint64_t in = l->at & (PAGE - 1);

    if (!k)
        return;
    k->table = l->host - in / 8;
    k->block = l->block;
    k->pa = l->at - in;
    k->off = l->off - in;
    k->rights = rights;
    k->nx = nx;
}

/* By the table that was remembered. False: walk from the top. */
static bool walk_last(Walker *w)
{
    bool hit = false, again = false;
    const X86WalkEnt *k = w->peek || !(w->s->cr0 & CR0_PG) ? NULL : tcg_walk_ent(w->s, w->va, &hit);
    unsigned i = w->va >> 12 & 511;
    uint64_t e;

    if (!k || !hit)
        return false;
    e = __atomic_load_n(&k->table[i], __ATOMIC_RELAXED);
    if (!(e & PTE_P) || e & w->rsvd)
        return false;
    w->level[0] = (Level){ k->table + i, k->block, k->off + 8 * i, k->pa + 8 * i, e };
    w->n = 1;
    return finish(w, e, 12, k->rights & (unsigned)e, k->nx || e & PTE_NX, true, &again);
}

static bool walk_wide(Walker *w, unsigned level, uint64_t table, bool *again)
{
    unsigned rights = PTE_W | PTE_U, above = rights;
    uint64_t e, rsvd = w->rsvd;
    bool nx = false, nx_above = false, lm = long_mode(w->s);

    for (;; level--) { /* at most 5 */
        unsigned sh = 12 + 9 * level;

        if (!entry(w, table + (w->va >> sh & 511) * 8, true, &e))
            return fail_walk(w, 0);
        if (e & rsvd || (e & PTE_PS && level > 2) || (e & PTE_PS && level == 2 && (!lm || !w->s->phys_bits)))
            return fail_walk(w, PF_P | PF_RSVD);
        above = rights;
        nx_above = nx;
        rights &= (unsigned)e;
        nx |= e & PTE_NX;
        if (level == 0 || (e & PTE_PS)) {
            if (level && e & ((1ull << sh) - 1) & PTE_ADDR & ~0x1000ull)
                return fail_walk(w, PF_P | PF_RSVD);
            if (!finish(w, e, sh, rights, nx, true, again))
                return false;
            if (level == 0)
                remember(w, above, nx_above);
            return true;
        }
        table = e & PTE_ADDR;
    }
}

static bool walk_once(Walker *w, bool *again)
{
    X86 *s = w->s;

    w->n = 0;
    w->out->levels = 0;
    if (!(s->cr0 & CR0_PG)) {
        w->out->pa = w->va & 0xffffffff;
        w->out->page_bits = 12;
        w->out->prot = 7;
        w->out->user = w->out->dirty = true;
        return true;
    }
    if (long_mode(s))
        return walk_wide(w, s->cr4 & CR4_LA57 ? 4 : 3, s->cr3 & PTE_ADDR, again);
    if (s->cr4 & CR4_PAE) {
        uint64_t p = s->pdpte[w->va >> 30 & 3];

        w->out->entry_at[0] = (s->cr3 & 0xffffffe0) + (w->va >> 30 & 3) * 8;
        w->out->entry[0] = p;
        w->out->levels = 1;
        if (!(p & PTE_P))
            return fail_walk(w, 0);
        return walk_wide(w, 1, p & PTE_ADDR, again);
    }
    return walk_32(w, again);
}

bool x86_page_walk(X86 *s, uint64_t va, unsigned access, Walk *out)
{
    Cpu *c = s->env.cpu;
    Walker w; /* no levels yet: cleared one by one as they come */
    bool again, ok;

    w.s = s;
    w.as = c->mem[s->smm];
    w.va = va;
    w.access = access;
    w.peek = access & ACC_PEEK;
    w.out = out;
    w.rsvd = reserved_bits(s);

    /* the gate works on the pins: on table addresses too; system management mode does not look at it */
    w.a20 = __atomic_load_n(&s->env.a20_off, __ATOMIC_RELAXED) && !s->smm ? ~(1ull << 20) : ~0ull;
    memset(out, 0, sizeof(*out));
    if (walk_last(&w)) {
        out->pa &= w.a20;
        return true;
    }
    do { /* another vCPU changed an entry under us: guests cannot keep that up against a whole walk */
        again = false;
        memset(out, 0, sizeof(*out));
        ok = walk_once(&w, &again);
    } while (again);
    out->pa &= w.a20;
    return ok;
}

bool x86_walk(Cpu *c, uint64_t va, unsigned access, Walk *out) { return x86_page_walk(x86_of(c), va, access, out); }
