/*
 * vec-ref-crypto.c - C reference of AES-NI (FIPS 197), the SHA extensions (FIPS 180-4) and
 * PCLMULQDQ. The S-boxes are computed: the inverse in GF(2^8) modulo 0x11b, then the affine map.
 */
#include "target/x86/vec-ref.h"

#define REF(name) unsigned vec_ref_##name(Env *e, void *d, const void *s, unsigned imm)

static uint8_t gmul(uint8_t a, uint8_t b)
{
    uint8_t r = 0;

    for (; b; b >>= 1) {
        r ^= b & 1 ? a : 0;
        a = (uint8_t)(a << 1 ^ (a & 0x80 ? 0x1b : 0));
    }
    return r;
}

static uint8_t inverse(uint8_t a)
{
    uint8_t r = a;

    for (unsigned i = 0; i < 6; i++) /* a^254 = inverse; 0 stays 0 */
        r = gmul(gmul(r, r), a);
    return gmul(r, r);
}

static uint8_t rotl8(uint8_t v, unsigned n) { return (uint8_t)(v << n | v >> (8 - n)); }

static uint8_t sbox(uint8_t a)
{
    uint8_t b = inverse(a);

    return (uint8_t)(b ^ rotl8(b, 1) ^ rotl8(b, 2) ^ rotl8(b, 3) ^ rotl8(b, 4) ^ 0x63);
}

static uint8_t inv_sbox(uint8_t a)
{
    return inverse((uint8_t)(rotl8(a, 1) ^ rotl8(a, 3) ^ rotl8(a, 6) ^ 5));
}

static void mix(uint8_t *v, const uint8_t k[4])
{
    for (unsigned c = 0; c < 16; c += 4) {
        uint8_t r[4];

        for (unsigned i = 0; i < 4; i++)
            r[i] = gmul(v[c], k[(4 - i) & 3]) ^ gmul(v[c + 1], k[(5 - i) & 3]) ^
                   gmul(v[c + 2], k[(6 - i) & 3]) ^ gmul(v[c + 3], k[(7 - i) & 3]);
        memcpy(v + c, r, 4);
    }
}
static const uint8_t forward[4] = { 2, 3, 1, 1 }, backward[4] = { 14, 11, 13, 9 };

/* One round: rows shift by +1 (encrypt) or -1 (decrypt) columns per row. */
static void aes_round(uint8_t *d, const uint8_t *key, bool dec, bool last)
{
    uint8_t r[16];

    for (unsigned c = 0; c < 4; c++)
        for (unsigned i = 0; i < 4; i++) {
            uint8_t v = d[((c + (dec ? 4 - i : i)) & 3) * 4 + i];

            r[c * 4 + i] = dec ? inv_sbox(v) : sbox(v);
        }
    if (!last)
        mix(r, dec ? backward : forward);
    for (unsigned i = 0; i < 16; i++)
        r[i] ^= key[i];
    memcpy(d, r, 16);
}

REF(aesenc)
{
    aes_round(d, s, false, false);
    return 0;
}
REF(aesenclast)
{
    aes_round(d, s, false, true);
    return 0;
}
REF(aesdec)
{
    aes_round(d, s, true, false);
    return 0;
}
REF(aesdeclast)
{
    aes_round(d, s, true, true);
    return 0;
}

REF(aesimc)
{
    uint8_t r[16];

    memcpy(r, s, 16);
    mix(r, backward);
    memcpy(d, r, 16);
    return 0;
}

REF(aeskeygen)
{
    const uint8_t *p = s;
    uint8_t r[16];

    for (unsigned half = 0; half < 2; half++)
        for (unsigned i = 0; i < 4; i++) {
            const uint8_t *x = p + half * 8 + 4;

            r[half * 8 + i] = sbox(x[i]);
            r[half * 8 + 4 + i] = (uint8_t)(sbox(x[(i + 1) & 3]) ^ (i ? 0 : imm & 255));
        }
    memcpy(d, r, 16);
    return 0;
}

REF(pclmulqdq)
{
    uint64_t a = le64_load((uint8_t *)d + 8 * (imm & 1));
    uint64_t b = le64_load((const uint8_t *)s + 8 * (imm >> 4 & 1)), lo = 0, hi = 0;

    for (unsigned i = 0; i < 64; i++)
        if (b >> i & 1) {
            lo ^= a << i;
            hi ^= i ? a >> (64 - i) : 0;
        }
    le64_store(d, lo);
    le64_store((uint8_t *)d + 8, hi);
    return 0;
}

static uint32_t rol(uint32_t v, unsigned n) { return v << n | v >> (32 - n); }
static uint32_t ror(uint32_t v, unsigned n) { return v >> n | v << (32 - n); }
#define GET(a, p)                                                                                  \
    uint32_t a[4];                                                                                 \
    memcpy(a, p, 16)

REF(sha1nexte)
{
    GET(a, d);
    GET(b, s);
    b[3] += rol(a[3], 30);
    memcpy(d, b, 16);
    return 0;
}

REF(sha1msg1)
{
    GET(a, d);
    GET(b, s);
    uint32_t r[4] = { a[0] ^ b[2], a[1] ^ b[3], a[2] ^ a[0], a[3] ^ a[1] };

    memcpy(d, r, 16);
    return 0;
}

REF(sha1msg2)
{
    GET(a, d);
    GET(b, s);
    uint32_t w16 = rol(a[3] ^ b[2], 1);
    uint32_t r[4] = { rol(a[0] ^ w16, 1), rol(a[1] ^ b[0], 1), rol(a[2] ^ b[1], 1), w16 };

    r[0] = rol(a[0] ^ w16, 1);
    memcpy(d, r, 16);
    return 0;
}

REF(sha1rnds4)
{
    static const uint32_t k[4] = { 0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6 };
    GET(x, d);
    GET(w, s);
    uint32_t a = x[3], b = x[2], c = x[1], v = 0, q = x[0];

    for (unsigned i = 0; i < 4; i++) {
        uint32_t fn = (imm & 3) == 0   ? (b & c) ^ (~b & q)
                      : (imm & 3) == 2 ? (b & c) ^ (b & q) ^ (c & q)
                                       : b ^ c ^ q;
        uint32_t t = fn + rol(a, 5) + w[3 - i] + v + k[imm & 3];

        v = q;
        q = c;
        c = rol(b, 30);
        b = a;
        a = t;
    }
    uint32_t r[4] = { q, c, b, a };
    memcpy(d, r, 16);
    return 0;
}

static uint32_t small0(uint32_t v) { return ror(v, 7) ^ ror(v, 18) ^ v >> 3; }
static uint32_t small1(uint32_t v) { return ror(v, 17) ^ ror(v, 19) ^ v >> 10; }

REF(sha256msg1)
{
    GET(a, d);
    GET(b, s);
    uint32_t r[4] = { a[0] + small0(a[1]), a[1] + small0(a[2]), a[2] + small0(a[3]),
                      a[3] + small0(b[0]) };

    memcpy(d, r, 16);
    return 0;
}

REF(sha256msg2)
{
    GET(a, d);
    GET(b, s);
    uint32_t r[4];

    r[0] = a[0] + small1(b[2]);
    r[1] = a[1] + small1(b[3]);
    r[2] = a[2] + small1(r[0]);
    r[3] = a[3] + small1(r[1]);
    memcpy(d, r, 16);
    return 0;
}

REF(sha256rnds2)
{
    GET(x, d); /* C D G H from the top: x[3]=C x[2]=D x[1]=G x[0]=H */
    GET(y, s); /* A B E F */
    GET(wk, e->vec[0]);
    uint32_t a = y[3], b = y[2], c = x[3], q = x[2], v = y[1], g2 = y[0], g = x[1], h = x[0];

    for (unsigned i = 0; i < 2; i++) {
        uint32_t t = ((v & g2) ^ (~v & g)) + (ror(v, 6) ^ ror(v, 11) ^ ror(v, 25)) + wk[i] + h;
        uint32_t u = ((a & b) ^ (a & c) ^ (b & c)) + (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22));

        h = g;
        g = g2;
        g2 = v;
        v = q + t;
        q = c;
        c = b;
        b = a;
        a = t + u;
    }
    uint32_t r[4] = { g2, v, b, a };
    memcpy(d, r, 16);
    return 0;
}
