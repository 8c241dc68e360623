/*
 * gates.c - protected mode's segments: limits, expand-down, null and absent segments, call gates with parameters,
 * task switches and task gates, conforming code. 32 bits, no paging. Intel SDM vol. 3A chapters 5 and 7.
 */
#include "k.h"

static uint32_t tss2[26 + 8], tss3[26 + 8]; /* a bit more than 104 bytes */
static uint8_t stack2[4096] __attribute__((aligned(16)));
enum { S_DATA = FREE_SEL, S_DOWN = FREE_SEL + 8, S_CODE = FREE_SEL + 16, S_GATE = FREE_SEL + 24, S_TSS2 = FREE_SEL + 32, S_TSS3 = FREE_SEL + 40,
       S_TGATE = FREE_SEL + 48, S_CONF = FREE_SEL + 56, S_16 = FREE_SEL + 64 };

static void load_ds(ul sel) { __asm__ volatile("mov %0, %%ds" ::"r"(sel)); }
static void load_ss(ul sel) { __asm__ volatile("mov %%esp, %%edx; mov %0, %%ss; mov %%edx, %%esp" ::"r"(sel) : "edx"); }
static void load_fs(ul sel) { __asm__ volatile("mov %0, %%fs" ::"r"(sel)); }
static void rd_fs(ul off) { __asm__ volatile("movl %%fs:(%0), %%eax" ::"r"(off) : "eax"); }
static void wr_fs(ul off) { __asm__ volatile("movl %%eax, %%fs:(%0)" ::"r"(off)); }
static void rd_fs_byte(ul off) { __asm__ volatile("movb %%fs:(%0), %%al" ::"r"(off) : "eax"); }
static void far_jump(ul sel)
{
    struct __attribute__((packed)) { uint32_t off; uint16_t sel; } p = { 0, (uint16_t)sel };

    __asm__ volatile("ljmp *%0" ::"m"(p));
}
static void far_call(ul sel)
{
    struct __attribute__((packed)) { uint32_t off; uint16_t sel; } p = { 0, (uint16_t)sel };

    __asm__ volatile("lcall *%0" ::"m"(p) : "memory");
}
static void ltr(ul sel) { __asm__ volatile("ltr %w0" ::"r"(sel)); }
static void lldt(ul sel) { __asm__ volatile("lldt %w0" ::"r"(sel)); }

static void loads(void)
{
    expect(attempt(load_ds, 0x1f8), GP, "a selector beyond the table");
    expect(trap.error, 0x1f8, "its error code");
    expect(attempt(load_ds, S_DATA + 4), GP, "a selector of an LDT that is not there");
    expect(trap.error, S_DATA + 4, "its error code (LDT)");
    expect(attempt(load_fs, 0), NO_TRAP, "a null selector");
    expect(attempt(rd_fs, 0), GP, "a load through it");
    expect(attempt(load_ss, 0), GP, "a null SS");
    set_desc(S_DATA, 0, 0xffff, 0x0013); /* not present */
    expect(attempt(load_fs, S_DATA), NP, "a segment that is not present");
    expect(trap.error, S_DATA, "its error code (absent)");
    expect(attempt(load_ss, S_DATA), SS, "an absent SS");
    set_desc(S_DATA, 0, 0xffff, 0x0099); /* execute only */
    expect(attempt(load_fs, S_DATA), GP, "code that cannot be read");
    set_desc(S_DATA, 0, 0xffff, 0x0091); /* read only data */
    expect(attempt(load_ss, S_DATA), GP, "a read-only SS");
    expect(attempt(load_fs, S_DATA), NO_TRAP, "read-only data");
    expect(attempt(rd_fs, 0x8000), NO_TRAP, "a load from it");
    expect(attempt(wr_fs, 0x8000), GP, "a store to it");
    set_desc(S_DATA, 0, 0xffff, 0x0092);
    load_fs(S_DATA);
    expect(gdt[S_DATA / 8] >> 40 & 1, 1, "loading sets the accessed bit");
    set_desc(S_DATA, 0, 0xffff, 0x00b2); /* DPL 1 */
    expect(attempt(load_fs, S_DATA + 2), GP, "RPL 2 of DPL 1");
    expect(attempt(load_fs, S_DATA + 1), NO_TRAP, "RPL 1 of DPL 1");
    expect(attempt(load_fs, TSS_SEL), GP, "a TSS as data");
}

static void limits(void)
{
    set_desc(S_DATA, 0x8000, 0xfff, 0x4093);
    load_fs(S_DATA);
    expect(attempt(rd_fs, 0xffc), NO_TRAP, "limit: the last doubleword");
    expect(attempt(rd_fs, 0xffd), GP, "limit: one byte over");
    expect(trap.error, 0, "limit: error code");
    expect(attempt(rd_fs_byte, 0xfff), NO_TRAP, "limit: the last byte");
    expect(attempt(rd_fs_byte, 0x1000), GP, "limit: the byte behind");
    expect(attempt(rd_fs, 0xffffffff), GP, "limit: an offset that wraps");
    set_desc(S_DATA, 0x8000, 0x1fff, 0xc093); /* granularity: limit 1 means 1fff */
    load_fs(S_DATA);
    expect(attempt(rd_fs, 0x1ffc), NO_TRAP, "limit in pages");
    expect(attempt(rd_fs, 0x1ffd), GP, "one byte over it");
    set_desc(S_DOWN, 0, 0xfff, 0x4097); /* expand down, 32 bits */
    load_fs(S_DOWN);
    expect(attempt(rd_fs, 0x1000), NO_TRAP, "expand down: the first byte above the limit");
    expect(attempt(rd_fs, 0xfff), GP, "expand down: the limit itself");
    expect(attempt(rd_fs, 0x10000), NO_TRAP, "expand down, B = 1: above 64 KiB");
    set_desc(S_DOWN, 0, 0xfff, 0x0097);
    load_fs(S_DOWN);
    expect(attempt(rd_fs, 0xfffc), NO_TRAP, "expand down, B = 0: up to 64 KiB");
    expect(attempt(rd_fs, 0xfffd), GP, "expand down, B = 0: not over it");
    load_fs(0);
}

static void far_transfers(void)
{
    expect(attempt(far_jump, 0), GP, "jump to a null selector");
    expect(attempt(far_jump, KDATA), GP, "jump to data");
    expect(trap.error, KDATA, "its error code");
    set_desc(S_CODE, 0, 0xffffffff, 0xc01b); /* absent */
    expect(attempt(far_jump, S_CODE), NP, "jump to absent code");
    set_desc(S_CODE, 0, 0xffffffff, 0xc0fb); /* ring 3's */
    expect(attempt(far_jump, S_CODE + 3), GP, "jump outward");
    expect(attempt(ltr, KDATA), GP, "LTR of data");
    expect(attempt(ltr, TSS_SEL), GP, "LTR of a busy TSS");
    expect(attempt(ltr, 0), GP, "LTR of null");
    expect(attempt(lldt, KDATA), GP, "LLDT of data");
    expect(attempt(lldt, 0), NO_TRAP, "LLDT of null");
    set_desc(S_DATA, (ul)gdt, 0x7f, 0x0082);
    expect(attempt(lldt, S_DATA), NO_TRAP, "LLDT");
    expect(attempt(load_fs, KDATA + 4), NO_TRAP, "a segment of it");
    load_fs(0);
    lldt(0);
}

volatile struct { uint32_t p1, p2, cs, ss, sp, count; } gate_got;
extern char gate_entry[], user_gate[], user_gate_bad[];
__asm__("gate_entry: mov 8(%esp), %eax\n mov %eax, %ss:gate_got\n mov 12(%esp), %eax\n mov %eax, %ss:gate_got+4\n mov 4(%esp), %eax\n mov %eax, %ss:gate_got+8\n"
        " mov 20(%esp), %eax\n mov %eax, %ss:gate_got+12\n mov 16(%esp), %eax\n mov %eax, %ss:gate_got+16\n incl %ss:gate_got+20\n lret $8\n"
        ".section .user, \"ax\"\n"
        "user_gate: mov %esp, %ebx\n push $0x1111\n push $0x2222\n lcall $0x83, $0\n mov %esp, %eax\n sub %ebx, %eax\n ret\n"
        ".text");

static void call_gates(void)
{
    ul sp;

    gdt[S_GATE / 8] = ((ul)gate_entry & 0xffff) | KCODE << 16 | 2ull << 32 | 0xecull << 40 | (uint64_t)((ul)gate_entry >> 16) << 48;
    expect(S_GATE, 0x80, "the selector in the code above");
    expect(user((void (*)(ul))user_gate, 0), NO_TRAP, "a call gate inward");
    expect(gate_got.count, 1, "its target ran");
    check(gate_got.p1 == 0x2222 && gate_got.p2 == 0x1111, "parameters are copied: %x %x", gate_got.p1, gate_got.p2);
    expect(gate_got.cs, UCODE32, "the caller's CS");
    expect(gate_got.ss, UDATASEG, "the caller's SS");
    sp = gate_got.sp;
    check(sp > 0x600000 && sp < 0x800000, "the caller's ESP %lx", sp);
    expect(trap.ax, 0, "RET n releases the parameters on both stacks");
    gdt[S_GATE / 8] &= ~(3ull << 45); /* DPL 0 */
    expect(user((void (*)(ul))user_gate, 0), GP, "a gate of ring 0");
    expect(trap.error, S_GATE, "its error code (gate)");
    gdt[S_GATE / 8] |= 3ull << 45;
    gdt[S_GATE / 8] &= ~(1ull << 47);
    expect(user((void (*)(ul))user_gate, 0), NP, "an absent gate");
    gdt[S_GATE / 8] |= 1ull << 47;
}

/* ---- tasks ---- */
volatile uint32_t task_ran, task_err;
static volatile uint32_t task_flags, task_cr0, task_link;
static void task_body(void)
{
    for (;;) {
        task_ran++;
        task_flags = getflags();
        task_cr0 = rdcr0();
        task_link = *(uint16_t *)tss2;
        __asm__ volatile("clts; iret");
    }
}

extern char fault_task[];
__asm__("fault_task: pop task_err\n incl task_ran\n addl $2, tss+32\n iret\n jmp fault_task");

static void make_tss(uint32_t *t, void *ip)
{
    memset(t, 0, 104);
    t[8] = (ul)ip;
    t[9] = 2;
    t[14] = (ul)stack2 + sizeof(stack2) - 16;
    for (unsigned i = 18; i < 24; i++)
        t[i] = i == 19 ? KCODE : KDATA;
    t[1] = (ul)stack2 + 2048, t[2] = KDATA;
    t[25] = 104u << 16;
}

static void do_ud(ul a) { __asm__ volatile("ud2"); }
static void do_iret_nt(ul a) { __asm__ volatile("pushf; orl $0x4000, (%%esp); popf; iret" ::: "memory"); }

static void tasks(void)
{
    uint32_t *old = (uint32_t *)tss;

    make_tss(tss2, task_body);
    set_desc(S_TSS2, (ul)tss2, 103, 0x89);
    __asm__ volatile("mov $0x55, %%ebx; lcall $0x88, $0" ::: "eax", "ebx", "memory");
    expect(S_TSS2, 0x88, "the selector in the code above (TSS)");
    expect(task_ran, 1, "CALL of a TSS runs the task");
    check(task_flags & F_NT, "with NT");
    check(task_cr0 & 8, "and TS");
    expect(task_link, TSS_SEL, "and a link back");
    expect(gdt[S_TSS2 / 8] >> 40 & 15, 9, "IRET leaves it not busy");
    expect(gdt[TSS_SEL / 8] >> 40 & 15, 11, "and the old one is busy again");
    expect(old[13], 0x55, "the old task's EBX was saved");
    far_call(S_TSS2);
    expect(task_ran, 2, "the task goes on behind its IRET");
    gdt[S_TGATE / 8] = (uint64_t)S_TSS2 << 16 | 0x85ull << 40;
    far_call(S_TGATE);
    expect(task_ran, 3, "through a task gate");
    set_desc(S_TSS2, (ul)tss2, 102, 0x89);
    expect(attempt(far_call, S_TSS2), TS, "a TSS that is too small");
    expect(trap.error, S_TSS2, "its error code");
    set_desc(S_TSS2, (ul)tss2, 103, 0x8b);
    expect(attempt(far_call, S_TSS2), GP, "a busy TSS");
    set_desc(S_TSS2, (ul)tss2, 103, 0x09);
    expect(attempt(far_call, S_TSS2), NP, "an absent TSS");
    set_desc(S_TSS2, (ul)tss2, 103, 0x89);
    *(uint16_t *)old = KDATA;
    expect(attempt(do_iret_nt, 0), TS, "IRET with NT and a link that is no TSS");
    expect(trap.error, KDATA, "its error code (link)");
    setflags(2);
}

static void task_gates(void)
{
    make_tss(tss3, fault_task);
    set_desc(S_TSS3, (ul)tss3, 103, 0x89);
    idt[UD] = (uint64_t)S_TSS3 << 16 | 0x85ull << 40;
    task_ran = 0;
    tss3[14] -= 4; /* #UD pushes nothing: something to pop */
    expect(attempt(do_ud, 0), NO_TRAP, "#UD through a task gate");
    expect(task_ran, 1, "its task ran");
    set_gate(UD, vector_stubs + 16 * UD, 14, 0, 0);
    make_tss(tss3, fault_task);
    set_desc(S_TSS3, (ul)tss3, 103, 0x89);
    idt[GP] = (uint64_t)S_TSS3 << 16 | 0x85ull << 40;
    task_ran = 0;
    expect(attempt(load_fs, 0x1f8), NO_TRAP, "#GP through a task gate");
    expect(task_ran, 1, "its task ran (#GP)");
    expect(task_err, 0x1f8, "the error code is on the new stack");
    set_gate(GP, vector_stubs + 16 * GP, 14, 0, 0);
    make_tss(tss2, task_body);
    tss2[22] = KCODE32 + 0x300; /* DS: beyond the table */
    set_desc(S_TSS2, (ul)tss2, 103, 0x89);
    tss2[2] = KDATA;
    expect(attempt(far_call, S_TSS2), TS, "a bad DS in the new task: #TS there");
    check(trap.error == ((KCODE32 + 0x300) & ~3u), "its error code is the selector: %lx", trap.error);
    set_desc(TSS_SEL, (ul)tss, sizeof(tss) - 1, 0x89);
    set_desc(S_TSS2, (ul)tss2, 103, 0x89);
    setflags(2);
    ltr(TSS_SEL);
    make_tss(tss2, task_body);
    tss2[25] |= 1; /* T */
    expect(attempt(far_call, S_TSS2), DB, "the T bit of a TSS");
    check(trap_dr6 & 1 << 15, "sets BT: %lx", trap_dr6);
    wrdr6(0xffff0ff0);
    set_desc(TSS_SEL, (ul)tss, sizeof(tss) - 1, 0x89);
    setflags(2);
    ltr(TSS_SEL);
    __asm__ volatile("clts");
}

static ul conf_cs;
extern char conforming[], user_conf[];
__asm__("conforming: mov %cs, %eax\n lret\n.section .user, \"ax\"\nuser_conf: lcall $0xa0, $conforming\n ret\n.text");

static void conforming_code(void)
{
    (void)conf_cs;
    set_desc(S_CONF, 0, 0xffffffff, 0xc09f);
    expect(S_CONF, 0xa0, "the selector in the code above (conforming)");
    expect(user((void (*)(ul))user_conf, 0), NO_TRAP, "ring 3 calls conforming code of ring 0");
    expect(trap.ax, S_CONF + 3, "and stays at ring 3");
    gdt[S_CONF / 8] = make_desc(0, 0xffffffff, 0xc09b);
    expect(user((void (*)(ul))user_conf, 0), GP, "but not code that does not conform");
}

static void selector_questions(void)
{
    uint32_t v = 0, zf;

    __asm__ volatile("lar %2, %0; sete %%cl; movzbl %%cl, %1" : "+r"(v), "=c"(zf) : "r"(KDATA));
    check(zf && (v & 0xfffeff) == 0xcf9200, "LAR of data: %x", v);
    __asm__ volatile("lsl %2, %0; sete %%cl; movzbl %%cl, %1" : "+r"(v), "=c"(zf) : "r"(KDATA));
    check(zf && v == 0xffffffff, "LSL of data: %x", v);
    __asm__ volatile("lar %2, %0; sete %%cl; movzbl %%cl, %1" : "+r"(v), "=c"(zf) : "r"(0x1f8));
    check(!zf, "LAR beyond the table");
    __asm__ volatile("verw %w1; sete %%cl; movzbl %%cl, %0" : "=c"(zf) : "r"(KCODE));
    check(!zf, "VERW of code");
    __asm__ volatile("verr %w1; sete %%cl; movzbl %%cl, %0" : "=c"(zf) : "r"(KCODE));
    check(zf, "VERR of code");
    __asm__ volatile("lsl %2, %0; sete %%cl; movzbl %%cl, %1" : "+r"(v), "=c"(zf) : "r"(TSS_SEL));
    check(zf && v == sizeof(tss) - 1, "LSL of a TSS: %x", v);
}

int main(void)
{
    loads();
    limits();
    far_transfers();
    selector_questions();
    call_gates();
    conforming_code();
    tasks();
    task_gates();
    return 0;
}
