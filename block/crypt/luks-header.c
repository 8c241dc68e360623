/* block/crypt/luks-header.c - the first 592 bytes: read, checked, written, told. Everything in it is bounded here. */
#include "block/crypt/luks.h"
#include <errno.h>

enum { AT_VERSION = 6, AT_CIPHER = 8, AT_MODE = 40, AT_HASH = 72, AT_PAYLOAD = 104, AT_KEY_BYTES = 108, AT_DIGEST = 112, AT_SALT = 132,
       AT_ITERATIONS = 164, AT_UUID = 168, AT_SLOTS = 208, SLOT = 48, TEXT = 32, /* of a slot: */ AT_SLOT_SALT = 8, AT_MATERIAL = 40, AT_STRIPES = 44,
       STRIPES_MAX = 1 << 16, WHOLE = 2 * CRYPT_SECTOR /* what is written */ };
#define SLOT_ACTIVE   0x00ac71f3u
#define SLOT_INACTIVE 0x0000deadu
static const uint8_t magic[6] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };

bool luks_is(const uint8_t *head, size_t n) { return n >= 8 && !memcmp(head, magic, 6); }

static uint64_t slot_bytes(const Luks *l, const LuksSlot *s) { return (uint64_t)spec_key_bytes(&l->spec) * s->stripes; }

uint64_t luks_header_bytes(const Luks *l)
{
    const LuksSlot *last = &l->slots[LUKS_SLOTS - 1];

    return align_up((uint64_t)last->material * CRYPT_SECTOR + slot_bytes(l, last), 4096);
}

/* ---- reading ---- */
static int index_of(const char *const *names, const char *name, size_t len)
{
    for (int i = 0; names[i]; i++)
        if (strlen(names[i]) == len && !strncmp(names[i], name, len))
            return i;
    return -1;
}

/* "xts-plain64", "cbc-essiv:sha256", "ecb" */
static bool parse_mode(Luks *l, const char *text, Error **err)
{
    const char *dash = strchr(text, '-'), *iv = dash ? dash + 1 : "plain", *colon = strchr(iv, ':');
    int mode = index_of(cipher_mode_names, text, dash ? (size_t)(dash - text) : strlen(text));
    int gen = index_of(ivgen_names, iv, colon ? (size_t)(colon - iv) : strlen(iv));

    if (mode < 0 || gen < 0)
        return fail(err, "'%s': cipher mode '%s' is not supported", l->file->filename, text);
    l->spec.mode = (CipherMode)mode;
    l->spec.ivgen = (IvGen)gen;
    l->spec.ivhash = colon ? hash_find(colon + 1) : NULL;
    if (gen == IV_ESSIV && !l->spec.ivhash)
        return fail(err, "'%s': cipher mode '%s' names no hash that is there", l->file->filename, text);
    return true;
}

static bool parse_algorithms(Luks *l, const uint8_t *p, Error **err)
{
    char cipher[TEXT + 1] = "", mode[TEXT + 1] = "", hash[TEXT + 1] = "";
    uint32_t key_bytes = be32_load(p + AT_KEY_BYTES);
    const char *f = l->file->filename;

    memcpy(cipher, p + AT_CIPHER, TEXT);
    memcpy(mode, p + AT_MODE, TEXT);
    memcpy(hash, p + AT_HASH, TEXT);
    if (!parse_mode(l, mode, err))
        return false;
    l->spec.alg = cipher_of_family(cipher, l->spec.mode == CIPHER_XTS ? key_bytes / 2 : key_bytes);
    if (!l->spec.alg || spec_key_bytes(&l->spec) != key_bytes)
        return fail(err, "'%s': cipher '%s' with a key of %u bytes is not supported", f, cipher, key_bytes);
    l->hash = hash_find(hash);
    return l->hash || fail(err, "'%s': hash '%s' is not supported", f, hash);
}

static void parse_slot(LuksSlot *s, const uint8_t *p)
{
    s->active = be32_load(p) == SLOT_ACTIVE;
    s->iterations = be32_load(p + 4);
    memcpy(s->salt, p + AT_SLOT_SALT, LUKS_SALT);
    s->material = be32_load(p + AT_MATERIAL);
    s->stripes = be32_load(p + AT_STRIPES);
}

static bool slot_ok(const Luks *l, unsigned i, uint32_t state, Error **err)
{
    const LuksSlot *s = &l->slots[i];
    uint64_t at = (uint64_t)s->material * CRYPT_SECTOR, len = align_up(slot_bytes(l, s), CRYPT_SECTOR);
    const char *f = l->file->filename;

    if (state != SLOT_ACTIVE && state != SLOT_INACTIVE)
        return fail(err, "'%s': the state %#x of key slot %u is invalid", f, state, i);
    if (!s->stripes || s->stripes > STRIPES_MAX)
        return fail(err, "'%s': key slot %u has %u stripes", f, i, s->stripes);
    if (at < LUKS_PHDR || !in_range(at, len, l->room) || (!l->detached && l->payload && at + len > l->payload))
        return fail(err, "'%s': the key material of slot %u lies outside of the header", f, i);
    if (s->active && (!s->iterations || s->iterations > LUKS_ITERATIONS_MAX))
        return fail(err, "'%s': key slot %u wants %u iterations (1 to %d are possible)", f, i, s->iterations, LUKS_ITERATIONS_MAX);
    for (unsigned k = 0; k < i; k++) {
        uint64_t other = (uint64_t)l->slots[k].material * CRYPT_SECTOR;

        if (at < other + slot_bytes(l, &l->slots[k]) && other < at + len)
            return fail(err, "'%s': the key slots %u and %u overlap", f, k, i);
    }
    return true;
}

static bool parse(Luks *l, const uint8_t *p, Error **err)
{
    const char *f = l->file->filename;

    if (!luks_is(p, LUKS_PHDR))
        return fail(err, "'%s' has no LUKS header", f);
    if (be16_load(p + AT_VERSION) != 1) {
        fail(err, "'%s': LUKS version %u is not supported", f, be16_load(p + AT_VERSION));
        return error_hint(err, "version 1 is: cryptsetup convert --type luks1, if its features allow it");
    }
    if (!parse_algorithms(l, p, err))
        return false;
    l->payload = (uint64_t)be32_load(p + AT_PAYLOAD) * CRYPT_SECTOR;
    l->iterations = be32_load(p + AT_ITERATIONS);
    memcpy(l->digest, p + AT_DIGEST, LUKS_DIGEST);
    memcpy(l->salt, p + AT_SALT, LUKS_SALT);
    memcpy(l->uuid, p + AT_UUID, LUKS_UUID);
    if (!l->iterations || l->iterations > LUKS_ITERATIONS_MAX)
        return fail(err, "'%s': the header wants %u iterations (1 to %d are possible)", f, l->iterations, LUKS_ITERATIONS_MAX);
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        parse_slot(&l->slots[i], p + AT_SLOTS + i * SLOT);
        if (!slot_ok(l, i, be32_load(p + AT_SLOTS + i * SLOT), err))
            return false;
    }
    return true;
}

CO_FN bool luks_read(Luks *l, Error **err)
{
    uint8_t head[LUKS_PHDR] = { 0 };
    int ret = l->room < LUKS_PHDR ? 0 : blk_read(l->file, l->base, head, LUKS_PHDR);

    if (ret)
        return fail_errno_is(err, -ret, "cannot read the header of '%s'", l->file->filename);
    return crypto_there(err) && parse(l, head, err);
}

/* ---- writing ---- */
static char *mode_text(const SectorSpec *s)
{
    return g_strdup_printf("%s-%s%s%s", cipher_mode_names[s->mode], ivgen_names[s->ivgen], s->ivhash ? ":" : "", s->ivhash ? s->ivhash->name : "");
}

CO_FN int luks_write_phdr(const Luks *l)
{
    uint8_t p[WHOLE];
    g_autofree char *mode = mode_text(&l->spec);
    int ret;

    memset(p, 0, sizeof(p));
    memcpy(p, magic, sizeof(magic));
    be16_store(p + AT_VERSION, 1);
    memcpy(p + AT_CIPHER, l->spec.alg->family, strlen(l->spec.alg->family));
    memcpy(p + AT_MODE, mode, strlen(mode)); /* the longest is "ctr-plain64:ripemd160" */
    memcpy(p + AT_HASH, l->hash->name, strlen(l->hash->name));
    be32_store(p + AT_PAYLOAD, (uint32_t)(l->payload / CRYPT_SECTOR));
    be32_store(p + AT_KEY_BYTES, spec_key_bytes(&l->spec));
    memcpy(p + AT_DIGEST, l->digest, LUKS_DIGEST);
    memcpy(p + AT_SALT, l->salt, LUKS_SALT);
    be32_store(p + AT_ITERATIONS, l->iterations);
    memcpy(p + AT_UUID, l->uuid, LUKS_UUID);
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const LuksSlot *s = &l->slots[i];
        uint8_t *q = p + AT_SLOTS + i * SLOT;

        be32_store(q, s->active ? SLOT_ACTIVE : SLOT_INACTIVE);
        be32_store(q + 4, s->iterations);
        memcpy(q + AT_SLOT_SALT, s->salt, LUKS_SALT);
        be32_store(q + AT_MATERIAL, s->material);
        be32_store(q + AT_STRIPES, s->stripes);
    }
    ret = blk_write(l->file, l->base, p, sizeof(p));
    return ret ? ret : blk_flush(l->file);
}

/* ---- telling ---- */
static void tell(GPtrArray *out, const char *prefix, const char *key, char *value, bool quoted)
{
    g_autofree char *name = g_strconcat(prefix, key, NULL);

    blk_fact(out, g_intern_string(name), value, quoted);
}

static void tell_number(GPtrArray *out, const char *prefix, const char *key, uint64_t v)
{
    tell(out, prefix, key, g_strdup_printf("%" PRIu64, v), false);
}

void luks_facts(const Luks *l, const char *prefix, const char *format, GPtrArray *out)
{
    tell(out, prefix, "ivgen-alg", g_strdup(ivgen_names[l->spec.ivgen]), true);
    tell(out, prefix, "detached-header", g_strdup(l->detached ? "true" : "false"), false);
    tell(out, prefix, "hash-alg", g_strdup(l->hash->name), true);
    tell(out, prefix, "cipher-alg", g_strdup(l->spec.alg->name), true);
    tell(out, prefix, "uuid", g_utf8_make_valid(l->uuid, -1), true);
    if (l->spec.ivgen == IV_ESSIV)
        tell(out, prefix, "ivgen-hash-alg", g_strdup(l->spec.ivhash->name), true);
    if (format)
        tell(out, prefix, "format", g_strdup(format), true);
    tell(out, prefix, "cipher-mode", g_strdup(cipher_mode_names[l->spec.mode]), true);
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const LuksSlot *s = &l->slots[i];
        g_autofree char *slot = g_strdup_printf("%sslots.%u.", prefix, i);

        tell(out, slot, "active", g_strdup(s->active ? "true" : "false"), false);
        if (s->active)
            tell_number(out, slot, "iters", s->iterations);
        tell_number(out, slot, "key-offset", (uint64_t)s->material * CRYPT_SECTOR);
        if (s->active)
            tell_number(out, slot, "stripes", s->stripes);
    }
    tell_number(out, prefix, "payload-offset", l->payload);
    tell_number(out, prefix, "master-key-iters", l->iterations);
}
