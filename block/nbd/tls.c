/* block/nbd/tls.c - TLS by GnuTLS: credentials from files, a session over a non-blocking socket. */
#include "block/nbd/tls.h"
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

typedef enum CredsKind { CREDS_X509, CREDS_PSK, CREDS_ANON } CredsKind;
struct TlsCreds {
    CredsKind kind;
    bool server, verify;
    char *priority;
    gnutls_certificate_credentials_t x509;
    gnutls_psk_server_credentials_t psk_server;
    gnutls_psk_client_credentials_t psk_client;
    gnutls_anon_server_credentials_t anon_server;
    gnutls_anon_client_credentials_t anon_client;
    gint refs;
};
struct TlsSession {
    gnutls_session_t g;
    TlsCreds *creds;
};
const bool tls_built_in = true;

static bool failed(int code, const char *what, const char *file, Error **err)
{
    if (code >= 0)
        return true;
    return fail(err, "%s '%s': %s", what, file, gnutls_strerror(code));
}

static bool exists(const char *path) { return g_file_test(path, G_FILE_TEST_EXISTS); }

static bool load_x509(TlsCreds *t, const char *dir, Error **err)
{
    const char *end = t->server ? "server" : "client";
    g_autofree char *ca = g_build_filename(dir, "ca-cert.pem", NULL), *crl = g_build_filename(dir, "ca-crl.pem", NULL);
    g_autofree char *cert = g_strdup_printf("%s/%s-cert.pem", dir, end), *key = g_strdup_printf("%s/%s-key.pem", dir, end);

    gnutls_certificate_allocate_credentials(&t->x509);
    if (!failed(gnutls_certificate_set_x509_trust_file(t->x509, ca, GNUTLS_X509_FMT_PEM), "Cannot load CA certificate", ca, err))
        return false;
    if (exists(crl) && !failed(gnutls_certificate_set_x509_crl_file(t->x509, crl, GNUTLS_X509_FMT_PEM), "Cannot load CRL", crl, err))
        return false;
    if (!t->server && !exists(cert)) /* a client may have none */
        return true;
    return failed(gnutls_certificate_set_x509_key_file(t->x509, cert, key, GNUTLS_X509_FMT_PEM), "Cannot load certificate and key", cert, err);
}

/* keys.psk: lines of "user:hex". */
static bool client_key(TlsCreds *t, const char *file, const char *user, Error **err)
{
    g_autofree char *text = NULL, *prefix = g_strconcat(user, ":", NULL);
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(file, &text, NULL, NULL))
        return fail(err, "Unable to access credentials %s", file);
    lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        const char *hex = g_str_has_prefix(*l, prefix) ? g_strchomp(*l) + strlen(prefix) : NULL;
        gnutls_datum_t key = { (unsigned char *)(uintptr_t)hex, hex ? (unsigned)strlen(hex) : 0 };

        if (hex)
            return failed(gnutls_psk_set_client_credentials(t->psk_client, user, &key, GNUTLS_PSK_KEY_HEX), "Cannot use the key in", file, err);
    }
    explicit_bzero(text, strlen(text));
    return fail(err, "%s: no key for user '%s'", file, user);
}

static bool load_psk(TlsCreds *t, const char *dir, const char *user, Error **err)
{
    g_autofree char *file = g_build_filename(dir, "keys.psk", NULL);

    if (t->server) {
        gnutls_psk_allocate_server_credentials(&t->psk_server);
        if (!exists(file))
            return fail(err, "Unable to access credentials %s: No such file or directory", file);
        return failed(gnutls_psk_set_server_credentials_file(t->psk_server, file), "Cannot load", file, err);
    }
    gnutls_psk_allocate_client_credentials(&t->psk_client);
    return client_key(t, file, user ? user : "qemu", err);
}

static bool load_anon(TlsCreds *t)
{
    if (t->server)
        gnutls_anon_allocate_server_credentials(&t->anon_server);
    else
        gnutls_anon_allocate_client_credentials(&t->anon_client);
    return true;
}

static bool kind_of(TlsCreds *t, const char *type, Error **err)
{
    static const char *const names[] = { "tls-creds-x509", "tls-creds-psk", "tls-creds-anon" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (!g_strcmp0(type, names[i])) {
            t->kind = (CredsKind)i;
            return true;
        }
    }
    return fail(err, "invalid object type: %s", type ? type : "");
}

static bool load(TlsCreds *t, Opts *o, Error **err)
{
    const char *end = opts_get(o, "endpoint"), *dir = opts_get(o, "dir"), *user = opts_get(o, "username");

    opts_get(o, "id");
    opts_get(o, "sanity-check");
    t->priority = g_strdup(opts_get(o, "priority"));
    if (end && strcmp(end, "server") && strcmp(end, "client"))
        return fail(err, "endpoint=%s: must be client or server", end);
    t->server = end && !strcmp(end, "server");
    if (!kind_of(t, opts_get(o, "qom-type"), err) || !opts_get_bool(o, "verify-peer", true, &t->verify, err) || !opts_all_used(o, "tls-creds", err))
        return false;
    if (!dir && t->kind != CREDS_ANON)
        return fail(err, "Missing 'dir' property value");
    return t->kind == CREDS_X509 ? load_x509(t, dir, err) : t->kind == CREDS_PSK ? load_psk(t, dir, user, err) : load_anon(t);
}

TlsCreds *tls_creds_new(Opts *o, Error **err)
{
    TlsCreds *t = g_new0(TlsCreds, 1);

    t->refs = 1;
    if (load(t, o, err))
        return t;
    tls_creds_free(t);
    return NULL;
}

void tls_creds_free(TlsCreds *t)
{
    if (!t || !g_atomic_int_dec_and_test(&t->refs))
        return;
    if (t->x509)
        gnutls_certificate_free_credentials(t->x509);
    if (t->psk_server)
        gnutls_psk_free_server_credentials(t->psk_server);
    if (t->psk_client)
        gnutls_psk_free_client_credentials(t->psk_client);
    if (t->anon_server)
        gnutls_anon_free_server_credentials(t->anon_server);
    if (t->anon_client)
        gnutls_anon_free_client_credentials(t->anon_client);
    g_free(t->priority);
    g_free(t);
}

void tls_creds_ref(TlsCreds *t) { g_atomic_int_inc(&t->refs); }
bool tls_creds_is_server(const TlsCreds *t) { return t->server; }

/* ---- a session ---- */
static void attach(TlsSession *s)
{
    TlsCreds *t = s->creds;

    switch (t->kind) {
    case CREDS_X509:
        gnutls_credentials_set(s->g, GNUTLS_CRD_CERTIFICATE, t->x509);
        if (t->server)
            gnutls_certificate_server_set_request(s->g, t->verify ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
        break;
    case CREDS_PSK:
        gnutls_credentials_set(s->g, GNUTLS_CRD_PSK, t->server ? (void *)t->psk_server : (void *)t->psk_client);
        break;
    case CREDS_ANON:
        gnutls_credentials_set(s->g, GNUTLS_CRD_ANON, t->server ? (void *)t->anon_server : (void *)t->anon_client);
        break;
    }
}

static TlsSession *session(Chan *c, TlsCreds *creds, Error **err)
{
    static const char *const extra[] = { [CREDS_X509] = "", [CREDS_PSK] = ":+ECDHE-PSK:+DHE-PSK:+PSK", [CREDS_ANON] = ":+ANON-ECDH:+ANON-DH" };
    g_autofree char *priority = g_strconcat(creds->priority ? creds->priority : "NORMAL", extra[creds->kind], NULL);
    TlsSession *s = g_new0(TlsSession, 1);
    int ret;

    g_atomic_int_inc(&creds->refs);
    s->creds = creds;
    gnutls_init(&s->g, (creds->server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    ret = gnutls_priority_set_direct(s->g, priority, NULL);
    if (ret < 0) {
        fail(err, "Unable to set TLS session priority %s: %s", priority, gnutls_strerror(ret));
        tls_session_free(s);
        return NULL;
    }
    attach(s);
    gnutls_transport_set_int(s->g, c->fd);
    return s;
}

static bool verified(TlsSession *s, const char *hostname, Error **err)
{
    unsigned status = 0;
    int ret;

    if (s->creds->kind != CREDS_X509 || !s->creds->verify)
        return true;
    ret = gnutls_certificate_verify_peers3(s->g, s->creds->server ? NULL : hostname, &status);
    if (ret < 0)
        return fail(err, "Verify failed: %s", gnutls_strerror(ret));
    return !status || fail(err, "The certificate of the peer is not trusted%s",
                           status & GNUTLS_CERT_UNEXPECTED_OWNER ? ": it is not of this host" : status & GNUTLS_CERT_EXPIRED ? ": it has expired" : "");
}

CO_FN bool tls_start(Chan *c, TlsCreds *creds, const char *hostname, Error **err)
{
    TlsSession *s;
    int ret;

    if (c->have) /* what came in the clear behind the request to encrypt */
        return fail(err, "the peer spoke before the TLS handshake");
    s = session(c, creds, err);
    if (!s)
        return false;
    if (hostname && !creds->server && *hostname)
        gnutls_server_name_set(s->g, GNUTLS_NAME_DNS, hostname, strlen(hostname));
    while ((ret = gnutls_handshake(s->g)) < 0 && !gnutls_error_is_fatal(ret) && !c->broken)
        if (ret == GNUTLS_E_AGAIN)
            chan_wait(c, gnutls_record_get_direction(s->g) ? G_IO_OUT : G_IO_IN);
    if (ret < 0 || !verified(s, hostname, err)) {
        if (ret < 0)
            fail(err, "TLS handshake failed: %s", gnutls_strerror(ret));
        tls_session_free(s);
        return false;
    }
    c->tls = s;
    return true;
}

void tls_session_free(TlsSession *s)
{
    gnutls_deinit(s->g);
    tls_creds_free(s->creds);
    g_free(s);
}

static ssize_t result(TlsSession *s, ssize_t k, bool *flag, bool want_write)
{
    if (k >= 0)
        return k;
    if (k == GNUTLS_E_AGAIN) {
        *flag = (gnutls_record_get_direction(s->g) == 1) == want_write;
        return -EAGAIN;
    }
    return k == GNUTLS_E_INTERRUPTED ? -EINTR : k == GNUTLS_E_PREMATURE_TERMINATION ? 0 : -EIO;
}

ssize_t tls_recv(TlsSession *s, void *buf, size_t len, bool *for_write) { return result(s, gnutls_record_recv(s->g, buf, len), for_write, true); }
ssize_t tls_send(TlsSession *s, const void *buf, size_t len, bool *for_read)
{
    return result(s, gnutls_record_send(s->g, buf, len), for_read, false);
}
