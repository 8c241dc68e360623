/* chr/priv.h - between chr.c (users, queue, registry) and the back ends. VM lock. */
#ifndef CHR_PRIV_H
#define CHR_PRIV_H
#include "chr/chr.h"
#include "core/vm.h"

typedef struct ChrOps {
    const char *name, *alias, *doc;
    const char *keys;   /* its options, "key=VALUE .." */
    size_t size;        /* of c->opaque */
    bool starts_closed; /* sockets and ptys: opened by the other side */
    bool (*open)(Chr *c, Opts *o, Error **err);
    void (*close)(Chr *c);                            /* also after a failed open */
    size_t (*write)(Chr *c, const void *p, size_t n); /* what fits now */
    void (*input)(Chr *c);                            /* users have room again */
    void (*arm)(Chr *c); /* call chr__writable() once when write may take more */
    char *(*describe)(const Chr *c);
} ChrOps;
#define CHR_BACKEND(b) static const ChrOps *const b##_chrops IN_SECTION("chrbackends") = &b
typedef struct Mux Mux;
struct Chr {
    Vm *vm;
    VmListener listener;
    char *id;
    const ChrOps *ops;
    void *opaque;
    GArray *users; /* of ChrUser; only a mux has more than one */
    Mux *mux;      /* or NULL */
    bool opened, arming;
    GByteArray *out; /* chr_write_all's rest, at most OUT_MAX */
    GArray *waiters;
    guint next_waiter;
    GQueue fds; /* GINT_TO_POINTER, received and not taken */
    int log;    /* logfile, or -1 */
};

/* back end -> users */
size_t chr__room(Chr *c);
void chr__take(Chr *c, const uint8_t *p, size_t n); /* n <= chr__room() */
void chr__pass(Chr *c, const uint8_t *p, size_t n); /* the same for what came in by another back end's door already */
void chr__event(Chr *c, ChrEvent e);                /* CHR_OPENED and CHR_CLOSED keep c->opened */
void chr__writable(Chr *c);
void chr__drop_fds(Chr *c);

/* Byte streams over file descriptors; embedded in the back ends' state. */
typedef struct FdStream {
    Chr *c;
    int in, out; /* -1: none */
    guint rd, wr;
    bool careful; /* out is shared with others (a terminal): never set non-blocking, small pieces */
    void (*eof)(Chr *c);
    ssize_t (*recv)(Chr *c, uint8_t *p, size_t n); /* NULL: read() */
    void (*got)(Chr *c, uint8_t *p, size_t n);     /* NULL: chr__take */
} FdStream;
void chr__fd_start(FdStream *s); /* watch for input */
void chr__fd_stop(FdStream *s);  /* watches off; does not close */
size_t chr__fd_write(FdStream *s, const void *p, size_t n);
void chr__fd_arm(FdStream *s);

/* mux.c */
Mux *chr__mux_new(Chr *c);
void chr__mux_free(Mux *m);
size_t chr__mux_room(Mux *m);
void chr__mux_take(Mux *m, const uint8_t *p, size_t n);
void chr__mux_flush(Mux *m);
void chr__mux_focus(Mux *m, guint user);
void chr__mux_removed(Mux *m, guint user);
guint chr__mux_focused(const Mux *m);
/* Timestamps (Ctrl-A t): the text to send instead, or NULL for as it is */
GByteArray *chr__mux_stamp(Mux *m, const uint8_t *p, size_t n);

/* hub.c */
bool chr__is_hub(const Chr *c);

/* telnet.c: RFC 854 */
typedef struct Telnet {
    uint8_t state;
} Telnet;
extern const uint8_t chr__telnet_hello[12];
size_t chr__telnet_in(Telnet *t, uint8_t *p, size_t n, bool *brk); /* in place; what remains */

/* addr.c: blocking only while starting; -1 + err */
typedef struct ChrAddr {
    char *path, *host, *port; /* path: unix */
    bool abstract, server, ipv4, ipv6;
    uint64_t to;
} ChrAddr;
int chr__listen(ChrAddr *a, Error **err);                    /* may change a->port (port 0, to=) */
int chr__connect(const ChrAddr *a, bool block, Error **err); /* non-blocking result fd */
char *chr__addr_text(const ChrAddr *a);                      /* "unix:/x" or "tcp:h:p" */
void chr__addr_clear(ChrAddr *a);
#endif
