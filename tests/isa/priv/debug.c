/*
 * debug.c - debug registers, single steps, RF, general detect. Intel SDM vol. 3B 17.2 and 17.3.
 */
#include "k.h"

enum { B0 = 1, B1 = 2, B2 = 4, B3 = 8, BD = 1 << 13, BS = 1 << 14, GE = 0x300, DR6_ONES = 0xffff0ff0, CR4_DE = 8 };
enum { EXEC, WRITE, IO, ANY };
static volatile struct { ul ip, dr6, flags; } hit[64];
static volatile unsigned nhits;
static bool set_rf, keep_tf;
static volatile uint8_t data[64] __attribute__((aligned(64)));

static bool on_db(Frame *f)
{
    if (nhits < COUNT(hit)) {
        hit[nhits].ip = f->ip;
        hit[nhits].dr6 = rddr6();
        hit[nhits].flags = f->flags;
    }
    if (nhits++ > 60)
        return false;
    wrdr6(DR6_ONES);
    if (set_rf)
        f->flags |= F_RF;
    if (!keep_tf)
        f->flags &= ~(ul)F_TF;
    return true;
}

static void arm(unsigned n, ul at, unsigned rw, unsigned len) /* len: 1 2 4 8 */
{
    unsigned l = len == 8 ? 2 : len - 1;

    if (n == 0)
        wrdr0(at);
    else
        wrdr1(at);
    wrdr7((rddr7() & ~(0xful << (16 + 4 * n))) | 2ul << (2 * n) | (ul)(rw | l << 2) << (16 + 4 * n));
}

static void begin(void)
{
    wrdr7(0x400);
    wrdr6(DR6_ONES);
    nhits = 0;
    set_rf = keep_tf = false;
}

#define LABEL(name) extern char name[]
#define IP(name) ((ul)name)

static void code(void)
{
    LABEL(c_here);
    LABEL(c_here3);

    begin();
    set_rf = true;
    arm(0, IP(c_here), EXEC, 1);
    __asm__ volatile("c_here: nop");
    expect(nhits, 1, "code: once, RF lets it go on");
    expect(hit[0].ip, IP(c_here), "code: before the instruction");
    expect(hit[0].dr6, DR6_ONES | B0, "code: DR6");
    check(!(hit[0].flags & F_RF), "code: the pushed RF is 0");
    begin();
    set_rf = true;
    arm(0, IP(c_here3), EXEC, 1);
    wrdr7(rddr7() & ~(ul)0xf);
    __asm__ volatile("jmp c_here3\nc_here3: nop");
    expect(nhits, 0, "code: not armed, no stop");
}

NOINLINE static void store(ul n, volatile uint8_t *p)
{
    if (n == 1)
        *p = 1;
    if (n == 2)
        *(volatile uint16_t *)p = 1;
    if (n == 4)
        *(volatile uint32_t *)p = 1;
    if (n == 8)
        *(volatile ul *)p = 1;
}

static void data_break(void)
{
    static const struct { uint8_t rw, len, at, acc_at, acc_len; bool load, want; } t[] = {
        { WRITE, 1, 8, 8, 1, false, true }, { WRITE, 1, 8, 7, 1, false, false }, { WRITE, 1, 8, 9, 1, false, false },
        { WRITE, 1, 8, 7, 2, false, true }, { WRITE, 1, 8, 8, 8, false, true }, { WRITE, 1, 8, 0, 8, false, false },
        { WRITE, 1, 8, 8, 1, true, false }, { ANY, 1, 8, 8, 1, true, true }, { ANY, 1, 8, 8, 1, false, true },
        { WRITE, 2, 8, 9, 1, false, true }, { WRITE, 2, 8, 10, 1, false, false }, { WRITE, 2, 9, 8, 1, false, true },
        { WRITE, 4, 8, 11, 1, false, true }, { WRITE, 4, 8, 12, 4, false, false }, { WRITE, 4, 8, 5, 4, false, true },
        { WRITE, 8, 8, 15, 1, false, true }, { WRITE, 8, 8, 16, 1, false, false }, { WRITE, 8, 8, 4, 4, false, false },
        { ANY, 4, 8, 6, 4, true, true }, { ANY, 8, 8, 15, 1, true, true },
    };

    for (unsigned i = 0; i < COUNT(t); i++) {
        volatile uint8_t *p = data + t[i].acc_at;
        unsigned before;

        begin();
        arm(0, (ul)data + t[i].at, t[i].rw, t[i].len);
        if (t[i].load) {
            if (t[i].acc_len == 1)
                (void)*p;
            else
                (void)*(volatile uint32_t *)p;
        } else {
            store(t[i].acc_len, p);
        }
        before = nhits;
        wrdr7(0x400);
        expect(before, t[i].want, "data: case %u", i);
        if (before)
            expect(hit[0].dr6, DR6_ONES | B0, "data: DR6 of case %u", i);
    }
}

static void data_trap(void)
{
    LABEL(d_next);
    LABEL(r_insn);
    ul cx = 4, si = (ul)data, di = (ul)data + 32;

    begin();
    arm(0, (ul)data, WRITE, 4);
    data[0] = 0;
    nhits = 0;
    __asm__ volatile("movl $5, %0\nd_next: nop" : "=m"(*(volatile uint32_t *)data));
    expect(nhits, 1, "data: one trap");
    expect(hit[0].ip, IP(d_next), "data: after the instruction");
    expect(*(volatile uint32_t *)data, 5, "data: it was done");
    begin();
    arm(0, (ul)data + 33, WRITE, 1);
    __asm__ volatile("r_insn: rep movsb" : "+c"(cx), "+S"(si), "+D"(di)::"memory");
    expect(nhits, 1, "data: rep movs hits once");
    expect(hit[0].ip, IP(r_insn), "data: in the middle of rep movs");
    expect(di, (ul)data + 36, "data: and it goes on to its end");
    begin();
    arm(0, (ul)data, WRITE, 4);
    arm(1, (ul)data + 2, ANY, 2);
    *(volatile uint32_t *)data = 7;
    wrdr7(0x400);
    expect(hit[0].dr6, DR6_ONES | B0 | B1, "data: two at once");
}

static void stack_segment(void)
{
    LABEL(s_next2);
    LABEL(s_next3);

    begin();
    data[0] = KDATA;
    data[1] = 0;
    arm(0, (ul)data, ANY, 1);
    __asm__ volatile("mov %0, %%ss\nnop\ns_next2: nop" ::"m"(*(volatile uint16_t *)data));
    expect(nhits, 1, "MOV SS: the trap comes");
    expect(hit[0].ip, IP(s_next2), "MOV SS: after the next instruction");
    begin();
    arm(0, (ul)data, ANY, 1);
    __asm__ volatile("mov %0, %%ss\n.byte 0xf1\ns_next3: nop" ::"m"(*(volatile uint16_t *)data));
    expect(nhits, 1, "MOV SS, INT1: one trap, none in its handler");
    expect(hit[0].ip, IP(s_next3), "MOV SS, INT1: behind INT1");
    expect(hit[0].dr6, DR6_ONES | B0, "MOV SS, INT1: DR6 has the breakpoint");
}

static void ports(void)
{
    begin();
    arm(0, 0x80, IO, 1);
    wrcr4(rdcr4() | CR4_DE);
    outb(0x80, 1);
    expect(nhits, 1, "I/O: a byte");
    outb(0x81, 1);
    expect(nhits, 1, "I/O: not the next port");
    (void)inl(0x7d);
    expect(nhits, 2, "I/O: in the middle of a wide one");
    expect(hit[0].dr6, DR6_ONES | B0, "I/O: DR6");
    wrdr7(0x400);
    wrcr4(rdcr4() & ~(ul)CR4_DE);
}

static void steps(void)
{
    LABEL(t_2);
    LABEL(t_3);
    LABEL(t_4);

    begin();
    keep_tf = true;
    __asm__ volatile("pushf; pushf; orl $0x100, (%%rsp); popf; nop\nt_2: mov %%ss, %%eax\nt_3: popf\nt_4: nop" ::: "rax");
    expect(nhits, 3, "TF: three steps");
    expect(hit[0].ip, IP(t_2), "TF: the first after the instruction behind POPF");
    expect(hit[1].ip, IP(t_3), "TF: the second");
    expect(hit[2].ip, IP(t_4), "TF: POPF that clears it traps as well");
    expect(hit[0].dr6, DR6_ONES | BS, "TF: DR6");
    check(hit[0].flags & F_TF, "TF: the pushed flags have it");
}

static void step_over(void)
{
    LABEL(i_after);
    LABEL(m_3);
    LABEL(rep_1);
    LABEL(rep_2);
    ul cx = 3, si = (ul)data, di = (ul)data + 32;

    begin();
    __asm__ volatile("pushf; orl $0x100, (%%rsp); popf; int $0x80\ni_after: nop\nnop" ::: "memory");
    expect(nhits, 1, "TF over INT: one trap");
    check(hit[0].ip == IP(i_after) + 1, "TF over INT: after what follows it: %lx", hit[0].ip - IP(i_after));
    begin();
    keep_tf = true;
    __asm__ volatile("pushf; pushf; orl $0x100, (%%rsp); popf; mov %%ss, %%eax; mov %%eax, %%ss; nop\nm_3: popf; nop" ::: "rax");
    expect(nhits, 3, "TF: MOV SS hides one step");
    expect(hit[1].ip, IP(m_3), "TF: the step behind MOV SS");
    begin();
    keep_tf = true;
    __asm__ volatile("pushf; pushf; orl $0x100, (%%rsp); popf\nrep_1: rep movsb\nrep_2: popf; nop" : "+c"(cx), "+S"(si), "+D"(di)::"memory");
    expect(nhits, 4, "TF: a step for each iteration of rep movs");
    expect(hit[0].ip, IP(rep_1), "TF: which stays at the instruction");
    expect(hit[2].ip, IP(rep_2), "TF: until it is done");
    check(hit[0].flags & F_RF, "TF: RF is pushed in the middle of rep");
}

static bool on_int80(Frame *f) { return !(getflags() & F_TF) && f->vector == 0x80; }

static void get_dr(ul n) { (void)n; (void)rddr7(); }
static void get_dr4(ul n) { __asm__ volatile("mov %%db4, %%rax" ::: "rax"); }
static void set_dr6_high(ul n) { wrdr6(1ul << 32); }
static void set_dr7_high(ul n) { wrdr7(1ul << 32 | 0x400); }

static void registers(void)
{
    ul v;

    begin();
    wrdr6(0);
    expect(rddr6(), DR6_ONES, "DR6: the bits that are always one");
    wrdr6(0xffffffff);
    expect(rddr6(), 0xffffefff, "DR6: bit 12 is always zero");
    wrdr7(0);
    expect(rddr7(), 0x400, "DR7: bit 10 is always one");
    wrdr6(DR6_ONES);
    __asm__ volatile("mov %%db4, %0" : "=r"(v));
    expect(v, rddr6(), "DR4 is DR6");
    __asm__ volatile("mov %%db5, %0" : "=r"(v));
    expect(v, rddr7(), "DR5 is DR7");
    wrcr4(rdcr4() | CR4_DE);
    expect(attempt(get_dr4, 0), UD, "DR4 with CR4.DE");
    wrcr4(rdcr4() & ~(ul)CR4_DE);
    expect(attempt(set_dr6_high, 0), GP, "DR6: the high half");
    expect(attempt(set_dr7_high, 0), GP, "DR7: the high half");
    handlers[DB] = NULL;
    wrdr7(0x2400);
    expect(attempt(get_dr, 0), DB, "general detect");
    expect(trap_dr6, DR6_ONES | BD, "general detect: DR6");
    expect(rddr7(), 0x400, "general detect: GD is off in the handler");
    handlers[DB] = on_db;
    wrdr6(DR6_ONES);
}

USER static void user_dr(ul a) { __asm__ volatile("mov %%db7, %%rax" ::: "rax"); }
USER static void user_icebp(ul a) { __asm__ volatile(".byte 0xf1"); }
USER static void user_store(ul a) { *(volatile uint8_t *)a = 1; }

static void ring3(void)
{
    begin();
    expect(user(user_dr, 0), GP, "MOV DR at ring 3");
    handlers[DB] = NULL;
    expect(user(user_icebp, 0), DB, "INT1 at ring 3");
    expect(trap_dr6, DR6_ONES, "INT1: DR6 is left alone");
    begin();
    arm(0, 0x600100, WRITE, 1);
    expect(user(user_store, 0x600100), DB, "data breakpoint at ring 3");
    begin();
    arm(0, (ul)user_store, EXEC, 1);
    expect(user(user_store, 0x600100), DB, "code breakpoint at ring 3");
    expect(trap.ip, (ul)user_store, "its address");
    begin();
    expect(user_at((ul)user_store, 0x600100, UCODE64, 2 | F_TF), DB, "step at ring 3");
    check(trap.ip > (ul)user_store && trap.ip < (ul)user_store + 8, "its address");
    handlers[DB] = on_db;
    begin();
}

int main(void)
{
    handlers[DB] = on_db;
    handlers[0x80] = on_int80;
    code();
    data_break();
    data_trap();
    stack_segment();
    ports();
    steps();
    step_over();
    registers();
    ring3();
    return 0;
}
