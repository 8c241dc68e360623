/*
 * block/qcow2/encrypt.c - encrypted guest clusters. Method 2: a LUKS header in clusters of its own, named by a header
 * extension; a sector's number is that of its place in the file that holds it. Method 1 (AES, only read): the key is the
 * password's first 16 bytes; a sector's number is the guest's. Metadata is never encrypted.
 */
#include "block/qcow2/qcow2.h"
#include "core/secret.h"
#include <errno.h>

enum { AES_KEY = 16, EXTENSION = 16 };

static bool open_aes(Qcow2 *s, const char *secret, Error **err)
{
    SectorSpec spec = { .alg = cipher_find("aes-128"), .mode = CIPHER_CBC, .ivgen = IV_PLAIN64 };
    uint8_t key[AES_KEY] = { 0 }, *pass = NULL;
    size_t n = 0;

    if (!s->n->readonly) {
        fail(err, "'%s' is encrypted by the old method AES, which is only read", s->n->filename);
        return error_hint(err, "convert it: menura-img convert .. -O qcow2 -o encrypt.format=luks,..");
    }
    if (!secret)
        return true;
    if (!secret_get(s->n->loop, secret, &pass, &n, err))
        return false;
    memcpy(key, pass, MIN(n, AES_KEY));
    secret_wipe(pass, n);
    s->sectors = sectors_new(&spec, key, err);
    explicit_bzero(key, sizeof(key));
    return s->sectors;
}

static CO_FN bool open_luks(Qcow2 *s, const char *secret, Error **err)
{
    const Extension *e = qcow2__extension(s, EXT_CRYPTO);
    uint64_t at = e && e->len == EXTENSION ? be64_load(e->data) : 0, len = at ? be64_load(e->data + 8) : 0;
    const char *f = s->n->filename;

    if (!at)
        return fail(err, "'%s' is encrypted, but its header does not say where the keys are", f);
    if (at % s->cluster || !in_range(at, len, align_up(s->n->file->size, s->cluster)))
        return fail(err, "'%s': the encryption header lies outside of the file", f);
    s->luks = g_new0(Luks, 1);
    *s->luks = (Luks){ .file = s->n->file, .base = at, .room = len };
    if (!luks_read(s->luks, err))
        return false;
    if (!secret)
        return true;
    if (!luks_unlock(s->luks, secret, err))
        return false;
    s->sectors = sectors_new(&s->luks->spec, s->luks->key, err);
    return s->sectors;
}

CO_FN bool qcow2__crypt_open(Qcow2 *s, Opts *o, Error **err)
{
    g_autoptr(Opts) sub = opts_sub(o, "encrypt");
    const char *secret = opts_get(sub, "key-secret"), *format = opts_get(sub, "format"), *is = s->h.crypt == 1 ? "aes" : "luks";
    bool no_io;

    if (!opts_get_bool(o, "no-io", false, &no_io, err) || !opts_all_used(sub, "encrypt", err))
        return false;
    if (!s->h.crypt)
        return !format || fail(err, "No encryption in image header, but options specified format '%s'", format);
    if (s->h.crypt > 2)
        return fail(err, "'%s' is encrypted by method %" PRIu64 ", which is not known", s->n->filename, s->h.crypt);
    if (format && strcmp(format, is))
        return fail(err, "Header reported '%s' encryption format but options specify '%s'", is, format);
    if (s->h.size % CRYPT_SECTOR)
        return fail(err, "'%s' is encrypted, but its size is no multiple of 512", s->n->filename);
    if (!crypto_there(err))
        return false;
    if (!secret && !no_io && !s->for_check) {
        fail(err, "Parameter 'encrypt.key-secret' is required for cipher");
        return error_hint(err, "--object secret,id=s,file=PATH and encrypt.key-secret=s");
    }
    return s->h.crypt == 1 ? open_aes(s, secret, err) : open_luks(s, secret, err);
}

void qcow2__crypt_close(Qcow2 *s)
{
    sectors_free(s->sectors);
    if (s->luks)
        explicit_bzero(s->luks, sizeof(*s->luks));
    g_free(s->luks);
}

uint64_t qcow2__crypt_bytes(const Qcow2 *s, uint64_t *at)
{
    const Extension *e = s->h.crypt == 2 ? qcow2__extension(s, EXT_CRYPTO) : NULL;

    *at = e && e->len == EXTENSION ? be64_load(e->data) : 0;
    return *at ? be64_load(e->data + 8) : 0;
}

static uint64_t number(const Qcow2 *s, uint64_t host, uint64_t guest) { return (s->h.crypt == 1 ? guest : host) / CRYPT_SECTOR; }

CO_FN int qcow2__crypt_read(Qcow2 *s, uint64_t host, uint64_t guest, const struct iovec *iov, int niov, uint64_t len)
{
    return s->sectors ? sectors_read(s->sectors, qcow2__data(s), host, number(s, host, guest), iov, niov, len) : -EPERM;
}

CO_FN int qcow2__crypt_write(Qcow2 *s, uint64_t host, uint64_t guest, const struct iovec *iov, int niov, uint64_t len)
{
    return s->sectors ? sectors_write(s->sectors, qcow2__data(s), host, number(s, host, guest), iov, niov, len) : -EPERM;
}

/* ---- a new image ---- */
static void set_extension(Qcow2 *s, uint64_t at, uint64_t len)
{
    Extension *e = g_new0(Extension, 1);

    e->type = EXT_CRYPTO;
    e->len = EXTENSION;
    e->data = g_malloc0(EXTENSION);
    be64_store(e->data, at);
    be64_store(e->data + 8, len);
    g_ptr_array_add(s->extensions, e);
}

/* The clusters and the keys first, then the header that names them. */
CO_FN bool qcow2__crypt_make(Qcow2 *s, const LuksWish *w, Error **err)
{
    Luks *l = s->luks = g_new0(Luks, 1);
    uint64_t at = 0, got, len;
    int ret;

    luks_lay_out(l, w);
    len = luks_header_bytes(l);
    ret = qcow2__alloc(s, (len + s->cluster - 1) >> s->cluster_bits, true, &at, &got);
    if (!ret)
        ret = blk_zero(s->n->file, at, align_up(len, s->cluster), 0);
    if (!ret)
        ret = qcow2__writeback(s);
    if (ret)
        return fail_errno_is(err, -ret, "cannot write '%s'", s->n->filename);
    l->file = s->n->file;
    l->base = at;
    l->room = len;
    if (!luks_format(l, w, err))
        return false;
    s->sectors = sectors_new(&l->spec, l->key, err);
    if (!s->sectors)
        return false;
    set_extension(s, at, len);
    s->h.crypt = 2;
    qcow2__note_meta(s, at, len);
    ret = qcow2__write_header(s);
    return !ret || fail_errno_is(err, -ret, "cannot write the header of '%s'", s->n->filename);
}

void qcow2__crypt_facts(const Qcow2 *s, GPtrArray *out)
{
    if (s->h.crypt == 1)
        blk_fact(out, "encrypt.format", g_strdup("aes"), true);
    else if (s->luks)
        luks_facts(s->luks, "encrypt.", "luks", out);
}
