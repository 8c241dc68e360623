/*
 * block/crypt/sectors.h - sectors of 512 bytes, each encrypted by itself: a cipher, its mode, and how a sector's number
 * makes the mode's start. Used by LUKS and by encrypted qcow2.
 */
#ifndef BLOCK_CRYPT_SECTORS_H
#define BLOCK_CRYPT_SECTORS_H
#include "block/node.h"
#include "util/cipher.h"

enum { CRYPT_SECTOR = 512 };
typedef enum IvGen { IV_PLAIN, IV_PLAIN64, IV_ESSIV, IV_GENS } IvGen;
extern const char *const ivgen_names[IV_GENS + 1];
typedef struct SectorSpec {
    const CipherAlg *alg;
    CipherMode mode;
    IvGen ivgen;
    const HashAlg *ivhash; /* of ESSIV: its cipher's key is this hash of the key */
} SectorSpec;
typedef struct Sectors Sectors;
static inline unsigned spec_key_bytes(const SectorSpec *s) { return s->alg->key_bytes * (s->mode == CIPHER_XTS ? 2 : 1); }
Sectors *sectors_new(const SectorSpec *spec, const uint8_t *key, Error **err); /* key of spec_key_bytes() */
void sectors_free(Sectors *s);                                                 /* NULL is fine */
/* In place, on the calling thread; len in whole sectors, the first numbered `first`. One caller at a time. */
void sectors_run(Sectors *s, bool encrypt, uint64_t first, void *buf, size_t len);
/* The bytes at `at` of the file, whose first sector has that number. The node's loop; several may run at once. */
MUST CO_FN int sectors_read(Sectors *s, Node *file, uint64_t at, uint64_t first, const struct iovec *iov, int niov, uint64_t len);
MUST CO_FN int sectors_write(Sectors *s, Node *file, uint64_t at, uint64_t first, const struct iovec *iov, int niov, uint64_t len);
#endif
