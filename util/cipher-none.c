/* util/cipher-none.c - util/cipher.h in a build without nettle: nothing is found. */
#include "util/cipher.h"

const char *const cipher_mode_names[CIPHER_MODES + 1] = { "ecb", "cbc", "xts", "ctr", NULL };

bool crypto_there(Error **err)
{
    fail(err, "this build has no ciphers");
    return error_hint(err, "install nettle-dev, configure and build again");
}

const CipherAlg *cipher_find(const char *name) { return NULL; }
const CipherAlg *cipher_of_family(const char *family, unsigned key_bytes) { return NULL; }
const HashAlg *hash_find(const char *name) { return NULL; }

Cipher *cipher_new(const CipherAlg *alg, CipherMode mode, const void *key, size_t len, Error **err)
{
    crypto_there(err);
    return NULL;
}

void cipher_free(Cipher *c) {}
void cipher_run(Cipher *c, bool encrypt, const void *iv, void *buf, size_t len) {}
void hash_run(const HashAlg *h, const void *a, size_t na, const void *b, size_t nb, void *out) {}
void derive_key(const HashAlg *h, const void *pass, size_t npass, const void *salt, size_t nsalt, unsigned iterations, void *out, size_t n) {}
bool random_bytes(void *out, size_t n) { return false; }
