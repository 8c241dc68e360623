/*
 * block/objects.h - --object of programs that have no VM: secret, tls-creds-*. They are found by name on the loop, as a
 * VM's are.
 */
#ifndef BLOCK_OBJECTS_H
#define BLOCK_OBJECTS_H
#include "util/loop.h"
#include "util/opts.h"

/* Makes the object of "TYPE,id=ID,..". *keep holds it, is made when NULL, and frees all of them with tool_objects_free. */
bool tool_object_add(GPtrArray **keep, Loop *loop, const char *text, Error **err);
void tool_objects_free(GPtrArray *keep); /* NULL is fine */
#endif
