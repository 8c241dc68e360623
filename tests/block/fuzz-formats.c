/* tests/block/fuzz-formats.c - what is fuzzed: a row for each format. */
#include "tests/block/fuzz.h"

/* clang-format off */
FUZZ(qcow2, .size = 1 << 20, .open = ",data-file.driver=null-co",
     FUZZ_CREATES("", ",cluster_size=512", ",cluster_size=4k,refcount_bits=1", ",cluster_size=16k,extended_l2=on",
                  ",compat=0.10,cluster_size=4k", ",cluster_size=2k,lazy_refcounts=on"),
     FUZZ_LIST(fields, 4, 8, 16, 20, 24, 32, 36, 40, 48, 56, 60, 64, 72, 80, 88, 96, 100, 104, 112, 116));
/* clang-format on */
