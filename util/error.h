/*
 * util/error.h - host and configuration mistakes.
 * A function that takes Error **err returns false (or NULL) exactly when it sets it. Message: lower
 * case, no full stop: what, which option, why; the hint says how to fix it. err may be NULL: the
 * reason is dropped. Any thread.
 */
#ifndef UTIL_ERROR_H
#define UTIL_ERROR_H
#include "util/util.h"

typedef struct Error Error; /* message, hint, cause, QMP class, file:line; owned by who receives it */

#define fail(err, ...) error_set((err), __FILE__, __LINE__, 0, NULL, __VA_ARGS__)
/* appends ": strerror(errno)" */
#define fail_errno(err, ...) error_set((err), __FILE__, __LINE__, errno, NULL, __VA_ARGS__)
#define fail_errno_is(err, e, ...) error_set((err), __FILE__, __LINE__, (e), NULL, __VA_ARGS__)
/* takes ownership of `cause`, whose text is appended */
#define fail_because(err, cause, ...) error_set((err), __FILE__, __LINE__, 0, (cause), __VA_ARGS__)
/* always false, so that `return fail(err, ...)` works */
bool error_set(Error **err, const char *file, int line, int errnum, Error *cause, const char *fmt,
               ...) PRINTF(6, 7);
/* Add "how to fix" to an error just set. No-op when err or *err is NULL. Always false. */
bool error_hint(Error **err, const char *fmt, ...) PRINTF(2, 3);
/* QMP error class ("GenericError" unless set). */
bool error_class(Error **err, const char *qmp_class);
const char *error_qmp_class(const Error *e);
/* The whole chain in one line, hint not included; owned by the error. */
const char *error_text(const Error *e);
const char *error_hint_text(const Error *e); /* or NULL */
/* "menura: text" and "hint: ..." on stderr, then frees. */
void error_report_free(Error *e);
void error_free(Error *e);
/* Hand an error up unchanged: frees `e` when err is NULL. Always false. */
bool error_pass(Error **err, Error *e);
extern Error *abort_on_error; /* pass &abort_on_error in tests and where failure is our bug */
extern Error *die_on_error;   /* pass &die_on_error in app/ only: prints and exits with status 1 */
/* How this process reports: before the first thread. program: what lines begin with, and hints follow in brackets, so
 * that a report is one line; NULL: as it is. stamp: the time goes before; guest: then this name (copied), or NULL. */
void error_style(const char *program, bool stamp, const char *guest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Error, error_free)
void warn_report(const char *fmt, ...) PRINTF(1, 2); /* "menura: warning: ..." on stderr */
#endif
