/* target/x86/target.c - x86-64 as core sees it: registers, models, reset, start-up, printing. */
#include "target/x86/disas.h"
#include "target/x86/fpu.h"
#include "target/x86/models.h"
#include "tcg/flags.h"

static const CpuReg regs[] = {
#define R(n, f, b, g, gdb_, kvm_, rst, dc)                                                         \
    { .name = n, .at = offsetof(X86, f), .bits = b, .group = g, .gdb = gdb_, .kvm = (int32_t)(kvm_), .reset = rst, .doc = dc },
#include "target/x86/regs.def"
#undef R
};

static void free_cpuid(void *p) { g_free(p); }

static bool cpu_init(Cpu *cpu, const char *model, Error **err)
{
    X86 *s = cpu->regs;

    s->env.cpu = cpu;
    s->units = x86_units();
    if (!x86_choose_model(cpu, model, err))
        return false;
    own(&cpu->obj, s->cpuid, free_cpuid);
    if (cpu->index == 0)
        x86_cpuid_section(cpu->vm);
    return true;
}

static unsigned bytes_of(const CpuReg *r)
{
    return r->bits <= 8 ? 1 : r->bits <= 16 ? 2 : r->bits <= 32 ? 4 : r->bits <= 64 ? 8 : r->bits == 80 ? 16 : r->bits / 8;
}

/* What INIT leaves alone (SDM vol. 3A table 9-1). */
static bool kept_by_init(const CpuReg *r)
{
    return r->group == RG_FPU || !strncmp(r->name, "mtrr", 4) || !strcmp(r->name, "tsc_offset") || !strcmp(r->name, "pat") ||
           !strcmp(r->name, "smbase") || !strcmp(r->name, "a20_off") || !strcmp(r->name, "misc_enable") ||
           !strcmp(r->name, "feature_control") || !strcmp(r->name, "xcr0");
}

static uint32_t signature(X86 *s)
{
    uint32_t out[4];

    x86_cpuid(s, 1, 0, out);
    return out[0];
}

static void cpu_reset_(Cpu *c, bool init)
{
    X86 *s = c->regs;
    uint64_t old_cr0 = s->cr0;

    for (size_t i = 0; i < G_N_ELEMENTS(regs); i++) {
        uint8_t *p = (uint8_t *)s + regs[i].at;

        if (init && kept_by_init(&regs[i]))
            continue;
        memset(p, 0, bytes_of(&regs[i]));
        le_store(p, MIN(bytes_of(&regs[i]), 8), regs[i].reset);
    }
    if (init) /* CD and NW stay */
        s->cr0 = (s->cr0 & ~0x60000000ull) | (old_cr0 & 0x60000000);
    s->env.v[RDX] = signature(s);
    s->env.cc = (Cc){ .kind = CC_RAW };
    s->env.fault.kind = FAULT_NONE;
    s->env.v[V_NONE] = 0;
    s->nchain = 0;
    s->db_pending = 0;
    if (!init)
        s->tsc_offset = 0 - muldiv64((uint64_t)vm_now(c->vm), s->tsc_hz, SEC);
    x86_arm_debug(s);
}

static uint64_t get_pc(Cpu *c) { return x86_of(c)->env.pc; }
static bool irq_open(Cpu *c) { return x86_of(c)->eflags & EF_IF; }

static void sipi(Cpu *c, uint8_t vector)
{
    X86 *s = x86_of(c);

    x86_set_seg(s, SEG_CS, (uint16_t)(vector << 8), (uint64_t)vector << 12, 0xffff, 0x9b);
    x86_update_mode(s);
    s->env.pc = (uint64_t)vector << 12;
}

void x86_set_a20(Vm *vm, bool open)
{
    for (unsigned i = 0; i < vm->ncpus; i++) {
        Cpu *c = vm->cpus[i];
        X86 *s = x86_of(c);

        if (__atomic_exchange_n(&s->env.a20_off, !open, __ATOMIC_SEQ_CST) == !open)
            continue;
        if (c == cpu_self())
            tcg_flush_all(s);
        else
            cpu_request(c, CPU_REQ_TLB);
    }
}

static void print_seg(GString *out, const char *name, uint16_t sel, uint64_t base, uint32_t limit, uint32_t attr)
{
    g_string_append_printf(out, "%-3s=%04x %016" PRIx64 " %08x %06x\n", name, sel, base, limit, attr);
}

static void print_regs(Cpu *c, GString *out)
{
    static const char *const r[] = { "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15" };
    static const char *const sn[] = { "ES", "CS", "SS", "DS", "FS", "GS" };
    X86 *s = x86_of(c);

    for (unsigned i = 0; i < 16; i++)
        g_string_append_printf(out, "%s=%016" PRIx64 "%c", r[i], s->env.v[i], i % 4 == 3 ? '\n' : ' ');
    g_string_append_printf(out, "RIP=%016" PRIx64 " RFL=%08" PRIx64 " CPL=%u II=%u A20=%u SMM=%u HLT=%u\n",
                           code64(s) ? s->env.pc : s->env.pc - seg_base(s, SEG_CS), x86_eflags(s), s->cpl, !!s->shadow,
                           !s->env.a20_off, s->smm, c->mp_state == CPU_HALTED);
    for (unsigned i = 0; i < 6; i++)
        print_seg(out, sn[i], s->seg[i].sel, seg_base(s, i), s->seg[i].limit, s->seg[i].attr);
    print_seg(out, "LDT", s->ldt.sel, s->ldt.base, s->ldt.limit, s->ldt.attr);
    print_seg(out, "TR", s->tr.sel, s->tr.base, s->tr.limit, s->tr.attr);
    g_string_append_printf(out, "GDT=     %016" PRIx64 " %08x\nIDT=     %016" PRIx64 " %08x\n", s->gdt.base, s->gdt.limit,
                           s->idt.base, s->idt.limit);
    g_string_append_printf(out, "CR0=%08" PRIx64 " CR2=%016" PRIx64 " CR3=%016" PRIx64 " CR4=%08" PRIx64 "\n", s->cr0, s->cr2,
                           s->cr3, s->cr4);
    g_string_append_printf(out, "DR6=%016" PRIx64 " DR7=%016" PRIx64 " EFER=%016" PRIx64 "\n", s->dr[6], s->dr[7], s->efer);
    g_string_append_printf(out, "FCW=%04x FSW=%04x MXCSR=%08x\n", s->fpu.cw, s->fpu.sw, s->mxcsr);
}

static bool check(Cpu *c, const void *mem, Error **err)
{
    const X86 *s = mem;

    if (s->cpl > 3)
        return fail(err, "privilege level %u does not exist", s->cpl);
    if (s->exc_pending && s->exc_vector > 31)
        return fail(err, "exception %u does not exist", s->exc_vector);
    if (s->cr0 & CR0_PG && !(s->cr0 & CR0_PE))
        return fail(err, "paging without protected mode cannot be");
    return true;
}

static const CpuModel models[] = {
#define M(name, desc, ...) { name, desc, NULL },
#include "target/x86/models.def"
#undef M
};

const Target target_x86 = {
    .name = "x86_64", .models = models, .nmodels = G_N_ELEMENTS(models), .regs_size = sizeof(X86), .regs = regs, .nregs = G_N_ELEMENTS(regs), .cpu_props = &x86_cpu_props, .cpu_init = cpu_init,
    .cpu_reset = cpu_reset_, .walk = x86_walk, .check = check, .pc = get_pc, .print_regs = print_regs, .disas = x86_disas, .autopsy = x86_autopsy, .irq_open = irq_open, .sipi = sipi,
};
TARGET(target_x86);
