/*
 * util/opts.h - an ordered list of key=value, the common form of `-device a,b=c`, dotted options and
 * JSON (flattened: nested keys dotted, list items "key.0"). Values are text; JSON numbers keep their
 * spelling, booleans become on/off, null becomes JSON null (value NULL).
 */
#ifndef UTIL_OPTS_H
#define UTIL_OPTS_H
#include "util/error.h"

typedef struct Opt {
    char *key, *value;
    bool used; /* set by opts_get and friends: what stays unused is an error */
} Opt;
typedef struct Opts {
    GPtrArray *v; /* of Opt, in order */
} Opts;
Opts *opts_new(void);
void opts_free(Opts *o);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Opts, opts_free)
/* "x,a=b,c=d,,e,flag": implied = key of a first value without '=', or NULL; ",," is a literal comma;
 * bare `flag` = on, bare `noflag` = off when `flag` is a known boolean spelling (server, wait, delay). */
Opts *opts_parse(const char *text, const char *implied, Error **err);
/* text starts with '{' -> JSON, else as above */
Opts *opts_parse_any(const char *text, const char *implied, Error **err);
void opts_set(Opts *o, const char *key, const char *value);  /* replaces or appends; copies */
const char *opts_peek(const Opts *o, const char *key);        /* the last one; not marked used */
const char *opts_get(Opts *o, const char *key);               /* marks used; owned by o */
char *opts_take(Opts *o, const char *key);                    /* removes; caller frees */
bool opts_get_bool(Opts *o, const char *key, bool def, bool *out, Error **err);
bool opts_get_size(Opts *o, const char *key, uint64_t def, uint64_t *out, Error **err);
bool opts_get_u64(Opts *o, const char *key, uint64_t def, uint64_t *out, Error **err);
bool opts_all_used(const Opts *o, const char *what, Error **err); /* else: unknown option 'k' */
Opts *opts_sub(Opts *o, const char *prefix); /* moves "prefix.x" to "x" in a new list */
/* Text to values, with one clear line on error. Sizes: 512, 64k, 1.5G; def_suffix for bare numbers. */
bool parse_bool(const char *text, bool *out, Error **err);
bool parse_u64(const char *text, uint64_t *out, Error **err); /* decimal, 0x, 0 octal not */
bool parse_s64(const char *text, int64_t *out, Error **err);
bool parse_size(const char *text, char def_suffix, uint64_t *out, Error **err);
char *size_text(uint64_t bytes); /* "64 MiB"; caller frees */
#endif
