/*
 * tests/lib/qmp.h - a client of a monitor that lives in the same process: a VM with its loop running, a socket in front.
 */
#ifndef TESTS_LIB_QMP_H
#define TESTS_LIB_QMP_H
#include "monitor/monitor.h"
#include "monitor/wire.h"
#include "tests/lib/t.h"

typedef struct Client {
    int fd;
    GString *got; /* read, not looked at yet */
} Client;
typedef struct Bench {
    Vm *vm;
    char *dir;
    unsigned monitors;
} Bench;
/* A VM of machine "test" under the test accelerator, stopped; `make` (or NULL) adds devices before it starts. */
void qmp_bench_open(Bench *b, void (*make)(Vm *vm));
void qmp_bench_close(Bench *b);
char *qmp_bench_monitor(Bench *b, MonitorMode mode); /* before start; the path of its socket; caller frees */
void qmp_bench_start(Bench *b);
Client *qmp_connect(const char *path);
void qmp_disconnect(Client *c);
void qmp_send(Client *c, const char *text);
char *qmp_line(Client *c);                          /* the next line; caller frees; fails the test when none comes */
char *qmp_until(Client *c, const char *end);        /* all up to and including `end` */
JVal *qmp_ask(Client *c, const char *request);      /* its reply; events before it are dropped */
/* A reply without error is `want`: members of objects that `want` lacks are ignored, of lists each item counts. */
void qmp_expect(Client *c, const char *request, const char *want);
bool qmp_matches(const JVal *got, const JVal *want);
Client *qmp_ready(const char *path);                /* connected and negotiated */
#endif
