/* tests/lib/netwire.h - the other end of a network card's cable: keeps the frames that the card sends, and sends it some. */
#ifndef TESTS_LIB_NETWIRE_H
#define TESTS_LIB_NETWIRE_H
#include "net/net.h"
#include "tests/lib/t.h"

typedef struct NetWire {
    NetPort port; /* net_send_flat() from here reaches the card */
    unsigned n;   /* frames heard; the last 64 are kept, frame i at i % 64 */
    size_t len[64];
    uint8_t last[64][2048];
} NetWire;
/* For a card with netdev=card. */
void netwire_connect(NetWire *w, Vm *vm);
#endif
