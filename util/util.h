/* util/util.h - the small things every file uses: sizes, ranges, byte order, attributes. */
#ifndef UTIL_UTIL_H
#define UTIL_UTIL_H
#include <endian.h>
#include <glib.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KiB ((uint64_t)1024)
#define MiB (1024 * KiB)
#define GiB (1024 * MiB)
#define US  1000ll /* time is int64_t nanoseconds everywhere */
#define MS  1000000ll
#define SEC 1000000000ll

/* Guest faults are values the compiler makes you look at. */
#define MUST __attribute__((warn_unused_result))
#define PRINTF(a, b) __attribute__((format(printf, a, b)))
/* A pointer in a linker section that is walked as an array: no red zones between. */
#ifdef __clang__
#define IN_SECTION(s) __attribute__((used, section(s), no_sanitize("address")))
#else
#define IN_SECTION(s) __attribute__((used, section(s)))
#endif
#define NORETURN __attribute__((noreturn))
#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define container_of(p, T, m) ((T *)((char *)(p)-offsetof(T, m)))
#define sizeof_field(T, m)    sizeof(((T *)0)->m)

/* The only way to check a range that a guest or a file named: does [at, at+len) lie in [0, size)? */
static inline bool in_range(uint64_t at, uint64_t len, uint64_t size)
{
    return at <= size && len <= size - at;
}
static inline uint64_t ones(unsigned bits) { return bits >= 64 ? ~0ull : (1ull << bits) - 1; }
static inline uint64_t bytes_mask(unsigned bytes) { return ones(8 * bytes); }
static inline uint64_t bits_get(uint64_t v, unsigned lo, unsigned n) { return (v >> lo) & ones(n); }
static inline uint64_t bits_put(uint64_t v, unsigned lo, unsigned n, uint64_t x)
{
    return (v & ~(ones(n) << lo)) | ((x & ones(n)) << lo);
}
static inline bool is_pow2(uint64_t v) { return v && !(v & (v - 1)); }
static inline uint64_t align_down(uint64_t v, uint64_t a) { return v & ~(a - 1); }
static inline uint64_t align_up(uint64_t v, uint64_t a) { return (v + a - 1) & ~(a - 1); }

/* Little- and big-endian loads and stores on any alignment and host. `size` is 1, 2, 4 or 8. */
uint64_t le_load(const void *p, unsigned size);
void le_store(void *p, unsigned size, uint64_t v);
uint64_t be_load(const void *p, unsigned size);
void be_store(void *p, unsigned size, uint64_t v);
/* clang-format off */
#define LOAD_STORE(order, bits) \
    static inline uint##bits##_t order##bits##_load(const void *p) { uint##bits##_t v; memcpy(&v, p, bits / 8); return order##bits##toh(v); } \
    static inline void order##bits##_store(void *p, uint##bits##_t v) { v = hto##order##bits(v); memcpy(p, &v, bits / 8); }
LOAD_STORE(le, 16) LOAD_STORE(le, 32) LOAD_STORE(le, 64)
LOAD_STORE(be, 16) LOAD_STORE(be, 32) LOAD_STORE(be, 64)
#undef LOAD_STORE
/* clang-format on */

/* Monotonic host time in ns. Only clocks (core/clock.h) and statistics may use it. */
int64_t host_now(void);
/* The CPU time in ns that the calling thread has used. For deciding what is worth its cost; nothing that a guest sees. */
int64_t host_thread_time(void);

/* A cheap counter that grows at a constant rate, of unknown unit: for stamps of trace records. */
#if defined(__x86_64__)
static inline uint64_t host_ticks(void) { return __builtin_ia32_rdtsc(); }
#else
static inline uint64_t host_ticks(void) { return (uint64_t)host_now(); }
#endif

/* A generator for tests and per-VM randomness: splitmix64; never global. */
typedef struct Rng {
    uint64_t s;
} Rng;
uint64_t rng_next(Rng *r);
/* Log-uniform, 2^k and its neighbours often: what meets bounds (device-proto's lesson). */
uint64_t rng_value(Rng *r);
#endif
