/*
 * target/x86/why-gate.c - the way from an exception to its handler, checked station by station: IDT, gate,
 * code segment, TSS, stack. The order is the CPU's (Intel SDM vol. 3A section 6.12 and 6.14), so the first thing
 * found wrong is what stopped it. Reads without side effects.
 */
#include "target/x86/disas.h"

bool x86_mapped(Cpu *c, uint64_t va)
{
    uint8_t b;

    return cpu_read_va(c, va, &b, 1);
}

/* ---- selectors and what they name ---- */
static const char *kind_of(uint32_t a, bool lm)
{
    static const char *const system[16] = { "nothing",        "a 16-bit TSS",  "an LDT",       "a busy 16-bit TSS",
                                            "a call gate",    "a task gate",   "an interrupt gate", "a trap gate",
                                            "nothing",        "a TSS",         "nothing",      "a busy TSS",
                                            "a call gate",    "nothing",       "an interrupt gate", "a trap gate" };

    if (!(a & SA_S))
        return system[a & 15];
    if (!(a & 8))
        return a & 2 ? "a data segment" : "a read-only data segment";
    if (lm)
        return a & SA_L ? a & SA_DB ? "a code segment with both L and D set" : "a 64-bit code segment"
                        : "a code segment without the L bit";
    return a & SA_DB ? "a 32-bit code segment" : "a 16-bit code segment";
}

bool x86_why_selector(Cpu *c, uint16_t sel, bool code, GString *out)
{
    const X86 *s = x86_of(c);
    bool local = sel & 4;
    const X86Table *t = local ? &s->ldt : &s->gdt;
    const char *table = local ? "LDT" : "GDT";
    uint64_t d = 0;
    uint32_t a;

    g_string_append_printf(out, "selector %#x ", sel);
    if (!(sel & 0xfffc)) {
        g_string_append(out, "is null");
        return true;
    }
    if (local && !(s->ldt.sel & 0xfffc)) {
        g_string_append(out, "is of the LDT, and no LDT is loaded");
        return true;
    }
    if ((sel | 7u) > t->limit) {
        g_string_append_printf(out, "is beyond the limit %#x of the %s at %#" PRIx64, t->limit, table, t->base);
        return true;
    }
    if (!cpu_read_va(c, t->base + (sel & 0xfff8), &d, 8)) {
        g_string_append_printf(out, "cannot be looked up: the %s at %#" PRIx64 " is not mapped", table, t->base);
        return true;
    }
    a = x86_desc_attr(d);
    if (!d || d == ~0ull) {
        g_string_append_printf(out, "names an empty entry (%#018" PRIx64 ") of the %s at %#" PRIx64, d, table, t->base);
        return true;
    }
    g_string_append_printf(out, "names %s%s (%s entry %u, %#018" PRIx64 ")", a & SA_P ? "" : "something not present: ",
                           kind_of(a, long_mode(s)), table, sel >> 3, d);
    if (!(a & SA_P))
        return true;
    return code && (!(a & SA_S) || !(a & 8) || (long_mode(s) && (!(a & SA_L) || a & SA_DB)));
}

/* ---- the stack of the handler ---- */
static bool bad_stack(Cpu *c, uint64_t sp, const char *whose, GString *out)
{
    const X86 *s = x86_of(c);
    Walk w;

    if (long_mode(s) && !canonical(s, sp))
        g_string_append_printf(out, "%s %#" PRIx64 " is not canonical", whose, sp);
    else if (!sp && !x86_mapped(c, sp - 8))
        g_string_append_printf(out, "%s is 0", whose);
    else if (s->cr0 & CR0_PG && !x86_walk(c, sp - 8, ACC_W | ACC_PEEK, &w))
        g_string_append_printf(out, "%s %#" PRIx64 " has no page under it", whose, sp);
    else if (s->cr0 & CR0_PG && !(w.prot & 2) && s->cr0 & CR0_WP)
        g_string_append_printf(out, "%s %#" PRIx64 " is in a read-only page", whose, sp);
    else
        return false;
    return true;
}

/* From the TSS: n bytes at offset `at`. False: said why not. */
static bool from_tss(Cpu *c, unsigned at, void *to, unsigned n, GString *out)
{
    const X86 *s = x86_of(c);

    if (!(s->tr.sel & 0xfffc) && !s->tr.base)
        g_string_append(out, "no TSS is loaded (LTR was never executed), so there is no stack for the handler");
    else if (at + n - 1 > s->tr.limit)
        g_string_append_printf(out, "the TSS (limit %#x) is too short to hold the handler's stack at offset %u", s->tr.limit, at);
    else if (!cpu_read_va(c, s->tr.base + at, to, n))
        g_string_append_printf(out, "the TSS at %#" PRIx64 " is not mapped, so there is no stack for the handler", s->tr.base);
    else
        return true;
    return false;
}

static bool stack_64(Cpu *c, unsigned ist, unsigned dpl, GString *out)
{
    const X86 *s = x86_of(c);
    uint8_t raw[8];
    g_autofree char *whose = ist ? g_strdup_printf("IST %u of the TSS", ist) : g_strdup_printf("RSP%u in the TSS (the handler's stack)", dpl);

    if (!ist && dpl >= s->cpl)
        return bad_stack(c, s->env.v[RSP], "the stack at", out);
    if (!from_tss(c, ist ? 36 + (ist - 1) * 8 : 4 + dpl * 8, raw, 8, out))
        return true;
    return bad_stack(c, le_load(raw, 8), whose, out);
}

static bool stack_32(Cpu *c, unsigned dpl, GString *out)
{
    const X86 *s = x86_of(c);
    bool wide = s->tr.attr & 8;
    unsigned n = wide ? 4 : 2;
    uint8_t raw[8];
    g_autofree char *whose = g_strdup_printf("ESP%u in the TSS (the handler's stack)", dpl);
    GString *sel;
    uint16_t ss;
    bool bad;

    if (dpl >= s->cpl && !vm86(s))
        return bad_stack(c, (uint32_t)(s->env.v[RSP] + seg_base(s, SEG_SS)), "the stack at", out);
    if (!from_tss(c, (wide ? 4 : 2) + dpl * n * 2, raw, n + 2, out))
        return true;
    ss = (uint16_t)le_load(raw + n, 2);
    sel = g_string_new(NULL);
    bad = x86_why_selector(c, ss, false, sel);
    if (bad)
        g_string_append_printf(out, "SS%u, the stack segment in the TSS: %s", dpl, sel->str);
    g_string_free(sel, TRUE);
    return bad || bad_stack(c, le_load(raw, n), whose, out);
}

/* ---- the gate ---- */
static bool bad_type(const X86 *s, unsigned type)
{
    unsigned t = type & 15;

    return type & 0x10 || (long_mode(s) ? t != 14 && t != 15 : t != 5 && t != 6 && t != 7 && t != 14 && t != 15);
}

static bool no_entry(Cpu *c, unsigned v, uint8_t g[16], GString *out)
{
    const X86 *s = x86_of(c);
    unsigned n = long_mode(s) ? 16 : 8;

    if (!s->idt.base && s->idt.limit == 0xffff)
        g_string_append(out, "no IDT was ever loaded (base 0, as after reset)");
    else if (!s->idt.base && s->idt.limit == 0x3ff)
        g_string_append(out, "no IDT was loaded since real mode (base 0, limit 0x3ff)");
    else if (s->idt.limit < n - 1)
        g_string_append_printf(out, "the IDT is empty (limit %u)", s->idt.limit);
    else if (v * n + n - 1 > s->idt.limit)
        g_string_append_printf(out, "the IDT (limit %#x) has no entry for vector %u", s->idt.limit, v);
    else if (!cpu_read_va(c, s->idt.base + v * n, g, n))
        g_string_append_printf(out, "the IDT at %#" PRIx64 " is not mapped", s->idt.base);
    else if (bad_type(s, g[5] & 31))
        g_string_append_printf(out, "IDT entry %u at %#" PRIx64 " is no gate (type byte %#x)", v, s->idt.base + v * n, g[5]);
    else if (!(g[5] & 0x80))
        g_string_append_printf(out, "IDT entry %u is not present", v);
    else
        return false;
    return true;
}

static bool bad_target(Cpu *c, unsigned v, uint16_t sel, GString *out)
{
    GString *why = g_string_new(NULL);
    bool bad = x86_why_selector(c, sel, true, why);

    if (bad)
        g_string_append_printf(out, "IDT entry %u is a gate whose code %s", v, why->str);
    g_string_free(why, TRUE);
    return bad;
}

bool x86_why_undelivered(Cpu *c, unsigned v, GString *out)
{
    const X86 *s = x86_of(c);
    uint8_t g[16] = { 0 };
    uint16_t sel;
    uint64_t d = 0;
    unsigned dpl;

    if (!(s->cr0 & CR0_PE))
        return false;
    if (no_entry(c, v, g, out))
        return true;
    sel = (uint16_t)le_load(g + 2, 2);
    if ((g[5] & 15) == 5)
        return x86_why_selector(c, sel, false, out);
    if (bad_target(c, v, sel, out))
        return true;
    cpu_read_va(c, (sel & 4 ? s->ldt.base : s->gdt.base) + (sel & 0xfff8), &d, 8);
    dpl = x86_desc_attr(d) & 4 ? s->cpl : SA_DPL(x86_desc_attr(d));
    return long_mode(s) ? stack_64(c, g[4] & 7, dpl, out) : stack_32(c, dpl, out);
}
