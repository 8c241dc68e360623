/*
 * tests/isa/gen_seq.h - random sequences for t-seq: 1 to 20 instructions with memory operands, jumps, a bounded loop, calls,
 * string instructions, in 64-, 32- and 16-bit code, some of which changes itself. Part of gen.c (they share Gen).
 * Values come from pools that are new with each batch, because making a state is otherwise what takes longest.
 */

SeqPool seq_pool;
static struct {
    const Row *row[2][2048]; /* general registers; the rest */
    unsigned n[2];
} seq_rows[3];

enum { SEQ_LOOP_32 = RBP, SPARE_32 = 1 << RBX | 1 << SEQ_LOOP_32 | 1 << RDI /* as a byte, BH */ };

static bool fits_seq(const Row *row, CodeSize mode)
{
    if (row->traits & (mode == CODE64 ? R_I64 : R_O64))
        return false;
    if (row->nopr == 3 && row->opr[2].kind == O_CL)
        return false;
    return !(row->traits & (R_NOFUZZ | R_END | R_DIV | R_NZ | R_OS | R_INEXACT | R_CPL0)) && !case_why_not(row);
}

void gen_seq_init(void)
{
    for (unsigned m = CODE16; m <= CODE64; m++)
        for (unsigned i = 1; i < x86_nrows; i++) {
            bool rest = x86_rows[i].traits & (R_SSE | R_MMX | R_X87 | R_AVX);

            if (fits_seq(&x86_rows[i], (CodeSize)m))
                seq_rows[m].row[rest][seq_rows[m].n[rest]++] = &x86_rows[i];
        }
}

void gen_seq_batch(uint64_t seed)
{
    Rng r = { seed ^ 0x5eed };

    for (unsigned i = 0; i < G_N_ELEMENTS(seq_pool.gpr); i++)
        seq_pool.gpr[i] = value(&r);
    for (unsigned i = 0; i < G_N_ELEMENTS(seq_pool.vec); i++)
        for (unsigned j = 0; j < (silicon_avx() ? 32u : 16u); j += 8)
            le64_store(&seq_pool.vec[i][j], vector_value(&r));
    for (unsigned i = 0; i < G_N_ELEMENTS(seq_pool.st); i++)
        x87_value(&r, seq_pool.st[i]);
    for (unsigned i = 0; i < sizeof(seq_pool.mem); i += 8)
        le64_store(seq_pool.mem + i, chance(&r, 60) ? rnd(&r) : vector_value(&r));
}

static void seq_state(Rng *r, Case *k)
{
    State *s = &k->in;
    uint64_t v = 0;

    for (unsigned i = 0; i < 16; i++, v >>= 18) {
        if (i % 3 == 0)
            v = rnd(r) >> 10;
        s->gpr[i] = seq_pool.gpr[v & 511] & case_mask(k);
        memcpy(s->ymm[i], seq_pool.vec[v >> 9 & 511], 32);
    }
    s->flags = below(r, 64);
    s->mxcsr = MXCSR_RESET;
    s->cw = 0x37f;
    if (chance(r, 20)) {
        fpu_state(r, s); /* rounding, precision, exceptions unmasked or pending */
        return;
    }
    v = rnd(r);
    s->sw = (uint16_t)(v & 0x7f00);
    s->tags = v & 0x8000 ? (uint8_t)(v >> 16) : 0xff;
    for (unsigned i = 0; i < 8; i++)
        memcpy(s->st[i], seq_pool.st[v >> (8 * i) & 127], 10);
    s->mxcsr |= (unsigned)(v >> 32 & 3) << 13;
}

static bool loops32(const Gen *g) { return g->k->mode != CODE64; }
static unsigned seq_counter(const Gen *g) { return loops32(g) ? SEQ_LOOP_32 : COUNTER; }

static uint64_t seq_address(Gen *g, unsigned align)
{
    unsigned v = (unsigned)(rnd(g->r) >> 32), where = v & 127, n = v >> 7;
    uint64_t a;

    if (where < 60)
        a = DATA_AT + SEQ_WINDOW + 32 + n % 600; /* before the stack; 32: an index counts down */
    else if (where < 80)
        a = DATA_AT + PAGE - n % 34; /* across the page's end; */
    else if (where < 97)
        a = DATA_AT + (g->callee ? SEQ_WINDOW : SEQ_STACK - 256) + 32 + n % 460; /* the stack, where no return address lies */
    else if (where < 120)
        a = DATA_AT + SEQ_TAIL + 32 + n % 60;
    else if (where < 125)
        a = DATA_AT + 2 * PAGE - n % 34 + (where & 1) * 32; /* into the read-only page */
    else
        a = DATA_AT + 3 * PAGE - n % 64;
    return align && where % 16 ? a & -(uint64_t)align : a;
}

static void seq_pick_memory(Gen *g, unsigned align)
{
    static const uint8_t pointers[] = { RBX, RBP, 10, 13 };
    const State *s = &g->k->in;
    uint64_t off;

    g->ea = seq_address(g, align);
    g->index = V_NONE;
    g->scale = 0;
    off = in_data(g, g->ea);
    g->rip = g->asize != 1 && chance(g->r, 10);
    g->disp = 0;
    if (g->rip)
        return;
    if (g->asize == 1) { /* [bx + disp] */
        g->base = 7;
        g->disp = (int16_t)(off - s->gpr[RBX]);
        return;
    }
    g->base = loops32(g) ? RBX : pointers[below(g->r, 4)];
    if (!g->callee && g->ea - (DATA_AT + SEQ_WINDOW + 160) < 1000 /* pushes and pops in a loop move it */ && chance(g->r, 15)) {
        g->base = RSP;
        off = g->ea;
    }
    if (chance(g->r, 20)) {
        g->index = seq_counter(g);
        g->scale = below(g->r, 4);
        off -= s->gpr[g->index] << g->scale;
    }
    g->disp = (int64_t)(off - s->gpr[g->base]);
    if (g->asize == 2)
        g->disp = (int32_t)g->disp;
}

typedef struct SeqJump { /* a displacement to be filled in */
    unsigned at, n;      /* n bytes at this offset; counts from their end, */
    bool absolute;       /* or n bytes of the address itself */
} SeqJump;
typedef struct Seq {
    Gen g;
    SeqJump jump[6], call[4];
    unsigned njumps, ncalls, nstack, carried;
    struct {
        unsigned at, n;
    } site[40], patch[4]; /* bytes that may become anything; displacements of stores to them */
    unsigned nsites, npatches;
    bool wide; /* 16-bit code: branches of 32 bits */
    bool smc;
} Seq;

static void seq_raw(Gen *g, const void *bytes, unsigned n)
{
    g->k->undef_at[g->k->len] = (uint8_t)g->undef;
    memcpy(g->k->code + g->k->len, bytes, n);
    g->k->len += n;
    g->k->ninsns++;
}

/* One byte of opcode and 32 bits behind it, whatever the code size. */
static void seq_op32(Gen *g, unsigned op, uint64_t v)
{
    uint8_t b[6] = { 0x66, (uint8_t)op };

    put_bytes(b + 2, v, 4);
    seq_raw(g, g->k->mode == CODE16 ? b : b + 1, g->k->mode == CODE16 ? 6 : 5);
}

static void seq_note_site(Seq *q, const Row *row)
{
    unsigned kind = row->nopr ? row->opr[row->nopr - 1].kind : O_E, n;

    if ((kind != O_I && kind != O_IB && kind != O_IV) || q->nsites >= G_N_ELEMENTS(q->site))
        return;
    n = const_bytes(row, q->g.size, q->g.asize);
    q->site[q->nsites].at = q->g.k->len - n;
    q->site[q->nsites++].n = n;
}

static void seq_one(Seq *q)
{
    Gen *g = &q->g;
    const Row *row;
    unsigned cond = below(g->r, 16), m = g->k->mode, rest;

    do {
        rest = chance(g->r, 40);
        row = seq_rows[m].row[rest][below(g->r, seq_rows[m].n[rest])];
    } while (row->reads & g->undef || (row->traits & R_CC && !cond_usable(g, cond)) || (row->traits & R_STACK && (g->callee || q->nstack >= 3)));
    put_insn(g, row, cond);
    if (row->traits & R_MAYBE && row->nopr == 3) /* double shifts: no count over 16 */
        g->k->code[g->k->len - 1] &= 0x0f;
    q->nstack += !!(row->traits & R_STACK);
    seq_note_site(q, row);
    track_undefined(g, row);
}

/* A jump or call (cond 16) whose displacement is not known yet. */
static SeqJump seq_jump(Seq *q, unsigned cond, bool call, bool near_)
{
    Gen *g = &q->g;
    uint8_t b[8], *p = b;
    bool small = g->k->mode == CODE16 && !q->wide;
    unsigned n = near_ ? 1 : small ? 2 : 4;

    if (!near_ && g->k->mode == CODE16 && q->wide)
        *p++ = 0x66;
    if (near_)
        *p++ = (uint8_t)(cond < 16 ? 0x70 + cond : 0xeb);
    else if (cond < 16)
        *p++ = 0x0f, *p++ = (uint8_t)(0x80 + cond);
    else
        *p++ = call ? 0xe8 : 0xe9;
    seq_raw(g, b, (unsigned)(p - b) + n);
    return (SeqJump){ g->k->len - n, n, false };
}

static void seq_target(Case *k, const SeqJump *j, unsigned target)
{
    uint64_t v = j->absolute ? k->at + target - k->cs_base : (uint64_t)(int64_t)((int)target - (int)(j->at + j->n));

    put_bytes(k->code + j->at, v, j->n);
}

/* The address of what comes next into a register, and a jump or call to it. */
static SeqJump seq_indirect(Seq *q, bool call)
{
    Gen *g = &q->g;
    unsigned mode = g->k->mode, n = mode == CODE16 && !q->wide ? 2 : 4;
    SeqJump j;

    if (mode == CODE64) { /* lea r11, [rip + ..] */
        seq_raw(g, "\x4c\x8d\x1d\0\0\0", 7);
        j = (SeqJump){ g->k->len - 4, 4, false };
        seq_raw(g, call ? "\x41\xff\xd3" : "\x41\xff\xe3", 3);
        return j;
    }
    if (mode == CODE16 && q->wide) {
        seq_raw(g, "\x66\xb8\0\0\0", 6);
        j = (SeqJump){ g->k->len - 4, 4, true };
        seq_raw(g, call ? "\x66\xff\xd0" : "\x66\xff\xe0", 3);
        return j;
    }
    seq_raw(g, "\xb8\0\0\0", 1 + n);
    j = (SeqJump){ g->k->len - n, n, true };
    seq_raw(g, call ? "\xff\xd0" : "\xff\xe0", 2);
    return j;
}

/* movs, stos, lods, cmps, scas with registers that stay inside the window. */
static void seq_string(Gen *g)
{
    static const uint8_t op[] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };
    unsigned which = below(g->r, 5), size = below(g->r, g->k->mode == CODE64 ? 4 : 3), count = 1 + below(g->r, 24), n = 0;
    uint64_t end = DATA_AT + SEQ_STACK - 320 - (count << size), from = DATA_AT + SEQ_WINDOW;
    uint8_t b[4];

    seq_op32(g, 0xb9, count);
    seq_op32(g, 0xbe, in_data(g, from + below(g->r, (unsigned)(end - from))));
    seq_op32(g, 0xbf, in_data(g, from + below(g->r, (unsigned)(end - from))));
    if (chance(g->r, 80))
        b[n++] = chance(g->r, 70) ? 0xf3 : 0xf2;
    if ((size == 1 && g->k->mode != CODE16) || (size == 2 && g->k->mode == CODE16))
        b[n++] = 0x66;
    if (size == 3)
        b[n++] = 0x48;
    b[n++] = op[which] | (size != 0);
    seq_raw(g, b, n);
    if (which == 1 || which == 4)
        g->undef = 0;
}

static void seq_divide(Gen *g)
{
    uint8_t b[4];
    unsigned n = 0;

    seq_op32(g, 0xba, chance(g->r, 60) ? 0 : below(g->r, 64)); /* edx */
    if (g->k->mode == CODE64 && chance(g->r, 40))
        b[n++] = 0x48;
    b[n++] = 0xf6 | chance(g->r, 80);
    b[n++] = (uint8_t)(0xf0 | below(g->r, 2) << 3 | (chance(g->r, 70) ? RCX : RSI));
    seq_raw(g, b, n);
    g->undef = FALL;
}

/* A store to an immediate operand of this code: where, is decided at the end. */
static void seq_smc_store(Seq *q)
{
    static const struct {
        uint8_t b[3], n, imm;
    } form[] = { { { 0xc6, 0x05 }, 2, 1 }, { { 0x80, 0x05 }, 2, 1 }, { { 0x88, 0x05 }, 2, 0 }, { { 0x00, 0x05 }, 2, 0 }, { { 0xfe, 0x05 }, 2, 0 } };
    Gen *g = &q->g;
    unsigned f = below(g->r, G_N_ELEMENTS(form)), n = 0;
    uint8_t b[12];

    if (q->npatches >= G_N_ELEMENTS(q->patch) || (f == 4 && g->undef & FC))
        return;
    if (g->k->mode == CODE16)
        b[n++] = 0x36, b[n++] = 0x67; /* the stack segment is flat */
    memcpy(b + n, form[f].b, form[f].n);
    n += form[f].n;
    put_bytes(b + n, rnd(g->r), 5); /* the address, and the immediate */
    seq_raw(g, b, n + 4 + form[f].imm);
    q->patch[q->npatches].at = g->k->len - 4 - form[f].imm;
    q->patch[q->npatches++].n = g->k->len;
    if (f == 1 || f == 3)
        g->undef = 0;
    if (f == 4)
        g->undef &= FC;
}

static void seq_resolve(Seq *q)
{
    seq_target(q->g.k, &q->jump[--q->njumps], q->g.k->len);
    q->g.undef |= q->carried;
}

/* Short jumps reach 127 bytes: none may be left behind. */
static bool seq_stale(const Seq *q)
{
    for (unsigned i = 0; i < q->njumps; i++)
        if (q->jump[i].n == 1 && q->g.k->len - q->jump[i].at > 70)
            return true;
    return false;
}

static void seq_step(Seq *q)
{
    Gen *g = &q->g;
    unsigned what = below(g->r, 100), cond = below(g->r, 16);

    if (what < 12 && cond_usable(g, cond) && q->njumps < G_N_ELEMENTS(q->jump)) {
        q->jump[q->njumps++] = seq_jump(q, what < 10 ? cond : 16, false, chance(g->r, 50));
        q->carried |= g->undef;
    } else if (what < 14 && q->njumps < G_N_ELEMENTS(q->jump)) {
        q->jump[q->njumps++] = seq_indirect(q, false);
        q->carried |= g->undef;
    } else if (what < 18 && !g->callee && q->ncalls < 3) {
        q->call[q->ncalls++] = chance(g->r, 70) ? seq_jump(q, 16, true, false) : seq_indirect(q, true);
        g->undef = FALL;
    } else if (what < 22) {
        seq_string(g);
    } else if (what < 24) {
        seq_divide(g);
    } else if (what < 40 && q->smc) {
        seq_smc_store(q);
    } else {
        seq_one(q);
    }
}

static void seq_body(Seq *q, unsigned n)
{
    Gen *g = &q->g;

    q->carried = 0;
    for (unsigned i = 0; i < n && g->k->len < CODE_SLOT - 200; i++) {
        seq_step(q);
        while (seq_stale(q))
            seq_resolve(q);
        if (q->njumps && chance(g->r, 30))
            seq_resolve(q);
    }
    while (q->njumps)
        seq_resolve(q);
}

static void seq_loop_end(Seq *q, unsigned loop)
{
    const CodeSize mode = q->g.k->mode;
    SeqJump j;

    if (mode == CODE64)
        seq_raw(&q->g, "\x41\xff\xcf", 3); /* dec r15d */
    else
        seq_raw(&q->g, mode == CODE32 ? "\x4d" : "\x66\x4d", mode == CODE32 ? 1 : 2); /* dec ebp */
    q->g.undef &= FC;
    j = seq_jump(q, 5, false, q->g.k->len - loop < 100);
    seq_target(q->g.k, &j, loop);
}

static void seq_fill_patches(Seq *q)
{
    Case *k = q->g.k;

    for (unsigned i = 0; i < q->npatches; i++) {
        unsigned s = below(q->g.r, q->nsites), to = q->site[s].at + below(q->g.r, q->site[s].n);
        uint64_t v = k->at + to;

        put_bytes(k->code + q->patch[i].at, k->mode == CODE64 ? v - (k->at + q->patch[i].n) : v, 4);
    }
}

/* A chunk of slots has one code size: half 64-bit, a quarter each 32- and 16-bit; a third of them, code that changes itself. */
static void seq_begin(Case *k, uint64_t seed, unsigned slot, Rng *r, bool *smc)
{
    static const struct {
        CodeSize mode;
        bool smc;
    } kind[8] = { { CODE64 }, { CODE64 }, { CODE64, true }, { CODE64 }, { CODE32 }, { CODE32, true }, { CODE16 }, { CODE16, true } };
    const unsigned c = slot / SEQ_CHUNK_SLOTS, s = slot % SEQ_CHUNK_SLOTS;

    memset(k, 0, offsetof(Case, out));
    k->answered = false;
    k->seq = true;
    k->seed = seed;
    k->slot = slot;
    r->s = seed;
    k->mem_seed = rnd(r);
    k->mode = kind[c % 8].mode;
    *smc = kind[c % 8].smc;
    k->at = CODE_AT + c * SEQ_CHUNK + s / 7 * PAGE + (1 + s % 7) * CODE_SLOT;
    if (s % 7 == 6 && s / 7 < 15)
        k->at += CODE_SLOT - 1 - below(r, 200); /* across the page's end */
    else
        k->at += below(r, 64);
    if (k->mode == CODE16)
        k->cs_base = CODE_AT + c * SEQ_CHUNK;
    k->ac = below(r, 64) == 0;
    seq_state(r, k);
    k->in.pc = k->at;
}

static void seq_registers(Gen *g)
{
    State *s = &g->k->in;
    uint64_t v = rnd(g->r);

    for (unsigned i = 0; i < 16; i++)
        if (g->spare & 1u << i)
            s->gpr[i] = in_data(g, DATA_AT + 64 * (v >> (4 * i) & 127));
    s->gpr[RSP] = DATA_AT + SEQ_STACK + (v & 3) * (g->k->mode == CODE64 ? 8 : 4);
    s->gpr[seq_counter(g)] = 1 + (v >> 9 & 3);
}

void gen_seq_case(uint64_t seed, unsigned slot, Case *k)
{
    Rng r;
    bool smc, loops;
    unsigned loop, n;

    seq_begin(k, seed, slot, &r, &smc);
    Seq q = { .g = { .r = &r, .k = k, .fuzz = true, .seq = true, .spare = k->mode == CODE64 ? POINTERS | 1u << COUNTER : SPARE_32 },
              .wide = chance(&r, 50), .smc = smc };
    seq_registers(&q.g);
    n = 1 + below(&r, 20);
    if (smc) {
        seq_op32(&q.g, 0xb8, rnd(&r)); /* mov eax, imm32: at least one place to change */
        q.site[0].at = k->len - 4;
        q.site[0].n = 4;
        q.nsites = 1;
    }
    loop = k->len;
    loops = chance(&r, 40);
    q.g.undef = loops ? FALL : 0; /* what the loop's back edge brings is unknown */
    seq_body(&q, n);
    if (smc)
        seq_smc_store(&q);
    if (loops)
        seq_loop_end(&q, loop);
    k->undef = q.g.undef;
    k->end = k->len;
    memset(k->code + k->len, 0xcc, 8);
    k->len += 8;
    if (q.ncalls) {
        for (unsigned i = 0; i < q.ncalls; i++)
            seq_target(k, &q.call[i], k->len);
        q.g.undef = FALL;
        q.g.callee = true;
        seq_body(&q, 1 + below(&r, 3));
        seq_raw(&q.g, k->mode == CODE16 && q.wide ? "\x66\xc3" : "\xc3", k->mode == CODE16 && q.wide ? 2 : 1);
    }
    seq_fill_patches(&q);
    k->smc = q.npatches > 0;
    memset(k->code + k->len, 0xcc, 16);
    k->len += 16;
}

void seq_memory(uint8_t *pages, const Case *k)
{
    const uint8_t *from = seq_pool.mem + (k->mem_seed & 511) * 8;

    memcpy(pages + SEQ_WINDOW, from, SEQ_WINDOW_N);
    memcpy(pages + SEQ_TAIL, from + SEQ_WINDOW_N, SEQ_TAIL_N);
}

/* Four lanes at once: it is as fast as reading. */
static void lanes(uint64_t h[4], const uint8_t *p, unsigned n)
{
    uint64_t v[4];

    for (unsigned i = 0; i < n; i += 32) {
        memcpy(v, p + i, 32);
        for (unsigned j = 0; j < 4; j++)
            h[j] = (h[j] ^ v[j]) * 0x9e3779b97f4a7c15ull ^ h[j] >> 31;
    }
}

uint64_t seq_hash(const uint8_t *pages, const uint8_t *code, const Case *k)
{
    uint64_t h[4] = { 1, 2, 3, 4 };

    lanes(h, pages + SEQ_WINDOW, SEQ_WINDOW_N);
    lanes(h, pages + SEQ_TAIL, SEQ_TAIL_N);
    if (k->smc)
        for (unsigned i = 0; i < k->end; i++)
            h[0] = (h[0] ^ code[i]) * 0x100000001b3ull;
    return h[0] ^ h[1] << 1 ^ h[2] << 2 ^ h[3] << 3;
}
