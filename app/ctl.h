/* app/ctl.h - between ctl.c (which machine, the conversation) and ctl-verbs.c, ctl-console.c (what is asked). */
#ifndef APP_CTL_H
#define APP_CTL_H
#include "util/error.h"
#include "util/jval.h"
#include <stdio.h>

typedef struct Talk { /* QMP with one machine */
    FILE *in;
    int fd;
    const char *path; /* its socket */
} Talk;
/* Takes args, may be NULL. What it returns (the caller's), or NULL + err. Events meanwhile are dropped. */
JVal *ctl_ask(Talk *t, const char *command, JVal *args, Error **err);
/* The data of the next event of that name, at most `seconds` from now, or NULL + err. The caller's. */
JVal *ctl_event(Talk *t, const char *name, double seconds, Error **err);

void ctl_hang_up(Talk *t);

typedef struct CtlVerb {
    const char *name, *params, *help;
    unsigned least; /* arguments */
    bool (*run)(Talk *t, char **args, Error **err);
} CtlVerb;
extern const CtlVerb ctl_verbs[];
extern const unsigned ctl_verb_count;
bool ctl_console(Talk *t, char **args, Error **err);
char *ctl_console_path(const char *socket); /* where the machine's first serial port is */
#endif
