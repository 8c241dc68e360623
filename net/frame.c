/*
 * net/frame.c - what cards need of Ethernet, IP and TCP: checksums (RFC 1071), segmentation, the hash of multicast addresses.
 * All sizes come from a guest's frame: each is checked before it is used.
 */
#include "core/vm.h"
#include "net/net.h"

enum { IP4_MIN = 20, IP6_LEN = 40, TCP_MIN = 20, UDP_LEN = 8, PROTO_TCP = 6, PROTO_UDP = 17, FIN_PSH = 0x09, CWR = 0x80 };

uint32_t net_sum(const void *p, size_t n, uint32_t sum)
{
    const uint8_t *b = p;
    uint64_t s = sum;

    for (size_t i = 0; i + 1 < n; i += 2)
        s += (uint32_t)b[i] << 8 | b[i + 1];
    if (n & 1)
        s += (uint32_t)b[n - 1] << 8;
    while (s >> 32)
        s = (s & UINT32_MAX) + (s >> 32);
    return (uint32_t)s;
}

uint16_t net_fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static uint32_t crc(const void *p, size_t n, bool big)
{
    const uint8_t *b = p;
    uint32_t c = UINT32_MAX;

    for (size_t i = 0; i < n; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            unsigned in = b[i] >> bit & 1;

            if (big)
                c = (c << 1) ^ ((c >> 31 ^ in) ? 0x04c11db7 : 0);
            else
                c = (c >> 1) ^ (((c & 1) ^ in) ? 0xedb88320 : 0);
        }
    return c;
}

uint32_t net_crc32(const void *p, size_t n) { return ~crc(p, n, false); }
uint32_t net_crc32_be(const void *p, size_t n) { return crc(p, n, true); }

static void be16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static uint32_t get_be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

typedef struct Cut {
    size_t l3, l4, payload; /* offsets in the frame */
    bool v6, tcp;
} Cut;

static bool look(const uint8_t *f, size_t len, Cut *c)
{
    unsigned proto;

    if (c->l3 + IP4_MIN > len || c->l4 <= c->l3)
        return false;
    c->v6 = f[c->l3] >> 4 == 6;
    if (c->l4 - c->l3 < (c->v6 ? IP6_LEN : IP4_MIN) || c->l4 + UDP_LEN > len)
        return false;
    proto = c->v6 ? f[c->l3 + 6] : f[c->l3 + 9];
    c->tcp = proto != PROTO_UDP;
    if (c->tcp && c->l4 + TCP_MIN > len)
        return false;
    c->payload = c->l4 + (c->tcp ? (size_t)(f[c->l4 + 12] >> 4) * 4 : UDP_LEN);
    return c->payload >= c->l4 + (c->tcp ? TCP_MIN : UDP_LEN) && c->payload <= len;
}

static void fix_ip(uint8_t *p, const Cut *c, size_t len, unsigned index)
{
    uint8_t *ip = p + c->l3;

    if (c->v6) {
        be16(ip + 4, (unsigned)(len - c->l3 - IP6_LEN));
        return;
    }
    be16(ip + 2, (unsigned)(len - c->l3));
    be16(ip + 4, ((unsigned)ip[4] << 8 | ip[5]) + index);
    be16(ip + 10, 0);
    be16(ip + 10, net_fold(net_sum(ip, c->l4 - c->l3, 0)));
}

static void fix_l4(uint8_t *p, const Cut *c, size_t len, size_t done, bool last)
{
    uint8_t *t = p + c->l4;
    size_t n = len - c->l4;
    uint32_t sum = c->v6 ? net_sum(p + c->l3 + 8, 32, 0) : net_sum(p + c->l3 + 12, 8, 0);
    unsigned field = c->tcp ? 16 : 6;
    uint16_t v;

    if (c->tcp) {
        uint32_t seq = get_be32(t + 4) + (uint32_t)done;

        be16(t + 4, seq >> 16);
        be16(t + 6, seq & 0xffff);
        if (!last)
            t[13] &= (uint8_t)~FIN_PSH;
        if (done)
            t[13] &= (uint8_t)~CWR;
    } else {
        be16(t + 4, (unsigned)n);
    }
    be16(t + field, 0);
    sum += (uint32_t)n + (c->tcp ? PROTO_TCP : PROTO_UDP);
    v = net_fold(net_sum(t, n, sum));
    be16(t + field, v || c->tcp ? v : 0xffff);
}

bool net_segment(const uint8_t *frame, size_t len, size_t l3, size_t l4, size_t mss, void (*send)(void *arg, const uint8_t *p, size_t n), void *arg)
{
    Cut c = { .l3 = l3, .l4 = l4 };
    g_autofree uint8_t *p = NULL;
    unsigned index = 0;
    size_t done = 0;

    if (!mss || !look(frame, len, &c))
        return false;
    p = g_malloc(c.payload + mss);
    do { /* at most len / mss + 1 rounds */
        size_t n = MIN(mss, len - c.payload - done);

        memcpy(p, frame, c.payload);
        memcpy(p + c.payload, frame + c.payload + done, n);
        fix_ip(p, &c, c.payload + n, index++);
        fix_l4(p, &c, c.payload + n, done, c.payload + done + n == len);
        send(arg, p, c.payload + n);
        done += n;
    } while (c.payload + done < len);
    return true;
}
