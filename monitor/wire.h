/*
 * monitor/wire.h - JSON from a stream that nobody frames: values may follow each other on one line or span many. Checks
 * the grammar (RFC 8259 and QEMU's single quotes) and bounds depth, size and number of values before anything is kept.
 * Pure: knows neither VM nor socket. One thread at a time.
 */
#ifndef MONITOR_WIRE_H
#define MONITOR_WIRE_H
#include "util/jval.h"

enum { WIRE_DEPTH = 1024, WIRE_BYTES = 64 * 1024 * 1024, WIRE_VALUES = 1024 * 1024 }; /* of one top-level value */
typedef struct Wire Wire;
typedef struct WireUser {
    void (*value)(void *o, JVal *v);             /* takes v */
    void (*error)(void *o, const char *message); /* once per broken value */
    void *o;
} WireUser;
Wire *wire_new(const WireUser *u);
void wire_free(Wire *w);
void wire_reset(Wire *w); /* as new: the peer went away */
void wire_feed(Wire *w, const void *p, size_t n);
/* One value that is the whole of `text`; NULL and a message (g_free) when it is none. */
JVal *wire_parse(const char *text, char **why);
#endif
