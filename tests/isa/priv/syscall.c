/*
 * syscall.c - SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS, FSGSBASE, and what ring 3 may not do. Long mode.
 * AMD APM vol. 3, Intel SDM vol. 2B; the two vendors differ where said.
 */
#include "k.h"

extern char sc_entry[], sc_entry32[], se_entry[], u32_code[], u32_sysenter[], u_after[], u_sysret[], u_syscall[];
static struct { ul ip, flags, cs, ss, rcx, r11, sp, rflags, count; } got __asm__("got");
__asm__(".text\n"
        "sc_entry: mov %rcx, got+32\n mov %r11, got+40\n mov %rsp, got+48\n pushf\n popq got+56\n mov %cs, got+16\n mov %ss, got+24\n incq got+64\n"
        " sysretq\n"
        "sc_entry32: mov %rcx, got+32\n mov %r11, got+40\n incq got+64\n mov %rsp, %r8\n sysretl\n"
        "se_entry: mov %rsp, got+48\n pushf\n popq got+56\n mov %cs, got+16\n mov %ss, got+24\n incq got+64\n mov %rax, %rdx\n mov %rbx, %rcx\n"
        " rex.w sysexit\n"
        ".section .user, \"ax\"\n"
        "u_syscall: std\n syscall\n u_after: cld\n mov %ss, %eax\n ret\n"
        "u_sysret: sysretq\n"
        ".code32\nu32_code: syscall\n mov %cs, %eax\n jmp user_exit\n"
        "u32_sysenter: sysenter\n ud2\n"
        ".code64\n.text");

void sysenter64(ul a);
__asm__(".section .user, \"ax\"\n sysenter64: lea 1f(%rip), %rax\n mov %rsp, %rbx\n sysenter\n1: ret\n.text");

static void syscalls(void)
{
    wrmsr(MSR_STAR, (uint64_t)(UCODE32 & ~3) << 48 | (uint64_t)KCODE << 32);
    wrmsr(MSR_STAR, (uint64_t)(UCODE32 | 3) << 48 | (uint64_t)KCODE << 32);
    wrmsr(MSR_LSTAR, (ul)sc_entry);
    wrmsr(MSR_CSTAR, (ul)sc_entry32);
    wrmsr(MSR_SFMASK, F_DF | F_IF | F_TF);
    got.count = 0;
    expect(user((void (*)(ul))u_syscall, 0), NO_TRAP, "SYSCALL and SYSRET");
    expect(got.count, 1, "the entry ran");
    expect(got.rcx, (ul)u_after, "RCX: the address behind");
    check(got.r11 & F_DF, "R11: flags with DF");
    check(!(got.rflags & F_DF), "SFMASK clears DF");
    expect(got.cs, KCODE, "CS");
    expect(got.ss, KDATA, "SS");
    check(got.sp > 0x600000 && got.sp < 0x800000, "RSP stays");
    expect(trap.cs, UCODE64, "back to 64-bit CS");
    expect(trap.ss, UDATASEG, "back to SS");
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~1ull);
    expect(user((void (*)(ul))u_syscall, 0), UD, "SYSCALL without EFER.SCE");
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
    expect(user((void (*)(ul))u_sysret, 0), GP, "SYSRET at ring 3");
    got.count = 0;
    int v = user_at((ul)u32_code, 0, UCODE32, 2);
    if (vendor_amd()) {
        expect(v, USER_DONE, "SYSCALL of 32-bit code goes to CSTAR (AMD)");
        expect(got.count, 1, "its entry ran");
        expect(trap.ax, UCODE32, "SYSRETL goes to 32-bit code");
    } else {
        expect(v, UD, "SYSCALL of 32-bit code (Intel)");
    }
}

static void wr_lstar(ul v) { wrmsr(MSR_LSTAR, v); }

static void sysenters(void)
{
    wrmsr(0x174, KCODE);
    wrmsr(0x175, (ul)stack_top - 4096);
    wrmsr(0x176, (ul)se_entry);
    got.count = 0;
    int v = user(sysenter64, 0);
    if (vendor_amd()) {
        expect(v, UD, "SYSENTER in long mode (AMD)");
        expect(user_at((ul)u32_sysenter, 0, UCODE32, 2), UD, "SYSENTER in compatibility mode (AMD)");
    } else {
        expect(v, NO_TRAP, "SYSENTER and SYSEXIT (Intel)");
        expect(got.count, 1, "its entry ran");
        expect(got.cs, KCODE, "CS");
        expect(got.sp, (ul)stack_top - 4096, "RSP");
        check(!(got.rflags & F_IF), "IF is off");
        wrmsr(0x174, 0);
        expect(user(sysenter64, 0), GP, "SYSENTER with a null CS");
    }
    expect(attempt(wr_lstar, 1ul << 60), GP, "LSTAR must be canonical");
    wrmsr(MSR_LSTAR, (ul)sc_entry);
}

USER static void user_swapgs(ul a) { __asm__ volatile("swapgs"); }
static void rdfs(ul a) { __asm__ volatile("rdfsbase %%rax" ::: "rax"); }
static void wrgs(ul a) { __asm__ volatile("wrgsbase %0" ::"r"(a)); }

static void bases(void)
{
    ul v;

    wrmsr(MSR_GSBASE, 0x1111);
    wrmsr(MSR_KGSBASE, 0x2222);
    __asm__ volatile("swapgs");
    check(rdmsr(MSR_GSBASE) == 0x2222 && rdmsr(MSR_KGSBASE) == 0x1111, "SWAPGS");
    expect(user(user_swapgs, 0), GP, "SWAPGS at ring 3");
    if (!feature(7, 1, 0))
        return;
    expect(attempt(rdfs, 0), UD, "RDFSBASE without CR4.FSGSBASE");
    wrcr4(rdcr4() | 1 << 16);
    wrmsr(MSR_FSBASE, 0x123456789abc);
    __asm__ volatile("rdfsbase %0" : "=r"(v));
    expect(v, 0x123456789abc, "RDFSBASE");
    __asm__ volatile("wrfsbase %0" ::"r"(0x600000ul));
    *(volatile ul *)0x600010 = 77;
    __asm__ volatile("mov %%fs:0x10, %0" : "=r"(v));
    expect(v, 77, "WRFSBASE is used");
    expect(attempt(wrgs, 1ul << 55), GP, "WRGSBASE of a bad address");
    wrcr4(rdcr4() & ~(ul)(1 << 16));
}

#define PRIV(name, insn) USER static void name(ul a) { __asm__ volatile(insn ::: "rax", "rdx", "rcx", "memory"); }
PRIV(p_cli, "cli") PRIV(p_sti, "sti") PRIV(p_in, "in $0x80, %%al") PRIV(p_out, "out %%al, $0x80") PRIV(p_rdmsr, "mov $0x10, %%ecx; rdmsr")
PRIV(p_wrmsr, "mov $0x10, %%ecx; wrmsr") PRIV(p_lgdt, "lgdt 0x600000") PRIV(p_lidt, "lidt 0x600000") PRIV(p_ltr, "ltr %%ax")
PRIV(p_clts, "clts") PRIV(p_invd, "invd") PRIV(p_wbinvd, "wbinvd") PRIV(p_invlpg, "invlpg 0x600000") PRIV(p_lmsw, "lmsw %%ax")
PRIV(p_sgdt, "sgdt 0x600000") PRIV(p_sidt, "sidt 0x600000") PRIV(p_sldt, "sldt %%eax") PRIV(p_str, "str %%eax") PRIV(p_smsw, "smsw %%eax")
PRIV(p_rdtsc, "rdtsc") PRIV(p_cr8, "mov %%cr8, %%rax") PRIV(p_insb, "mov $0x600000, %%edi; mov $0x80, %%dx; insb")
static const struct { void (*fn)(ul); const char *name; } priv[] = {
    { p_cli, "CLI" }, { p_sti, "STI" }, { p_in, "IN" }, { p_out, "OUT" }, { p_rdmsr, "RDMSR" }, { p_wrmsr, "WRMSR" }, { p_lgdt, "LGDT" },
    { p_lidt, "LIDT" }, { p_ltr, "LTR" }, { p_clts, "CLTS" }, { p_invd, "INVD" }, { p_wbinvd, "WBINVD" }, { p_invlpg, "INVLPG" },
    { p_lmsw, "LMSW" }, { p_cr8, "MOV CR8" }, { p_insb, "INS" },
};
static const struct { void (*fn)(ul); const char *name; } umip[] = {
    { p_sgdt, "SGDT" }, { p_sidt, "SIDT" }, { p_sldt, "SLDT" }, { p_str, "STR" }, { p_smsw, "SMSW" },
};

static void forbidden(void)
{
    for (unsigned i = 0; i < COUNT(priv); i++) {
        expect(user(priv[i].fn, 0), GP, "%s at ring 3", priv[i].name);
        expect(trap.error, 0, "%s: error code", priv[i].name);
    }
    for (unsigned i = 0; i < COUNT(umip); i++)
        expect(user(umip[i].fn, 0), NO_TRAP, "%s at ring 3", umip[i].name);
    if (feature(7, 2, 2)) {
        wrcr4(rdcr4() | 1 << 11);
        for (unsigned i = 0; i < COUNT(umip); i++)
            expect(user(umip[i].fn, 0), GP, "%s at ring 3 with UMIP", umip[i].name);
        wrcr4(rdcr4() & ~(ul)(1 << 11));
    }
    wrcr4(rdcr4() | 4);
    expect(user(p_rdtsc, 0), GP, "RDTSC at ring 3 with TSD");
    wrcr4(rdcr4() & ~4ul);
    expect(user(p_rdtsc, 0), NO_TRAP, "RDTSC at ring 3");
    expect(user_at((ul)p_cli, 0, UCODE64, 2 | F_IOPL), USER_DONE, "CLI at ring 3 with IOPL 3");
    expect(user_at((ul)p_in, 0, UCODE64, 2 | F_IOPL), USER_DONE, "IN at ring 3 with IOPL 3");
}

USER static void in_port(ul p) { inb((uint16_t)p); }
USER static void in_port4(ul p) { inl((uint16_t)p); }

static void io_map(void)
{
    uint8_t *map = tss + 104;

    map[0x80 / 8] = 0xfe;
    expect(user(in_port, 0x80), NO_TRAP, "I/O map: a port that is allowed");
    expect(user(in_port, 0x81), GP, "I/O map: its neighbour");
    expect(user(in_port4, 0x80), GP, "I/O map: four ports, one allowed");
    map[0x80 / 8] = 0xf0;
    expect(user(in_port4, 0x80), NO_TRAP, "I/O map: four ports allowed");
    map[0x80 / 8] = 0x3f;
    map[0x88 / 8] = 0xfc;
    expect(user(in_port4, 0x86), NO_TRAP, "I/O map: across two bytes");
    map[0x88 / 8] = 0xfe;
    expect(user(in_port4, 0x86), GP, "I/O map: the last of four is not");
    *(uint16_t *)(tss + 102) = 0xffff;
    expect(user(in_port, 0x80), GP, "I/O map: beyond the TSS");
    *(uint16_t *)(tss + 102) = 104;
    map[0x80 / 8] = map[0x88 / 8] = 0xff;
}

int main(void)
{
    syscalls();
    sysenters();
    bases();
    forbidden();
    io_map();
    return 0;
}
