/*
 * block/nbd/tls.h - encryption of a Chan, by GnuTLS when the build has it. Credentials are objects: tls-creds-x509
 * (dir= with ca-cert.pem, server-cert.pem, server-key.pem, client-..), tls-creds-psk (dir= with keys.psk), tls-creds-anon.
 */
#ifndef BLOCK_NBD_TLS_H
#define BLOCK_NBD_TLS_H
#include "block/nbd/chan.h"
#include "util/opts.h"

typedef struct TlsCreds TlsCreds;
extern const bool tls_built_in;
/* "qom-type" (tls-creds-..), "endpoint" (server, client), "dir", "verify-peer", "username". */
TlsCreds *tls_creds_new(Opts *o, Error **err);
void tls_creds_free(TlsCreds *t);
void tls_creds_ref(TlsCreds *t);
/* By id among those of the loop's owner (a VM, a tool); NULL: none. Borrowed. */
TlsCreds *tls_creds_find(Loop *loop, const char *id);
void tls_creds_name(Loop *loop, const char *id, TlsCreds *t); /* t NULL: forget it */
bool tls_creds_is_server(const TlsCreds *t);
/* The rest of the handshake on a connected channel. hostname: whose certificate the client wants, or NULL. */
CO_FN bool tls_start(Chan *c, TlsCreds *creds, const char *hostname, Error **err);
void tls_session_free(TlsSession *s);
/* As recv and send; -EAGAIN: wait for the direction that the flag says. */
ssize_t tls_recv(TlsSession *s, void *buf, size_t len, bool *for_write);
ssize_t tls_send(TlsSession *s, const void *buf, size_t len, bool *for_read);
#endif
