/*
 * tests/lib/t.h - what device and unit tests say. Each TEST runs in a process of its own with a fresh VM
 * under the test accelerator: machine "test", virtual time stands still until t_step.
 *   t-NAME            runs all;  t-NAME PATTERN  those that match;  -l lists;  -n: no fork (debugger)
 */
#ifndef TESTS_LIB_T_H
#define TESTS_LIB_T_H
#include "accel/qtest/qtest.h"
#include "core/state.h"
#include "core/vm.h"

typedef struct TestCase {
    const char *name;
    void (*fn)(Vm *vm);
} TestCase;
#define TEST(nm, f)                                                                                \
    static const TestCase f##_case = { nm, f };                                                    \
    static const TestCase *const f##_case_ptr IN_SECTION("testcases") = &f##_case

void t_fail(const char *file, int line, const char *fmt, ...) PRINTF(3, 4) NORETURN;
#define check(x)                                                                                   \
    do {                                                                                           \
        if (!(x))                                                                                  \
            t_fail(__FILE__, __LINE__, "%s", #x);                                                  \
    } while (0)
#define check_eq(a, b)                                                                             \
    do {                                                                                           \
        uint64_t a_ = (uint64_t)(a), b_ = (uint64_t)(b);                                           \
        if (a_ != b_)                                                                              \
            t_fail(__FILE__, __LINE__, "%s is %#" PRIx64 ", not %s (%#" PRIx64 ")", #a, a_, #b, b_); \
    } while (0)
#define check_str(a, b)                                                                            \
    do {                                                                                           \
        const char *a_ = (a), *b_ = (b);                                                           \
        if (g_strcmp0(a_, b_))                                                                     \
            t_fail(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #a, a_, b_);                    \
    } while (0)

/* Run fn in a process of its own, with a VM and a time limit; prints the verdict. False: it failed or crashed. */
bool t_run(const char *name, void (*fn)(Vm *vm, const void *arg), const void *arg, bool quiet);
int t_status(void (*fn)(Vm *vm, const void *arg), const void *arg, bool quiet); /* the same, waitpid's status */
Vm *t_vm(void);                            /* a VM with 16 MiB of RAM at 0; the caller frees (vm_free) */
Dev *t_plug(Vm *vm, const char *text);     /* "fact,delay-us=10"; buses that it needs are made */
void t_backends(Vm *vm);                   /* null chardev, drive, .. named "null0" */
void t_bus_poke(Dev *d, Rng *r);           /* random configuration accesses of its bus */
Bus *t_bus(Vm *vm, const char *type);      /* find or make; NULL: no such bus in this build */
uint64_t t_read(Dev *d, unsigned bank, uint64_t off, unsigned size);
void t_write(Dev *d, unsigned bank, uint64_t off, unsigned size, uint64_t v);
unsigned t_banks(Dev *d);
const Bank *t_bank(Dev *d, unsigned n);
static inline uint32_t t_r32(Dev *d, uint64_t off) { return (uint32_t)t_read(d, 0, off, 4); }
static inline void t_w32(Dev *d, uint64_t off, uint32_t v) { t_write(d, 0, off, 4, v); }
static inline uint64_t t_r64(Dev *d, uint64_t off) { return t_read(d, 0, off, 8); }
static inline void t_w64(Dev *d, uint64_t off, uint64_t v) { t_write(d, 0, off, 8, v); }
void t_step(Vm *vm, int64_t ns);
int t_main(int argc, char **argv);         /* a test program may bring its own */
bool t_irq(Dev *d);                        /* level of the first output */
unsigned t_guest_errors(void);             /* counted since the start of the test */
#endif
