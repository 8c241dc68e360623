/*
 * chr/chr.h - character back ends as devices and monitors see them: bytes both ways, with
 * back-pressure. VM lock; callbacks on the VM loop.
 */
#ifndef CHR_CHR_H
#define CHR_CHR_H
#include "util/error.h"
#include "util/loop.h"
#include "util/opts.h"

typedef struct Chr Chr;
typedef struct Vm Vm;
typedef enum ChrEvent { CHR_OPENED, CHR_CLOSED, CHR_BREAK, CHR_MUX_IN, CHR_MUX_OUT } ChrEvent;
typedef struct ChrUser {                               /* who sits in front: a device, a monitor */
    size_t (*can_take)(void *o);                       /* how many bytes now; 0: back-pressure */
    void (*take)(void *o, const uint8_t *p, size_t n); /* n <= can_take() */
    void (*event)(void *o, ChrEvent e);
    void *o;
    void *slot; /* of the pointer in which it keeps the back end: chr_change() puts another one there; NULL: it keeps what it has */
} ChrUser;
/* "stdio", "pty", "file:PATH", "null", "unix:PATH,server=on", "tcp:..", "mon:stdio", "vc",
 * "ringbuf", "chardev:ID", "none" (returns NULL without error). Registered as ("chardev", id). */
Chr *chr_new_short(Vm *vm, const char *id, const char *text, Error **err);
Chr *chr_new(Vm *vm, Opts *o, Error **err); /* -chardev BACKEND,id=.. ; "backend","id" in o; says on stdout where a pty is */
Chr *chr_add(Vm *vm, Opts *o, Error **err); /* the same, silently: for monitors, which may have stdout themselves */
void chr_free(Chr *c);
/* Another back end of the same id, made of o, takes over who sits in front and what waits to be written; the old one is freed.
 * NULL: nothing has changed. Not from a callback of the old one. */
Chr *chr_change(Chr *old, Opts *o, Error **err);
bool chr_attach(Chr *c, const ChrUser *u,
                Error **err); /* one user, several on a mux (the last gets the focus) */
void chr_detach(Chr *c, void *o);
void chr_accept_input(Chr *c);                     /* can_take may have grown */
size_t chr_write(Chr *c, const void *p, size_t n); /* how much was taken; never blocks */
void chr_write_all(Chr *c, const void *p,
                   size_t n); /* queues the rest, bounded; for monitors and logs */
guint chr_want_write(Chr *c, void (*ready)(void *arg), void *arg); /* once */
void chr_cancel_write(Chr *c, guint id);
bool chr_is_open(const Chr *c);
const char *chr_id(const Chr *c);
char *chr_describe(const Chr *c);       /* "filename" of query-chardev; caller frees */
const char *chr_backend(const Chr *c);  /* "socket" */
bool chr_in_use(const Chr *c);          /* somebody is attached */
void chr_backend_foreach(void (*fn)(const char *name, void *arg), void *arg);
void chr_help(GString *out);            /* -chardev help */
bool chr_help_of(const char *backend, GString *out, Error **err); /* -chardev BACKEND,help */
const char *chr_pty_path(const Chr *c); /* pty; NULL: not one */
/* fds passed with SCM_RIGHTS to a socket: taken one by one; -1 none */
int chr_take_fd(Chr *c);
GByteArray *chr_ring_read(Chr *c, size_t max); /* the oldest first; NULL: no ringbuf */
bool chr_is_ring(const Chr *c);
void chr_restore_terminal(void);               /* every exit path; async-signal-safe */
#endif
