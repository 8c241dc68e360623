/*
 * util/shared.h - memory that several threads use without a lock of ours, told to ThreadSanitizer (MENURA_TSAN, tsan-glib.c); without it these
 * are memmove(), memset() and nothing.
 */
#ifndef UTIL_SHARED_H
#define UTIL_SHARED_H
#include <stddef.h>
#include <string.h>

#if MENURA_TSAN
/* Guest RAM: its processors and devices race as the guest makes them. Aligned 1, 2, 4 or 8 bytes go in one piece, others byte by byte; the
 * two may overlap. */
void shared_copy(void *to, const void *from, size_t n);
void shared_fill(void *to, int c, size_t n);
/* What this thread did before comes before what another does after: GLib's main loop orders the two, unseen. */
void shared_before(const void *p);
void shared_after(const void *p);
#else
static inline void shared_copy(void *to, const void *from, size_t n) { memmove(to, from, n); }
static inline void shared_fill(void *to, int c, size_t n) { memset(to, c, n); }
static inline void shared_before(const void *p) {}
static inline void shared_after(const void *p) {}
#endif
#endif
