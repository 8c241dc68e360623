/* block/old/bzip2-none.c - a build without libbz2: nothing is unpacked. */
#include "block/old/chunks.h"

const bool chunks_have_bzip2 = false;
bool chunks_bzip2(const void *in, size_t n, void *out, size_t want) { return false; }
