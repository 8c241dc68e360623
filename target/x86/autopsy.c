/*
 * target/x86/autopsy.c - why did the guest die? Reads the chain of faults that ended in a shutdown,
 * tries the usual causes in order, and lists registers, code, the failed page walk and the gate
 * that was missing. Source: Intel SDM vol. 3A section 6.15 (error codes, double fault). Nothing
 * here changes the guest.
 */
#include "target/x86/disas.h"

static const char *const names[] = { "#DE divide error",
                                     "#DB debug",
                                     "NMI",
                                     "#BP breakpoint",
                                     "#OF overflow",
                                     "#BR bound range",
                                     "#UD invalid opcode",
                                     "#NM no device",
                                     "#DF double fault",
                                     "coprocessor overrun",
                                     "#TS invalid TSS",
                                     "#NP segment not present",
                                     "#SS stack fault",
                                     "#GP general protection",
                                     "#PF page fault",
                                     "reserved",
                                     "#MF x87 error",
                                     "#AC alignment",
                                     "#MC machine check",
                                     "#XM SIMD error" };

static unsigned vector_of(const Fault *f) { return f->kind - FAULT_EXC; }
static const char *name_of(unsigned v) { return v < G_N_ELEMENTS(names) ? names[v] : "interrupt"; }

static void put_fault(GString *out, const Fault *f)
{
    unsigned v = vector_of(f);

    g_string_append_printf(out, "%s", name_of(v));
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

/* The IDT entry of vector v in words; false: it is good. */
static bool bad_gate(Cpu *c, unsigned v, GString *out)
{
    const X86 *s = x86_of(c);
    unsigned n = long_mode(s) ? 16 : 8;
    uint8_t g[16] = { 0 };

    if (!(s->cr0 & CR0_PE))
        return false;
    if (v * n + n - 1 > s->idt.limit)
        g_string_append_printf(out, "the IDT (limit %#x) has no entry for vector %u", s->idt.limit,
                               v);
    else if (!cpu_read_va(c, s->idt.base + v * n, g, n))
        g_string_append_printf(out, "the IDT at %#" PRIx64 " is not mapped", s->idt.base);
    else if (!(g[5] & 0x80))
        g_string_append_printf(out, "the IDT entry of vector %u is not present", v);
    else
        return false;
    return true;
}

static bool in_page_of_stack(const X86 *s, uint64_t va)
{
    return va - (s->env.v[RSP] - PAGE) < 2 * PAGE;
}

static void cause(Cpu *c, const X86 *s, GString *out)
{
    const Fault *first = &s->chain[0], *second = &s->chain[1];
    unsigned v = vector_of(first);

    if (v == EXC_PF && !(first->err & 1) && first->err & 2 && in_page_of_stack(s, first->addr)) {
        g_string_append_printf(out, "the stack ran over: no page at %#" PRIx64 ", rsp is %#" PRIx64,
                               first->addr, s->env.v[RSP]);
        return;
    }
    put_fault(out, first);
    g_string_append(out, "; ");
    if (bad_gate(c, v, out))
        return;
    if (s->nchain < 2) {
        g_string_append(out, "it could not be delivered");
        return;
    }
    if (vector_of(second) == EXC_PF)
        g_string_append_printf(out, "its handler's stack or tables at %#" PRIx64 " are not mapped",
                               second->addr);
    else if (vector_of(second) == EXC_TS)
        g_string_append(out, "the TSS gives no good stack for its handler");
    else
        g_string_append_printf(out, "on the way to its handler came %s, error %#x",
                               name_of(vector_of(second)), second->err);
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

bool x86_autopsy(Cpu *c, const Exit *e, GString *first_line, GString *report)
{
    const X86 *s = x86_of(c);
    bool died = e && e->kind == EXIT_SHUTDOWN && s->nchain;

    if (died && s->cr0 & CR0_PE && s->idt.limit < 8)
        return true; /* nobody can handle anything: the guest asked for a reset */
    if (died) {
        cause(c, s, first_line);
        for (unsigned i = 0; i < MIN(s->nchain, G_N_ELEMENTS(s->chain)); i++) {
            g_string_append(report, i ? "then " : "first ");
            put_fault(report, &s->chain[i]);
            g_string_append_c(report, '\n');
        }
        for (unsigned i = 0; i < MIN(s->nchain, G_N_ELEMENTS(s->chain)); i++)
            if (vector_of(&s->chain[i]) == EXC_PF)
                put_walk(c, s->chain[i].addr, report);
    }
    put_code(c, s->env.pc, report);
    put_stack(c, report);
    c->target->print_regs(c, report);
    return false;
}
