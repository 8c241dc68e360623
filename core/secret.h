/*
 * core/secret.h - passwords and keys by name: -object secret, and the same in programs without a VM. A secret belongs to a
 * loop, whose thread makes, finds and frees it.
 */
#ifndef CORE_SECRET_H
#define CORE_SECRET_H
#include "util/loop.h"
#include "util/opts.h"

typedef struct Secret Secret;
/* Of "data" or "file", "format" (raw, base64), "keyid" and "iv" (it is encrypted by another secret); named `id`. */
Secret *secret_new(Loop *loop, const char *id, Opts *o, Error **err);
void secret_free(Secret *s); /* its bytes are wiped; NULL is fine */
/* A copy of the bytes, with a NUL behind them; secret_wipe frees it. */
bool secret_get(Loop *loop, const char *id, uint8_t **out, size_t *n, Error **err);
void secret_wipe(uint8_t *bytes, size_t n); /* NULL is fine */
#endif
