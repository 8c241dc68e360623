/*
 * block/remote/lib.h - libraries that are loaded when the first image needs them: with what they need they would be thirty more for
 * each start of a tool that reads plain files. A driver lists what it calls, LIB_FUNCTIONS(X) X(curl_easy_init) .., and then
 * calls lib.curl_easy_init(); the headers that it was built with give the types.
 */
#ifndef BLOCK_REMOTE_LIB_H
#define BLOCK_REMOTE_LIB_H
#include "block/node.h"

#define LIB_MEMBER(f) __typeof__(f) *f;
#define LIB_NAME(f) #f,
#define LIB_TABLE(list) \
    static struct { \
        list(LIB_MEMBER) \
    } lib; \
    static const char *const lib_names[] = { list(LIB_NAME) NULL }

/* Finds each of `names` (NULL ends them) in the library of that soname and puts its address into to[]. Any thread; again is fine. */
bool remote_load(const char *soname, const char *const *names, void *to, Error **err);

/* The option's value, if it is given, in the place of *to; and of the option that names a secret, the secret. g_free'd by the caller. */
void remote_take(char **to, Opts *o, const char *key);
bool remote_take_secret(char **to, Loop *loop, Opts *o, const char *key, Error **err);
void remote_wipe(char **text); /* what may be a secret, and its memory */

/* A coroutine that waits for a library's callback. */
typedef struct RemoteWait {
    Loop *loop;
    Co *co;
    bool done;
} RemoteWait;
void remote_done(RemoteWait *w); /* from the callback, on any thread: the coroutine goes on from its loop, not from within the library */
CO_FN void remote_wait(RemoteWait *w);
#endif
