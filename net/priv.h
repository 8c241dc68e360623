/* net/priv.h - between net.c and the back ends. VM lock. */
#ifndef NET_PRIV_H
#define NET_PRIV_H
#include "core/vm.h"
#include "net/net.h"

typedef struct NetBackend {
    const char *name, *doc;
    size_t size; /* of d->opaque */
    bool (*open)(NetDev *d, Opts *o, Error **err);
    void (*close)(NetDev *d); /* also after a failed open */
    char *(*describe)(const NetDev *d);
    void (*loaded)(NetDev *d); /* the guest went back to another time: connections are not those that it knows. May be NULL */
    const struct NetBackend *(*pick)(Opts *o); /* it is several: which, by the options; nothing else is set then */
    NetPortOps ops; /* of d->port; o is the NetDev */
} NetBackend;
#define NET_BACKEND(b) static const NetBackend *const b##_netbackend IN_SECTION("netbackends") = &b
typedef struct NetDump NetDump;
struct NetDev {
    Vm *vm;
    char *id, *card; /* card: what is at the other end, as text */
    const NetBackend *be;
    void *opaque;
    NetPort port; /* the back end's end of the link */
    GPtrArray *dumps; /* of NetDump */
    VmListener listener;
};
/* A frame from outside: through the door to the card; false: full. */
bool net__from_outside(NetDev *d, const void *frame, size_t len);
void net__dump(NetDump *f, const struct iovec *iov, int n); /* dump.c */
void net__dump_gone(NetDump *f); /* its back end is going */
#endif
