/* block/crypt/sectors.c - encrypted sectors: see sectors.h. Much at once is worked on by a thread of the pool. */
#include "block/crypt/sectors.h"
#include "block/iov.h"
#include <errno.h>

enum { PIECE = 1 << 20, HERE_MAX = 16 * 1024 /* more goes to the pool */, IDLE_MAX = 16 };
typedef struct Pair { /* used by one request at a time */
    Cipher *data, *essiv;
} Pair;
struct Sectors {
    SectorSpec spec;
    uint8_t key[CIPHER_KEY_MAX], essiv_key[HASH_BYTES_MAX];
    const CipherAlg *essiv;
    GPtrArray *idle; /* of Pair */
};
const char *const ivgen_names[IV_GENS + 1] = { "plain", "plain64", "essiv", NULL };

static void pair_free(gpointer p)
{
    Pair *x = p;

    cipher_free(x->data);
    cipher_free(x->essiv);
    g_free(x);
}

static Pair *pair_new(const Sectors *s, Error **err)
{
    Pair *x = g_new0(Pair, 1);

    x->data = cipher_new(s->spec.alg, s->spec.mode, s->key, spec_key_bytes(&s->spec), err);
    if (x->data && s->essiv)
        x->essiv = cipher_new(s->essiv, CIPHER_ECB, s->essiv_key, s->essiv->key_bytes, err);
    if (x->data && (x->essiv || !s->essiv))
        return x;
    pair_free(x);
    return NULL;
}

Sectors *sectors_new(const SectorSpec *spec, const uint8_t *key, Error **err)
{
    Sectors *s = g_new0(Sectors, 1);
    Pair *first = NULL;

    s->spec = *spec;
    s->idle = g_ptr_array_new_with_free_func(pair_free);
    memcpy(s->key, key, spec_key_bytes(spec));
    if (spec->ivgen == IV_ESSIV) {
        s->essiv = cipher_of_family(spec->alg->family, spec->ivhash->bytes);
        hash_run(spec->ivhash, key, spec_key_bytes(spec), NULL, 0, s->essiv_key);
        if (!s->essiv)
            fail(err, "cipher %s takes no key of %u bytes, which is what hash %s makes for essiv", spec->alg->family, spec->ivhash->bytes,
                 spec->ivhash->name);
    }
    if (spec->ivgen != IV_ESSIV || s->essiv)
        first = pair_new(s, err);
    if (!first) {
        sectors_free(s);
        return NULL;
    }
    g_ptr_array_add(s->idle, first);
    return s;
}

void sectors_free(Sectors *s)
{
    if (!s)
        return;
    g_ptr_array_free(s->idle, TRUE);
    explicit_bzero(s->key, sizeof(s->key));
    explicit_bzero(s->essiv_key, sizeof(s->essiv_key));
    g_free(s);
}

/* ---- the work ---- */
static void start_of(const Sectors *s, const Pair *x, uint64_t sector, uint8_t iv[CIPHER_BLOCK_MAX])
{
    memset(iv, 0, CIPHER_BLOCK_MAX);
    le64_store(iv, s->spec.ivgen == IV_PLAIN ? (uint32_t)sector : sector);
    if (x->essiv)
        cipher_run(x->essiv, true, NULL, iv, s->essiv->block);
}

static void run(const Sectors *s, const Pair *x, bool encrypt, uint64_t sector, uint8_t *buf, size_t len)
{
    for (size_t at = 0; at < len; at += CRYPT_SECTOR, sector++) {
        uint8_t iv[CIPHER_BLOCK_MAX];

        start_of(s, x, sector, iv);
        cipher_run(x->data, encrypt, iv, buf + at, CRYPT_SECTOR);
    }
}

void sectors_run(Sectors *s, bool encrypt, uint64_t first, void *buf, size_t len) { run(s, s->idle->pdata[0], encrypt, first, buf, len); }

typedef struct Work {
    const Sectors *s;
    const Pair *x;
    bool encrypt;
    uint64_t sector;
    uint8_t *buf;
    size_t len;
} Work;

static int work(void *arg)
{
    const Work *w = arg;

    run(w->s, w->x, w->encrypt, w->sector, w->buf, w->len);
    return 0;
}

static CO_FN int convert(Sectors *s, Loop *loop, bool encrypt, uint64_t sector, uint8_t *buf, size_t len)
{
    Pair *x = s->idle->len ? g_ptr_array_steal_index(s->idle, s->idle->len - 1) : pair_new(s, NULL);
    Work w = { s, x, encrypt, sector, buf, len };

    if (!x)
        return -EIO;
    if (len > HERE_MAX)
        blk_in_pool(loop, work, &w);
    else
        work(&w);
    if (s->idle->len < IDLE_MAX)
        g_ptr_array_add(s->idle, x);
    else
        pair_free(x);
    return 0;
}

static CO_FN int transfer(Sectors *s, Node *file, uint64_t at, uint64_t first, const struct iovec *iov, int niov, uint64_t len, bool write)
{
    g_autofree uint8_t *buf = g_try_malloc(MIN(len, PIECE));
    int ret = 0;

    if (!buf || (at | len) % CRYPT_SECTOR)
        return buf ? -EINVAL : -ENOMEM;
    for (uint64_t done = 0, n; done < len && !ret; done += n) {
        uint64_t sector = first + done / CRYPT_SECTOR;

        n = MIN(len - done, PIECE);
        if (write) {
            iov_gather(iov, niov, done, buf, n);
            ret = convert(s, file->loop, true, sector, buf, n);
            ret = ret ? ret : blk_write(file, at + done, buf, n);
        } else {
            ret = blk_read(file, at + done, buf, n);
            ret = ret ? ret : convert(s, file->loop, false, sector, buf, n);
            if (!ret)
                iov_scatter(iov, niov, done, buf, n);
        }
    }
    return ret;
}

CO_FN int sectors_read(Sectors *s, Node *file, uint64_t at, uint64_t first, const struct iovec *iov, int niov, uint64_t len)
{
    return transfer(s, file, at, first, iov, niov, len, false);
}

CO_FN int sectors_write(Sectors *s, Node *file, uint64_t at, uint64_t first, const struct iovec *iov, int niov, uint64_t len)
{
    return transfer(s, file, at, first, iov, niov, len, true);
}
