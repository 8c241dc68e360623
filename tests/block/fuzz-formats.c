/* tests/block/fuzz-formats.c - what is fuzzed: a row for each format. */
#include "tests/block/fuzz.h"

/* clang-format off */
FUZZ(qcow2, .size = 1 << 20, .open = ",data-file.driver=null-co",
     FUZZ_CREATES("", ",cluster_size=512", ",cluster_size=4k,refcount_bits=1", ",cluster_size=16k,extended_l2=on",
                  ",compat=0.10,cluster_size=4k", ",cluster_size=2k,lazy_refcounts=on"),
     FUZZ_LIST(fields, 4, 8, 16, 20, 24, 32, 36, 40, 48, 56, 60, 64, 72, 80, 88, 96, 100, 104, 112, 116));
FUZZ(vdi, .size = 4 << 20, .little = true, .areas = { { 512, 16 } }, FUZZ_CREATES("", ",static=on"),
     FUZZ_LIST(fields, 0x44, 0x4c, 0x154, 0x158, 0x168, 0x170, 0x174, 0x178, 0x17c, 0x180, 0x184, 0x1a8, 0x1b8));
/* clang-format on */
