/* block/qcow2/zstd-none.c - a build without zstd: such images are refused when they are opened. */
#include "block/qcow2/qcow2.h"

const bool qcow2__have_zstd = false;
size_t qcow2__zstd_pack(const void *in, size_t n, void *out, size_t room) { return 0; }
bool qcow2__zstd_unpack(const void *in, size_t n, void *out, size_t want) { return false; }
