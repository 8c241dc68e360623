/* block/qcow2/zstd.c - zstd for compressed clusters. */
#include "block/qcow2/qcow2.h"
#include <zstd.h>

const bool qcow2__have_zstd = true;

size_t qcow2__zstd_pack(const void *in, size_t n, void *out, size_t room)
{
    size_t made = ZSTD_compress(out, room, in, n, ZSTD_CLEVEL_DEFAULT);

    return ZSTD_isError(made) ? 0 : made;
}

/* One frame or several, in a buffer that goes on with something else: by the stream interface. */
bool qcow2__zstd_unpack(const void *in, size_t n, void *out, size_t want)
{
    ZSTD_DCtx *z = ZSTD_createDCtx();
    ZSTD_inBuffer i = { in, n, 0 };
    ZSTD_outBuffer o = { out, want, 0 };
    bool ok = z;

    while (ok && o.pos < want) { /* each round takes input or makes output */
        size_t in_was = i.pos, out_was = o.pos;

        ok = !ZSTD_isError(ZSTD_decompressStream(z, &o, &i)) && (i.pos > in_was || o.pos > out_was);
    }
    ZSTD_freeDCtx(z);
    return ok;
}
