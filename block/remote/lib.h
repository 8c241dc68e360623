/*
 * block/remote/lib.h - libraries that are loaded when the first image needs them: with what they need they would be thirty more for
 * each start of a tool that reads plain files. A driver lists what it calls, LIB_FUNCTIONS(X) X(curl_easy_init) .., and then
 * calls lib.curl_easy_init(); the headers that it was built with give the types.
 */
#ifndef BLOCK_REMOTE_LIB_H
#define BLOCK_REMOTE_LIB_H
#include "util/error.h"

#define LIB_MEMBER(f) __typeof__(f) *f;
#define LIB_NAME(f) #f,
#define LIB_TABLE(list) \
    static struct { \
        list(LIB_MEMBER) \
    } lib; \
    static const char *const lib_names[] = { list(LIB_NAME) NULL }

/* Finds each of `names` (NULL ends them) in the library of that soname and puts its address into to[]. Any thread; again is fine. */
bool remote_load(const char *soname, const char *const *names, void *to, Error **err);
#endif
