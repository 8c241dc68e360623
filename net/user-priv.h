/* net/user-priv.h - a user network between user.c and user-ports.c, the only files that call libslirp. VM lock. */
#ifndef NET_USER_PRIV_H
#define NET_USER_PRIV_H
#include "chr/chr.h"
#include "net/priv.h"
#include <arpa/inet.h>
#include <libslirp.h>

typedef struct User {
    NetDev *d;
    Slirp *slirp;
    struct UserSource *source;
    GArray *polled; /* of Polled: what the source waits for */
    guint filled;
    struct in_addr net, mask, host, dns, dhcp;
    GPtrArray *forwards; /* of Forward, see user-ports.c */
    GPtrArray *hostfwds; /* of char *: those in force */
    Opts *options; /* as given, for a new beginning */
} User;

extern const NetBackend user__backend;
static inline User *user__of(const NetDev *d) { return d->opaque; }
bool user__inside(const User *u, const char *what, struct in_addr a, Error **err); /* its network */
/* user-ports.c: hostfwd and guestfwd */
bool user__rules(User *u, Opts *o, Error **err);
void user__rules_again(User *u); /* the same at a new libslirp */
void user__rules_acked(User *u); /* the guest sent something: it may have made room for a guestfwd */
void user__rules_detach(User *u); /* before libslirp ends */
void user__rules_free(User *u);
#endif
