/*
 * block/crypt/luks-key.c - key slots. The master key is split into stripes, all of which are needed to join it again
 * (anti-forensic: a stripe that is gone takes the key with it). What takes long runs on a thread of the pool.
 */
#include "block/crypt/luks.h"
#include "core/secret.h"
#include <errno.h>

/* ---- splitting ---- */
static void xor_into(uint8_t *to, const uint8_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] ^= from[i];
}

/* Each piece of the size of a digest becomes the hash of its number and itself. */
static void diffuse(const HashAlg *h, uint8_t *buf, size_t n)
{
    uint32_t i = 0;

    for (size_t at = 0; at < n; at += h->bytes, i++) {
        uint8_t number[4], out[HASH_BYTES_MAX];
        size_t len = MIN(h->bytes, n - at);

        be32_store(number, i);
        hash_run(h, number, sizeof(number), buf + at, len, out);
        memcpy(buf + at, out, len);
    }
}

static void join(const HashAlg *h, const uint8_t *material, uint32_t stripes, uint8_t *key, size_t n)
{
    memset(key, 0, n);
    for (uint32_t i = 0; i < stripes; i++) {
        xor_into(key, material + i * n, n);
        if (i + 1 < stripes)
            diffuse(h, key, n);
    }
}

/* All stripes but the last are random already. */
static void split(const HashAlg *h, uint8_t *material, uint32_t stripes, const uint8_t *key, size_t n)
{
    uint8_t *last = material + (stripes - 1) * n;

    memset(last, 0, n);
    for (uint32_t i = 0; i + 1 < stripes; i++) {
        xor_into(last, material + i * n, n);
        diffuse(h, last, n);
    }
    xor_into(last, key, n);
}

/* ---- in the pool ---- */
typedef struct Job {
    Luks *l;
    LuksSlot *slot;
    const uint8_t *pass;
    size_t npass;
    uint64_t ms; /* to seal: how long deriving the key should take */
    uint8_t *material, key[CIPHER_KEY_MAX];
    size_t n, len; /* of the key, of the material in whole sectors */
} Job;

static void digest_of(const Luks *l, const uint8_t *key, uint8_t out[LUKS_DIGEST])
{
    derive_key(l->hash, key, spec_key_bytes(&l->spec), l->salt, LUKS_SALT, l->iterations, out, LUKS_DIGEST);
}

/* The material under the password: decrypted or encrypted in place. */
static int cover(Job *j, bool encrypt)
{
    uint8_t key[CIPHER_KEY_MAX];
    Sectors *s;

    derive_key(j->l->hash, j->pass, j->npass, j->slot->salt, LUKS_SALT, j->slot->iterations, key, j->n);
    s = sectors_new(&j->l->spec, key, NULL);
    explicit_bzero(key, sizeof(key));
    if (!s)
        return -EINVAL;
    sectors_run(s, encrypt, 0, j->material, j->len);
    sectors_free(s);
    return 0;
}

/* 1: this is the master key */
static int open_slot(void *arg)
{
    Job *j = arg;
    uint8_t digest[LUKS_DIGEST];
    int ret = cover(j, false);

    if (ret)
        return ret;
    join(j->l->hash, j->material, j->slot->stripes, j->key, j->n);
    digest_of(j->l, j->key, digest);
    return !memcmp(digest, j->l->digest, LUKS_DIGEST);
}

static int seal_slot(void *arg)
{
    Job *j = arg;

    j->slot->iterations = luks_iterations(j->l->hash, (unsigned)j->n, j->ms);
    if (!random_bytes(j->slot->salt, LUKS_SALT) || !random_bytes(j->material, j->len))
        return -EIO;
    split(j->l->hash, j->material, j->slot->stripes, j->l->key, j->n);
    return cover(j, true);
}

/* The quickest of a few: other programs on the host must not make a password weaker. */
static int64_t time_of(const HashAlg *h, unsigned key_bytes, unsigned n)
{
    int64_t best = INT64_MAX;
    uint8_t key[CIPHER_KEY_MAX];

    for (int i = 0; i < 3; i++) {
        int64_t start = host_now();

        derive_key(h, "password", 8, "salt", 4, n, key, key_bytes);
        best = MIN(best, host_now() - start);
    }
    return best;
}

uint32_t luks_iterations(const HashAlg *h, unsigned key_bytes, uint64_t ms)
{
    unsigned n = LUKS_ITERATIONS_MIN;
    int64_t took = 0;
    double want;

    while (took < 3 * MS && n < LUKS_ITERATIONS_MAX / 2)
        took = time_of(h, key_bytes, n *= 2);
    want = (double)n * (double)ms * 1e6 / (double)MAX(took, 1);
    return (uint32_t)MIN(MAX(want, LUKS_ITERATIONS_MIN), LUKS_ITERATIONS_MAX);
}

/* ---- slots ---- */
static bool job_init(Job *j, Luks *l, unsigned slot, const uint8_t *pass, size_t npass)
{
    *j = (Job){ .l = l, .slot = &l->slots[slot], .pass = pass, .npass = npass, .n = spec_key_bytes(&l->spec) };
    j->len = align_up(j->n * j->slot->stripes, CRYPT_SECTOR);
    j->material = g_try_malloc0(j->len);
    return j->material;
}

static void job_end(Job *j)
{
    explicit_bzero(j->key, sizeof(j->key));
    secret_wipe(j->material, j->len);
}

static uint64_t place_of(const Luks *l, const LuksSlot *s) { return l->base + (uint64_t)s->material * CRYPT_SECTOR; }

CO_FN int luks_try(Luks *l, unsigned slot, const uint8_t *pass, size_t n, uint8_t *key)
{
    Job j;
    int ret;

    if (!l->slots[slot].active)
        return 0;
    if (!job_init(&j, l, slot, pass, n))
        return -ENOMEM;
    ret = blk_read(l->file, place_of(l, j.slot), j.material, j.len);
    if (!ret)
        ret = blk_in_pool(l->file->loop, open_slot, &j);
    if (ret == 1 && key)
        memcpy(key, j.key, j.n);
    job_end(&j);
    return ret;
}

CO_FN bool luks_unlock(Luks *l, const char *secret, Error **err)
{
    uint8_t *pass;
    size_t n;
    int ret = 0;

    if (!secret_get(l->file->loop, secret, &pass, &n, err))
        return false;
    for (unsigned i = 0; i < LUKS_SLOTS && !ret; i++)
        ret = luks_try(l, i, pass, n, l->key);
    secret_wipe(pass, n);
    l->unlocked = ret == 1;
    if (ret < 0)
        return fail_errno_is(err, -ret, "cannot read the keys of '%s'", l->file->filename);
    return l->unlocked || fail(err, "Invalid password, cannot unlock any keyslot");
}

/* First the material, then the header that makes it count. */
CO_FN bool luks_set_slot(Luks *l, unsigned slot, const uint8_t *pass, size_t n, uint64_t ms, Error **err)
{
    LuksSlot was = l->slots[slot];
    Job j;
    int ret = job_init(&j, l, slot, pass, n) ? 0 : -ENOMEM;

    j.ms = ms;
    if (!ret)
        ret = blk_in_pool(l->file->loop, seal_slot, &j);
    if (!ret)
        ret = blk_write(l->file, place_of(l, j.slot), j.material, j.len);
    if (!ret)
        ret = blk_flush(l->file);
    if (!ret) {
        j.slot->active = true;
        ret = luks_write_phdr(l);
    }
    job_end(&j);
    if (!ret)
        return true;
    l->slots[slot] = was;
    return fail_errno_is(err, -ret, "cannot write key slot %u of '%s'", slot, l->file->filename);
}

/* The material first: a slot whose key is gone does no harm. */
CO_FN bool luks_erase_slot(Luks *l, unsigned slot, Error **err)
{
    LuksSlot *s = &l->slots[slot];
    Job j;
    int ret = job_init(&j, l, slot, NULL, 0) ? 0 : -ENOMEM;

    if (!ret && !random_bytes(j.material, j.len))
        ret = -EIO;
    if (!ret)
        ret = blk_write(l->file, place_of(l, s), j.material, j.len);
    if (!ret)
        ret = blk_flush(l->file);
    if (!ret) {
        s->active = false;
        s->iterations = 0;
        memset(s->salt, 0, LUKS_SALT);
        ret = luks_write_phdr(l);
    }
    job_end(&j);
    return !ret || fail_errno_is(err, -ret, "cannot erase key slot %u of '%s'", slot, l->file->filename);
}
