/* net/sock.h - addresses and sockets of the back ends that talk to other emulators. Names are looked up while starting only. */
#ifndef NET_SOCK_H
#define NET_SOCK_H
#include "net/priv.h"
#include <sys/socket.h>

typedef struct NetAddr { /* owned texts; path: unix */
    char *path, *host, *port;
} NetAddr;
bool net__addr_parse(NetAddr *a, Opts *o, const char *prefix, Error **err);    /* PREFIX.type, .host, .port, .path */
bool net__addr_host_port(NetAddr *a, const char *text, Error **err);           /* "host:port", host may be empty */
bool net__addr_resolve(const NetAddr *a, int type, bool passive, struct sockaddr_storage *out, socklen_t *len, Error **err);
char *net__addr_text(const NetAddr *a); /* caller frees */
void net__addr_clear(NetAddr *a);
int net__listen(const NetAddr *a, Error **err);  /* a listening stream socket; -1 */
int net__connect(const NetAddr *a, Error **err); /* non-blocking, perhaps still connecting; -1 */
int net__sock_error(int fd);                     /* errno of a finished connection, or 0 */
extern const NetBackend net__socket_stream, net__socket_dgram; /* what -netdev socket is */
#endif
