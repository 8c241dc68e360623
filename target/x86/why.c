/*
 * target/x86/why.c - one fault in plain words: what the instruction wanted and which mistake of the guest stands
 * behind it. A rule per usual mistake; each looks at state the CPU still has and changes nothing.
 * Source: Intel SDM vol. 3A sections 6.15 (exceptions), 4.7 (page faults), 9.8.5 (the way to long mode).
 */
#include "target/x86/disas.h"

enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_X = 16, PAGE_BYTES = 4096, STACK_WORDS = 512 };

/* What a rule may look at. */
typedef struct Scene {
    Cpu *c;
    const X86 *s;
    const Fault *f;
    X86Insn in;
    bool decoded;
    GString *out;
} Scene;

static void say(Scene *q, const char *fmt, ...) PRINTF(2, 3);
static void say(Scene *q, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_string_append_vprintf(q->out, fmt, ap);
    va_end(ap);
}

const char *x86_vector_name(unsigned v)
{
    static const char *const names[] = { "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "coprocessor overrun",
                                         "#TS", "#NP", "#SS", "#GP", "#PF", "vector 15", "#MF", "#AC", "#MC", "#XM" };

    return v < G_N_ELEMENTS(names) ? names[v] : "an interrupt";
}

static bool is(const Scene *q, const char *name) { return q->decoded && !strcmp(q->in.name, name); }
static bool starts(const Scene *q, const char *name) { return q->decoded && g_str_has_prefix(q->in.name, name); }

static unsigned word_size(const X86 *s) { return code64(s) ? 8 : s->seg[SEG_SS].attr & SA_DB ? 4 : 2; }

/* Word i of the stack. False: not mapped. */
static bool stack_word(const Scene *q, unsigned i, uint64_t *v)
{
    unsigned n = word_size(q->s);
    uint64_t sp = code64(q->s) ? q->s->env.v[RSP] : (uint32_t)(q->s->env.v[RSP] + seg_base(q->s, SEG_SS));
    uint8_t raw[8];

    if (!cpu_read_va(q->c, sp + i * n, raw, n))
        return false;
    *v = le_load(raw, n);
    return true;
}

/* ---- page faults ---- */
bool x86_why_walk(Cpu *c, uint64_t va, Walk *w) { return x86_walk(c, va, ACC_R | ACC_PEEK, w); }

static const char *level_name(const X86 *s, unsigned depth)
{
    static const char *const word[] = { "PTE", "PDE", "PDPTE", "PML4E", "PML5E" };
    unsigned top = !long_mode(s) ? s->cr4 & CR4_PAE ? 2 : 1 : s->cr4 & CR4_LA57 ? 4 : 3;

    return word[depth < top ? top - depth : 0];
}

/* " (PDE at 0x... is 0x...)": the entry that ended the walk */
static void say_entry(Scene *q, const Walk *w)
{
    unsigned last = w->levels ? w->levels - 1 : 0;

    if (w->levels)
        say(q, " (the %s at %#" PRIx64 " is %#" PRIx64 ")", level_name(q->s, last), w->entry_at[last], w->entry[last]);
}

/* The code just before pc, by physical address (kernels switch tables where both are the same), loads CR0 or CR3. */
static bool just_switched(const Scene *q)
{
    uint8_t b[8];
    MemAttrs at = { .peek = true };

    if (q->s->env.pc < sizeof(b) || as_read(q->c->mem[0], q->s->env.pc - sizeof(b), b, sizeof(b), at) != MEM_OK)
        return false;
    for (unsigned i = 0; i + 3 <= sizeof(b); i++)
        if (b[i] == 0x0f && b[i + 1] == 0x22 && ((b[i + 2] & 0xf8) == 0xd8 || (b[i + 2] & 0xf8) == 0xc0))
            return true;
    return false;
}

static bool empty_top_table(const Scene *q)
{
    uint8_t page[PAGE_BYTES];
    MemAttrs at = { .peek = true };

    if (as_read(q->c->mem[0], q->s->cr3 & 0x000ffffffffff000, page, sizeof(page), at) != MEM_OK)
        return true;
    for (unsigned i = 0; i < sizeof(page); i++)
        if (page[i])
            return false;
    return true;
}

/* The vector whose IDT entry leads to va, or -1. */
static int handler_at(const Scene *q, uint64_t va)
{
    unsigned n = long_mode(q->s) ? 16 : 8;
    uint8_t g[16] = { 0 };

    for (unsigned v = 0; v < 256 && v * n + n - 1 <= q->s->idt.limit; v++) {
        uint64_t to;

        if (!q->s->idt.base || !cpu_read_va(q->c, q->s->idt.base + v * n, g, n))
            return -1;
        to = le_load(g, 2) | le_load(g + 6, 2) << 16 | (n == 16 ? le_load(g + 8, 4) << 32 : 0);
        if (g[5] & 0x80 && to == va)
            return (int)v;
    }
    return -1;
}

static void say_caller(Scene *q)
{
    uint64_t ret;
    uint8_t b[7];

    if (!stack_word(q, 0, &ret) || ret < sizeof(b) || !cpu_read_va(q->c, ret - sizeof(b), b, sizeof(b)))
        return;
    for (unsigned n = 2; n <= 7; n++) /* a call of n bytes ends there */
        if ((n == 5 && b[7 - n] == 0xe8) || (b[7 - n] == 0xff && (b[8 - n] & 0x38) == 0x10)) {
            say(q, " (called from %#" PRIx64 ")", ret - n);
            return;
        }
}

static void missing_code(Scene *q, const Walk *w)
{
    uint64_t va = q->f->addr;
    int handler = handler_at(q, va);

    if (empty_top_table(q))
        say(q, "CR3 %#" PRIx64 " points at an empty page table: the code at %#" PRIx64 " is not mapped", q->s->cr3, va);
    else if (just_switched(q))
        say(q, "the page tables of CR3 %#" PRIx64 " do not map the code at %#" PRIx64 " that switched to them", q->s->cr3, va);
    else if (handler >= 0)
        say(q, "the handler of vector %d at %#" PRIx64 " is not mapped", handler, va);
    else if (va < PAGE_BYTES) {
        say(q, "a null pointer was called or jumped to (%#" PRIx64 ")", va);
        say_caller(q);
    } else {
        say(q, "a jump, call or return led to %#" PRIx64 ", where no page is", va);
        say_caller(q);
        say_entry(q, w);
    }
}

static void forbidden_code(Scene *q, const Walk *w)
{
    if (w->levels && !(w->prot & 4))
        say(q, "the code at %#" PRIx64 " is in a page marked no-execute (NX)", q->f->addr);
    else if (w->user && q->s->cr4 & CR4_SMEP && !(q->f->err & PF_U))
        say(q, "the kernel ran code of a user page at %#" PRIx64 ", which CR4.SMEP forbids", q->f->addr);
    else
        say(q, "ring 3 ran code at %#" PRIx64 ", in a page for the kernel only (U is clear)", q->f->addr);
    say_entry(q, w);
}

/* Return addresses (or interrupted ones) that repeat: the count of the commonest among the words of the stack. */
static unsigned repeats(const Scene *q, uint64_t *what, unsigned *distance)
{
    uint64_t word[STACK_WORDS];
    unsigned n = 0, best = 0;

    while (n < STACK_WORDS && stack_word(q, n, &word[n]))
        n++;
    for (unsigned i = 0; i < MIN(n, 64); i++) {
        unsigned count = 1, gap = 0, last = i;

        for (unsigned k = i + 1; k < n; k++)
            if (word[k] == word[i]) {
                gap = gap ? gap : k - last;
                count += k - last == gap;
                last = k;
            }
        if (word[i] >= PAGE_BYTES && count > best && x86_mapped(q->c, word[i]) && gap > 1) {
            best = count;
            *what = word[i];
            *distance = gap;
        }
    }
    return best;
}

/* An interrupt frame at word `at` of the stack: RIP, CS, FLAGS. */
static bool frame_at(const Scene *q, unsigned at)
{
    uint64_t cs, flags;

    return stack_word(q, at + 1, &cs) && stack_word(q, at + 2, &flags) && cs == q->s->seg[SEG_CS].sel && (flags & 2) &&
           flags < 1 << 22;
}

static bool frames_repeat(Scene *q, uint64_t pc)
{
    uint64_t v;
    unsigned count = 0;

    for (unsigned i = 0; i < STACK_WORDS && stack_word(q, i, &v); i++)
        count += v == pc && frame_at(q, i);
    return count >= 3;
}

static bool stack_page(const Scene *q, uint64_t va)
{
    uint64_t sp = code64(q->s) ? q->s->env.v[RSP] : (uint32_t)(q->s->env.v[RSP] + seg_base(q->s, SEG_SS));

    return va - (sp - PAGE_BYTES) < PAGE_BYTES + 64;
}

static void bad_stack(Scene *q)
{
    uint64_t what = 0, sp = q->s->env.v[RSP];
    unsigned distance = 0, n;

    if (!x86_mapped(q->c, sp) && !x86_mapped(q->c, sp + PAGE_BYTES)) {
        say(q, "the stack is not mapped: RSP is %#" PRIx64 ", no page is there", sp);
        return;
    }
    n = repeats(q, &what, &distance);
    say(q, "the stack ran over its end: no page at %#" PRIx64 ", RSP is %#" PRIx64, q->f->addr, sp);
    if (n >= 4)
        say(q, "; endless recursion: %#" PRIx64 " is on it again and again, each %u words", what, distance);
}

static bool loads_selector(const Scene *q)
{
    static const char *const names[] = { "ljmp", "lcall", "retf", "iret", "int", "lds", "les", "lss", "lfs", "lgs", "ltr", "lldt" };
    static const char *const regs[] = { "es", "cs", "ss", "ds", "fs", "gs" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        if (starts(q, names[i]))
            return true;
    for (unsigned i = 0; i < G_N_ELEMENTS(regs); i++)
        if ((is(q, "mov") && g_str_has_prefix(q->in.args, regs[i]) && q->in.args[2] == ',') || (is(q, "pop") && !strcmp(q->in.args, regs[i])))
            return true;
    return false;
}

/* The descriptor table that the CPU wanted to read for a selector. False: the address is in none. */
static bool in_table(Scene *q, uint64_t va)
{
    const X86 *s = q->s;
    const X86Table *t = va - s->gdt.base <= s->gdt.limit ? &s->gdt : va - s->ldt.base <= s->ldt.limit ? &s->ldt : NULL;
    const char *name = t == &s->gdt ? "GDT" : "LDT";

    if (!t || !loads_selector(q))
        return false;
    say(q, "`%s %s` needs the %s, and no page is at its address %#" PRIx64 " (limit %#x)", q->in.name, q->in.args, name, t->base, t->limit);
    if (!t->base)
        say(q, ": no %s was ever loaded", name);
    return true;
}

static const char *deed(const Fault *f) { return f->err & PF_W ? "written" : "read"; }

static void data_fault(Scene *q, const Walk *w)
{
    uint64_t va = q->f->addr;
    uint32_t e = q->f->err;

    if (!(e & PF_P) && in_table(q, va))
        return;
    if (va < PAGE_BYTES && !(e & PF_P))
        say(q, "a null pointer was %s (address %#" PRIx64 ")", deed(q->f), va);
    else if (!(e & PF_P)) {
        say(q, "%#" PRIx64 " was %s, where no page is", va, deed(q->f));
        say_entry(q, w);
    } else if (e & PF_U && !w->user)
        say(q, "ring 3 %s at %#" PRIx64 ", in a page for the kernel only (U is clear)", e & PF_W ? "wrote" : "read", va);
    else if (e & PF_W && !(w->prot & 2))
        say(q, "a read-only page was written at %#" PRIx64, va);
    else if (w->user && q->s->cr4 & CR4_SMAP)
        say(q, "the kernel touched a user page at %#" PRIx64 ", which CR4.SMAP forbids", va);
    else
        say(q, "%#" PRIx64 " must not be %s", va, deed(q->f));
}

static void page_fault(Scene *q)
{
    const Fault *f = q->f;
    Walk w = { 0 };
    bool fetch = f->err & PF_X || (!(f->err & PF_W) && f->addr - q->s->env.pc < 16 && !(q->decoded && q->in.mem));

    x86_why_walk(q->c, f->addr, &w);
    if (f->err & PF_RSVD) {
        say(q, "a reserved bit is set in the page table entry for %#" PRIx64, f->addr);
        say_entry(q, &w);
    } else if (frames_repeat(q, q->s->env.pc))
        say(q, "the page fault handler itself faults at %#" PRIx64 " (address %#" PRIx64 "), again and again", q->s->env.pc, f->addr);
    else if (fetch && f->err & PF_P)
        forbidden_code(q, &w);
    else if (fetch)
        missing_code(q, &w);
    else if (!(f->err & PF_P) && f->err & PF_W && stack_page(q, f->addr))
        bad_stack(q);
    else
        data_fault(q, &w);
}

/* ---- #GP ---- */
static void interrupt_gate(Scene *q)
{
    unsigned v = q->f->err >> 3 & 255;
    bool soft = starts(q, "int") && q->in.value[0] == v;

    if (soft && q->s->cpl)
        say(q, "ring %u may not use `int %#x` (the gate's DPL is lower), or the gate is bad", q->s->cpl, v);
    else if (soft)
        say(q, "`int %#x`", v);
    else if (v >= 8 && v < 16)
        say(q, "interrupt vector %u arrived: IRQ %u of a PIC that was not moved away from the exceptions", v, v - 8);
    else
        say(q, "interrupt vector %u arrived", v);
}

static void general_selector(Scene *q)
{
    uint16_t sel = (uint16_t)(q->f->err & 0xfffc);

    if (q->f->err & 2) {
        interrupt_gate(q);
        return;
    }
    if (starts(q, "iret")) {
        uint64_t cs;

        if (stack_word(q, 2, &cs) && cs == q->s->seg[SEG_CS].sel) {
            say(q, "IRET found the frame one word off: the handler left the error code on the stack");
            return;
        }
        say(q, "IRET to CS:");
    } else if (q->decoded)
        say(q, "`%s %s`:", q->in.name, q->in.args);
    say(q, " ");
    x86_why_selector(q->c, sel, true, q->out);
    if (starts(q, "ltr"))
        say(q, "; LTR wants a TSS that is not busy");
}

static void load_cr0(Scene *q, uint64_t v)
{
    const X86 *s = q->s;

    if (v & CR0_PG && !(v & CR0_PE))
        say(q, "CR0.PG was set without CR0.PE");
    else if (v & CR0_PG && s->efer & EFER_LME && !(s->cr4 & CR4_PAE))
        say(q, "paging was switched on for long mode (EFER.LME) without CR4.PAE");
    else if (v & CR0_PG && s->efer & EFER_LME && s->seg[SEG_CS].attr & SA_L)
        say(q, "paging was switched on for long mode while CS has the L bit");
    else if (v & CR0_PG && s->cr4 & CR4_PAE && !(s->efer & EFER_LME))
        say(q, "the table at CR3 %#" PRIx64 " has reserved bits set in a PDPTE: a four-level table, with EFER.LME not set?", s->cr3);
    else if (!(v & CR0_PG) && code64(s))
        say(q, "paging was switched off in 64-bit code");
    else
        say(q, "CR0 cannot become %#" PRIx64, v);
}

static void load_cr4(Scene *q, uint64_t v)
{
    const X86 *s = q->s;

    if (long_mode(s) && !(v & CR4_PAE))
        say(q, "CR4.PAE was cleared in long mode");
    else if (v & CR4_PCIDE && !long_mode(s))
        say(q, "CR4.PCIDE was set outside long mode");
    else
        say(q, "CR4 cannot become %#" PRIx64 " (was %#" PRIx64 "): bits %#" PRIx64 " are reserved with this CPU model", v, s->cr4,
            v & ~s->cr4);
}

static bool privileged(const Scene *q)
{
    static const char *const names[] = { "hlt", "lgdt", "lidt", "lldt", "ltr", "clts", "invd", "wbinvd", "invlpg", "rdmsr", "wrmsr",
                                         "swapgs", "sysret", "xsetbv", "lmsw" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        if (is(q, names[i]))
            return true;
    return is(q, "mov") && (strstr(q->in.args, "cr") || strstr(q->in.args, "dr"));
}

static bool for_io(const Scene *q)
{
    static const char *const names[] = { "in", "out", "insb", "insd", "insw", "outsb", "outsd", "outsw", "cli", "sti" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        if (is(q, names[i]))
            return true;
    return false;
}

static bool aligned_access(const Scene *q)
{
    return q->in.mem && q->in.size >= 16 && q->in.at & 15;
}

/* A jump, call or return whose target is not canonical; false: another matter. */
static bool bad_target(Scene *q)
{
    uint64_t to = 0;

    if (!code64(q->s))
        return false;
    if (starts(q, "ret") || starts(q, "iret")) {
        if (!stack_word(q, 0, &to))
            return false;
    } else if (is(q, "jmp") || is(q, "call"))
        to = q->in.value[0];
    if (canonical(q->s, to))
        return false;
    say(q, "`%s` to %#" PRIx64 ", which is not canonical", q->in.name, to);
    return true;
}

static bool segment_limit(Scene *q)
{
    const X86Seg *g = &q->s->seg[q->in.seg];
    static const char *const name[] = { "ES", "CS", "SS", "DS", "FS", "GS" };
    uint64_t off = (uint32_t)(q->in.at - seg_base(q->s, q->in.seg));

    if (code64(q->s) || !q->in.mem)
        return false;
    if (g->attr & SA_NULL)
        say(q, "%s is null (selector %#x), and `%s` used it", name[q->in.seg], g->sel, q->in.name);
    else if (off + q->in.size - 1 > g->limit)
        say(q, "offset %#" PRIx64 " is beyond the limit %#x of %s (selector %#x)", off, g->limit, name[q->in.seg], g->sel);
    else if (!(g->attr & 2) || g->attr & 8)
        say(q, "%s (selector %#x) cannot be written", name[q->in.seg], g->sel);
    else
        return false;
    return true;
}

static void general(Scene *q)
{
    const X86 *s = q->s;

    if (q->f->err & 0xfffc)
        general_selector(q);
    else if (s->cpl && (privileged(q) || for_io(q)))
        say(q, "ring %u ran `%s %s`, which %s", s->cpl, q->in.name, q->in.args,
            privileged(q) ? "only ring 0 may" : "its IOPL and the TSS's I/O map do not allow");
    else if (is(q, "mov") && g_str_has_prefix(q->in.args, "cr0"))
        load_cr0(q, q->in.value[1]);
    else if (is(q, "mov") && g_str_has_prefix(q->in.args, "cr4"))
        load_cr4(q, q->in.value[1]);
    else if (is(q, "mov") && g_str_has_prefix(q->in.args, "cr"))
        say(q, "`%s %s`: the value %#" PRIx64 " has reserved bits set", q->in.name, q->in.args, q->in.value[1]);
    else if (is(q, "wrmsr") || is(q, "rdmsr"))
        say(q, "`%s`: MSR %#x does not exist here%s", q->in.name, (uint32_t)s->env.v[RCX],
            is(q, "wrmsr") ? ", or not with the value in EDX:EAX" : "");
    else if (q->in.mem && code64(s) && !canonical(s, q->in.at))
        say(q, "address %#" PRIx64 " of `%s %s` is not canonical", q->in.at, q->in.name, q->in.args);
    else if (bad_target(q) || segment_limit(q))
        return;
    else if (aligned_access(q))
        say(q, "`%s %s` wants a 16-byte boundary, and its address is %#" PRIx64, q->in.name, q->in.args, q->in.at);
    else if (starts(q, "iret"))
        say(q, "IRET found a frame it cannot return to (CS null, bad flags or stack)");
    else
        say(q, "`%s %s` is not allowed", q->decoded ? q->in.name : "the instruction", q->in.args);
}

/* ---- the others ---- */
static bool only(const Scene *q, uint8_t b)
{
    for (unsigned i = 0; i < q->in.len; i++)
        if (q->in.bytes[i] != b)
            return false;
    return q->in.len > 0;
}

static bool vector_register(const Scene *q)
{
    return strstr(q->in.args, "xmm") || strstr(q->in.args, "ymm");
}

static void undefined(Scene *q)
{
    const X86 *s = q->s;

    if (is(q, "ud2"))
        say(q, "the code stopped itself with `ud2` (a failed check of its own, or a place thought never reached)");
    else if (starts(q, "sys") && !(s->efer & 1))
        say(q, "`%s` while EFER.SCE is clear", q->in.name);
    else if (is(q, "lock") || only(q, 0xff))
        say(q, "no code is here: the bytes are 0x%02x 0x%02x", q->in.bytes[0], q->in.bytes[1]);
    else if (vector_register(q) && s->cr0 & CR0_EM)
        say(q, "`%s %s` while CR0.EM is set", q->in.name, q->in.args);
    else if (strstr(q->in.args, "ymm") || (q->decoded && q->in.name[0] == 'v' && vector_register(q)))
        say(q, "`%s %s`: AVX is not switched on (CR4.OSXSAVE, XCR0) or not in this CPU model", q->in.name, q->in.args);
    else if (vector_register(q) && !(s->cr4 & CR4_OSFXSR))
        say(q, "`%s %s` while CR4.OSFXSR is clear: SSE is not switched on", q->in.name, q->in.args);
    else if (q->decoded)
        say(q, "`%s %s` is not in this CPU model, or not allowed in this mode", q->in.name, q->in.args);
    else
        say(q, "the bytes 0x%02x 0x%02x 0x%02x at %#" PRIx64 " are no instruction", q->in.bytes[0], q->in.bytes[1], q->in.bytes[2],
            s->env.pc);
}

static void stack_fault(Scene *q)
{
    if (q->f->err & 0xfffc)
        general_selector(q);
    else
        say(q, "the stack pointer %#" PRIx64 " is %s", q->s->env.v[RSP],
            code64(q->s) ? "not canonical" : "beyond the limit of SS");
}

/* What makes an instruction do something else than its author thought. */
static void remarks(Scene *q)
{
    const X86 *s = q->s;

    if (long_mode(s) && !code64(s) && !s->cpl)
        say(q, "; the kernel runs as 32-bit code: the descriptor of CS %#x has no L bit", s->seg[SEG_CS].sel);
    if (s->eflags & EF_DF && (starts(q, "rep") || q->in.bytes[0] == 0xf3 || q->in.bytes[0] == 0xf2))
        say(q, "; the direction flag is set, so `%s` goes down", q->in.name);
}

void x86_why_fault(Cpu *c, const Fault *f, GString *out)
{
    Scene q = { .c = c, .s = x86_of(c), .f = f, .out = out };
    unsigned v = f->kind - FAULT_EXC;

    q.decoded = x86_insn_at(c, &q.in);
    say(&q, "%s: ", x86_vector_name(v));
    switch (v) {
    case EXC_PF: page_fault(&q); break;
    case EXC_GP: general(&q); break;
    case EXC_TS:
    case EXC_NP: general_selector(&q); break;
    case EXC_SS: stack_fault(&q); break;
    case EXC_UD: undefined(&q); break;
    case EXC_NM: say(&q, "an x87 or SSE instruction while CR0.%s is set", q.s->cr0 & CR0_TS ? "TS" : "EM"); break;
    case EXC_DE: say(&q, "`%s %s`: division by zero, or the quotient is too large", q.in.name, q.in.args); break;
    case EXC_AC: say(&q, "`%s %s` is not aligned, and alignment checks are on", q.in.name, q.in.args); break;
    default: say(&q, "at `%s %s`", q.in.name, q.in.args); break;
    }
    remarks(&q);
}
