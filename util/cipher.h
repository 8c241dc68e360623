/*
 * util/cipher.h - ciphers, hashes and derivation of keys, all of them nettle's. Without it (cipher-none.c) nothing is
 * found, and crypto_there() says why. Names are QEMU's. Any thread; a Cipher is used by one at a time.
 */
#ifndef UTIL_CIPHER_H
#define UTIL_CIPHER_H
#include "util/error.h"

enum { CIPHER_KEY_MAX = 64, CIPHER_BLOCK_MAX = 16, HASH_BYTES_MAX = 64 };
typedef enum CipherMode { CIPHER_ECB, CIPHER_CBC, CIPHER_XTS, CIPHER_CTR, CIPHER_MODES } CipherMode;
extern const char *const cipher_mode_names[CIPHER_MODES + 1]; /* "ecb", .., NULL */
typedef struct CipherAlg {
    const char *name, *family; /* "aes-256", "aes" */
    unsigned key_bytes, block; /* XTS takes two keys: twice as many bytes */
    const void *lib; /* the library's description */
} CipherAlg;
typedef struct HashAlg {
    const char *name;
    unsigned bytes;
    const void *lib;
} HashAlg;
typedef struct Cipher Cipher;

bool crypto_there(Error **err);
const CipherAlg *cipher_find(const char *name);                            /* NULL: there is none */
const CipherAlg *cipher_of_family(const char *family, unsigned key_bytes); /* "aes" with a key of 32 bytes */
const HashAlg *hash_find(const char *name);
Cipher *cipher_new(const CipherAlg *alg, CipherMode mode, const void *key, size_t len, Error **err);
void cipher_free(Cipher *c); /* NULL is fine */
/* In place; len in whole blocks; iv of alg->block bytes (ECB: not looked at). */
void cipher_run(Cipher *c, bool encrypt, const void *iv, void *buf, size_t len);
void hash_run(const HashAlg *h, const void *a, size_t na, const void *b, size_t nb, void *out); /* of a, then b */
/* PBKDF2 with HMAC; iterations and n at least 1 */
void derive_key(const HashAlg *h, const void *pass, size_t npass, const void *salt, size_t nsalt, unsigned iterations, void *out, size_t n);
MUST bool random_bytes(void *out, size_t n); /* the host's, for keys */
#endif
