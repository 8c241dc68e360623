/*
 * tests/isa/gen.c - random instructions and blocks from the rows of decode.tbl. There is no list of
 * instructions here: a new row is tested by being in the table.
 */
#include "tests/isa/oracle.h"

enum { POINTERS = 1 << RBX | 1 << RBP | 1 << 10 | 1 << 13, COUNTER = 15 };

typedef struct Gen {
    Rng *r;
    Case *k;
    bool fuzz;   /* in a block: registers must stay sane over many instructions */
    bool callee; /* in the function of a block */
    bool restores, seq;
    unsigned spare; /* registers that `fuzz` leaves alone */
    unsigned undef; /* flags that no instruction may read now */
    /* the instruction being made */
    unsigned size, reg, base, index, scale, asize;
    bool mem, rip, rex_needed, w, l; /* w, l: VEX */
    int64_t disp, imm;
    uint64_t ea;
} Gen;

/* Corners find flag bugs: uniform values almost never carry, overflow or cancel. */
static uint64_t value(Rng *r)
{
    uint64_t v = rnd(r);
    unsigned n = below(r, 64);

    switch (below(r, 8)) {
    case 0:
        return 0;
    case 1:
        return 1ull << n;
    case 2:
        return (1ull << n) - 1;
    case 3:
        return ~0ull << n;
    case 4:
        return v >> n;
    case 5:
        return (uint64_t)((int64_t)v >> n);
    case 6:
        return v & 0xff;
    default:
        return v;
    }
}

static uint64_t vector_value(Rng *r)
{
    static const uint64_t d[] = { 0,
                                  1ull << 63,
                                  0x3ffull << 52,
                                  0x7ffull << 52,
                                  0xfffull << 52,
                                  0x7ff8ull << 48 | 5,
                                  0x7ff0ull << 48 | 9,
                                  0xfff8ull << 48,
                                  1,
                                  0x3ff8ull << 48,
                                  0x41dfffffffc00000,
                                  0xc1e0000000000000,
                                  0x43e0000000000000,
                                  0x7fefffffffffffff,
                                  0x10000000000000,
                                  0x36a0000000000000 };
    static const uint32_t s[] = { 0,          0x80000000, 0x3f800000, 0x7f800000, 0xff800000,
                                  0x7fc00005, 0x7f800001, 1,          0x3fc00000, 0x4f000000,
                                  0x7f7fffff, 0x00800000, 0xcf000000, 0x4effffff };
    double x = (double)(int64_t)rnd(r) / 4294967296.0;
    uint64_t v = rnd(r);

    switch (below(r, 6)) {
    case 0:
        return d[below(r, 16)];
    case 1:
        return (uint64_t)s[below(r, 14)] << 32 | s[below(r, 14)];
    case 2:
        memcpy(&v, &x, 8);
        return v;
    case 3:
        return (v & 0x80ffffff80ffffff) | 0x3f0000003f000000;
    default:
        return v;
    }
}

static void x87_value(Rng *r, uint8_t *p)
{
    static const uint16_t exps[] = { 0,      1,      0x3fff, 0x4000, 0x7ffe,
                                     0x7fff, 0x8000, 0xffff, 0x3fbe, 0x403e };
    uint64_t m = rnd(r);
    unsigned how = below(r, 8);
    uint16_t e = how < 3 ? exps[below(r, 10)]
                         : (uint16_t)((0x3fff + below(r, 80) - 40) | (below(r, 2) << 15));

    m = how == 3 ? 1ull << 63 : how == 4 ? m : m | 1ull << 63;
    if (how == 5)
        m = 0, e &= 0x8000;
    le64_store(p, m);
    le16_store(p + 8, e);
}

static void fpu_state(Rng *r, State *s)
{
    static const uint16_t cw[] = { 0x37f, 0x37f, 0x37f, 0x27f, 0x7f, 0xf7f, 0x77f, 0xb7f };

    s->cw = cw[below(r, 8)];
    if (chance(r, 15))
        s->cw &= (uint16_t)~below(r, 64);
    s->sw = (uint16_t)(rnd(r) & 0x7f7f & ~(~s->cw & 0x3fu));
    if (chance(r, 3) && (s->cw & 0x3f) != 0x3f)
        s->sw |= (uint16_t)((~s->cw & 0x3f) | 0x8080);
    s->tags = chance(r, 60) ? 0x7f : (uint8_t)rnd(r);
    s->tags = (uint8_t)(s->tags << (s->sw / 2048 & 7) | s->tags >> (8 - (s->sw / 2048 & 7)));
    for (unsigned i = 0; i < 8; i++)
        x87_value(r, s->st[i]);
    s->mxcsr = MXCSR_RESET;
    if (chance(r, 40)) /* an unmasked underflow of an exact result is left out of the engine */
        s->mxcsr = (uint32_t)(rnd(r) & (chance(r, 40) ? 0xffff : 0xe07f)) |
                   (chance(r, 70) ? 0x1f80 : 0x800);
}

static void random_state(Rng *r, State *s)
{
    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < 16; i++) {
        s->gpr[i] = value(r);
        for (unsigned j = 0; j < (silicon_avx() ? 32u : 16u); j += 8)
            le64_store(&s->ymm[i][j], vector_value(r));
    }
    s->gpr[RSP] = DATA_AT + PAGE + (chance(r, 90) ? below(r, 256) * 8 : below(r, PAGE));
    s->flags = below(r, 64);
    fpu_state(r, s);
}

static unsigned pick_reg(Gen *g)
{
    unsigned v;

    do
        v = below(g->r, case_regs(g->k));
    while (v == RSP ? g->fuzz || chance(g->r, 90)
                    : g->fuzz && (1u << v & g->spare));
    return v;
}

static uint64_t pick_address(Gen *g, unsigned align)
{
    unsigned where = below(g->r, 100);
    uint64_t a;

    if (where < (g->fuzz ? 93 : 78))
        a = DATA_AT + 64 + below(g->r, 2 * PAGE - 192);
    else if (where < 96)
        a = DATA_AT + PAGE * (1 + below(g->r, 3)) - below(g->r, 18); /* across a page end */
    else if (where < 98 || g->fuzz)
        a = DATA_AT + PAGE * 3 + below(g->r, PAGE);
    else /* anywhere, mostly not canonical; the last page; across an end of the segment or of addresses */
        switch (below(g->r, 4)) {
        case 0:
            a = -1 - (uint64_t)below(g->r, PAGE - 32);
            break;
        case 1:
            a = (g->k->mode == CODE16 ? DATA16_AT + 0x10000 : chance(g->r, 50) ? 1ull << 47 : 0) - below(g->r, 18);
            break;
        default:
            a = rnd(g->r);
        }
    if (g->fuzz && a - (DATA_AT + PAGE + 512) < 2048)
        a -= 2048; /* not the stack: a changed return address runs anything */
    return align && chance(g->r, 85) ? a & -(uint64_t)align : a;
}

static void set_low(uint64_t *r, unsigned asize, uint64_t v) { *r = asize == 1 ? (*r & ~0xffffull) | (v & 0xffff) : v; }

/* What a pointer register holds for linear address va in DS or ES. */
static uint64_t in_data(const Gen *g, uint64_t va) { return g->k->mode == CODE16 ? va - DATA16_AT : va; }

/* 16-bit addressing: BX and SI or DI, or a displacement alone; forms with BP are the stack segment's. */
static void pick_memory16(Gen *g)
{
    static const uint8_t rm[] = { 0, 1, 4, 5, 7, 6 };
    State *s = &g->k->in;
    uint64_t off = in_data(g, g->ea);

    g->base = rm[below(g->r, 6)];
    g->disp = g->base == 6 ? (int16_t)off : chance(g->r, 30) ? 0 : chance(g->r, 50) ? (int8_t)rnd(g->r) : (int16_t)rnd(g->r);
    if (g->base == 0 || g->base == 1)
        set_low(&s->gpr[RBX], 1, off - (uint64_t)g->disp - s->gpr[g->base == 0 ? RSI : RDI]);
    else if (g->base != 6)
        set_low(&s->gpr[g->base == 4 ? RSI : g->base == 5 ? RDI : RBX], 1, off - (uint64_t)g->disp);
}

static void seq_pick_memory(Gen *g, unsigned align);
/* In a row case the base register is chosen freely and its value solved for the address. */
static void pick_memory(Gen *g, unsigned align)
{
    static const uint8_t pointers[] = { RBX, RBP, 10, 13 };
    State *s = &g->k->in;

    g->mem = true;
    if (g->seq) {
        seq_pick_memory(g, align);
        return;
    }
    g->ea = pick_address(g, align);
    g->index = V_NONE;
    g->scale = 0;
    g->rip = false;
    if (g->fuzz) {
        g->base = pointers[below(g->r, 4)];
        g->disp = (int64_t)(g->ea - s->gpr[g->base]);
        return;
    }
    if (g->asize == 1) {
        pick_memory16(g);
        return;
    }
    g->rip = g->ea - DATA_AT < 4 * PAGE && chance(g->r, 10);
    g->disp = chance(g->r, 30) ? 0 : chance(g->r, 50) ? (int8_t)rnd(g->r) : (int32_t)rnd(g->r);
    g->base = below(g->r, case_regs(g->k));
    if (g->rip)
        return;
    if (chance(g->r, 35)) {
        do
            g->index = below(g->r, case_regs(g->k));
        while (g->index == RSP || g->index == g->base);
        g->scale = below(g->r, 4);
    }
    s->gpr[g->base] =
        (g->base == RSP || g->base == RBP ? g->ea : in_data(g, g->ea)) - (uint64_t)g->disp - (g->index == V_NONE ? 0 : s->gpr[g->index] << g->scale);
}

static uint8_t *put_bytes(uint8_t *p, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        *p++ = (uint8_t)(v >> (8 * i));
    return p;
}

static uint8_t *put_modrm(Gen *g, uint8_t *p, unsigned reg, uint64_t start, unsigned tail)
{
    unsigned r = (reg & 7) << 3, mod = g->disp == (int8_t)g->disp ? 1 : 2;

    if (!g->mem) {
        *p++ = (uint8_t)(0xc0 | r | (g->base & 7));
        return p;
    }
    if (g->asize == 1) {
        mod = g->base == 6 ? 0 : g->disp == 0 ? 0 : g->disp == (int8_t)g->disp ? 1 : 2;
        *p++ = (uint8_t)(mod << 6 | r | g->base);
        return put_bytes(p, (uint64_t)g->disp, g->base == 6 ? 2 : mod);
    }
    if (g->rip && g->k->mode != CODE64) { /* no such thing: an address alone */
        *p++ = (uint8_t)(r | 5);
        return put_bytes(p, in_data(g, g->ea), 4);
    }
    if (g->rip) {
        uint64_t next = start + (uint64_t)(p + 5 - (g->k->code + g->k->len)) + tail;

        *p++ = (uint8_t)(r | 5);
        return put_bytes(p, g->ea - next, 4);
    }
    if (g->disp == 0 && (g->base & 7) != 5 && chance(g->r, 80))
        mod = 0;
    if (g->index != V_NONE || (g->base & 7) == 4) {
        unsigned index = g->index == V_NONE ? 4 : g->index & 7;

        *p++ = (uint8_t)(mod << 6 | r | 4);
        *p++ = (uint8_t)(g->scale << 6 | index << 3 | (g->base & 7));
    } else {
        *p++ = (uint8_t)(mod << 6 | r | (g->base & 7));
    }
    return put_bytes(p, (uint64_t)g->disp, mod == 0 ? 0 : mod == 1 ? 1 : 4);
}

static unsigned const_bytes(const Row *row, unsigned size, unsigned asize)
{
    unsigned n = 0;

    for (unsigned i = 0; i < row->nopr; i++)
        switch (row->opr[i].kind) {
        case O_I:
            n += size == 3 ? 4 : 1u << size;
            break;
        case O_JZ:
            n += size == 1 ? 2 : 4;
            break;
        case O_IV:
            n += 1u << size;
            break;
        case O_IB:
        case O_UB:
        case O_J8:
            n += 1;
            break;
        case O_UW:
            n += 2;
            break;
        case O_O:
            n += 1u << asize;
            break;
        default:
            break;
        }
    return n;
}

static uint8_t *put_prefixes(Gen *g, uint8_t *p, const Row *row, unsigned reg, unsigned low)
{
    static const uint8_t byte[4] = { 0, 0x66, 0xf3, 0xf2 };
    unsigned rex = 0, rm = g->mem && g->rip ? 0 : g->base;

    if (g->mem && row->traits & R_LOCK && (!g->fuzz || g->seq) && chance(g->r, 10))
        *p++ = 0xf0;
    if (row->traits & R_REP && chance(g->r, 80))
        *p++ = chance(g->r, 70) ? 0xf3 : 0xf2;
    bool o66 = g->size && !(row->traits & R_NO16) && (g->k->mode == CODE16 ? g->size == 2 : g->size == 1);

    if (g->asize != (g->k->mode == CODE64 ? 3u : g->k->mode == CODE32 ? 2u : 1u))
        *p++ = 0x67;
    if (o66)
        *p++ = 0x66;
    if (row->pfx != 0xff && row->pfx && !(row->pfx == 1 && o66))
        *p++ = byte[row->pfx];
    if (row->traits & R_MODRM)
        rex |= (reg & 8) >> 1 | (rm & 8) >> 3 |
               (g->mem && g->index != V_NONE ? (g->index & 8) >> 2 : 0);
    else
        rex |= (low & 8) >> 3;
    rex |= g->size == 3 && !(row->traits & (R_D64 | R_Q)) ? 8 : 0;
    if (g->k->mode != CODE64)
        rex = 0;
    else if (rex || g->rex_needed || chance(g->r, 10))
        *p++ = (uint8_t)(0x40 | rex);
    if (row->map)
        *p++ = 0x0f;
    if (row->map >= 2)
        *p++ = row->map == 2 ? 0x38 : 0x3a;
    return p;
}

/* Rows whose prefixes are part of the opcode, and branches, keep the default size. */
static void pick_size32(Gen *g, const Row *row, unsigned *opc)
{
    uint64_t t = row->traits;
    bool branch = row->nopr && (row->opr[0].kind == O_J8 || row->opr[0].kind == O_JZ);
    bool fixed = t & (R_NO16 | R_SSE | R_MMX | R_X87 | R_Q) || row->map >= 4 || row->pfx == 0 || row->pfx == 1 || branch;

    g->size = fixed ? (g->k->mode == CODE16 && !(t & R_NO16) ? 1 : 2) : 1 + below(g->r, 2);
    if (row->map >= 4)
        g->size = 2; /* VEX.W = 0 */
    if (t & R_W && chance(g->r, 30))
        g->size = 0;
    else if (t & R_W)
        *opc |= 1;
    if (t & R_BYTE)
        g->size = 0;
}

static void pick_size(Gen *g, const Row *row, unsigned *opc)
{
    uint64_t t = row->traits;

    if (g->k->mode != CODE64) {
        pick_size32(g, row, opc);
        return;
    }
    do
        g->size = 1 + below(g->r, 3);
    while (g->size == 1 &&
           (t & (R_NO16 | R_SSE | R_MMX | R_X87) || (g->fuzz && t & R_MAYBE && row->nopr == 3 && row->opr[2].kind == O_CL) || row->map >= 4 || row->pfx == 0));
    if (t & R_D64 && g->size == 2)
        g->size = 3;
    if (t & R_Q)
        g->size = 3;
    if (t & R_W && chance(g->r, 30))
        g->size = 0;
    else if (t & R_W)
        *opc |= 1;
    if (t & R_BYTE)
        g->size = 0;
}

static void pick_rm(Gen *g, const Row *row)
{
    bool by_reg = row->traits & R_NOFUZZMEM,
         free = row->traits & R_MODRM && !(row->traits & R_NOMEM);
    unsigned align = 0;

    for (unsigned i = 0; i < row->nopr; i++) {
        unsigned k = row->opr[i].kind;

        if (k == O_U || k == O_N)
            free = false;
        if (k == O_W)
            align = row->opr[i].size == SZ_L && g->l ? 32 : 16;
        if (k == O_M)
            align = MAX(align, strncmp(row->name, "fx", 2) ? 4 : 16);
    }
    if (row->traits & R_NOREG || (free && chance(g->r, 40) && !(g->fuzz && by_reg)))
        pick_memory(g, align);
    for (unsigned i = 0; i < row->nopr && !g->mem; i++)
        if (row->opr[i].kind == O_M)
            pick_memory(g, align);
    if (by_reg && g->mem && g->reg != g->base && g->reg != g->index)
        g->k->in.gpr[g->reg] &= 0x1fff; /* a bit offset that stays near */
}

static unsigned pick_vvvv(Gen *g, const Row *row)
{
    for (unsigned i = 0; i < row->nopr; i++)
        if (row->opr[i].kind == O_B)
            return pick_reg(g);
        else if (row->opr[i].kind == O_BV)
            return below(g->r, case_regs(g->k));
    return !g->fuzz && chance(g->r, 2) ? 5 : 0;
}

/* In x87 rows the reg field and, for registers, ST(i) are part of the opcode; environments hold
 * addresses. */
static void pick_x87(Gen *g, const Row *row)
{
    unsigned op11;

    do {
        g->reg = below(g->r, 8);
        op11 = (row->opc & 7u) << 8 | g->reg << 3;
    } while (g->mem && ((op11 & 0x728) == 0x120 || (op11 & 0x728) == 0x520));
}

#include "tests/isa/gen_vex.h"

/* Append one instruction to the case. */
static void put_insn(Gen *g, const Row *row, unsigned cond)
{
    unsigned opc = row->opc, low, vvvv, tail;
    uint8_t *start = g->k->code + g->k->len, *p = start;
    uint64_t at = g->k->at + g->k->len;

    g->k->undef_at[g->k->len] = (uint8_t)g->undef;
    pick_size(g, row, &opc);
    g->mem = g->rip = false;
    g->reg = row->ext != 0xff ? row->ext : pick_reg(g);
    g->base = pick_reg(g);
    g->index = V_NONE;
    low = pick_reg(g);
    vvvv = pick_vvvv(g, row);
    g->asize = g->k->mode == CODE64 ? 3 : g->k->mode == CODE32 || (!(row->traits & R_REP) && chance(g->r, 30)) ? 2 : 1;
    g->rex_needed =
        g->fuzz && !(row->traits & R_CC && !(row->traits & R_MODRM)); /* bh would be a pointer's */
    g->imm = (int64_t)value(g->r);
    pick_vex(g, row);
    pick_rm(g, row);
    if (row->ext == 0xff && has_vector_reg(row))
        g->reg = pick_vector(g);
    if (!g->mem && has_vector_rm(row))
        g->base = pick_vector(g);
    if (row->traits & R_X87)
        pick_x87(g, row);
    for (unsigned i = 0; i < row->nopr; i++)
        if (row->opr[i].kind == O_O)
            g->imm = (int64_t)in_data(g, pick_address(g, 0));
    tail = const_bytes(row, g->size, g->asize);
    if (row->map >= 4)
        p = put_vex(g, p, row, g->reg, vvvv);
    else
        p = put_prefixes(g, p, row, g->reg, low);
    *p++ = (uint8_t)(opc + (row->traits & R_CC ? cond : row->traits & R_PLUS ? low & 7 : 0));
    if (row->traits & R_MODRM)
        p = put_modrm(g, p, g->reg, at, tail);
    p = put_bytes(p, (uint64_t)g->imm, tail);
    g->k->len += (unsigned)(p - start);
    g->k->ninsns++;
}

static void plausible(Gen *g, const Row *row)
{
    State *s = &g->k->in;

    if (row->traits & R_DIV && chance(g->r, 80))
        s->gpr[RDX] = chance(g->r, 50) ? 0 : below(g->r, 16);
    if (row->traits & R_NZ && !g->mem)
        s->gpr[g->base] |= 0x8001; /* the result of a zero source is not defined */
    if (row->traits & R_MAYBE && row->nopr == 3 && g->size == 1) /* a count over 16 leaves the result undefined too */
        s->gpr[RCX] = (s->gpr[RCX] & ~0xffull) | below(g->r, 17);
    if (row->traits & R_FRAME)
        s->gpr[RBP] = pick_address(g, 0);
    if (row->traits & R_REP) {
        s->gpr[RCX] = below(g->r, 600);
        s->gpr[RSI] = in_data(g, pick_address(g, 0));
        s->gpr[RDI] = chance(g->r, 30) ? s->gpr[RSI] + below(g->r, 64) - 32 : in_data(g, pick_address(g, 0));
    }
    if (!strncmp(row->name, "maskmov", 7) || !strcmp(row->name, "vmaskmovdqu"))
        s->gpr[RDI] = in_data(g, pick_address(g, 0));
    if (!strcmp(row->name, "xlat"))
        s->gpr[RBX] = in_data(g, pick_address(g, 0));
    if (strstr(row->name, "pcmpestr")) {
        s->gpr[RAX] = chance(g->r, 80) ? below(g->r, 20) : s->gpr[RAX];
        s->gpr[RDX] = chance(g->r, 80) ? below(g->r, 20) : s->gpr[RDX];
    }
    if ((!strncmp(row->name, "pcmp", 4) || !strncmp(row->name, "vpcmp", 5)) && chance(g->r, 70)) /* bytes that sometimes match and end */
        for (unsigned i = 0; i < 16; i++)
            for (unsigned j = 0; j < 16; j++)
                s->ymm[i][j] &= 3;
    if (!strcmp(row->name, "enter"))
        g->imm &= 0xffff0000ff;
}

static unsigned undefined_flags(const Row *row, const Insn *in, const State *s)
{
    uint64_t raw;
    unsigned n;

    if (!(row->traits & R_MAYBE))
        return row->undef;
    raw = row->opr[row->nopr - 1].kind == O_CL ? s->gpr[RCX] : (uint64_t)in->imm;
    n = raw & (in->size == 3 ? 63 : 31);
    if (n == 0)
        return 0;
    if (row->nopr == 3) /* shld, shrd: a count over the size leaves everything undefined */
        return n > 8u << in->size ? FALL : FA | (n == 1 ? 0 : FO);
    bool rotate = !(row->undef & FA);

    return (row->undef & ~(n == 1 ? FO : 0u)) | (!rotate && n >= 8u << in->size ? FC : 0);
}

static void branch_targets(Case *k, const Row *row)
{
    for (unsigned i = 0; i < row->nopr; i++) /* a branch in a row case: over one byte */
        if (row->opr[i].kind == O_J8 || row->opr[i].kind == O_JZ) {
            unsigned n = row->opr[i].kind == O_J8 ? 1 : k->mode == CODE16 ? 2 : 4;

            put_bytes(k->code + k->len - n, 1, n);
        }
}

/* Seven slots a page; the last one may run over into the unused first slot of the next page. */
static void begin(Case *k, uint64_t seed, unsigned slot, Rng *r)
{
    unsigned s = 1 + slot % 7;

    memset(k, 0, sizeof(*k));
    k->seed = seed;
    k->slot = slot;
    r->s = seed;
    k->mem_seed = rnd(r);
    k->at = CODE_AT + (slot / 7) * PAGE + s * CODE_SLOT;
    if (s == 7 && slot < BATCH - 1)
        k->at += CODE_SLOT - 1 - below(r, 40);
    random_state(r, &k->in);
    k->in.pc = k->at;
    k->mode = CODE64;
}

/* Half of the cases run as 64-bit code, a quarter each as 32- and 16-bit code. */
static CodeSize row_mode(const Row *row, uint64_t seed)
{
    unsigned m = seed >> 16 & 3;

    bool away = row->traits & R_END && row->traits & R_Q && !(row->nopr && (row->opr[0].kind == O_J8 || row->opr[0].kind == O_JZ));

    if (row->traits & R_O64 || (away && m == 3)) /* a random 16-bit target is code of some kind */
        return CODE64;
    if (row->traits & R_I64)
        return m & 1 ? CODE32 : CODE16;
    return m == 2 ? CODE32 : m == 3 ? CODE16 : CODE64;
}

void gen_row_case(const Row *row, uint64_t seed, unsigned slot, Case *k)
{
    Rng r;
    Gen g = { .r = &r, .k = k };
    Insn in;

    begin(k, seed, slot, &r);
    k->row = row;
    k->mode = row_mode(row, seed);
    k->ac = (seed >> 20) % 16 == 0;
    if (k->mode == CODE16)
        k->cs_base = k->at - PAGE;
    for (unsigned i = 0; i < 16; i++)
        k->in.gpr[i] &= case_mask(k);
    put_insn(&g, row, below(&r, 16));
    if (row->traits & R_MAYBE && row->nopr == 3 && row->opr[2].kind == O_UB && g.size == 1)
        k->code[k->len - 1] %= 17;
    plausible(&g, row);
    for (unsigned i = 0; i < 16; i++)
        k->in.gpr[i] &= case_mask(k);
    branch_targets(k, row);
    memset(k->code + k->len, 0xcc, 16);
    k->len += 16;
    k->undef =
        x86_decode(k->code, 15, k->mode, &in) == DEC_OK ? undefined_flags(row, &in, &k->in) : 0;
}

#include "tests/isa/gen_block.h"
#include "tests/isa/gen_seq.h"
