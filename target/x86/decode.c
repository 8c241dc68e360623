/*
 * target/x86/decode.c - bytes to Insn, driven by the maps that tools/gen/decode.py makes of decode.tbl.
 * Source: Intel SDM vol. 2, chapter 2 and appendix A.
 */
#include "target/x86/decode.h"
#include "tcg/ir.h"
#define WITH_ROWS
#include "x86-decode.inc"
#undef WITH_ROWS


typedef struct Cursor {
    const uint8_t *p, *end;
    bool bad;
} Cursor;

static uint8_t next(Cursor *c)
{
    if (c->p < c->end)
        return *c->p++;
    c->bad = true;
    return 0;
}

static int64_t next_sx(Cursor *c, unsigned bytes)
{
    const uint8_t *p = c->p;

    if (UNLIKELY((size_t)(c->end - p) < bytes)) {
        c->p = c->end;
        c->bad = true;
        return 0;
    }
    c->p += bytes;
    switch (bytes) {
    case 1: return (int8_t)p[0];
    case 2: return (int16_t)le16_load(p);
    case 4: return (int32_t)le32_load(p);
    default: return (int64_t)le64_load(p);
    }
}

typedef struct Prefix {
    uint8_t pfx, rex, map, vvvv; /* rex: 0100WRXB, pfx: 0 none 1 66 2 F3 3 F2 */
    bool o16, a67, vex;
} Prefix;

/* C4/C5: the fields are stored inverted. */
static void vex(Cursor *c, Prefix *x, uint8_t lead, Insn *in, CodeSize mode)
{
    uint8_t b1 = next(c), b2 = b1;

    x->vex = true;
    x->map = 4;
    x->rex = 0x40 | (~b1 >> 5 & 4);
    if (lead == 0xc4) {
        b2 = next(c);
        x->rex = 0x40 | (~b1 >> 5 & 7) | (b2 >> 4 & 8);
        x->map = (uint8_t)(3 + (b1 & 31));
    }
    x->vvvv = ~b2 >> 3 & 15;
    x->pfx = b2 & 3;
    in->vex_l = b2 & 4;
    if (mode != CODE64) { /* eight registers */
        x->rex &= 0x48;
        x->vvvv &= 7;
    }
    if (!c->bad && (x->map < 4 || x->map > 6))
        c->bad = true, c->p = c->end + 1; /* #UD, not a short fetch */
}

static int segment_prefix(uint8_t b)
{
    switch (b) {
    case 0x26: return SEG_ES;
    case 0x2e: return SEG_CS;
    case 0x36: return SEG_SS;
    case 0x3e: return SEG_DS;
    case 0x64: return SEG_FS;
    case 0x65: return SEG_GS;
    default: return -1;
    }
}

static bool legacy_prefix(Insn *in, Prefix *x, uint8_t b, CodeSize mode)
{
    int seg = segment_prefix(b);

    if (b == 0x66)
        x->o16 = true;
    else if (b == 0x67)
        x->a67 = true;
    else if (b == 0xf2 || b == 0xf3)
        in->repne = b == 0xf2, in->rep = b == 0xf3;
    else if (b == 0xf0)
        in->lock = true;
    else if (seg < 0)
        return false;
    else if (mode != CODE64 || seg >= SEG_FS) /* in long mode the four old ones do nothing */
        in->seg = (uint8_t)seg, in->seg_override = true;
    return true;
}

/* Bytes that may be something else than an opcode of the first map. */
static const uint8_t leads[256] = {
    [0x0f] = 1, [0x26] = 1, [0x2e] = 1, [0x36] = 1, [0x3e] = 1, [0x40 ... 0x4f] = 1, [0x64 ... 0x67] = 1, [0xc4] = 1, [0xc5] = 1,
    [0xf0] = 1, [0xf2] = 1, [0xf3] = 1,
};

/* Most instructions: REX or nothing, and an opcode. */
static bool plain(Cursor *c, Prefix *x, CodeSize mode, uint8_t *opc)
{
    if (c->end - c->p < 2)
        return false;
    if (mode == CODE64 && (c->p[0] & 0xf0) == 0x40 && !leads[c->p[1]]) {
        x->rex = c->p[0];
        c->p++;
    } else if (leads[c->p[0]]) {
        return false;
    }
    *opc = *c->p++;
    return true;
}

static uint8_t prefixes(Cursor *c, Insn *in, Prefix *x, CodeSize mode)
{
    uint8_t opc;

    if (LIKELY(plain(c, x, mode, &opc)))
        return opc;
    for (;;) {
        uint8_t b = next(c);

        if (c->bad)
            return 0;
        if (leads[b] && legacy_prefix(in, x, b, mode)) {
            x->rex = 0;
            continue;
        }
        if (mode == CODE64 && (b & 0xf0) == 0x40) {
            x->rex = b; /* counts only right before the opcode */
            continue;
        }
        x->pfx = in->rep ? 2 : in->repne ? 3 : x->o16 ? 1 : 0;
        if ((b == 0xc4 || b == 0xc5) && (mode == CODE64 || (c->p < c->end && *c->p >= 0xc0))) {
            if (x->pfx || x->rex || in->lock)
                c->bad = true, c->p = c->end + 1;
            vex(c, x, b, in, mode);
            return next(c);
        }
        if (b != 0x0f)
            return b;
        b = next(c);
        x->map = b == 0x38 ? 2 : b == 0x3a ? 3 : 1;
        return x->map == 1 ? b : next(c);
    }
}

static void modrm16(Cursor *c, Insn *in, unsigned mod, unsigned rm)
{
    static const uint8_t base[] = { 3, 3, 5, 5, 6, 7, 5, 3 }, index[] = { 6, 7, 6, 7 };

    in->base = base[rm];
    in->index = rm < 4 ? index[rm] : V_NONE;
    if (rm == 6 && mod == 0) {
        in->base = V_NONE;
        mod = 2;
    }
    if (!in->seg_override)
        in->seg = in->base == 5 ? SEG_SS : SEG_DS;
    if (mod)
        in->disp = next_sx(c, mod);
}

static void modrm(Cursor *c, Insn *in, const Prefix *x, uint8_t m, CodeSize mode)
{
    unsigned mod = m >> 6, rm = m & 7;

    in->modrm = m;
    in->reg = (uint8_t)((m >> 3 & 7) | (x->rex & 4) << 1);
    in->rm = (uint8_t)(rm | (x->rex & 1) << 3);
    in->base = in->index = V_NONE;
    in->mem = mod != 3;
    if (!in->mem)
        return;
    if (in->asize == 1) {
        modrm16(c, in, mod, rm);
        return;
    }
    in->base = in->rm;
    if (rm == 4) {
        uint8_t s = next(c);
        unsigned index = (s >> 3 & 7) | (x->rex & 2) << 2;

        in->scale = s >> 6;
        in->vsib = (uint8_t)index;
        in->index = index == 4 ? V_NONE : (uint8_t)index;
        in->base = (uint8_t)((s & 7) | (x->rex & 1) << 3);
        if ((s & 7) == 5 && mod == 0)
            in->base = V_NONE, mod = 4;
    } else if (rm == 5 && mod == 0) {
        in->base = V_NONE;
        in->rip = mode == CODE64;
        mod = 4;
    }
    if (!in->seg_override)
        in->seg = in->base == 4 || in->base == 5 ? SEG_SS : SEG_DS;
    if (mod)
        in->disp = next_sx(c, mod == 1 ? 1 : 4);
}

static void constant(Cursor *c, Insn *in, const Opr *o)
{
    unsigned v = in->size;

    switch (o->kind) {
    case O_I: in->imm = next_sx(c, v == 3 ? 4 : 1u << v); break;
    case O_IV: in->imm = next_sx(c, 1u << v); break;
    case O_IB:
    case O_J8: in->imm = next_sx(c, 1); break;
    case O_UB: in->imm = o > in->row->opr && o[-1].kind == O_UW ? in->imm | next(c) << 16 : next(c); break;
    case O_UW: in->imm = next_sx(c, 2) & 0xffff; break;
    case O_JZ: in->imm = next_sx(c, in->size == 1 ? 2 : 4); break;
    case O_AP:
        in->imm = (int64_t)((uint64_t)next_sx(c, in->size == 1 ? 2 : 4) & bytes_mask(in->size == 1 ? 2 : 4));
        in->sel = (uint16_t)next_sx(c, 2);
        break;
    case O_O:
        in->disp = next_sx(c, 1u << in->asize);
        in->base = in->index = V_NONE;
        in->mem = true;
        if (!in->seg_override)
            in->seg = SEG_DS;
        break;
    default: break;
    }
}

static void size_of(Insn *in, const Prefix *x, uint8_t opc, CodeSize mode)
{
    uint64_t t = in->row->traits;
    bool mandatory66 = in->row->pfx == 1 || x->vex || t & R_NO16, o66 = x->o16 && !mandatory66;

    in->o66 = o66;
    in->size = mode == CODE16 ? (o66 ? 2 : 1) : o66 ? 1 : 2;
    if ((t & R_NO16 || x->vex) && in->size == 1) /* in 16-bit code too: BSWAP, CVTSI2SD, BMI.. */
        in->size = 2;
    if (x->rex & 8 && mode == CODE64) /* VEX.W chooses nothing else elsewhere */
        in->size = 3;
    if (mode == CODE64) {
        if (t & R_D64 && in->size == 2)
            in->size = 3;
        if (t & R_Q)
            in->size = 3;
    }
    if (t & R_BYTE || (t & R_W && !(opc & 1)))
        in->size = 0;
}

static const Row *find_row(const Insn *in, const Prefix *x, unsigned leaf, uint8_t m, CodeSize mode)
{
    if (leaf & 0x8000)
        leaf = (mode == CODE64 ? group_1 : group_0)[leaf & 0x3fff][((x->pfx * 8 + (m >> 3 & 7)) * 2 + (m >= 0xc0)) * 4 + (x->rex >> 2 & 2) + in->vex_l];
    return leaf ? &x86_rows[leaf] : NULL;
}

static bool needs_modrm(unsigned leaf) { return leaf >> 14 == 2; }

static bool allowed(const Insn *in, const Prefix *x, bool takes_vvvv, bool takes_memory)
{
    if ((x->vvvv && !takes_vvvv) || (takes_memory && !in->mem))
        return false;
    if (in->lock && !(in->row->traits & R_LOCK && in->mem))
        return false;
    if (in->row->traits & R_VSIB && (in->asize == 1 || (in->modrm & 7) != 4))
        return false;
    return true;
}

Decoded x86_decode(const uint8_t *p, unsigned n, CodeSize mode, Insn *in)
{
    Cursor c = { p, p + MIN(n, 15), false };
    Prefix x = { 0 };
    bool takes_vvvv = false, takes_memory = false;
    unsigned leaf;
    uint8_t opc, m;

    memset(in, 0, sizeof(*in));
    in->seg = SEG_DS;
    in->base = in->index = V_NONE;
    opc = prefixes(&c, in, &x, mode);
    if (c.bad)
        return c.p > c.end ? DEC_UD : n < 15 ? DEC_SHORT : DEC_LONG;
    leaf = (mode == CODE64 ? leaf_1 : leaf_0)[x.map][opc];
    if (c.p == c.end && n < 15 && needs_modrm(leaf))
        return DEC_SHORT; /* which row it is, the missing byte says */
    m = c.p == c.end || !needs_modrm(leaf) ? 0 : *c.p;
    in->row = find_row(in, &x, leaf, m, mode);
    if (!in->row)
        return DEC_UD;
    in->rex = x.rex != 0;
    in->rexw = x.rex & 8;
    in->pfx = x.pfx;
    in->vvvv = x.vvvv;
    in->opcode = opc;
    in->cond = opc & 15;
    in->opc_reg = (uint8_t)((opc & 7) | (x.rex & 1) << 3);
    in->asize = mode == CODE64 ? (x.a67 ? 2 : 3) : (mode == CODE32) != x.a67 ? 2 : 1;
    size_of(in, &x, opc, mode);
    if (in->row->traits & R_MODRM) {
        m = next(&c);
        modrm(&c, in, &x, m, mode);
    }
    for (const Opr *o = in->row->opr; o < in->row->opr + in->row->nopr; o++) {
        takes_vvvv |= o->kind == O_B || o->kind == O_BV;
        takes_memory |= o->kind == O_M;
        if (o->kind >= O_O && o->kind <= O_AP)
            constant(&c, in, o);
    }
    if (c.bad)
        return n < 15 ? DEC_SHORT : DEC_LONG;
    if (!allowed(in, &x, takes_vvvv, takes_memory))
        return DEC_UD;
    in->len = (uint8_t)(c.p - p);
    return DEC_OK;
}

unsigned x86_insn_reads(const Insn *in)
{
    return in->row->reads | (in->row->traits & R_CC ? ir_cond_reads(in->cond) : 0);
}

unsigned x86_insn_writes(const Insn *in) { return in->row->traits & R_MAYBE ? 0 : in->row->writes | in->row->undef; }
