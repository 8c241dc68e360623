/*
 * tests/isa/silicon.c - the silicon: a forked child with the guest's memory at the guest's
 * addresses runs the bytes and answers with the registers. State goes in and comes out through
 * signal frames: int3 in our code enters the handler, which swaps the frame for the case's state;
 * the case ends in int3 or a fault, and the handler swaps back.
 */
#include "tests/isa/oracle.h"
#include <asm/ldt.h>
#include <cpuid.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static Case *current; /* of the child: one process, one case at a time */
static ucontext_t home;
static bool inside;

void case_memory(uint8_t *page, unsigned which, uint64_t seed)
{
    Rng r = { seed * 8 + which + 1 };

    for (unsigned i = 0; i < PAGE; i += 8) {
        uint64_t v = rng_next(&r);

        memcpy(page + i, &v, 8);
    }
}

enum { MASK_WITH_MM = 0x2ffff };

uint64_t case_hash(const uint8_t *page, uint64_t hash)
{
    uint64_t v;

    for (unsigned i = 0; i < PAGE; i += 8) {
        memcpy(&v, page + i, 8);
        if (i % 16 == 8 && v >> 32 == MASK_WITH_MM) /* MXCSR_MASK in an FXSAVE image: a model's own */
            v &= ~(uint64_t)(MASK_WITH_MM ^ 0xffff) << 32 | 0xffffffff;
        hash = (hash ^ v) * 0x9e3779b97f4a7c15ull;
        hash ^= hash >> 29;
    }
    return hash;
}

static const int reg_of[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                REG_R12, REG_R13, REG_R14, REG_R15 };
static const struct {
    unsigned mine, efl;
} flag_of[] = { { FC, 1 }, { FP, 4 }, { FA, 16 }, { FZ, 64 }, { FS, 128 }, { FO, 2048 } };

enum { USER32_CS = 0x23, USER_DS = 0x2b, LDT_CODE16 = 0x07, LDT_DATA16 = 0x0f }; /* Linux's, and two of our LDT */

void silicon_selectors(CodeSize mode, uint16_t *cs, uint16_t *ds)
{
    *cs = mode == CODE64 ? 0x33 : mode == CODE32 ? USER32_CS : LDT_CODE16;
    *ds = mode == CODE16 ? LDT_DATA16 : USER_DS;
}

void silicon_ldt(unsigned n, unsigned base, bool code)
{
    struct user_desc d = { .entry_number = n, .base_addr = base, .limit = 0xffff, .contents = code ? 2 : 0, .useable = 1 };

    if (syscall(SYS_modify_ldt, 1, &d, sizeof(d)))
        _exit(3);
}

/* Data segments of the case: in 64-bit mode nobody looks at them. */
static void segments(const Case *k)
{
    uint16_t cs, ds;

    silicon_selectors(k->mode, &cs, &ds);
    if (k->mode == CODE16)
        silicon_ldt(0, (unsigned)k->cs_base, true);
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"((unsigned)ds));
}

enum { YMM_AT = 576, ZMM_PARTS = 0xe0 }; /* of a signal's XSAVE frame, the standard form */

/* The legacy and AVX parts of an XSAVE area, the standard form. */
void silicon_put_fpu(uint8_t *fp, const State *s)
{
    le16_store(fp, s->cw);
    le16_store(fp + 2, s->sw);
    le16_store(fp + 4, s->tags);
    memset(fp + 6, 0, 18); /* last opcode, instruction and operand: not compared, but stored by fxsave */
    le32_store(fp + 24, s->mxcsr);
    for (unsigned i = 0; i < 8; i++)
        memcpy(fp + 32 + 16 * i, s->st[i], 10);
    for (unsigned i = 0; i < 16; i++)
        memcpy(fp + 160 + 16 * i, s->ymm[i], 16);
    for (unsigned i = 0; i < 16 && silicon_avx(); i++)
        memcpy(fp + YMM_AT + 16 * i, s->ymm[i] + 16, 16);
}

void silicon_get_fpu(const uint8_t *fp, State *s)
{
    bool upper = silicon_avx() && le64_load(fp + 512) & 4; /* else they are zero */

    for (unsigned i = 0; i < 16; i++) {
        memcpy(s->ymm[i], fp + 160 + 16 * i, 16);
        if (upper)
            memcpy(s->ymm[i] + 16, fp + YMM_AT + 16 * i, 16);
        else
            memset(s->ymm[i] + 16, 0, 16);
    }
    for (unsigned i = 0; i < 8; i++)
        memcpy(s->st[i], fp + 32 + 16 * i, 10);
    s->cw = le16_load(fp);
    s->sw = le16_load(fp + 2);
    s->tags = fp[4];
    s->mxcsr = le32_load(fp + 24);
}

static void put_state(ucontext_t *u, const Case *k)
{
    const State *s = &k->in;
    greg_t *g = u->uc_mcontext.gregs;
    uint8_t *fp = (uint8_t *)u->uc_mcontext.fpregs;
    uint16_t cs, ds;

    for (int i = 0; i < 16; i++)
        g[reg_of[i]] = (greg_t)s->gpr[i];
    g[REG_RIP] = (greg_t)(s->pc - k->cs_base);
    silicon_selectors(k->mode, &cs, &ds);
    g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | cs;
    g[REG_EFL] = k->ac ? 0x40202 : 0x202;
    for (unsigned i = 0; i < 6; i++)
        g[REG_EFL] |= s->flags & flag_of[i].mine ? (greg_t)flag_of[i].efl : 0;
    silicon_put_fpu(fp, s);
    if (le32_load(fp + 464) == 0x46505853) /* an XSAVE frame: say what is in it */
        le64_store(fp + 512, (le64_load(fp + 512) & ~(uint64_t)ZMM_PARTS) | (silicon_avx() ? 7 : 3));
}

void silicon_get(const void *context, Case *k)
{
    const ucontext_t *u = context;
    State *s = &k->out;
    const greg_t *g = u->uc_mcontext.gregs;
    const uint8_t *fp = (const uint8_t *)u->uc_mcontext.fpregs;

    for (int i = 0; i < 16; i++)
        s->gpr[i] = (uint64_t)g[reg_of[i]];
    s->pc = (uint64_t)g[REG_RIP] + k->cs_base;
    s->flags = 0;
    for (unsigned i = 0; i < 6; i++)
        s->flags |= g[REG_EFL] & flag_of[i].efl ? flag_of[i].mine : 0;
    silicon_get_fpu(fp, s);
    s->vector = (uint32_t)g[REG_TRAPNO];
    s->err = 0;
    s->addr = 0;
    if (s->vector == EXC_SS)
        s->vector = EXC_GP;
    if (s->vector == EXC_PF) {
        s->err = (uint32_t)g[REG_ERR] & 0x13;
        s->addr = (uint64_t)g[REG_CR2];
        if (s->addr - CODE_AT >= DATA_AT - CODE_AT + PAGE * 4) /* may be the host's own page */
            s->err &= ~1u;
    }
}

static void on_signal(int sig, siginfo_t *info, void *ctx)
{
    ucontext_t *u = ctx;

    __asm__ volatile("sub $128, %%rsp; pushf; andl $~0x40000, (%%rsp); popf; add $128, %%rsp" ::: "memory", "cc"); /* AC */
    (void)sig, (void)info;
    if (!inside) {
        inside = true;
        memcpy(home.uc_mcontext.gregs, u->uc_mcontext.gregs, sizeof(home.uc_mcontext.gregs));
        put_state(u, current);
        return;
    }
    silicon_get(u, current);
    memcpy(u->uc_mcontext.gregs, home.uc_mcontext.gregs, sizeof(home.uc_mcontext.gregs));
    le16_store(u->uc_mcontext.fpregs, 0x37f);
    memset((uint8_t *)u->uc_mcontext.fpregs + 2, 0, 4);
    le32_store((uint8_t *)u->uc_mcontext.fpregs + 24, MXCSR_RESET);
    inside = false;
}

/* Executable at CODE_AT; the writable mapping is returned. */
static uint8_t *map_code(int fd)
{
    const size_t size = (CODE_PAGES + 1) * PAGE;
    void *rx, *w;

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return NULL;
    rx = mmap((void *)CODE_AT, size, PROT_READ | PROT_EXEC,
              MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd, 0);
    w = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return rx == MAP_FAILED || w == MAP_FAILED ? NULL : w;
}

static void child(Case *cases, unsigned n)
{
    static uint8_t stack[65536];
    const int sigs[] = { SIGTRAP, SIGSEGV, SIGFPE, SIGILL, SIGBUS };
    struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };
    const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, rw = PROT_READ | PROT_WRITE;
    uint8_t *code, *data;
    int fd = memfd_create("cases", 0); /* the guest may not write its code: two mappings */

    munmap((void *)0x10000, 0xffff0000); /* 32-bit cases shall find nothing of ours: the engine's code lies low */
    code = map_code(fd);
    data = mmap((void *)DATA_AT, 3 * PAGE, rw, how, -1, 0);

    if (!code || data == MAP_FAILED)
        _exit(2);
    case_memory(data + 2 * PAGE, 2, 0);
    mprotect(data + 2 * PAGE, PAGE, PROT_READ);
    memset(code, 0xcc, (CODE_PAGES + 1) * PAGE);
    sigaltstack(&alt, NULL);
    for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
        sigaction(sigs[i], &sa, NULL);
    silicon_ldt(1, (unsigned)DATA16_AT, false);
    alarm(60);
    for (unsigned i = 0; i < n; i++) {
        current = &cases[i];
        segments(current);
        memcpy(code + (current->at - CODE_AT), current->code, current->len);
        case_memory(data, 0, current->mem_seed);
        case_memory(data + PAGE, 1, current->mem_seed);
        __asm__ volatile("int3" ::
                             : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
                               "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
                               "xmm14", "xmm15");
        current->out.mem = case_hash(data + PAGE, case_hash(data, 0));
        current->answered = true;
    }
    _exit(0);
}

bool silicon_run(Case *cases, unsigned n)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        child(cases, n);
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

/* ---- what this host has */

static void host_words(uint32_t w[WORDS])
{
    unsigned a, b, c, d;

    memset(w, 0, WORDS * sizeof(w[0]));
    if (__get_cpuid(1, &a, &b, &c, &d))
        w[W_1D] = d, w[W_1C] = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
        w[W_7B] = b, w[W_7C] = c, w[W_7D] = d;
    if (__get_cpuid(0x80000001, &a, &b, &c, &d))
        w[W_81D] = d, w[W_81C] = c;
    if (__get_cpuid_count(13, 1, &a, &b, &c, &d))
        w[W_D1A] = a;
}

bool silicon_has(const Row *row)
{
    static const struct {
        uint8_t word, bit, feature;
    } known[] = {
#define F(name, word, bit, impl, feature) { word, bit, feature },
#include "target/x86/features.def"
#undef F
    };
    static uint32_t w[WORDS]; /* CPUID is slow under a hypervisor */

    if (!row->feature)
        return true;
    if (!w[W_1D])
        host_words(w);
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        if (known[i].feature == row->feature)
            return w[known[i].word] >> known[i].bit & 1;
    return false;
}

bool silicon_is_amd(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx;
}

bool silicon_has_xsave(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_OSXSAVE;
}

bool silicon_avx(void)
{
    static int known = -1;
    unsigned a, b, c, d, lo, hi;

    if (known < 0) {
        known = __get_cpuid(1, &a, &b, &c, &d) && c & bit_AVX && c & bit_OSXSAVE;
        if (known) {
            __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
            known = (lo & 6) == 6;
        }
    }
    return known;
}

uint32_t silicon_mxcsr_mask(void)
{
    static uint8_t area[512] __attribute__((aligned(16)));

    __asm__ volatile("fxsave %0" : "=m"(area));
    return le32_load(area + 28);
}
