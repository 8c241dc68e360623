/* core/secret.c - passwords and keys by name (core/secret.h), and -object secret. */
#include "core/secret.h"
#include "core/vm.h"
#include "util/cipher.h"

enum { SECRET_MAX = 1024 * 1024, MASTER_KEY = 32, IV_BYTES = 16 };
struct Secret {
    Loop *loop;
    char *key; /* its name on the loop */
    uint8_t *bytes;
    gsize n;
};

void secret_wipe(uint8_t *bytes, size_t n)
{
    if (bytes)
        explicit_bzero(bytes, n);
    g_free(bytes);
}

static char *key_of(const char *id) { return g_strconcat("secret/", id, NULL); }

void secret_free(Secret *s)
{
    if (!s)
        return;
    if (loop_named(s->loop, s->key) == s)
        loop_name(s->loop, s->key, NULL);
    secret_wipe(s->bytes, s->n);
    g_free(s->key);
    g_free(s);
}

bool secret_get(Loop *loop, const char *id, uint8_t **out, size_t *n, Error **err)
{
    g_autofree char *key = key_of(id);
    const Secret *s = loop_named(loop, key);

    if (!s) {
        fail(err, "No secret with id '%s'", id);
        return error_hint(err, "-object secret,id=%s,file=PATH (or data=PASSWORD)", id);
    }
    *out = g_malloc(s->n + 1);
    memcpy(*out, s->bytes, s->n);
    (*out)[s->n] = 0;
    *n = s->n;
    return true;
}

/* ---- making one ---- */
static bool text_of(const char *data, const char *file, char **text, gsize *n, Error **err)
{
    g_autoptr(GError) why = NULL;

    if (!data == !file)
        return fail(err, "want one of data= and file=");
    if (data) {
        *text = g_strdup(data);
        *n = strlen(data);
        return true;
    }
    if (!g_file_get_contents(file, text, n, &why))
        return fail(err, "file=%s: %s", file, why->message);
    return *n <= SECRET_MAX || fail(err, "file=%s: a secret has at most 1 MiB", file);
}

static uint8_t *base64(const char *text, gsize *n, const char *what, Error **err)
{
    g_autofree char *clean = g_strdup(text);
    uint8_t *out;

    g_strstrip(clean);
    if (strspn(clean, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n") != strlen(clean)) {
        fail(err, "%s is no base64", what);
        return NULL;
    }
    out = g_base64_decode(clean, n);
    return out;
}

/* AES-256-CBC under the secret `keyid`; the last byte says how much fills the last block. */
static bool decrypt(Secret *s, const char *keyid, const char *iv_text, Error **err)
{
    g_autofree uint8_t *iv = NULL;
    uint8_t *key = NULL;
    gsize niv = 0, nkey = 0;
    Cipher *c;
    bool ok;

    if (!crypto_there(err) || !secret_get(s->loop, keyid, &key, &nkey, err))
        return false;
    iv = iv_text ? base64(iv_text, &niv, "iv=", err) : NULL;
    ok = iv || (!iv_text && fail(err, "iv= is missing: keyid= says that the secret is encrypted"));
    if (ok && (nkey != MASTER_KEY || niv != IV_BYTES))
        ok = fail(err, "keyid= takes a key of 32 bytes and an iv= of 16, not %zu and %zu", nkey, niv);
    if (ok && (!s->n || s->n % IV_BYTES))
        ok = fail(err, "an encrypted secret is a multiple of 16 bytes, not %zu", s->n);
    c = ok ? cipher_new(cipher_find("aes-256"), CIPHER_CBC, key, nkey, err) : NULL;
    secret_wipe(key, nkey);
    if (!c)
        return false;
    cipher_run(c, false, iv, s->bytes, s->n);
    cipher_free(c);
    if (!s->bytes[s->n - 1] || s->bytes[s->n - 1] > IV_BYTES)
        return fail(err, "the secret cannot be decrypted with '%s'", keyid);
    s->n -= s->bytes[s->n - 1];
    return true;
}

static bool fill(Secret *s, Opts *o, Error **err)
{
    const char *format = opts_get(o, "format"), *keyid = opts_get(o, "keyid"), *iv = opts_get(o, "iv");
    g_autofree char *text = NULL;
    gsize n = 0;

    if (format && strcmp(format, "raw") && strcmp(format, "base64"))
        return fail(err, "format=%s: must be raw or base64", format);
    if (!text_of(opts_get(o, "data"), opts_get(o, "file"), &text, &n, err))
        return false;
    if (format && !strcmp(format, "base64")) {
        s->bytes = base64(text, &s->n, "the secret", err);
        if (!s->bytes)
            return false;
    } else {
        s->bytes = g_memdup2(text, n);
        s->n = n;
    }
    explicit_bzero(text, n);
    return !keyid || decrypt(s, keyid, iv, err);
}

Secret *secret_new(Loop *loop, const char *id, Opts *o, Error **err)
{
    Secret *s = g_new0(Secret, 1);

    s->loop = loop;
    s->key = key_of(id);
    if (fill(s, o, err) && opts_all_used(o, "secret", err)) {
        loop_name(loop, s->key, s);
        return s;
    }
    secret_free(s);
    return NULL;
}

/* ---- -object secret ---- */
typedef struct SecretObj {
    Obj obj;
    char *data, *file, *keyid, *iv;
    uint8_t format;
    Secret *secret;
} SecretObj;
#define SECRETOBJ(o) ((SecretObj *)(o))
static const char *const formats[] = { "raw", "base64", NULL };

static void give(Opts *o, const char *key, const char *value)
{
    if (value)
        opts_set(o, key, value);
}

static bool init_secret(Obj *obj, Error **err)
{
    SecretObj *s = SECRETOBJ(obj);
    g_autoptr(Opts) o = opts_new();

    give(o, "data", s->data);
    give(o, "file", s->file);
    give(o, "keyid", s->keyid);
    give(o, "iv", s->iv);
    give(o, "format", formats[s->format]);
    s->secret = secret_new(obj->vm->loop, obj->name, o, err);
    if (s->secret)
        vm_register(obj->vm, "secret", obj->name, obj);
    return s->secret;
}

static void secret_fini(Obj *obj)
{
    SecretObj *s = SECRETOBJ(obj);

    if (s->secret)
        vm_unregister(obj->vm, "secret", obj->name);
    secret_free(s->secret);
}

/* clang-format off */
static const Prop secret_props[] = {
    PROP_STR(SecretObj, data, "data", NULL, "the secret itself"), PROP_STR(SecretObj, file, "file", NULL, "a file that holds it"),
    PROP_ENUM(SecretObj, format, "format", formats, "raw", "how it is written"),
    PROP_STR(SecretObj, keyid, "keyid", NULL, "it is encrypted: the secret that is the key"), PROP_STR(SecretObj, iv, "iv", NULL, "and its start, base64"),
};
static const ObjClass secret = { .name = "secret", .desc = "a password or key", .size = sizeof(SecretObj), .props = TABLE(secret_props),
    .init = init_secret, .fini = secret_fini, .user_creatable = true };
OBJECT(secret);
/* clang-format on */
