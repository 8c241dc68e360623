/* block/crypt/luks-create.c - what a new header is to be, and making it. */
#include "block/crypt/luks.h"
#include "core/secret.h"
#include <errno.h>

enum { ALIGN = 4096, ITER_TIME = 2000, DIGEST_SHARE = 8 /* checking the key takes an eighth of deriving it */ };

static bool choose(const char *const *names, Opts *o, const char *key, unsigned otherwise, unsigned *out, Error **err)
{
    const char *v = opts_get(o, key);

    *out = otherwise;
    if (!v)
        return true;
    for (unsigned i = 0; names[i]; i++) {
        if (!strcmp(names[i], v)) {
            *out = i;
            return true;
        }
    }
    return fail(err, "Invalid parameter '%s' for %s", v, key);
}

static bool hash_of(Opts *o, const char *key, const HashAlg **out, Error **err)
{
    const char *v = opts_get(o, key);

    *out = v ? hash_find(v) : NULL;
    return !v || *out || fail(err, "Hash algorithm '%s' is not supported", v);
}

static bool spec_ok(const SectorSpec *s, Error **err)
{
    uint8_t key[CIPHER_KEY_MAX] = { 0 };
    Sectors *try;

    if (s->mode == CIPHER_XTS && s->alg->block != 16)
        return fail(err, "Unsupported cipher mode xts");
    try = sectors_new(s, key, err);
    sectors_free(try);
    return try;
}

bool luks_wish(LuksWish *w, Opts *o, Error **err)
{
    const char *alg = opts_get(o, "cipher-alg");
    unsigned mode, gen;

    w->secret = opts_get(o, "key-secret");
    if (!crypto_there(err) || !choose(cipher_mode_names, o, "cipher-mode", CIPHER_XTS, &mode, err) ||
        !choose(ivgen_names, o, "ivgen-alg", IV_PLAIN64, &gen, err) || !hash_of(o, "hash-alg", &w->hash, err) ||
        !hash_of(o, "ivgen-hash-alg", &w->spec.ivhash, err) || !opts_get_u64(o, "iter-time", ITER_TIME, &w->ms, err))
        return false;
    w->spec.alg = cipher_find(alg ? alg : "aes-256");
    if (!w->spec.alg)
        return fail(err, "Algorithm '%s' not supported", alg);
    if (!w->ms || w->ms > 3600000)
        return fail(err, "iter-time must be 1 to 3600000 milliseconds");
    w->spec.mode = (CipherMode)mode;
    w->spec.ivgen = (IvGen)gen;
    w->hash = w->hash ? w->hash : hash_find("sha256");
    if (gen == IV_ESSIV && !w->spec.ivhash)
        w->spec.ivhash = hash_find("sha256");
    return spec_ok(&w->spec, err);
}

void luks_lay_out(Luks *l, const LuksWish *w)
{
    uint64_t each;

    l->spec = w->spec;
    l->hash = w->hash;
    each = align_up((uint64_t)spec_key_bytes(&l->spec) * LUKS_STRIPES, ALIGN);
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        l->slots[i] = (LuksSlot){ .material = (uint32_t)((ALIGN + i * each) / CRYPT_SECTOR), .stripes = LUKS_STRIPES };
    l->payload = l->detached ? 0 : luks_header_bytes(l);
}

static int make_key(void *arg)
{
    Luks *l = arg;
    unsigned n = spec_key_bytes(&l->spec);
    g_autofree char *uuid = g_uuid_string_random();

    if (!random_bytes(l->key, n) || !random_bytes(l->salt, LUKS_SALT))
        return -EIO;
    memcpy(l->uuid, uuid, strlen(uuid) + 1);
    l->iterations = luks_iterations(l->hash, LUKS_DIGEST, MAX(l->iterations / DIGEST_SHARE, 1));
    derive_key(l->hash, l->key, n, l->salt, LUKS_SALT, l->iterations, l->digest, LUKS_DIGEST);
    l->unlocked = true;
    return 0;
}

CO_FN bool luks_format(Luks *l, const LuksWish *w, Error **err)
{
    uint8_t *pass;
    size_t n;
    bool ok;
    int ret;

    if (!w->secret)
        return fail(err, "Parameter 'key-secret' is required for cipher");
    if (!secret_get(l->file->loop, w->secret, &pass, &n, err))
        return false;
    luks_lay_out(l, w);
    l->iterations = (uint32_t)MIN(w->ms, UINT32_MAX); /* make_key knows how many */
    ret = blk_in_pool(l->file->loop, make_key, l);
    ok = !ret || fail_errno_is(err, -ret, "cannot make a key");
    ok = ok && luks_set_slot(l, 0, pass, n, w->ms, err);
    secret_wipe(pass, n);
    return ok;
}
