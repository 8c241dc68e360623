/* k.c - console, verdicts, descriptor tables, traps of the privileged test kernels. See k.h. */
#include "k.h"

Frame trap;
ul trap_cr2, trap_dr6, resume_sp;
Handler *handlers[256];
uint64_t gdt[GDT_N] __attribute__((aligned(16)));
uint64_t idt[512] __attribute__((aligned(16)));
uint8_t tss[0x2080] __attribute__((aligned(4096)));
static unsigned total, failed;
extern uint32_t start_info;

void *memset(void *p, int c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((volatile uint8_t *)p)[i] = (uint8_t)c;
    return p;
}

void *memcpy(void *d, const void *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((volatile uint8_t *)d)[i] = ((const uint8_t *)s)[i];
    return d;
}

static void put(char c) { outb(0xe9, (uint8_t)c); }

static void number(unsigned long v, unsigned base)
{
    char b[24];
    unsigned n = 0;

    do {
        unsigned d = (unsigned)(v % base);

        b[n++] = (char)(d < 10 ? '0' + d : 'a' + d - 10);
        v /= base;
    } while (v);
    while (n)
        put(b[--n]);
}

/* %s %u %d %x %c with l; %% */
static void vsay(const char *f, va_list ap)
{
    for (; *f; f++) {
        bool l = false;
        long d;

        if (*f != '%') {
            put(*f);
            continue;
        }
        if (*++f == 'l')
            l = true, f++;
        switch (*f) {
        case 's':
            for (const char *s = va_arg(ap, const char *); *s; s++)
                put(*s);
            break;
        case 'c': put((char)va_arg(ap, int)); break;
        case 'd':
            d = l ? va_arg(ap, long) : va_arg(ap, int);
            if (d < 0)
                put('-');
            number(d < 0 ? 0 - (ul)d : (ul)d, 10);
            break;
        case 'u': number(l ? va_arg(ap, ul) : va_arg(ap, unsigned), 10); break;
        case 'x': number(l ? va_arg(ap, ul) : va_arg(ap, unsigned), 16); break;
        default: put(*f); break;
        }
    }
}

void say(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsay(fmt, ap);
    va_end(ap);
}

static void line(bool ok, const char *fmt, va_list ap)
{
    total++;
    if (ok && !option("verbose"))
        return;
    failed += !ok;
    say(ok ? "ok " : "FAIL ");
    vsay(fmt, ap);
}

void verdict(bool ok, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    line(ok, fmt, ap);
    va_end(ap);
    if (!ok || option("verbose"))
        put('\n');
}

void expect_(ul got, ul want, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    line(got == want, fmt, ap);
    va_end(ap);
    if (got != want)
        say(": got %lx want %lx", got, want);
    if (got != want || option("verbose"))
        put('\n');
}

void finish(void)
{
    say("%s %u of %u\n", failed ? "FAILED" : "PASSED", failed ? failed : total, total);
    for (;;)
        outb(0x501, failed ? 1 : 0);
}

bool option(const char *word)
{
    const char *c = (const char *)(ul)((uint32_t *)(ul)start_info)[6]; /* hvm_start_info.cmdline_paddr, low half */

    for (; c && *c; c++) {
        unsigned n = 0;

        while (word[n] && c[n] == word[n])
            n++;
        if (!word[n])
            return true;
    }
    return false;
}

uint64_t make_desc(uint32_t base, uint32_t limit, unsigned attr)
{
    if (attr & 0x8000)
        limit >>= 12;
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attr & 0xf0ff) << 40 |
           (uint64_t)(limit & 0xf0000) << 32 | (uint64_t)(base >> 24) << 56;
}

void set_desc(unsigned sel, uint64_t base, uint32_t limit, unsigned attr)
{
    gdt[sel / 8] = make_desc((uint32_t)base, limit, attr);
    if (sizeof(ul) == 8 && !(attr & 0x10))
        gdt[sel / 8 + 1] = base >> 32;
}

void set_gate(unsigned v, void *handler, unsigned type, unsigned dpl, unsigned ist)
{
    uint64_t h = (ul)handler;
    unsigned i = sizeof(ul) == 8 ? 2 * v : v;

    idt[i] = (h & 0xffff) | KCODE << 16 | (uint64_t)ist << 32 | (uint64_t)(0x80 | dpl << 5 | type) << 40 | (h >> 16 & 0xffff) << 48;
    if (sizeof(ul) == 8)
        idt[i + 1] = h >> 32;
}

void load_gdt(void)
{
    struct __attribute__((packed)) { uint16_t limit; ul base; } g = { sizeof(gdt) - 1, (ul)gdt }, i = { sizeof(ul) * 512 - 1, (ul)idt };

    __asm__ volatile("lgdt %0; lidt %1" ::"m"(g), "m"(i));
}

void traps_init(void)
{
    const bool wide = sizeof(ul) == 8;

    gdt[KCODE / 8] = make_desc(0, 0xffffffff, wide ? 0xa09b : 0xc09b);
    gdt[KDATA / 8] = make_desc(0, 0xffffffff, 0xc093);
    gdt[UCODE32 / 8] = make_desc(0, 0xffffffff, 0xc0fb);
    gdt[UDATASEG / 8] = gdt[UDATA2 / 8] = make_desc(0, 0xffffffff, 0xc0f3);
    gdt[UCODE64 / 8] = make_desc(0, 0xffffffff, 0xa0fb);
    gdt[KCODE32 / 8] = make_desc(0, 0xffffffff, 0xc09b);
    gdt[KCODE16 / 8] = make_desc(0, 0xffff, 0x009b);
    set_desc(TSS_SEL, (ul)tss, sizeof(tss) - 1, 0x89);
    memset(tss, 0, 104);
    memset(tss + 104, 0xff, sizeof(tss) - 104);
    *(uint16_t *)(tss + 102) = 104;
    *(ul *)(tss + 4) = (ul)stack_top;
    *(ul *)(tss + 36) = (ul)istack_top; /* IST1; in a 32-bit TSS: EFLAGS, which nobody reads */
    if (!wide)
        *(uint16_t *)(tss + 8) = KDATA;
    for (unsigned i = 0; i < 256; i++)
        set_gate(i, vector_stubs + 16 * i, 14, i == USER_DONE || i == BP || i == OF ? 3 : 0, i == DF && wide);
    load_gdt();
    __asm__ volatile("ltr %w0" ::"r"(TSS_SEL));
}

void trap_c(Frame *f)
{
    Handler *h = handlers[f->vector];

    if (h && h(f))
        return;
    trap = *f;
    if (f->vector == UD && f->ip == (ul)user_exit) /* ring 3 is done; not every KVM emulates an INT n */
        trap.vector = USER_DONE;
    trap_cr2 = rdcr2();
    trap_dr6 = rddr6();
    if (resume_sp)
        resume_trap();
    say("FAIL unexpected trap %lu error %lx at %lx:%lx cr2 %lx flags %lx\n", f->vector, f->error, f->cs, f->ip, trap_cr2, f->flags);
    failed++;
    finish();
}

int user(void (*fn)(ul), ul arg)
{
    int v = user_at((ul)fn, arg, sizeof(ul) == 8 ? UCODE64 : UCODE32, 2 | (getflags() & F_IF));

    return v == USER_DONE ? NO_TRAP : v;
}
