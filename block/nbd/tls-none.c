/* block/nbd/tls-none.c - builds without GnuTLS. */
#include "block/nbd/tls.h"
#include <errno.h>

const bool tls_built_in = false;

TlsCreds *tls_creds_new(Opts *o, Error **err)
{
    fail(err, "this build has no TLS");
    error_hint(err, "install the package libgnutls28-dev and build again");
    return NULL;
}
void tls_creds_free(TlsCreds *t) {}
void tls_creds_ref(TlsCreds *t) {}
bool tls_creds_is_server(const TlsCreds *t) { return false; }
CO_FN bool tls_start(Chan *c, TlsCreds *creds, const char *hostname, Error **err) { return fail(err, "this build has no TLS"); }
void tls_session_free(TlsSession *s) {}
ssize_t tls_recv(TlsSession *s, void *buf, size_t len, bool *for_write) { return -ENOTSUP; }
ssize_t tls_send(TlsSession *s, const void *buf, size_t len, bool *for_read) { return -ENOTSUP; }
