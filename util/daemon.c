/* util/daemon.c - going to the background, and the pid file. */
#include "util/daemon.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int daemon_begin(Error **err)
{
    int word[2];
    pid_t pid;
    char status = 1; /* of a child that ended without a word */

    if (pipe2(word, O_CLOEXEC) || (pid = fork()) < 0) {
        fail_errno(err, "cannot make a process for the background");
        return -1;
    }
    if (pid) {
        close(word[1]);
        while (read(word[0], &status, 1) < 0 && errno == EINTR)
            ;
        _exit(status);
    }
    close(word[0]);
    setsid();
    return word[1];
}

bool daemon_ready(int word, bool to_root, Error **err)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    char ok = 0;

    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
    if ((to_root && chdir("/")) || write(word, &ok, 1) != 1)
        return fail_errno(err, "who started this is gone");
    close(word);
    return true;
}

bool pidfile_take(const char *path, Error **err)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    g_autofree char *pid = g_strdup_printf("%d\n", getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0)
        return fail_errno(err, "-pidfile %s: cannot write it", path);
    if (!fcntl(fd, F_SETLK, &lock) && !ftruncate(fd, 0) && write(fd, pid, strlen(pid)) > 0)
        return true; /* the descriptor stays: it is the lock */
    fail_errno(err, "-pidfile %s: cannot take it, another process may have it", path);
    close(fd);
    return false;
}
