/* util/cipher-nettle.c - util/cipher.h by nettle. */
#include "util/cipher.h"
#include <nettle/cbc.h>
#include <nettle/ctr.h>
#include <nettle/hmac.h>
#include <nettle/nettle-meta.h>
#include <nettle/pbkdf2.h>
#include <nettle/ripemd160.h>
#include <nettle/sm3.h>
#include <nettle/xts.h>
#include <sys/random.h>

const char *const cipher_mode_names[CIPHER_MODES + 1] = { "ecb", "cbc", "xts", "ctr", NULL };
/* clang-format off */
static const CipherAlg algs[] = {
    { "aes-128", "aes", 16, 16, &nettle_aes128 },             { "aes-192", "aes", 24, 16, &nettle_aes192 },
    { "aes-256", "aes", 32, 16, &nettle_aes256 },             { "cast5-128", "cast5", 16, 8, &nettle_cast128 },
    { "serpent-128", "serpent", 16, 16, &nettle_serpent128 }, { "serpent-192", "serpent", 24, 16, &nettle_serpent192 },
    { "serpent-256", "serpent", 32, 16, &nettle_serpent256 }, { "twofish-128", "twofish", 16, 16, &nettle_twofish128 },
    { "twofish-192", "twofish", 24, 16, &nettle_twofish192 }, { "twofish-256", "twofish", 32, 16, &nettle_twofish256 },
};
static const HashAlg hashes[] = {
    { "md5", 16, &nettle_md5 },       { "sha1", 20, &nettle_sha1 },     { "sha224", 28, &nettle_sha224 },
    { "sha256", 32, &nettle_sha256 }, { "sha384", 48, &nettle_sha384 }, { "sha512", 64, &nettle_sha512 },
    { "ripemd160", 20, &nettle_ripemd160 }, { "sm3", 32, &nettle_sm3 },
};
/* clang-format on */
struct Cipher {
    const struct nettle_cipher *alg;
    CipherMode mode;
    size_t size;             /* of all contexts together */
    void *enc, *dec, *tweak; /* the library's contexts, in `room` */
    uint8_t room[] __attribute__((aligned(16)));
};

bool crypto_there(Error **err) { return true; }

const CipherAlg *cipher_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(algs); i++)
        if (!strcmp(algs[i].name, name))
            return &algs[i];
    return NULL;
}

const CipherAlg *cipher_of_family(const char *family, unsigned key_bytes)
{
    for (size_t i = 0; i < G_N_ELEMENTS(algs); i++)
        if (!strcmp(algs[i].family, family) && algs[i].key_bytes == key_bytes)
            return &algs[i];
    return NULL;
}

const HashAlg *hash_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(hashes); i++)
        if (!strcmp(hashes[i].name, name))
            return &hashes[i];
    return NULL;
}

Cipher *cipher_new(const CipherAlg *alg, CipherMode mode, const void *key, size_t len, Error **err)
{
    const struct nettle_cipher *lib = alg->lib;
    size_t one = align_up(lib->context_size, 16);
    Cipher *c;

    if (mode == CIPHER_XTS && alg->block != 16) {
        fail(err, "cipher %s has no mode xts", alg->name);
        return NULL;
    }
    if (len != (mode == CIPHER_XTS ? 2 : 1) * (size_t)alg->key_bytes) {
        fail(err, "cipher %s in mode %s takes no key of %zu bytes", alg->name, cipher_mode_names[mode], len);
        return NULL;
    }
    c = g_malloc0(sizeof(Cipher) + 3 * one);
    c->alg = lib;
    c->mode = mode;
    c->size = 3 * one;
    c->enc = c->room;
    c->dec = c->room + one;
    c->tweak = c->room + 2 * one;
    lib->set_encrypt_key(c->enc, key);
    lib->set_decrypt_key(c->dec, key);
    if (mode == CIPHER_XTS)
        lib->set_encrypt_key(c->tweak, (const uint8_t *)key + alg->key_bytes);
    return c;
}

void cipher_free(Cipher *c)
{
    if (c)
        explicit_bzero(c->room, c->size);
    g_free(c);
}

void cipher_run(Cipher *c, bool encrypt, const void *iv, void *buf, size_t len)
{
    const struct nettle_cipher *a = c->alg;
    uint8_t v[CIPHER_BLOCK_MAX];

    if (c->mode != CIPHER_ECB)
        memcpy(v, iv, a->block_size);
    switch (c->mode) {
    case CIPHER_CBC:
        (encrypt ? cbc_encrypt : cbc_decrypt)(encrypt ? c->enc : c->dec, encrypt ? a->encrypt : a->decrypt, a->block_size, v, len, buf, buf);
        break;
    case CIPHER_CTR:
        ctr_crypt(c->enc, a->encrypt, a->block_size, v, len, buf, buf);
        break;
    case CIPHER_XTS:
        if (encrypt)
            xts_encrypt_message(c->enc, c->tweak, a->encrypt, v, len, buf, buf);
        else
            xts_decrypt_message(c->dec, c->tweak, a->decrypt, a->encrypt, v, len, buf, buf);
        break;
    default:
        (encrypt ? a->encrypt : a->decrypt)(encrypt ? c->enc : c->dec, len, buf, buf);
    }
}

/* ---- hashes ---- */
void hash_run(const HashAlg *h, const void *a, size_t na, const void *b, size_t nb, void *out)
{
    const struct nettle_hash *lib = h->lib;
    g_autofree void *state = g_malloc(lib->context_size);

    lib->init(state);
    lib->update(state, na, a);
    lib->update(state, nb, b);
    lib->digest(state, h->bytes, out);
}

typedef struct Hmac { /* what PBKDF2 runs over and over: any hash */
    const struct nettle_hash *lib;
    void *outer, *inner, *state;
} Hmac;

static void hmac_more(void *arg, size_t n, const uint8_t *p)
{
    Hmac *m = arg;

    m->lib->update(m->state, n, p);
}

static void hmac_end(void *arg, size_t n, uint8_t *out)
{
    Hmac *m = arg;

    hmac_digest(m->outer, m->inner, m->state, m->lib, n, out);
}

void derive_key(const HashAlg *h, const void *pass, size_t npass, const void *salt, size_t nsalt, unsigned iterations, void *out, size_t n)
{
    const struct nettle_hash *lib = h->lib;
    size_t one = align_up(lib->context_size, 16);
    uint8_t *room = g_malloc0(3 * one);
    Hmac m = { lib, room, room + one, room + 2 * one };

    hmac_set_key(m.outer, m.inner, m.state, lib, npass, pass);
    pbkdf2(&m, hmac_more, hmac_end, h->bytes, iterations, nsalt, salt, n, out);
    explicit_bzero(room, 3 * one);
    g_free(room);
}

bool random_bytes(void *out, size_t n)
{
    size_t at = 0;

    while (at < n) {
        ssize_t got = getrandom((char *)out + at, n - at, 0);

        if (got <= 0)
            return false;
        at += (size_t)got;
    }
    return true;
}
