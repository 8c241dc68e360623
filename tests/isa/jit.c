/*
 * tests/isa/jit.c - what the oracle cannot ask the silicon: code that rewrites itself, through a second mapping, on
 * both executors; accesses whose common check fails; what compiled code costs, as text to review (--cost prints it, a file is compared with it).
 */
#include "accel/tcg/tcg.h"
#include "tests/isa/oracle.h"
#include <stdarg.h>

static unsigned failures;

/* ---- self-modifying code: rbx is a writable alias of the code */
typedef struct Smc {
    const char *what;
    uint8_t code[64];
    unsigned n;
    uint64_t rax;
} Smc;

#define AT(off) (off), 0, 0, 0
static const Smc smc[] = {
    { "the next instruction of the same block", /* mov byte [rbx+8], 0x22; mov eax, 0x11; int3 */
      { 0xc6, 0x83, AT(8), 0x22, 0xb8, 0x11, 0, 0, 0, 0xcc }, 13, 0x22 },
    { "itself, then jumps back to it", /* xor eax,eax; l: add eax, 1; inc byte [rbx+4]; cmp eax, 100; jb l; int3 */
      { 0x31, 0xc0, 0x83, 0xc0, 0x01, 0xfe, 0x83, AT(4), 0x83, 0xf8, 0x64, 0x72, 0xf2, 0xcc }, 17, 0 /* expected() */ },
    { "a function that has been called", /* call f; inc byte [rbx+18]; call f; int3; f: mov eax, 7; ret */
      { 0xe8, 12, 0, 0, 0, 0xfe, 0x83, AT(18), 0xe8, 1, 0, 0, 0, 0xcc, 0xb8, 7, 0, 0, 0, 0xc3 }, 23, 8 },
    { "a linked loop's body, each time round", /* mov ecx, 50; xor eax, eax; l: add eax, 1; add byte [rbx+9], 2; .. */
      { 0xb9, 50, 0, 0, 0, 0x31, 0xc0, 0x83, 0xc0, 0x01, 0x80, 0x83, AT(9), 0x02, 0xff, 0xc9, 0x75, 0xf2, 0xcc }, 22,
      0 /* expected() */ },
};

static uint64_t expected(unsigned i)
{
    uint32_t sum = 0;

    if (i == 1) {
        for (uint8_t add = 1; sum < 100; add++)
            sum += (uint32_t)(int8_t)add;
        return sum;
    }
    if (i == 3) {
        uint8_t add = 1;

        for (unsigned k = 0; k < 50; k++, add = (uint8_t)(add + 2))
            sum += (uint32_t)(int8_t)add;
        return sum;
    }
    return smc[i].rax;
}

static Case make(const uint8_t *code, unsigned n)
{
    Case k = { .len = n, .at = CODE_AT, .mode = CODE64 };

    memcpy(k.code, code, n);
    k.in.pc = CODE_AT;
    k.in.gpr[RBX] = ALIAS_AT;
    k.in.gpr[RBP] = k.in.gpr[RSI] = k.in.gpr[RDI] = DATA_AT + 256;
    k.in.gpr[RSP] = DATA_AT + PAGE;
    k.in.mxcsr = 0x1f80;
    k.in.cw = 0x37f;
    return k;
}

/* A loop calls a function in another page and changes it there each time: nobody looks it up again. */
static void other_page(Executor x)
{
    static const uint8_t loop[] = { /* xor eax, eax; mov ecx, 10; l: call f; inc byte [rbx+1002h]; dec ecx; jne l; int3 */
        0x31, 0xc0, 0xb9, 10, 0, 0, 0, 0xe8, 0xf4, 0x0f, 0, 0, 0xfe, 0x83, 0x02, 0x10, 0, 0, 0xff, 0xc9, 0x75, 0xf1, 0xcc };
    static const uint8_t f[] = { 0x83, 0xc0, 0x01, 0xc3 }; /* add eax, 1; ret */
    Case k[2] = { make(loop, sizeof(loop)), make(f, sizeof(f)) };
    State s;

    k[1].at = CODE_AT + PAGE;
    engine_load(k, 2);
    s = engine_run(&k[0]);
    if (s.vector != EXC_BP || s.gpr[RAX] != 55) {
        printf("FAIL %s: code changes another page: vector %u, rax %" PRIu64 ", not 55\n", executor_name[x], s.vector,
               s.gpr[RAX]);
        failures++;
    }
}

/* Accesses beside each other, on both sides of a page's end: their common check fails each time. */
static void across_pages(Executor x)
{
    static const uint8_t loop[] = { /* mov ecx, 100; xor eax, eax; l: mov [rdi-8], rcx; mov [rdi+8], rcx; */
        0xb9, 100, 0, 0, 0, 0x31, 0xc0, 0x48, 0x89, 0x4f, 0xf8, 0x48, 0x89, 0x4f, 0x08,
        /* add rax, [rdi-8]; add rax, [rdi+8]; dec ecx; jne l; int3 */
        0x48, 0x03, 0x47, 0xf8, 0x48, 0x03, 0x47, 0x08, 0xff, 0xc9, 0x75, 0xec, 0xcc };
    Case k = make(loop, sizeof(loop));
    State s;

    k.in.gpr[RDI] = DATA_AT + PAGE;
    engine_load(&k, 1);
    s = engine_run(&k);
    if (s.vector != EXC_BP || s.gpr[RAX] != 10100) {
        printf("FAIL %s: across pages: vector %u, rax %" PRIu64 ", not 10100\n", executor_name[x], s.vector,
               s.gpr[RAX]);
        failures++;
    }
    k.in.gpr[RDI] = DATA_AT + 2 * PAGE; /* the second store is into a read-only page */
    s = engine_run(&k);
    if (s.vector != EXC_PF || s.addr != DATA_AT + 2 * PAGE + 8 || s.pc != CODE_AT + 11) {
        printf("FAIL %s: into a read-only page: vector %u at pc %#" PRIx64 "\n", executor_name[x], s.vector, s.pc);
        failures++;
    }
}

/* Flags of a comparison with memory that is not in the TLB yet, in a block that uses the x87 behind it. */
static void flags_of_a_miss(Executor x)
{
    static const uint8_t code[] = { /* mov eax, -1; cmp eax, [rdi]; fld1; sets al; movzx eax, al; int3 */
        0xb8, 0xff, 0xff, 0xff, 0xff, 0x3b, 0x07, 0xd9, 0xe8, 0x0f, 0x98, 0xc0, 0x0f, 0xb6, 0xc0, 0xcc };
    Case k = make(code, sizeof(code));
    State s;

    engine_load(&k, 1);
    s = engine_run(&k);
    if (s.vector != EXC_BP || s.gpr[RAX] != 1) {
        printf("FAIL %s: flags of a miss: vector %u, rax %#" PRIx64 ", not 1\n", x ? "compiled" : "interpreted", s.vector, s.gpr[RAX]);
        failures++;
    }
}

/* Accesses to one place, the first of them behind a helper's call in its own instruction: no check can serve both. */
static void behind_a_call(Executor x)
{
    static const uint8_t code[] = { /* mov [DATA_AT + 256], ss; movzx eax, word [DATA_AT + 256]; int3 */
        0x8c, 0x14, 0x25, 0, 1, 0, 0x20, 0x0f, 0xb7, 0x04, 0x25, 0, 1, 0, 0x20, 0xcc };
    Case k = make(code, sizeof(code));

    engine_load(&k, 1);
    for (unsigned i = 0; i < 3; i++) { /* the page is in the TLB from the second on */
        State s = engine_run(&k);

        if (s.vector != EXC_BP || s.gpr[RAX] != 0x2b) {
            printf("FAIL %s: behind a call: vector %u, rax %#" PRIx64 ", not 0x2b\n", executor_name[x], s.vector, s.gpr[RAX]);
            failures++;
        }
    }
}

/* A computed pc that cannot be executed is looked for elsewhere than any that can and has its tag; empty slots match none. */
static void jump_cache_tags(void)
{
    Rng r = { 5 };

    for (unsigned i = 0; i < 1000000; i++) {
        uint64_t key = (uint64_t)(i % JC_MODES) << JC_KEY_SHIFT, pc = (uint64_t)((int64_t)(rng_next(&r) << 6) >> 6);
        unsigned slot = (i >> 6) % JC_N;

        if (jc_slot(jc_none(slot) ^ key) == slot || (key && jc_slot(pc ^ key) == jc_slot(pc))) {
            printf("FAIL jump cache: slot %u, key %#" PRIx64 ", pc %#" PRIx64 "\n", slot, key, pc);
            failures++;
            return;
        }
    }
}

static void self_modifying(Executor x)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(smc); i++) {
        Case k = make(smc[i].code, smc[i].n);
        State s;

        engine_load(&k, 1);
        s = engine_run(&k);
        if (s.vector != EXC_BP || s.gpr[RAX] != expected(i)) {
            printf("FAIL %s: code changes %s: vector %u, rax %#" PRIx64 ", not %#" PRIx64 "\n", executor_name[x],
                   smc[i].what, s.vector, s.gpr[RAX], expected(i));
            failures++;
        }
    }
}

/* ---- cost */
typedef struct Pattern {
    const char *name;
    uint8_t code[32];
    unsigned n, insns;
} Pattern;
static const Pattern pattern[] = {
    { "add rax, rcx", { 0x48, 0x01, 0xc8 }, 3, 1 },
    { "add r9, r10", { 0x4d, 0x01, 0xd1 }, 3, 1 },
    { "mov rax, [rsi+8]", { 0x48, 0x8b, 0x46, 0x08 }, 4, 1 },
    { "mov [rdi+8], ecx", { 0x89, 0x4f, 0x08 }, 3, 1 },
    { "add [rdi], eax", { 0x01, 0x07 }, 2, 1 },
    { "add eax, [rsi]", { 0x03, 0x06 }, 2, 1 },
    { "cmp eax, 5; jne .+2", { 0x83, 0xf8, 0x05, 0x75, 0x00 }, 5, 2 },
    { "push rbp; mov rbp, rsp; pop rbp", { 0x55, 0x48, 0x89, 0xe5, 0x5d }, 5, 3 },
    { "ret", { 0xc3 }, 1, 1 },
    { "call .+0", { 0xe8, 0, 0, 0, 0 }, 5, 1 },
    { "jmp .+0", { 0xeb, 0 }, 2, 1 },
    { "lea rax, [rcx+rdx*4+7]; shl rax, 3", { 0x48, 0x8d, 0x44, 0x91, 0x07, 0x48, 0xc1, 0xe0, 0x03 }, 9, 2 },
    { "imul eax, ecx; div esi", { 0x0f, 0xaf, 0xc1, 0xf7, 0xf6 }, 5, 2 },
    { "addsd xmm0, [rsi]", { 0xf2, 0x0f, 0x58, 0x06 }, 4, 1 },
    { "mulps xmm1, xmm2; movaps [rdi], xmm1", { 0x0f, 0x59, 0xca, 0x0f, 0x29, 0x0f }, 6, 2 },
    { "fld qword [rsi]; fmul st, st1", { 0xdd, 0x06, 0xd8, 0xc9 }, 4, 2 },
    { "fnstcw [rsi]; fldcw [rdi]", { 0xd9, 0x3e, 0xd9, 0x2f }, 4, 2 },
    { "lock add [rdi], eax", { 0xf0, 0x01, 0x07 }, 3, 1 },
    { "rep movsb", { 0xf3, 0xa4 }, 2, 1 },
    { "cpuid", { 0x0f, 0xa2 }, 2, 1 },
};

/* The block of the pattern and an int3, less the block of the int3 alone. */
static unsigned bytes_of(const uint8_t *code, unsigned n)
{
    uint8_t all[40];
    Case k;

    if (n)
        memcpy(all, code, n);
    all[n] = 0xcc;
    k = make(all, n + 1);
    engine_load(&k, 1);
    engine_run(&k);
    return engine_host_bytes(CODE_AT);
}

static void cost(GString *out)
{
    unsigned base = bytes_of(NULL, 0);

    g_string_append(out, "# Bytes of host code, tails included, for some guest code: t-jit --cost writes it.\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(pattern); i++)
        g_string_append_printf(out, "%-40s %3u guest %4d host\n", pattern[i].name, pattern[i].n,
                               (int)(bytes_of(pattern[i].code, pattern[i].n) - base));
}

int main(int argc, char **argv)
{
    g_autoptr(GString) now = g_string_new(NULL);
    g_autofree char *want = NULL;

    if (!engine_start())
        return 2;
    engine_map_alias();
    jump_cache_tags();
    for (unsigned x = 0; x < EXECUTORS; x++)
        if (engine_use((Executor)x)) {
            self_modifying((Executor)x);
            other_page((Executor)x);
            across_pages((Executor)x);
            flags_of_a_miss((Executor)x);
            behind_a_call((Executor)x);
        }
    if (!engine_use(EXEC_JIT)) {
        printf("no compiled executor here\n");
        return failures ? 1 : 77;
    }
    cost(now);
    if (argc > 1 && !strcmp(argv[1], "--cost")) {
        fputs(now->str, stdout);
    } else if (argc > 1 && g_file_get_contents(argv[1], &want, NULL, NULL) && strcmp(want, now->str)) {
        printf("FAIL the cost of code changed: look at the difference, then t-jit --cost >%s\n%s", argv[1], now->str);
        failures++;
    }
    return failures != 0;
}
