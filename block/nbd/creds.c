/* block/nbd/creds.c - TLS credentials by name: those of a loop's owner, and -object tls-creds-*. */
#include "block/nbd/tls.h"
#include "core/vm.h"

TlsCreds *tls_creds_find(Loop *loop, const char *id)
{
    g_autofree char *key = g_strconcat("tls-creds/", id, NULL);

    return loop_named(loop, key);
}

void tls_creds_name(Loop *loop, const char *id, TlsCreds *t)
{
    g_autofree char *key = g_strconcat("tls-creds/", id, NULL);

    loop_name(loop, key, t);
}

typedef struct TlsObj {
    Obj obj;
    char *dir, *priority, *username;
    uint8_t endpoint;
    bool verify, sanity;
    TlsCreds *creds;
} TlsObj;
#define TLSOBJ(o) ((TlsObj *)(o))
static const char *const endpoints[] = { "client", "server", NULL };

static bool init_creds(Obj *obj, Error **err)
{
    TlsObj *t = TLSOBJ(obj);
    g_autoptr(Opts) o = opts_new();

    opts_set(o, "qom-type", obj->cls->name);
    opts_set(o, "endpoint", endpoints[t->endpoint]);
    opts_set(o, "verify-peer", t->verify ? "on" : "off");
    if (t->dir)
        opts_set(o, "dir", t->dir);
    if (t->priority)
        opts_set(o, "priority", t->priority);
    if (t->username)
        opts_set(o, "username", t->username);
    t->creds = tls_creds_new(o, err);
    if (t->creds)
        tls_creds_name(obj->vm->loop, obj->name, t->creds);
    return t->creds;
}

static void creds_fini(Obj *obj)
{
    TlsObj *t = TLSOBJ(obj);

    if (!t->creds)
        return;
    tls_creds_name(obj->vm->loop, obj->name, NULL);
    tls_creds_free(t->creds);
}

/* clang-format off */
#define CREDS_PROPS \
    PROP_ENUM(TlsObj, endpoint, "endpoint", endpoints, "client", "which end of the connection"), \
    PROP_STR(TlsObj, dir, "dir", NULL, "folder with the files"), PROP_STR(TlsObj, priority, "priority", NULL, "GnuTLS's priority string"), \
    PROP(TlsObj, verify, "verify-peer", true, "the other end must be known")
static const Prop x509_props[] = { CREDS_PROPS, PROP(TlsObj, sanity, "sanity-check", true, "accepted") };
static const Prop psk_props[] = { CREDS_PROPS, PROP_STR(TlsObj, username, "username", NULL, "whose key a client uses; qemu unless given") };
static const Prop anon_props[] = { CREDS_PROPS };
static const ObjClass creds_x509 = { .name = "tls-creds-x509", .desc = "TLS with certificates", .size = sizeof(TlsObj), .props = TABLE(x509_props),
    .init = init_creds, .fini = creds_fini, .user_creatable = true };
static const ObjClass creds_psk = { .name = "tls-creds-psk", .desc = "TLS with shared keys", .size = sizeof(TlsObj), .props = TABLE(psk_props),
    .init = init_creds, .fini = creds_fini, .user_creatable = true };
static const ObjClass creds_anon = { .name = "tls-creds-anon", .desc = "TLS without identities", .size = sizeof(TlsObj), .props = TABLE(anon_props),
    .init = init_creds, .fini = creds_fini, .user_creatable = true };
OBJECT(creds_x509);
OBJECT(creds_psk);
OBJECT(creds_anon);
/* clang-format on */
