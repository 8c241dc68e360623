/* util/daemon.h - a process that goes to the background and says so: whoever started it waits until it serves. Main thread. */
#ifndef UTIL_DAEMON_H
#define UTIL_DAEMON_H
#include "util/error.h"

/* Before the first thread. The parent waits for the child's word and ends, with its status; only the child returns: what
 * daemon_ready wants, or -1 + err (then there is no child). */
int daemon_begin(Error **err);
/* The child serves: standard streams become /dev/null, with `to_root` the folder /, and the parent ends with status 0. */
bool daemon_ready(int word, bool to_root, Error **err);
/* Writes our process id; the file stays locked while we live, so that a second one of that name is refused. The caller removes it. */
bool pidfile_take(const char *path, Error **err);
#endif
