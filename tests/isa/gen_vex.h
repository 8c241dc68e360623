/* tests/isa/gen_vex.h - VEX and vector registers: part of gen.c (they share Gen). */

static uint8_t *put_vex(Gen *g, uint8_t *p, const Row *row, unsigned reg, unsigned vvvv)
{
    unsigned b = g->mem && g->rip ? 0 : g->base, x = g->index == V_NONE ? 0 : g->index;

    if (g->k->mode == CODE16 && g->asize == 2)
        *p++ = 0x67;
    *p++ = 0xc4;
    *p++ =
        (uint8_t)((reg & 8 ? 0 : 0x80) | (x & 8 ? 0 : 0x40) | (b & 8 ? 0 : 0x20) | (row->map - 3));
    *p++ = (uint8_t)((g->w ? 0x80 : 0) | (~vvvv & 15) << 3 | (g->l ? 4 : 0) | (row->pfx & 3));
    return p;
}

/* VEX.W and L as the row wants them; now and then not. */
static void pick_vex(Gen *g, const Row *row)
{
    bool general = false;

    for (unsigned i = 0; i < row->nopr; i++)
        general |= row->opr[i].size == SZ_V;
    g->w = row->w != 0xff ? row->w : general ? g->size == 3 : chance(g->r, 20);
    g->l = row->l != 0xff ? row->l : chance(g->r, row->traits & R_LIG ? 20 : 60);
    if (!g->fuzz && chance(g->r, 1))
        g->l = !g->l;
    if (!g->fuzz && chance(g->r, 1) && row->w != 0xff)
        g->w = !g->w;
}

static bool has_vector_reg(const Row *row)
{
    for (unsigned i = 0; i < row->nopr; i++)
        if (row->opr[i].kind == O_V)
            return true;
    return false;
}

static bool has_vector_rm(const Row *row)
{
    for (unsigned i = 0; i < row->nopr; i++)
        if (row->opr[i].kind == O_W || row->opr[i].kind == O_WU || row->opr[i].kind == O_U)
            return true;
    return false;
}

/* Any vector register will do, where a general one must be spared. */
static unsigned pick_vector(Gen *g) { return below(g->r, case_regs(g->k)); }
