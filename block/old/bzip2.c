/* block/old/bzip2.c - unpacking by libbz2. */
#include "block/old/chunks.h"
#include <bzlib.h>

const bool chunks_have_bzip2 = true;

bool chunks_bzip2(const void *in, size_t n, void *out, size_t want)
{
    unsigned made = (unsigned)want;

    return BZ2_bzBuffToBuffDecompress(out, &made, (char *)(uintptr_t)in, (unsigned)n, 0, 0) == BZ_OK && made == want;
}
