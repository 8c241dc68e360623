/* stress.h - parts of the stress kernel: each runs for a random while, verdicts by k.h. Everything random comes from the seed. */
#ifndef STRESS_H
#define STRESS_H
#include "../isa/priv/k.h"

uint64_t rnd(void);
static inline uint32_t below(uint32_t n) { return (uint32_t)(rnd() >> 33) % n; }
/* A window of 4 KiB pages at WINDOW, none mapped at first; frames of RAM that may be mapped there. */
#define WINDOW 0x8000000000ul
enum { WINDOW_PAGES = 64, FRAMES = 24, P = 1, W = 2, NX_BIT = 63 };
extern uint8_t frame[FRAMES][4096];
void window_init(void);
void window_set(unsigned page, uint64_t pte); /* no flush */
static inline uint8_t *window(unsigned page) { return (uint8_t *)(WINDOW + page * 4096ul); }
static inline uint64_t pte_of(const void *p, uint64_t bits) { return (ul)p | bits; }
/* A function that returns v, 6 bytes at p. */
void constant(volatile uint8_t *p, uint32_t v);
static inline uint32_t call(const volatile void *p)
{
    uint32_t v;

    __asm__ volatile("call *%1" : "=a"(v) : "r"(p) : "memory", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "cc");
    return v;
}
/* The other processor: runs one job at a time. */
enum { JOB_NONE, JOB_REWRITE, JOB_READ_WINDOW, JOB_BREAK_LOOP, JOB_LOCKED, JOB_REWRITE_ALL };
typedef struct Other {
    volatile uint32_t alive, job, done, bad, bad_at, stop, ticks;
} Other;
extern Other other;
bool other_start(void); /* false: there is one processor only */
void other_begin(uint32_t job);
void other_end(const char *what); /* tells it to stop, waits, looks at `bad` */
enum { TICK = 0x60, SHOOT = 0x61, SELF = 0x62 };

/* code.c */
void code_own(void), code_alias(void), code_middle(void), code_many(uint32_t n), code_bus(void), code_pages(void);
void rewrite_job(void), break_loop_job(void), rewrite_all_job(void), code_other(void), code_loop(void), code_all(void);
/* memory.c */
void paging(void), shootdown(void), strings(void), locked(void);
void read_window_job(void), locked_job(void);
bool on_shoot(Frame *f);
/* traps.c */
void faults(void), held(void), self_interrupts(void);
#endif
