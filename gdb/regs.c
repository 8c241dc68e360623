/*
 * gdb/regs.c - registers for gdb: always the 64-bit layout, so that a session survives the way from
 * real mode to long mode; rip is the linear address of the next instruction (CS base added), so
 * that break and x/i agree with it in every mode.
 */
#include "gdb/priv.h"

enum { CORE, SSE, SEGMENTS, CONTROL, FEATURES };
typedef struct GdbReg {
    uint8_t n;
    const char *name;
    uint16_t bits;
    const char *type;
    uint8_t feature;
    const char *row;
} GdbReg;
#define GDB_REG(n, name, bits, type, feature, row) { n, name, bits, type, feature, row },
static const GdbReg table[] = {
#include "gdb/x86-64.def"
};
#undef GDB_REG

/* The vector, flag and float types are gdb's, described in its manual (Predefined Target Types,
 * Enum and Flags). */
static const char *const feature_heads[FEATURES] = {
    [CORE] =
        "<feature name=\"org.gnu.gdb.i386.core\"><flags id=\"x86_eflags\" size=\"4\">"
        "<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>"
        "<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>"
        "<field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"
        "<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
        "<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>"
        "<field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"
        "<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" "
        "end=\"18\"/></flags>",
    [SSE] = "<feature name=\"org.gnu.gdb.i386.sse\"><vector id=\"v4f\" type=\"ieee_single\" "
            "count=\"4\"/>"
            "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/><vector id=\"v16i8\" "
            "type=\"int8\" count=\"16\"/>"
            "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/><vector id=\"v4i32\" type=\"int32\" "
            "count=\"4\"/>"
            "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/><union id=\"vec128\">"
            "<field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
            "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
            "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
            "<field name=\"uint128\" type=\"uint128\"/></union><flags id=\"x86_mxcsr\" size=\"4\">"
            "<field name=\"IE\" start=\"0\" end=\"0\"/><field name=\"DE\" start=\"1\" end=\"1\"/>"
            "<field name=\"ZE\" start=\"2\" end=\"2\"/><field name=\"OE\" start=\"3\" end=\"3\"/>"
            "<field name=\"UE\" start=\"4\" end=\"4\"/><field name=\"PE\" start=\"5\" "
            "end=\"5\"/></flags>",
    [SEGMENTS] = "<feature name=\"org.gnu.gdb.i386.segments\">",
    [CONTROL] = "<feature name=\"org.menura.x86.control\">",
};

char *gdb__xml(Cpu *c)
{
    GString *x = g_string_new("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
                              "<target><architecture>i386:x86-64</architecture>");

    for (unsigned f = 0; f < FEATURES; f++) {
        g_string_append(x, feature_heads[f]);
        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
            if (table[i].feature == f)
                g_string_append_printf(
                    x, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"/>", table[i].name,
                    table[i].bits, table[i].type, table[i].n);
        g_string_append(x, "</feature>");
    }
    g_string_append(x, "</target>");
    return g_string_free(x, FALSE);
}

/* ---- the target's rows ---- */
static unsigned bytes_of(const CpuReg *r)
{
    return r->bits <= 8    ? 1
           : r->bits <= 16 ? 2
           : r->bits <= 32 ? 4
           : r->bits <= 64 ? 8
           : r->bits == 80 ? 10
                           : r->bits / 8;
}

static const CpuReg *find_row(const Cpu *c, const char *name)
{
    for (size_t i = 0; i < c->target->nregs; i++)
        if (!strcmp(c->target->regs[i].name, name))
            return &c->target->regs[i];
    return NULL;
}

/* st(i) is physical register top + i; top is in bits 11..13 of the status word. */
static const CpuReg *row_of(Cpu *c, const GdbReg *g)
{
    uint64_t sw = 0;
    char name[8];

    if (strncmp(g->row, "st(", 3))
        return find_row(c, g->row);
    cpu_get_reg(c, "fsw", &sw);
    g_snprintf(name, sizeof(name), "fpr%u",
               (unsigned)((sw >> 11) + (unsigned)(g->row[3] - '0')) & 7);
    return find_row(c, name);
}

static const GdbReg *find(unsigned n)
{
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
        if (table[i].n == n)
            return &table[i];
    return NULL;
}

/* The full tag word, 2 bits each: valid 0, empty 3; zero and special are not told apart. Rows keep
 * 1 for empty. */
static uint64_t full_tags(Cpu *c)
{
    uint64_t tags = 0, full = 0;

    cpu_get_reg(c, "ftag", &tags);
    for (unsigned i = 0; i < 8; i++)
        full |= tags >> i & 1 ? 3u << (2 * i) : 0;
    return full;
}

Cpu *gdb__cpu(Gdb *g, unsigned index)
{
    Cpu *c = g->vm->cpus[index < g->vm->ncpus ? index : 0];

    cpu_sync(c, RG_ALL);
    return c;
}

static void read_one(Cpu *c, const GdbReg *r, GString *out)
{
    const CpuReg *row = row_of(c, r);
    uint8_t buf[64] = { 0 };

    if (row)
        memcpy(buf, (uint8_t *)c->regs + row->at, MIN(bytes_of(row), r->bits / 8));
    else if (!strcmp(r->row, "=ftag"))
        le32_store(buf, (uint32_t)full_tags(c));
    gdb__hex(out, buf, r->bits / 8);
}

bool gdb__read_reg(Cpu *c, unsigned n, GString *out)
{
    const GdbReg *r = find(n);

    if (r)
        read_one(c, r, out);
    return r;
}

void gdb__read_all(Cpu *c, GString *out)
{
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
        read_one(c, &table[i], out);
}

/* Registers whose change means more than a store (segments, control registers) are refused unless
 * it is none. */
static bool plain(const GdbReg *r)
{
    return r->feature == SSE || r->feature == SEGMENTS ||
           (r->feature == CORE && !(r->n >= 18 && r->n <= 23));
}

bool gdb__write_reg(Cpu *c, unsigned n, const uint8_t *v, size_t len)
{
    const GdbReg *r = find(n);
    const CpuReg *row = r ? row_of(c, r) : NULL;
    uint8_t *to = row ? (uint8_t *)c->regs + row->at : NULL;
    size_t k = row ? MIN(bytes_of(row), r->bits / 8) : 0;

    if (!r || len < r->bits / 8)
        return false;
    if (!row || !memcmp(to, v, k))
        return true; /* computed, or unchanged ('G' writes all) */
    if (!plain(r))
        return false;
    memcpy(to, v, k);
    if (r->n == 17)
        *to |= 2;
    cpu_touch(c);
    return true;
}

size_t gdb__write_all(Cpu *c, const uint8_t *v, size_t len)
{
    size_t at = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(table) && at + table[i].bits / 8 <= len; i++) {
        gdb__write_reg(c, table[i].n, v + at, table[i].bits / 8);
        at += table[i].bits / 8;
    }
    return at;
}
