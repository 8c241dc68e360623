/* util/util.c - byte order, host time, random numbers. */
#include "util/util.h"
#include <time.h>

uint64_t le_load(const void *p, unsigned size)
{
    const uint8_t *b = p;
    uint64_t v = 0;

    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)b[i] << (8 * i);
    return v;
}

void le_store(void *p, unsigned size, uint64_t v)
{
    uint8_t *b = p;

    for (unsigned i = 0; i < size; i++)
        b[i] = (uint8_t)(v >> (8 * i));
}

uint64_t be_load(const void *p, unsigned size)
{
    const uint8_t *b = p;
    uint64_t v = 0;

    for (unsigned i = 0; i < size; i++)
        v = v << 8 | b[i];
    return v;
}

void be_store(void *p, unsigned size, uint64_t v)
{
    uint8_t *b = p;

    for (unsigned i = 0; i < size; i++)
        b[size - 1 - i] = (uint8_t)(v >> (8 * i));
}

static int64_t read_clock(clockid_t which)
{
    struct timespec t;

    clock_gettime(which, &t);
    return t.tv_sec * SEC + t.tv_nsec;
}

int64_t host_now(void) { return read_clock(CLOCK_MONOTONIC); }
int64_t host_thread_time(void) { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

uint64_t rng_next(Rng *r)
{
    uint64_t z = r->s += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t rng_value(Rng *r)
{
    uint64_t v = rng_next(r), k = rng_next(r) % 64, near = rng_next(r) % 3 - 1;

    return rng_next(r) % 3 ? v >> k : (1ull << k) + near;
}
