/*
 * block/crypt/luks.h - a LUKS1 header ("LUKS On-Disk Format Specification", version 1.2) in memory: the driver "luks" has one
 * at the start of its file or of another one, an encrypted qcow2 image in clusters of its own.
 *   phdr (592 bytes) | key material of 8 slots | payload
 * A slot holds the master key, spread over `stripes` and encrypted by a key that comes from a password.
 */
#ifndef BLOCK_CRYPT_LUKS_H
#define BLOCK_CRYPT_LUKS_H
#include "block/crypt/sectors.h"
#include "block/image.h"

enum { LUKS_PHDR = 592, LUKS_SLOTS = 8, LUKS_STRIPES = 4000, LUKS_DIGEST = 20, LUKS_SALT = 32, LUKS_UUID = 40,
       LUKS_ITERATIONS_MIN = 1000, LUKS_ITERATIONS_MAX = 1 << 26 /* a minute or so: more is an attack */ };
typedef struct LuksSlot {
    bool active;
    uint32_t iterations, material, stripes; /* material: sector of the header */
    uint8_t salt[LUKS_SALT];
} LuksSlot;
typedef struct Luks {
    Node *file;    /* borrowed: where the header is, */
    uint64_t base, /* from this byte on */
        room;      /* as far as it may reach: key material ends there */
    bool detached;
    SectorSpec spec;
    const HashAlg *hash;
    uint64_t payload; /* bytes from `base`; of a detached header: of the other file */
    uint32_t iterations;
    uint8_t digest[LUKS_DIGEST], salt[LUKS_SALT];
    char uuid[LUKS_UUID + 1];
    LuksSlot slots[LUKS_SLOTS];
    uint8_t key[CIPHER_KEY_MAX]; /* the master key, */
    bool unlocked;               /* once it is known */
} Luks;

/* luks-header.c */
bool luks_is(const uint8_t *head, size_t n);
CO_FN bool luks_read(Luks *l, Error **err); /* file, base and room are set; everything else is read and checked */
CO_FN int luks_write_phdr(const Luks *l);   /* and syncs */
uint64_t luks_header_bytes(const Luks *l);  /* up to the end of the last slot's material, as luks_format lays them out */
void luks_facts(const Luks *l, const char *prefix, const char *format, GPtrArray *out); /* prefix "" or "encrypt."; format NULL or "luks" */

/* luks-key.c: `pass` is a secret's name on the file's loop */
CO_FN bool luks_unlock(Luks *l, const char *pass, Error **err);
/* 1: the slot opens with it; 0: no; -errno. The master key goes to `key` when it is not NULL. */
CO_FN int luks_try(Luks *l, unsigned slot, const uint8_t *pass, size_t n, uint8_t *key);
CO_FN bool luks_set_slot(Luks *l, unsigned slot, const uint8_t *pass, size_t n, uint64_t ms, Error **err);
CO_FN bool luks_erase_slot(Luks *l, unsigned slot, Error **err);
/* What takes about `ms` here, on an idle host. Runs for some 20 ms: in the pool. */
uint32_t luks_iterations(const HashAlg *h, unsigned key_bytes, uint64_t ms);

/* luks-create.c: the options are "cipher-alg", "cipher-mode", "ivgen-alg", "ivgen-hash-alg", "hash-alg", "iter-time",
 * "key-secret" */
typedef struct LuksWish {
    SectorSpec spec;
    const HashAlg *hash;
    uint64_t ms;
    const char *secret; /* borrowed from the options */
} LuksWish;
bool luks_wish(LuksWish *w, Opts *o, Error **err);
void luks_lay_out(Luks *l, const LuksWish *w); /* no key yet: for luks_header_bytes */
/* A new header with a new key in slot 0; l->file, base, room, detached are set. */
CO_FN bool luks_format(Luks *l, const LuksWish *w, Error **err);
/* luks-amend.c: "state", "keyslot", "old-secret", "new-secret", "iter-time"; l is unlocked. force: also the last password goes */
CO_FN bool luks_amend(Luks *l, Opts *o, bool force, Error **err);
#endif
