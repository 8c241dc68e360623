/*
 * tests/isa/seq-silicon.c - the silicon for t-seq: a sandbox as in silicon.c that lives for the whole run. A case is
 * entered by a jump with all state loaded from the gate, a page at a fixed address, and left by a far jump to it, which its
 * last bytes are made here; both take well under a microsecond. Only faults go through signals.
 */
#include "tests/isa/oracle.h"
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define GATE_CODE 0x30000000u
#define GATE 0x30001000
#define STR_(x) #x
#define STR(x) STR_(x)
#define AT(off) STR(GATE) "+" STR(off)

typedef struct Gate {
    uint64_t gpr[16], host_rsp, flags, target;
    uint32_t far_to;
    uint16_t far_cs, pad;
    uint64_t mask;  /* of XSAVE */
    uint32_t mxcsr; /* C's */
    uint8_t in[1024] __attribute__((aligned(256))), out[1024];
} Gate;
static_assert(offsetof(Gate, host_rsp) == 128 && offsetof(Gate, flags) == 136 && offsetof(Gate, target) == 144 && offsetof(Gate, far_to) == 152 &&
                  offsetof(Gate, mask) == 160 && offsetof(Gate, mxcsr) == 168 && offsetof(Gate, in) == 256 && offsetof(Gate, out) == 1280,
              "what the assembly below says");

/* clang-format off */
__asm__(".pushsection .text\n.balign 64\n"
        "seq_gate_begin:\n"
        "  push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "  mov %rsp, " AT(128) "\n mov " AT(160) ", %eax\n xor %edx, %edx\n xrstor64 " AT(256) "\n"
        "  pushq " AT(136) "\n popfq\n"
        "  mov " AT(0) ", %rax\n mov " AT(8) ", %rcx\n mov " AT(16) ", %rdx\n mov " AT(24) ", %rbx\n mov " AT(32) ", %rsp\n"
        "  mov " AT(40) ", %rbp\n mov " AT(48) ", %rsi\n mov " AT(56) ", %rdi\n mov " AT(64) ", %r8\n mov " AT(72) ", %r9\n"
        "  mov " AT(80) ", %r10\n mov " AT(88) ", %r11\n mov " AT(96) ", %r12\n mov " AT(104) ", %r13\n mov " AT(112) ", %r14\n"
        "  mov " AT(120) ", %r15\n ljmpl *" AT(152) "\n"
        "seq_gate_exit:\n"
        "  mov %rax, " AT(0) "\n mov %rcx, " AT(8) "\n mov %rdx, " AT(16) "\n mov %rbx, " AT(24) "\n mov %rsp, " AT(32) "\n"
        "  mov %rbp, " AT(40) "\n mov %rsi, " AT(48) "\n mov %rdi, " AT(56) "\n mov %r8, " AT(64) "\n mov %r9, " AT(72) "\n"
        "  mov %r10, " AT(80) "\n mov %r11, " AT(88) "\n mov %r12, " AT(96) "\n mov %r13, " AT(104) "\n mov %r14, " AT(112) "\n"
        "  mov %r15, " AT(120) "\n mov " AT(128) ", %rsp\n pushfq\n popq " AT(136) "\n pushq $0x202\n popfq\n"
        "  mov " AT(160) ", %eax\n xor %edx, %edx\n xsave64 " AT(1280) "\n"
        "seq_gate_resume:\n"
        "  fninit\n ldmxcsr " AT(168) "\n testb $4, " AT(160) "\n jz 1f\n vzeroupper\n"
        "1: pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n"
        "seq_gate_end:\n.popsection\n");
/* clang-format on */
extern const uint8_t seq_gate_begin[], seq_gate_exit[], seq_gate_resume[], seq_gate_end[];

static Case *all; /* shared with the sandbox */
static int to_child = -1, from_child = -1;
static pid_t child_pid;
/* of the child */
static Case *current;
static bool answered;
static uint8_t *code, *data;
static Gate *gate;
enum { LDT_DATA = 1, LDT_CODE = 2, CHUNKS = CODE_PAGES * PAGE / SEQ_CHUNK };

static void on_signal(int sig, siginfo_t *info, void *ctx)
{
    ucontext_t *u = ctx;
    greg_t *g = u->uc_mcontext.gregs;

    __asm__ volatile("sub $128, %%rsp; pushf; andl $~0x40000, (%%rsp); popf; add $128, %%rsp" ::: "memory", "cc"); /* AC */
    (void)info;
    if (sig != SIGPROF) {
        silicon_get(u, current);
        answered = true;
    }
    g[REG_RIP] = (greg_t)(GATE_CODE + (size_t)(seq_gate_resume - seq_gate_begin));
    g[REG_RSP] = (greg_t)gate->host_rsp;
    g[REG_EFL] = 0x202;
    g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | 0x33;
}

static void put_exit(uint8_t *p, CodeSize mode)
{
    uint32_t to = GATE_CODE + (uint32_t)(seq_gate_exit - seq_gate_begin);
    unsigned n = 0;

    if (mode == CODE64) { /* jmp rel32 */
        p[0] = 0xe9;
        le32_store(p + 1, to - (uint32_t)(CODE_AT + (uint64_t)(p - code) + 5));
        return;
    }
    if (mode == CODE16)
        p[n++] = 0x66;
    p[n] = 0xea; /* ljmp 0x33:to */
    le32_store(p + n + 1, to);
    le16_store(p + n + 5, 0x33);
}

static void put_state(const Case *k)
{
    static const struct {
        unsigned mine, efl;
    } flag[] = { { FC, 1 }, { FP, 4 }, { FA, 16 }, { FZ, 64 }, { FS, 128 }, { FO, 2048 } };
    uint16_t cs, ds;

    silicon_selectors(k->mode, &cs, &ds);
    if (k->mode == CODE16)
        cs = (uint16_t)((LDT_CODE + (k->cs_base - CODE_AT) / SEQ_CHUNK) << 3 | 7);
    if (k->mode != CODE64) /* 64-bit code does not look at them */
        __asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"((unsigned)ds));
    memcpy(gate->gpr, k->in.gpr, sizeof(gate->gpr));
    gate->flags = k->ac ? 0x40202 : 0x202;
    for (unsigned i = 0; i < 6; i++)
        gate->flags |= k->in.flags & flag[i].mine ? flag[i].efl : 0;
    gate->far_to = (uint32_t)(k->in.pc - k->cs_base);
    gate->far_cs = cs;
    silicon_put_fpu(gate->in, &k->in);
}

static void get_state(Case *k)
{
    State *s = &k->out;
    uint64_t f = gate->flags;

    memcpy(s->gpr, gate->gpr, sizeof(s->gpr));
    s->flags = (f & 1 ? FC : 0) | (f & 4 ? FP : 0) | (f & 16 ? FA : 0) | (f & 64 ? FZ : 0) | (f & 128 ? FS : 0) | (f & 2048 ? FO : 0);
    silicon_get_fpu(gate->out, s);
    s->pc = k->at + k->end + 1;
    s->vector = EXC_BP;
    s->err = 0;
    s->addr = 0;
}

static void run_case(Case *k)
{
    uint8_t *at = code + (k->at - CODE_AT);

    memcpy(at, k->code, k->len);
    put_exit(at + k->end, k->mode);
    seq_memory(data, k);
    put_state(k);
    current = k;
    answered = false;
    le32_store(gate->out + 24, ~0u); /* MXCSR, until the case leaves by the gate */
    ((void (*)(void))(uintptr_t)GATE_CODE)();
    if (le32_load(gate->out + 24) != ~0u) {
        get_state(k);
        answered = true;
    }
    k->out.mem = seq_hash(data, at, k);
    k->answered = answered;
}

static bool child_maps(void)
{
    const int rw = PROT_READ | PROT_WRITE, how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    uint8_t *stub;

    munmap((void *)0x10000, 0xffff0000); /* 32-bit cases shall find nothing of ours */
    code = mmap((void *)CODE_AT, (CODE_PAGES + 1) * PAGE, rw | PROT_EXEC, how, -1, 0);
    data = mmap((void *)DATA_AT, 3 * PAGE, rw, how, -1, 0);
    stub = mmap((void *)(uintptr_t)GATE_CODE, PAGE, rw, how, -1, 0);
    gate = mmap((void *)GATE, PAGE, rw, how, -1, 0);
    if (code == MAP_FAILED || data == MAP_FAILED || stub == MAP_FAILED || gate == MAP_FAILED)
        return false;
    case_memory(data + 2 * PAGE, 2, 0);
    memcpy(stub, seq_gate_begin, (size_t)(seq_gate_end - seq_gate_begin));
    return !mprotect(data + 2 * PAGE, PAGE, PROT_READ) && !mprotect(stub, PAGE, PROT_READ | PROT_EXEC);
}

static void child(int in, int out)
{
    static uint8_t stack[65536];
    const int sigs[] = { SIGTRAP, SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGPROF };
    struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    const stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };
    const struct itimerval limit = { .it_value = { .tv_sec = 20 } }; /* of CPU time, for a batch */
    uint64_t msg[2];

    if (!child_maps())
        _exit(2);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    sigaltstack(&alt, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(sigs); i++)
        sigaction(sigs[i], &sa, NULL);
    silicon_ldt(LDT_DATA, (unsigned)DATA16_AT, false);
    for (unsigned c = 0; c < CHUNKS; c++)
        silicon_ldt(LDT_CODE + c, (unsigned)CODE_AT + c * SEQ_CHUNK, true);
    memset(gate, 0, sizeof(*gate));
    gate->mask = silicon_avx() ? 7 : 3;
    gate->mxcsr = MXCSR_RESET;
    le64_store(gate->in + 512, gate->mask);
    while (read(in, msg, sizeof(msg)) == sizeof(msg)) {
        setitimer(ITIMER_PROF, &limit, NULL);
        gen_seq_batch(msg[0]);
        memset(code, 0xcc, (CODE_PAGES + 1) * PAGE);
        memcpy(data, seq_pool.mem, 2 * PAGE);
        for (uint64_t i = 0; i < msg[1]; i++)
            run_case(&all[i]);
        if (write(out, msg, 8) != 8)
            break;
    }
    _exit(0);
}

bool seq_silicon_start(Case *cases)
{
    int in[2], out[2];

    all = cases;
    if (pipe(in) || pipe(out))
        return false;
    child_pid = fork();
    if (child_pid == 0) {
        close(in[1]);
        close(out[0]);
        child(in[0], out[1]);
    }
    close(in[0]);
    close(out[1]);
    to_child = in[1];
    from_child = out[0];
    return child_pid > 0;
}

bool seq_silicon_run(uint64_t seed, unsigned n)
{
    uint64_t msg[2] = { seed, n };
    ssize_t got;

    if (write(to_child, msg, sizeof(msg)) != sizeof(msg))
        return false;
    do
        got = read(from_child, msg, 8);
    while (got < 0 && errno == EINTR);
    if (got == 8)
        return true;
    close(to_child);
    close(from_child);
    waitpid(child_pid, NULL, 0);
    return false;
}
