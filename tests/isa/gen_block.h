/* tests/isa/gen_block.h - random blocks: part of gen.c (they share Gen). */

static bool fits_block(const Gen *g, const Row *row)
{
    if (g->callee && row->traits & R_STACK)
        return false; /* it must return to its caller */
    if (row->nopr == 3 && row->opr[2].kind == O_CL)
        return false; /* 16-bit double shifts by more than 16 are undefined */
    return !(row->traits & (R_NOFUZZ | R_END | R_DIV | R_NZ | R_OS | R_I64 | R_INEXACT | R_CPL0)) &&
           silicon_has(row) && !(row->reads & g->undef);
}

static const Row *random_row(Gen *g)
{
    const Row *row;

    do
        row = &x86_rows[1 + below(g->r, x86_nrows - 1)];
    while (!fits_block(g, row));
    return row;
}

/* What the manual leaves undefined must not decide anything: remember it until it is written. */
static void track_undefined(Gen *g, const Row *row)
{
    unsigned undef = row->undef | (row->traits & R_MAYBE ? row->undef | FC : 0);

    if (row->traits & R_MAYBE && row->nopr == 3)
        undef = FALL;
    if (!(row->traits & R_MAYBE))
        g->undef &= ~(unsigned)row->writes;
    g->undef |= undef;
}

static bool cond_usable(const Gen *g, unsigned cond) { return !(ir_cond_reads(cond) & g->undef); }

static void one(Gen *g)
{
    const Row *row;
    unsigned cond = below(g->r, 16);

    do
        row = random_row(g);
    while (row->traits & R_CC && !cond_usable(g, cond));
    put_insn(g, row, cond);
    if (row->traits & R_MAYBE &&
        row->nopr == 3) /* a 16-bit count over 16: the result is undefined too */
        g->k->code[g->k->len - 1] &= row->opr[2].kind == O_UB ? 0x0f : 0xff;
    track_undefined(g, row);
}

/* Emit a jump whose target is not known yet; returns where its rel32 is. */
static unsigned put_jump(Gen *g, unsigned cond, bool call)
{
    uint8_t *p = g->k->code + g->k->len;

    g->k->undef_at[g->k->len] = (uint8_t)g->undef;
    if (cond < 16) {
        *p++ = 0x0f;
        *p++ = (uint8_t)(0x80 + cond);
    } else {
        *p++ = call ? 0xe8 : 0xe9;
    }
    g->k->len = (unsigned)(p + 4 - g->k->code);
    g->k->ninsns++;
    return g->k->len - 4;
}

static void set_target(Case *k, unsigned at, unsigned target)
{
    put_bytes(k->code + at, (uint64_t)(int64_t)((int)target - (int)(at + 4)), 4);
}

static void put_raw(Case *k, const char *bytes, unsigned n)
{
    k->undef_at[k->len] = FALL; /* calls and returns: what they carry is not tracked */
    memcpy(k->code + k->len, bytes, n);
    k->len += n;
    k->ninsns++;
}

typedef struct Jumps {
    unsigned at[8], call[4], njumps, ncalls;
} Jumps;

/* Straight code, forward jumps over it and calls to a small function behind it. */
static void body(Gen *g, Jumps *j, unsigned n)
{
    unsigned carried = 0; /* undefined flags on the paths that jump ahead */

    for (unsigned i = 0; i < n && g->k->len < CODE_SLOT - 150; i++) {
        unsigned what = below(g->r, 100), cond = below(g->r, 16);

        if (what < 14 && cond_usable(g, cond) && j->njumps < 8) {
            j->at[j->njumps++] = put_jump(g, what < 12 ? cond : 16, false);
            carried |= g->undef;
        } else if (what < 19 && j->ncalls < 3) {
            j->call[j->ncalls++] = put_jump(g, 16, true);
            g->undef = FALL;
        } else {
            one(g);
        }
        if (j->njumps && chance(g->r, 30)) {
            set_target(g->k, j->at[--j->njumps], g->k->len);
            g->undef |= carried;
        }
    }
    while (j->njumps)
        set_target(g->k, j->at[--j->njumps], g->k->len);
    g->undef |= carried;
}

static void indirect_call(Gen *g, Jumps *j)
{
    put_raw(g->k, "\x4c\x8d\x1d\0\0\0\0", 7); /* lea r11, [rip + function] */
    j->call[j->ncalls++] = g->k->len - 4;
    put_raw(g->k, "\x41\xff\xd3", 3); /* call r11 */
    g->undef = FALL;
}

static void block_state(Rng *r, Case *k)
{
    for (unsigned i = 0; i < 16; i++)
        if (POINTERS & 1u << i)
            k->in.gpr[i] = DATA_AT + 64 * below(r, 128);
    k->in.gpr[RSP] = DATA_AT + PAGE + 1024 + below(r, 128) * 8;
    k->in.gpr[COUNTER] = 1 + below(r, 4);
}

void gen_block_case(uint64_t seed, unsigned slot, Case *k)
{
    Rng r;
    Gen g = { .r = &r, .k = k, .fuzz = true, .spare = POINTERS | 1u << COUNTER };
    Jumps j = { .njumps = 0 };
    unsigned loop, n;
    bool loops;

    begin(k, seed, slot, &r);
    n = 3 + below(&r, 15);
    block_state(&r, k);
    if (chance(&r,
               20)) { /* all of the FPU saved before and loaded behind the block, below the stack */
        k->in.gpr[RBX] = DATA_AT + 64 * below(&r, 24);
        put_raw(k, "\x48\x0f\xae\x03", 4);
        g.restores = true;
    }
    loop = k->len;
    g.undef = chance(&r, 60) ? FALL : 0; /* what the loop's back edge brings is unknown */
    loops = g.undef;
    body(&g, &j, n);
    if (chance(&r, 30))
        indirect_call(&g, &j);
    if (loops) {
        put_raw(k, "\x41\xff\xcf", 3); /* dec r15d */
        set_target(k, put_jump(&g, 5, false), loop);
    }
    if (g.restores)
        put_raw(k, "\x48\x0f\xae\x0b", 4);
    k->undef = g.undef & ~(loops ? FALL & ~FC : 0u);
    put_raw(k, "\xcc", 1);
    for (unsigned i = 0; i < j.ncalls; i++)
        set_target(k, j.call[i], k->len);
    g.undef = FALL;
    g.callee = true;
    body(&g, &j, 1 + below(&r, 3));
    put_raw(k, "\xc3", 1);
    memset(k->code + k->len, 0xcc, 16);
    k->len += 16;
}
