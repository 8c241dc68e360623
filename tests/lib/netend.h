/* tests/lib/netend.h - the guest's end of a network back end: counts and keeps what comes, while it is open. */
#ifndef TESTS_LIB_NETEND_H
#define TESTS_LIB_NETEND_H
#include "net/net.h"
#include "tests/lib/t.h"

typedef struct End {
    NetPort port;
    bool open; /* it takes frames */
    unsigned got, ready;
    uint8_t last[2048];
    size_t len;
} End;
NetDev *back_end(Vm *vm, const char *text); /* of `-netdev TEXT` */
bool try_plug(End *e, Vm *vm, const char *text, Error **err); /* opens it on a back end of its own */
void plug(End *e, Vm *vm, const char *text);
#endif
