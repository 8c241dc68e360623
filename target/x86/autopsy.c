/*
 * target/x86/autopsy.c - why did the guest die? Reads the chain of faults that ended in a shutdown,
 * tries the usual causes in order, and lists registers, code, the failed page walk and the gate
 * that was missing. Source: Intel SDM vol. 3A section 6.15 (error codes, double fault). Nothing
 * here changes the guest.
 */
#include "target/x86/disas.h"

static unsigned vector_of(const Fault *f) { return f->kind - FAULT_EXC; }

static void put_fault(GString *out, const Fault *f)
{
    unsigned v = vector_of(f);

    g_string_append(out, x86_vector_name(v));
    if (v >= EXC_TS && v <= EXC_PF)
        g_string_append_printf(out, ", error %#x", f->err);
    if (v == EXC_PF)
        g_string_append_printf(
            out, " (%s, %s%s%s) at %#" PRIx64, f->err & 1 ? "not allowed" : "not present",
            f->err & 16  ? "fetch"
            : f->err & 2 ? "write"
                         : "read",
            f->err & 4 ? ", user" : "", f->err & 8 ? ", reserved bit set" : "", f->addr);
}

/* The vector that was to be delivered when the fault came: an interrupt's own when its gate raised #GP or #NP. */
static unsigned wanted(const Fault *f)
{
    unsigned v = vector_of(f);

    return (v == EXC_GP || v == EXC_NP) && f->err & 2 ? f->err >> 3 & 255 : v;
}

/* The first line: what happened, and why nobody could handle it. */
static void cause(Cpu *c, const X86 *s, GString *out)
{
    GString *gate = g_string_new(NULL);

    x86_why_fault(c, &s->chain[0], out);
    if (x86_why_undelivered(c, wanted(&s->chain[0]), gate))
        g_string_append_printf(out, "; %s", gate->str);
    else if (s->nchain > 1) {
        g_string_append(out, "; on the way to its handler: ");
        put_fault(out, &s->chain[1]);
    }
    g_string_free(gate, TRUE);
}

/* An empty IDT and a trap: the trap follows its LIDT closely, or is an instruction meant to trap. */
static bool meant_to_reset(Cpu *c, const X86 *s)
{
    static const char *const traps[] = { "int3", "int", "int1", "ud2", "into" };
    uint8_t before[32];
    X86Insn in;

    if (!(s->cr0 & CR0_PE) || s->idt.limit >= 8 || vector_of(&s->chain[0]) == EXC_PF)
        return false;
    if (x86_insn_at(c, &in))
        for (unsigned i = 0; i < G_N_ELEMENTS(traps); i++)
            if (!strcmp(in.name, traps[i]))
                return true;
    if (s->chain[0].err & 2 || !cpu_read_va(c, s->env.pc - sizeof(before), before, sizeof(before)))
        return false; /* an interrupt from outside is nobody's wish */
    for (unsigned i = 0; i + 2 < sizeof(before); i++)
        if (before[i] == 0x0f && before[i + 1] == 0x01 && (before[i + 2] & 0x38) == 0x18)
            return true;
    return false;
}

static void put_walk(Cpu *c, uint64_t va, GString *out)
{
    static const char *const word[] = { "", "PTE", "PDE", "PDPTE", "PML4E", "PML5E" };
    const X86 *s = x86_of(c);
    unsigned top = !long_mode(s) ? s->cr4 & CR4_PAE ? 3 : 2 : s->cr4 & CR4_LA57 ? 5 : 4;
    Walk w;
    bool ok;

    if (!(s->cr0 & CR0_PG))
        return;
    ok = x86_walk(c, va, ACC_R | ACC_PEEK, &w);
    g_string_append_printf(out, "page walk of %#" PRIx64 " from CR3 %#" PRIx64 ": %s\n", va, s->cr3,
                           ok ? "mapped" : "ends in a fault");
    for (unsigned i = 0; i < w.levels && i < top; i++)
        g_string_append_printf(out, "  %-5s at %#" PRIx64 " = %#018" PRIx64 "%s\n", word[top - i],
                               w.entry_at[i], w.entry[i], w.entry[i] & 1 ? "" : "  not present");
}

static void put_code(Cpu *c, uint64_t pc, GString *out)
{
    uint8_t code[64];
    size_t n = sizeof(code);

    while (n && !cpu_read_va(c, pc, code, n)) /* up to the end of what is mapped */
        n /= 2;
    if (!n) {
        g_string_append_printf(out, "code at %#" PRIx64 " is not mapped\n", pc);
        return;
    }
    g_string_append(out, "code\n");
    x86_disas(c, pc, code, n, 6, out);
}

static void put_stack(Cpu *c, GString *out)
{
    const X86 *s = x86_of(c);
    unsigned n = code64(s) ? 8 : s->seg[SEG_SS].attr & SA_DB ? 4 : 2;
    uint64_t at = code64(s)
                      ? s->env.v[RSP]
                      : seg_base(s, SEG_SS) + (s->env.v[RSP] & (n == 2 ? 0xffff : 0xffffffff));
    uint8_t word[8];

    g_string_append_printf(out, "stack at %#" PRIx64 ":", at);
    for (unsigned i = 0; i < 8; i++, at += n) {
        if (!cpu_read_va(c, at, word, n)) {
            g_string_append(out, " (not mapped)");
            break;
        }
        g_string_append_printf(out, " %0*" PRIx64, (int)n * 2, le_load(word, n));
    }
    g_string_append_c(out, '\n');
}

/* The gate of the exception that could not be delivered, as it stands in the IDT. */
static void put_gate(Cpu *c, const X86 *s, unsigned v, GString *out)
{
    unsigned n = long_mode(s) ? 16 : 8;
    uint8_t g[16] = { 0 };
    uint64_t at = s->idt.base + v * n;

    if (!(s->cr0 & CR0_PE) || v * n + n - 1 > s->idt.limit || !cpu_read_va(c, at, g, n))
        return;
    g_string_append_printf(out, "IDT entry %u at %#" PRIx64 ": type %#x, DPL %u, %s, IST %u, selector %#x, offset %#" PRIx64 "\n", v, at,
                           g[5] & 31, g[5] >> 5 & 3, g[5] & 0x80 ? "present" : "not present", n == 16 ? g[4] & 7 : 0,
                           (unsigned)le_load(g + 2, 2),
                           le_load(g, 2) | le_load(g + 6, 2) << 16 | (n == 16 ? le_load(g + 8, 4) << 32 : 0));
}

/* An accelerator that only says "shutdown": some hosts reset the CPU before that (SVM), and which registers is said. */
static void without_chain(const X86 *s, GString *first_line, GString *report)
{
    const struct {
        const char *name;
        bool reset;
    } regs[] = { { "RIP", s->env.pc == 0xfffffff0 || s->env.pc == 0xfff0 }, { "CS", s->seg[SEG_CS].sel == 0xf000 },
                 { "CR0", !(s->cr0 & CR0_PE) }, { "CR3", !s->cr3 }, { "EFER", !s->efer }, { "IDT", !s->idt.base && s->idt.limit == 0xffff },
                 { "GDT", !s->gdt.base && s->gdt.limit == 0xffff }, { "RSP", !s->env.v[RSP] } };
    unsigned n = 0;

    g_string_append(first_line, "this accelerator does not say which faults led here; -accel tcg does");
    for (unsigned i = 0; i < G_N_ELEMENTS(regs); i++)
        if (regs[i].reset)
            g_string_append_printf(report, "%s%s", n++ ? " " : "already reset by the host: ", regs[i].name);
    g_string_append(report, n ? "; the others are the guest's\n" : "the registers are the guest's, none was reset by the host\n");
}

bool x86_autopsy(Cpu *c, const Exit *e, GString *first_line, GString *report)
{
    const X86 *s = x86_of(c);
    bool died = e && e->kind == EXIT_SHUTDOWN && s->nchain;

    if (died && meant_to_reset(c, s))
        return true;
    if (e && e->kind == EXIT_SHUTDOWN && !s->nchain)
        without_chain(s, first_line, report);
    if (died) {
        cause(c, s, first_line);
        for (unsigned i = 0; i < MIN(s->nchain, G_N_ELEMENTS(s->chain)); i++) {
            g_string_append(report, i ? "then " : "first ");
            put_fault(report, &s->chain[i]);
            g_string_append_c(report, '\n');
        }
        for (unsigned i = 0; i < MIN(s->nchain, G_N_ELEMENTS(s->chain)); i++)
            if (vector_of(&s->chain[i]) == EXC_PF && (!i || s->chain[i].addr != s->chain[i - 1].addr))
                put_walk(c, s->chain[i].addr, report);
        put_gate(c, s, wanted(&s->chain[0]), report);
    }
    put_code(c, s->env.pc, report);
    put_stack(c, report);
    c->target->print_regs(c, report);
    return false;
}
