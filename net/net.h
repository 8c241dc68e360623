/*
 * net/net.h - Ethernet between network cards and back ends. A link joins two ports; a frame sent on one is taken by the
 * other or waits for it, so that nothing is lost on our side: a sender that is told "full" keeps its frame until `ready`.
 * VM lock throughout; back ends run on the VM loop and bring outside frames in through the door "net".
 */
#ifndef NET_NET_H
#define NET_NET_H
#include "core/obj.h"
#include "util/error.h"
#include "util/opts.h"
#include <sys/uio.h>

typedef struct Vm Vm;
typedef struct NetPort NetPort;
typedef struct NetDev NetDev; /* a back end: -netdev */
enum { NET_FRAME_MAX = 65536 + 64, NET_QUEUE_MAX = 1024, NET_HEADER = 14, NET_MIN_FRAME = 60 };

typedef struct NetPortOps { /* of whoever owns the port; members may be NULL */
    bool (*can_take)(void *o);                              /* NULL: always */
    void (*take)(void *o, const struct iovec *iov, int n);  /* a whole frame without FCS; only after can_take */
    void (*ready)(void *o);                                 /* a refused frame would be taken now */
    void (*link)(void *o, bool up);
} NetPortOps;
struct NetPort {
    const NetPortOps *ops;
    void *o;
    Vm *vm;
    NetPort *peer;
    NetDev *dev;    /* the back end that this is an end of, or at */
    GQueue waiting; /* of GBytes: frames for the owner */
    bool refused;   /* the peer was told "full" */
    bool down;
};
void net_port_init(NetPort *p, Vm *vm, const NetPortOps *ops, void *o);
void net_port_clear(NetPort *p); /* leaves its link; what waits is lost */
/* false: full; keep the frame, ops->ready comes. A frame that nobody is there for is gone: true. */
bool net_send(NetPort *from, const struct iovec *iov, int n);
bool net_send_flat(NetPort *from, const void *frame, size_t len);
bool net_has_room(NetPort *from); /* false: what is sent now would pile up; ready comes when it does not */
void net_can_take(NetPort *p); /* the owner can take again: what waits for it comes */
/* A card's end of a back end. One card each. */
bool net_attach(NetDev *d, NetPort *card, Error **err);
void net_detach(NetPort *card);
bool net_link_up(const NetPort *card);
/* What a card's init does with its end: an address if it has none, its port (ops get the card itself), and the back end, which may be NULL. */
bool net_card_init(Obj *card, NetPort *port, const NetPortOps *ops, NetDev *d, uint8_t mac[6], Error **err);

/* ---- frames ---- */
size_t net_flatten(const struct iovec *iov, int n, uint8_t *out, size_t max); /* how much there is; copies at most max */
uint32_t net_sum(const void *p, size_t n, uint32_t sum); /* one's complement, of big-endian words; chain even pieces */
uint16_t net_fold(uint32_t sum);                         /* the checksum field's value */
/* Cuts an Ethernet frame with a TCP (or UDP) header at l4 into pieces of at most mss bytes of payload, each with its own lengths, ids,
 * sequence numbers, flags and checksums, and hands them to `send`. The frame's headers are checked: false, nothing sent
 * when they are not whole. l3: where the IP header starts, of version 4 or 6. */
bool net_segment(const uint8_t *frame, size_t len, size_t l3, size_t l4, size_t mss, void (*send)(void *arg, const uint8_t *p, size_t n), void *arg);
uint32_t net_crc32(const void *p, size_t n);    /* Ethernet's, as multicast hashes use it: most significant bit last */
uint32_t net_crc32_be(const void *p, size_t n); /* the same, most significant bit first */

/* ---- back ends ---- */
NetDev *net_new(Vm *vm, Opts *o, Error **err); /* -netdev: "type", "id" in o; registered as ("netdev", id) */
void net_free(NetDev *d);
NetDev *net_find(Vm *vm, const char *id);
const char *net_id(const NetDev *d);
bool net_set_link(NetDev *d, bool up);
bool net_in_use(const NetDev *d);
void net_print(Vm *vm, GString *out); /* info network */
void net_help(GString *out);          /* -netdev help */
/* Ports of a `user` back end; "tcp:HOSTADDR:PORT-GUESTADDR:PORT" and "tcp:HOSTADDR:PORT". dev NULL: the only one there is. */
bool net_hostfwd_add(Vm *vm, const char *dev, const char *text, Error **err);
bool net_hostfwd_remove(Vm *vm, const char *dev, const char *text, Error **err);
char *net_user_connections(Vm *vm); /* info usernet; caller frees */
#endif
