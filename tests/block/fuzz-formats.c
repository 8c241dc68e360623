/* tests/block/fuzz-formats.c - what is fuzzed: a row for each format. */
#include "core/secret.h"
#include "tests/block/fuzz.h"
#include <zlib.h>

static void vpc_sum(uint8_t *p, size_t n, size_t at)
{
    uint32_t sum = 0;

    be32_store(p + at, 0);
    for (size_t i = 0; i < n; i++)
        sum += p[i];
    be32_store(p + at, ~sum);
}

static void vpc_seal(GByteArray *a, Rng *rng)
{
    uint32_t last = (a->len - 1) / 512 * 512;

    if (rng_next(rng) % 4 == 0) /* a differencing image, whose parent is somewhere */
        a->data[63] = 4;
    if (last + 512 <= a->len && a->data[last] == 'c')
        vpc_sum(a->data + last, 512, 64);
    if (a->len >= 1536 && a->data[0] == 'c') {
        vpc_sum(a->data, 512, 64);
        vpc_sum(a->data + 512, 1024, 36);
    }
}

/* ---- vhdx ---- */
static uint32_t crc32c(const uint8_t *p, size_t n)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < n; i++) {
        crc ^= i - 4 < 4 ? 0 : p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void vhdx_sum(GByteArray *a, uint32_t at, uint32_t len)
{
    if (at + len <= a->len)
        le32_store(a->data + at + 4, crc32c(a->data + at, len));
}

/* Also the log's first entry counts, often: the newer header names its log. */
static void vhdx_seal(GByteArray *a, Rng *rng)
{
    bool log = rng_next(rng) % 2 && a->len > 2 << 20;
    uint32_t len = log ? le32_load(a->data + (1 << 20) + 8) : 0;

    for (uint32_t at = 64 << 10; log && at <= 128 << 10; at += 64 << 10)
        memcpy(a->data + at + 48, a->data + (1 << 20) + 32, 16);
    vhdx_sum(a, 64 << 10, 4096);
    vhdx_sum(a, 128 << 10, 4096);
    if (rng_next(rng) % 2) /* slow, the whole of 64 KiB bit by bit */
        vhdx_sum(a, 192 << 10, 64 << 10);
    if (log && len <= 65536)
        vhdx_sum(a, 1 << 20, len);
}

static Secret *add_secret(Loop *l)
{
    g_autoptr(Opts) o = opts_parse("data=abc", NULL, &abort_on_error);

    return secret_new(l, "s", o, &abort_on_error);
}

/* Iterations that are allowed, but few: the work of a minute is none of a fuzzer's. */
static void few_iterations(GByteArray *a, unsigned base, Rng *rng)
{
    for (unsigned at = base + 164; at < base + 592 && at + 4 <= a->len; at = at == base + 164 ? base + 212 : at + 48)
        if (be32_load(a->data + at) > 2000 && be32_load(a->data + at) <= 1 << 26)
            be32_store(a->data + at, (uint32_t)(rng_next(rng) % 2000));
}

enum { QCOW2_KEYS = 3 * 4096 /* behind the header, the refcount table and its block */ };
static void seal_luks(GByteArray *a, Rng *rng) { few_iterations(a, 0, rng); }
static void seal_qcow2_luks(GByteArray *a, Rng *rng) { few_iterations(a, QCOW2_KEYS, rng); }

enum { PIECE = 4096, PIECES = 64 };

/* A piece of bytes with some order in it, packed, goes to the end. */
static unsigned append_packed(GByteArray *a, unsigned i)
{
    uint8_t in[PIECE], out[PIECE + 1024];
    uLongf n = sizeof(out);

    for (unsigned k = 0; k < PIECE; k++)
        in[k] = (uint8_t)(k * i >> 4);
    check_eq(compress(out, &n, in, PIECE), Z_OK);
    g_byte_array_append(a, out, (guint)n);
    return (unsigned)n;
}

static GByteArray *cloop_seed(unsigned i)
{
    GByteArray *a = g_byte_array_new();

    g_byte_array_set_size(a, 136 + 8 * (PIECES + 1));
    memset(a->data, 0, a->len);
    memcpy(a->data, "#!/bin/sh\n#V2.0 Format\n", 23);
    be32_store(a->data + 128, PIECE);
    be32_store(a->data + 132, PIECES);
    for (unsigned k = 0; k <= PIECES; k++) {
        be64_store(a->data + 136 + 8 * k, a->len);
        if (k < PIECES)
            append_packed(a, k + 1);
    }
    return a;
}

/* A table of chunks by turns packed, plain and zero, in the data of a resource fork: no base64 between the fuzzer and it. */
static GByteArray *dmg_seed(unsigned i)
{
    GByteArray *a = g_byte_array_new(), *mish = g_byte_array_new();
    uint8_t head[256] = { 0 }, koly[512] = { 0 };
    uint64_t fork;

    g_byte_array_set_size(mish, 204 + 40 * PIECES);
    memset(mish->data, 0, mish->len);
    memcpy(mish->data, "mish", 4);
    be32_store(mish->data + 200, PIECES);
    for (unsigned k = 0; k < PIECES; k++) {
        uint8_t *row = mish->data + 204 + 40 * k;

        be32_store(row, k % 3 == 0 ? 0x80000005 : k % 3);
        be64_store(row + 8, (uint64_t)k * (PIECE / 512));
        be64_store(row + 16, PIECE / 512);
        be64_store(row + 24, a->len);
        be64_store(row + 32, k % 3 == 2 ? 0 : append_packed(a, k + 1));
    }
    g_byte_array_set_size(a, a->len + PIECE); /* what plain chunks reach into */
    fork = a->len;
    be32_store(head, sizeof(head));
    be32_store(head + 4, (uint32_t)(sizeof(head) + 4 + mish->len));
    be32_store(head + 8, 4 + mish->len);
    g_byte_array_append(a, head, sizeof(head));
    be32_store(head, mish->len);
    g_byte_array_append(a, head, 4);
    g_byte_array_append(a, mish->data, mish->len);
    memcpy(koly, "koly", 4);
    be32_store(koly + 4, 4);
    be32_store(koly + 8, sizeof(koly));
    be64_store(koly + 40, fork);
    be64_store(koly + 48, a->len - fork);
    g_byte_array_set_size(a, (guint)align_up(a->len, 512));
    g_byte_array_append(a, koly, sizeof(koly));
    g_byte_array_free(mish, TRUE);
    return a;
}

/* clang-format off */
FUZZ(qcow2, .size = 1 << 20, .open = ",data-file.driver=null-co",
     FUZZ_CREATES("", ",cluster_size=512", ",cluster_size=4k,refcount_bits=1", ",cluster_size=16k,extended_l2=on",
                  ",compat=0.10,cluster_size=4k", ",cluster_size=2k,lazy_refcounts=on"),
     FUZZ_LIST(fields, 4, 8, 16, 20, 24, 32, 36, 40, 48, 56, 60, 64, 72, 80, 88, 96, 100, 104, 112, 116));
FUZZ(vdi, .size = 4 << 20, .little = true, .areas = { { 512, 16 } }, FUZZ_CREATES("", ",static=on"),
     FUZZ_LIST(fields, 0x44, 0x4c, 0x154, 0x158, 0x168, 0x170, 0x174, 0x178, 0x17c, 0x180, 0x184, 0x1a8, 0x1b8));
FUZZ(vpc, .size = 5 << 20, .areas = { { 1536, 12 } }, .seal = vpc_seal, FUZZ_CREATES("", ",force_size=on", ",subformat=fixed"),
     FUZZ_LIST(fields, 16, 28, 40, 48, 52, 56, 58, 60, 63, 512 + 16, 512 + 20, 512 + 24, 512 + 28, 512 + 32, 512 + 576, 512 + 580, 512 + 584, 512 + 592));
FUZZ(vmdk, .size = 2 << 20, .little = true, .areas = { { 512, 400 }, { 21 * 512, 4 }, { 22 * 512, 128 }, { 26 * 512, 4 }, { 27 * 512, 128 } },
     FUZZ_CREATES("", ",zeroed_grain=on", ",subformat=streamOptimized"),
     FUZZ_LIST(fields, 4, 8, 10, 12, 16, 20, 28, 36, 44, 48, 56, 64, 77));
FUZZ(vhdx, .size = 4 << 20, .little = true, .seal = vhdx_seal, .open = "",
     .areas = { { 64 << 10, 80 }, { 128 << 10, 80 }, { 192 << 10, 80 }, { 2 << 20, 48 }, { 3 << 20, 192 }, { (3 << 20) + 65536, 40 }, { 1 << 20, 128 } },
     FUZZ_CREATES(",block_size=1M", ",block_size=1M,subformat=fixed"));
FUZZ(qed, .size = 1 << 20, .little = true, FUZZ_CREATES("", ",cluster_size=4k", ",cluster_size=8k,table_size=1"),
     FUZZ_LIST(fields, 4, 8, 12, 16, 24, 32, 40, 48, 56, 60), .areas = { { 65536, 64 }, { 4096, 128 }, { 20480, 2048 }, { 327680, 128 } });
FUZZ(parallels, .size = 1 << 20, .little = true, FUZZ_CREATES("", ",cluster_size=64k", ",cluster_size=4k"),
     FUZZ_LIST(fields, 0, 16, 28, 32, 36, 40, 44, 48, 56, 60), .areas = { { 64, 1024 } });
FUZZ(qcow2_luks, .driver = "qcow2", .size = 1 << 20, .open = ",encrypt.key-secret=s", .prepare = add_secret, .seal = seal_qcow2_luks,
     FUZZ_CREATES(",encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1,cluster_size=4k,encrypt.cipher-mode=cbc,encrypt.cipher-alg=aes-128"),
     FUZZ_LIST(fields, 4, 24, 32, 36, 40, 48, 56, 72, 112, 116, 120, 124, 128, 132), .areas = { { QCOW2_KEYS, 592 } });
FUZZ(cloop, .seeds = 1, .seed = cloop_seed, FUZZ_LIST(fields, 0, 128, 132), .areas = { { 136, 8 * (PIECES + 1) } });
FUZZ(dmg, .seeds = 1, .seed = dmg_seed);
FUZZ(luks, .size = 1 << 20, .open = ",key-secret=s", .prepare = add_secret, .seal = seal_luks,
     FUZZ_CREATES(",key-secret=s,iter-time=1,cipher-alg=aes-128,cipher-mode=cbc", ",key-secret=s,iter-time=1,cipher-alg=cast5-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=md5"),
     FUZZ_LIST(fields, 6, 8, 12, 40, 44, 48, 72, 104, 108, 112, 164, 208, 212, 216, 248, 252, 256, 260, 296, 300, 304, 348, 544, 584, 588),
     .areas = { { 0, 592 }, { 4096, 64000 } });
/* clang-format on */
