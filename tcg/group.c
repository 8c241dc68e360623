/*
 * tcg/group.c - which accesses of a block lie near each other: at constant distances from what a register holds at the
 * start of some instruction. One check of the TLB there then serves them all. Only while nothing is called in between
 * that could change a translation.
 */
#include "tcg/ir.h"
#include <string.h>

typedef struct Sym { /* what a register got at some point, plus a constant */
    bool known;
    uint8_t base; /* a guest register, V_PAGE, or V_NONE: absolute */
    uint16_t age; /* how often the base got something unknown before */
    int64_t off;
} Sym;

typedef struct Access {
    uint16_t op, first;  /* first: op of its instruction */
    uint8_t base, bytes;
    bool write, aligned, taken;
    uint8_t reg;         /* holds base + reg_off when its instruction starts; NO_REG: none */
    uint16_t age;
    int64_t off, reg_off;
} Access;

typedef struct Walk { /* along the block */
    Sym s[256];
    uint16_t age[256], end[16]; /* end: op behind the one that changed the register last */
    uint16_t first, call; /* call: op behind the last call */
} Walk;

enum { ACCESSES = 64, NEAR = 512, PAGE_SIZE = 4096, NO_REG = 254 };

static bool calls(IrKind k) { return k == IR_call || k == IR_callf || k == IR_cas || k == IR_segchk; }

static unsigned bytes_of(const IrOp *o)
{
    IrKind k = IR_KIND(o->op);

    if (k == IR_fpum && !IR_SIZE(o->op))
        return 10;
    return ir_vec_bytes(o);
}

static bool is_access(IrKind k)
{
    return k == IR_ld || k == IR_st || k == IR_vld || k == IR_vst || k == IR_vldn || k == IR_vstn ||
           k == IR_fpum;
}

static bool is_store(const IrOp *o)
{
    IrKind k = IR_KIND(o->op);

    return k == IR_st || k == IR_vst || k == IR_vstn || o->x & (k == IR_fpum ? X_FPU_ST : X_W);
}

static Sym none(void) { return (Sym){ false, 0, 0, 0 }; }

/* What d is after the op. */
static Sym result(const IrOp *o, const Sym *s)
{
    IrKind k = IR_KIND(o->op);
    bool imm = o->op & IR_I;

    if (IR_SIZE(o->op) != 3)
        return none();
    if (k == IR_mov && imm)
        return (Sym){ true, V_NONE, s[V_NONE].age, o->imm };
    if (k == IR_mov)
        return s[o->a];
    if (k == IR_lea && o->b == V_NONE && s[o->a].known)
        return (Sym){ true, s[o->a].base, s[o->a].age, s[o->a].off + o->imm };
    if ((k == IR_add || k == IR_sub) && imm && s[o->a].known)
        return (Sym){ true, s[o->a].base, s[o->a].age, k == IR_add ? s[o->a].off + o->imm : s[o->a].off - o->imm };
    return none();
}

static bool is_near(const Sym *s, int64_t imm) /* offsets of a register fit an instruction */
{
    return s->known && (s->base == V_NONE || (s->off == (int16_t)s->off && imm < 1 << 30 && imm > -(1 << 30)));
}

/* Nothing is known of v any more: from here on it is a base of its own. */
static void fresh(Walk *w, unsigned v, unsigned i)
{
    w->s[v] = (Sym){ true, (uint8_t)v, ++w->age[v], 0 };
    if (v < 16)
        w->end[v] = (uint16_t)(i + 1);
}

static void all_fresh(Walk *w, unsigned i)
{
    for (unsigned v = 0; v < 16; v++)
        fresh(w, v, i);
    fresh(w, V_PAGE, i);
    fresh(w, V_NONE, i);
}

/* Where the value of v, base + something, is at the start of the instruction. */
static unsigned holder(const Walk *w, unsigned v)
{
    const Sym *s = &w->s[v];

    if (w->call > w->first)
        return NO_REG; /* the check would come ahead of the call */
    if (s->base == V_PAGE || s->base == V_NONE)
        return s->base;
    if (v < 16 && w->end[v] <= w->first)
        return v;
    for (unsigned r = 0; r < 16; r++)
        if (w->s[r].known && w->s[r].base == s->base && w->s[r].age == s->age && w->end[r] <= w->first)
            return r;
    return NO_REG;
}

static Access access_of(const Walk *w, const IrOp *o, unsigned i)
{
    const Sym *s = &w->s[o->a];
    unsigned reg = holder(w, o->a);

    return (Access){ .op = (uint16_t)i, .first = w->first, .base = s->base, .bytes = (uint8_t)bytes_of(o), .write = is_store(o),
                     .aligned = o->x & X_ALIGNED, .reg = (uint8_t)reg, .age = s->age, .off = s->off + o->imm,
                     .reg_off = reg < 16 ? w->s[reg].off : 0 };
}

static unsigned collect(const IrBlock *b, Access *v)
{
    static _Thread_local Walk walk; /* scratch */
    Walk *w = &walk;
    unsigned n = 0;

    memset(w->age, 0, sizeof(w->age));
    for (unsigned i = V_TEMP; i < b->next_temp; i++)
        w->s[i] = none();
    for (unsigned i = 16; i < V_TEMP; i++)
        w->s[i] = none();
    all_fresh(w, 0);
    memset(w->end, 0, sizeof(w->end));
    w->call = 0;
    for (unsigned i = 0; i < b->nops && n < ACCESSES; i++) {
        const IrOp *o = &b->ops[i];
        IrKind k = IR_KIND(o->op);
        char d = ir_info[k].args[0];

        if (!i || b->at[i] != b->at[i - 1] || IR_KIND(o[-1].op) == IR_poll)
            w->first = (uint16_t)i;
        if (calls(k)) {
            all_fresh(w, i);
            w->call = (uint16_t)(i + 1);
            continue;
        }
        if (is_access(k) && !(o->x & X_ALIGNED && bytes_of(o) > 16) && o->b == V_NONE && is_near(&w->s[o->a], o->imm))
            v[n++] = access_of(w, o, i);
        if (ir_info[k].traits & T_WIDE) {
            fresh(w, 0, i);
            fresh(w, 2, i);
        }
        if ((d != 'd' && d != 'D') || o->d == V_NONE)
            continue;
        w->s[o->d] = result(o, w->s);
        if (o->d < 16 && !w->s[o->d].known)
            fresh(w, o->d, i);
        else if (o->d < 16)
            w->end[o->d] = (uint16_t)(i + 1);
    }
    return n;
}

/* The group that begins with access i; it takes what is near. Distances are from v[i].reg when its instruction starts. */
static bool form(Access *v, unsigned n, unsigned i, IrGroup *g, uint8_t *of, unsigned number)
{
    int64_t from = v[i].reg_off;
    unsigned count = 0;

    if (v[i].reg == NO_REG)
        return false;
    *g = (IrGroup){ .base = v[i].reg, .at = v[i].first, .lo = v[i].off - from, .hi = v[i].off - from + v[i].bytes, .align = -1 };
    for (unsigned j = i; j < n; j++) {
        int64_t at = v[j].off - from, lo = MIN(g->lo, at), hi = MAX(g->hi, at + v[j].bytes);
        bool fits = !v[j].aligned || g->align < 0 || ((at ^ g->align) & 15) == 0;

        if (v[j].taken || v[j].base != v[i].base || v[j].age != v[i].age || hi - lo > NEAR || !fits)
            continue;
        g->lo = lo;
        g->hi = hi;
        g->write |= v[j].write;
        g->align = v[j].aligned ? at & 15 : g->align;
        v[j].taken = true;
        of[v[j].op] = (uint8_t)number;
        count++;
    }
    if (count >= 2 && (g->base != V_NONE || ((uint64_t)g->lo ^ (uint64_t)(g->hi - 1)) < PAGE_SIZE))
        return true;
    for (unsigned j = i; j < n; j++)
        if (of[v[j].op] == number) {
            of[v[j].op] = 0;
            v[j].taken = j == i; /* others may still find each other */
        }
    return false;
}

static bool has_two(const IrBlock *b)
{
    unsigned n = 0;

    for (unsigned i = 0; i < b->nops && n < 2; i++)
        n += is_access(IR_KIND(b->ops[i].op));
    return n == 2;
}

unsigned ir_group(const IrBlock *b, IrGroup *groups, uint8_t *of)
{
    Access v[ACCESSES];
    unsigned n, ngroups = 0;

    if (!has_two(b))
        return 0;
    n = collect(b, v);
    memset(of, 0, b->nops);
    for (unsigned i = 0; i < n && ngroups < IR_GROUPS; i++)
        if (!v[i].taken && form(v, n, i, &groups[ngroups], of, ngroups + 1))
            ngroups++;
    return ngroups;
}
