/* monitor/priv.h - shared inside monitor/. */
#ifndef MONITOR_PRIV_H
#define MONITOR_PRIV_H
#include "monitor/monitor.h"
#include "monitor/wire.h"

struct Monitor {
    Vm *vm;
    Chr *chr;
    MonitorMode mode;
    GByteArray *out;      /* not written yet */
    guint waiter;         /* of chr_want_write */
    /* QMP */
    Wire *wire;
    bool negotiated;
    VmListener listener;  /* events */
    /* HMP */
    struct Readline *readline;
    bool held, focused;   /* on a shared terminal: output waits; the keyboard is ours */
    bool greeted;
    unsigned cpu;
};
/* Queues text to the peer; nothing blocks. A peer that does not read stops being read from, then loses events. */
void mon__send(Monitor *m, const char *text, size_t n);
bool mon__is_slow(const Monitor *m); /* so much waits that events are dropped */

void hmp__take(Monitor *m, const uint8_t *p, size_t n);
void hmp__event(Monitor *m, ChrEvent e);
void hmp__init(Monitor *m);
void hmp__fini(Monitor *m);
void qmp__opened(Monitor *m);
void qmp__closed(Monitor *m);
void qmp__take(Monitor *m, const uint8_t *p, size_t n);
void qmp__init(Monitor *m);
void qmp__fini(Monitor *m);
/* Finds, checks, calls. *ret: the value returned, or NULL; the caller owns it. args NULL: none. */
bool qmp__call(Vm *vm, Monitor *m, const ApiCommand *c, const JVal *args, JVal **ret, Error **err);
const ApiCommand *qmp__find(const Vm *vm, const char *name);
bool qmp__offers(const Vm *vm, const ApiCommand *c); /* by vm->cfg.commands */
#endif
