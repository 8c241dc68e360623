/* monitor/hmp.h - inside monitor/: from a line of text to a command of the human monitor. VM lock. */
#ifndef MONITOR_HMP_H
#define MONITOR_HMP_H
#include "core/api.h"
#include "util/error.h"

/* A register by QEMU's names: rax, eax, ax, al, pc, eip, cs, .. */
bool hmp_reg(Hmp *h, const char *name, uint64_t *v);
/* An expression from *p on; *p is moved behind it. */
bool hmp__expr(Hmp *h, const char **p, int64_t *v, Error **err);
/* The arguments of c from text, as a JSON object (caller owns) that fits c->args. */
JVal *hmp__args(Hmp *h, const HmpCommand *c, const char *text, Error **err);
/* The row that begins `line`, and where its arguments begin; NULL: none. */
const HmpCommand *hmp__find(const char *line, const char **args);
bool hmp__is_named(const HmpCommand *c, const char *name, size_t n);
const char *hmp__name(const HmpCommand *c, size_t *n); /* without aliases */
void hmp__run(Hmp *h, const char *line);
/* Candidates for the word before the cursor, for readline. */
GPtrArray *hmp__complete(Hmp *h, const char *before, size_t *word);
#endif
