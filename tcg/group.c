/*
 * tcg/group.c - which accesses of a block lie near each other: at constant distances from a register's value at the
 * block's entry. One check of the TLB at the entry then serves them all. Only while nothing is called in between
 * that could change a translation.
 */
#include "tcg/ir.h"
#include <string.h>

typedef struct Sym { /* a value as something at the entry, plus a constant */
    bool known;
    uint8_t base; /* a guest register, V_PAGE, or V_NONE: absolute */
    int64_t off;
} Sym;

typedef struct Access {
    uint16_t op;
    uint8_t base, bytes;
    bool write, aligned, taken;
    int64_t off;
} Access;

enum { ACCESSES = 64, NEAR = 512, PAGE_SIZE = 4096 };

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

static Sym none(void) { return (Sym){ false, 0, 0 }; }

/* What d is after the op. */
static Sym result(const IrOp *o, const Sym *s)
{
    IrKind k = IR_KIND(o->op);
    bool imm = o->op & IR_I;

    if (IR_SIZE(o->op) != 3)
        return none();
    if (k == IR_mov && imm)
        return (Sym){ true, V_NONE, o->imm };
    if (k == IR_mov)
        return s[o->a];
    if (k == IR_lea && o->b == V_NONE && s[o->a].known)
        return (Sym){ true, s[o->a].base, s[o->a].off + o->imm };
    if ((k == IR_add || k == IR_sub) && imm && s[o->a].known)
        return (Sym){ true, s[o->a].base, k == IR_add ? s[o->a].off + o->imm : s[o->a].off - o->imm };
    return none();
}

static bool is_near(const Sym *s, int64_t imm) /* offsets of a register fit an instruction */
{
    return s->known && (s->base == V_NONE || (s->off == (int16_t)s->off && imm < 1 << 30 && imm > -(1 << 30)));
}

static unsigned collect(const IrBlock *b, Access *v)
{
    Sym s[256] = { { false } };
    unsigned n = 0;

    for (unsigned g = 0; g < 16; g++)
        s[g] = (Sym){ true, (uint8_t)g, 0 };
    s[V_PAGE] = (Sym){ true, V_PAGE, 0 };
    s[V_NONE] = (Sym){ true, V_NONE, 0 };
    for (unsigned i = 0; i < b->nops && n < ACCESSES; i++) {
        const IrOp *o = &b->ops[i];
        IrKind k = IR_KIND(o->op);
        char d = ir_info[k].args[0];

        if (calls(k))
            break;
        if (is_access(k) && !(o->x & X_ALIGNED && bytes_of(o) > 16) && o->b == V_NONE && is_near(&s[o->a], o->imm))
            v[n++] = (Access){ (uint16_t)i, s[o->a].base, (uint8_t)bytes_of(o), is_store(o), o->x & X_ALIGNED, false,
                               s[o->a].off + o->imm };
        if (ir_info[k].traits & T_WIDE)
            s[0] = s[2] = none();
        if ((d == 'd' || d == 'D') && o->d != V_NONE)
            s[o->d] = result(o, s);
    }
    return n;
}

/* The group that begins with access i; it takes what is near. */
static bool form(Access *v, unsigned n, unsigned i, IrGroup *g, uint8_t *of, unsigned number)
{
    unsigned count = 0;

    *g = (IrGroup){ .base = v[i].base, .lo = v[i].off, .hi = v[i].off + v[i].bytes, .align = -1 };
    for (unsigned j = i; j < n; j++) {
        int64_t lo = MIN(g->lo, v[j].off), hi = MAX(g->hi, v[j].off + v[j].bytes);
        bool fits = !v[j].aligned || g->align < 0 || ((v[j].off ^ g->align) & 15) == 0;

        if (v[j].taken || v[j].base != g->base || hi - lo > NEAR || !fits)
            continue;
        g->lo = lo;
        g->hi = hi;
        g->write |= v[j].write;
        g->align = v[j].aligned ? v[j].off & 15 : g->align;
        v[j].taken = true;
        of[v[j].op] = (uint8_t)number;
        count++;
    }
    if (count >= 2 && (g->base != V_NONE || ((uint64_t)g->lo ^ (uint64_t)(g->hi - 1)) < PAGE_SIZE))
        return true;
    for (unsigned j = i; j < n; j++)
        if (of[v[j].op] == number)
            of[v[j].op] = 0;
    return false;
}

unsigned ir_group(const IrBlock *b, IrGroup *groups, uint8_t *of)
{
    Access v[ACCESSES];
    unsigned n = collect(b, v), ngroups = 0;

    memset(of, 0, b->nops);
    for (unsigned i = 0; i < n && ngroups < IR_GROUPS; i++)
        if (!v[i].taken && form(v, n, i, &groups[ngroups], of, ngroups + 1))
            ngroups++;
    return ngroups;
}
