/*
 * util/loop.h - an event loop: a GMainContext, optionally with a thread of its own.
 * Callbacks run on the loop's thread; a loop created with a lock takes it around each of them.
 */
#ifndef UTIL_LOOP_H
#define UTIL_LOOP_H
#include "util/error.h"
#include "util/lock.h"

typedef struct Loop Loop;
/* lock may be NULL; not owned. */
Loop *loop_new(const char *name, Lock *lock);
void loop_free(Loop *l); /* stops and joins its thread first */
void loop_start(Loop *l);    /* give it a thread */
void loop_stop(Loop *l);     /* end and join that thread; watches stay, nobody serves them */
void loop_iterate(Loop *l, bool may_block); /* without a thread: run pending work once */
GMainContext *loop_context(Loop *l);
bool loop_is_mine(const Loop *l); /* are we on its thread (or between iterate calls) */
void loop_post(Loop *l, void (*fn)(void *arg), void *arg); /* any thread; in order */
/* fn returns false to end the watch. cond: G_IO_*. The id is for loop_unwatch (any thread). */
typedef bool (*FdFn)(void *arg, int fd, GIOCondition cond);
guint loop_watch_fd(Loop *l, int fd, GIOCondition cond, FdFn fn, void *arg);
guint loop_after(Loop *l, int64_t host_ns, bool (*fn)(void *arg), void *arg); /* host time */
/* Things that belong to the loop's owner, by name; p NULL: forget. Loop's thread, or before it starts. */
void loop_name(Loop *l, const char *name, void *p);
void *loop_named(const Loop *l, const char *name);
void loop_unwatch(Loop *l, guint id);
/* A program that does nothing but use images says so: who holds up this loop for a moment in a system call holds up nobody. Before
 * anything runs on it. */
void loop_set_patient(Loop *l);
bool loop_patient(const Loop *l);
#endif
