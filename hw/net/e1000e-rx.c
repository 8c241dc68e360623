/*
 * hw/net/e1000e-rx.c - how the 82574 receives in other ways than its ancestors: two queues by the Toeplitz hash of addresses and ports,
 * extended descriptors, and packet split, where headers go to a buffer of their own. Source: 317694 sections 7.1.5 to 7.1.11.
 * Left out: filters of acknowledgements, time stamps.
 */
#include "hw/net/e1000e.h"

enum { MRQC_RSS = 1, MRQC_TCP4 = 1 << 16, MRQC_IP4 = 1 << 17, MRQC_TCP6 = 1 << 18, MRQC_IP6EX = 1 << 19, MRQC_IP6 = 1 << 20, PROTO_TCP = 6, PROTO_UDP = 17 };
enum { RSS_TCP4 = 1, RSS_IP4, RSS_TCP6, RSS_IP6EX, RSS_IP6, BUFFERS = 4, SPLIT_DESC = 32, SPLIT_HEADER_MAX = 0x3ff, HDRSP = 0x8000 };

/* ---- queues ---- */
static uint32_t toeplitz(const uint32_t *key_words, const uint8_t *in, size_t n)
{
    uint8_t key[4 * KEY_WORDS];
    uint32_t window, hash = 0;

    for (unsigned i = 0; i < KEY_WORDS; i++)
        le32_store(key + 4 * i, key_words[i]);
    window = (uint32_t)be_load(key, 4);
    for (unsigned bit = 0; bit < 8 * n; bit++) { /* n <= 36 bytes: the key has 4 more */
        if (in[bit / 8] << bit % 8 & 0x80)
            hash ^= window;
        window = window << 1 | (key[4 + bit / 8] >> (7 - bit % 8) & 1);
    }
    return hash;
}

static unsigned hash_type(uint32_t mrqc, const E1000Packet *p)
{
    bool tcp = p->proto == PROTO_TCP && !p->fragment && p->end - p->l4 >= 4;

    if (p->v6)
        return tcp && mrqc & MRQC_TCP6 ? RSS_TCP6 : mrqc & MRQC_IP6 ? RSS_IP6 : mrqc & MRQC_IP6EX ? RSS_IP6EX : 0;
    return tcp && mrqc & MRQC_TCP4 ? RSS_TCP4 : mrqc & MRQC_IP4 ? RSS_IP4 : 0;
}

static void hash(const E82574 *s, const uint8_t *f, const E1000Packet *p, E1000Report *r)
{
    size_t addresses = p->v6 ? 32 : 8, ports = 0;
    uint8_t in[36];

    r->rss_type = (uint8_t)hash_type(s->mrqc, p);
    if (!r->rss_type)
        return;
    memcpy(in, f + p->ip + (p->v6 ? 8 : 12), addresses);
    if (r->rss_type == RSS_TCP4 || r->rss_type == RSS_TCP6)
        memcpy(in + addresses, f + p->l4, ports = 4);
    r->hash = toeplitz(s->rssrk, in, addresses + ports);
    r->queue = s->reta[(r->hash & 127) / 4] >> (8 * (r->hash & 3) + 7) & 1;
}

static size_t header_length(const uint8_t *f, const E1000Packet *p)
{
    size_t n = p->l4, l4 = p->end - p->l4;

    if (p->fragment)
        return n;
    if (p->proto == PROTO_TCP && l4 >= 20 && (f[p->l4 + 12] >> 4) * 4u >= 20 && (f[p->l4 + 12] >> 4) * 4u <= l4)
        return n + (f[p->l4 + 12] >> 4) * 4u;
    return p->proto == PROTO_UDP && l4 >= 8 ? n + 8 : n;
}

void e1000e__classify(const E1000 *nic, const uint8_t *f, size_t len, E1000Report *r)
{
    const E82574 *s = e1000e_of(nic);
    E1000Packet p;

    if (!e1000__find_packet(f, len, &p))
        return;
    if (p.proto == PROTO_UDP && r->status & ST_TCPCS)
        r->status |= ST_UDPCS;
    r->header = (uint16_t)header_length(f, &p);
    r->ip_id = p.v6 ? 0 : (uint16_t)be_load(f + p.ip + 4, 2);
    if ((s->mrqc & 3) == MRQC_RSS && nic->rxcsum & RXCSUM_PCSD)
        hash(s, f, &p, r);
}

/* ---- descriptors ---- */
unsigned e1000e__format(const E1000 *s)
{
    if (!(e1000e_of(s)->rfctl & RFCTL_EXTEN))
        return 0;
    return s->rctl & RCTL_PACKET_SPLIT ? SPLIT_DESC : E1000_DESC;
}

static size_t buffer(const E82574 *s, unsigned n) { return n ? (s->psrctl >> 8 * n & 63) * 1024u : (s->psrctl & 127) * 128u; }

static bool is_split(const E82574 *s, const E1000Report *r, size_t all)
{
    return r->header && r->header < all && r->header <= buffer(s, 0) && r->header <= SPLIT_HEADER_MAX;
}

/* What the first descriptor of a frame takes, and what the others do, which have no headers. */
static size_t others_take(const E82574 *s) { return buffer(s, 1) + buffer(s, 2) + buffer(s, 3); }
static size_t first_takes(const E82574 *s, const E1000Report *r, size_t all)
{
    return (is_split(s, r, all) ? r->header : buffer(s, 0)) + others_take(s);
}

size_t e1000e__descriptors(const E1000 *nic, const E1000Report *r, size_t all)
{
    const E82574 *s = e1000e_of(nic);
    size_t size = e1000__buffer_size(nic), first, more;

    if (e1000e__format(nic) == E1000_DESC)
        return (all + size - 1) / size;
    first = first_takes(s, r, all);
    more = others_take(s);
    if (all <= first)
        return 1;
    return more ? 1 + (all - first + more - 1) / more : 0;
}

/* The 16 bytes that both formats begin with when they are written back. */
static void report(const E1000 *s, uint8_t d[E1000_DESC], size_t len, bool last, const E1000Report *r)
{
    le32_store(d, (uint32_t)(r->rss_type | r->queue << 8));
    le32_store(d + 4, s->rxcsum & RXCSUM_PCSD ? r->hash : r->ip_id | (uint32_t)r->sum << 16);
    le32_store(d + 8, last ? r->status | ST_EOP | r->errors << 24 : ST_DD);
    le16_store(d + 12, (uint16_t)len);
    le16_store(d + 14, r->vlan);
}

static size_t store_split(E1000 *nic, uint64_t slot, const uint8_t *f, size_t at, size_t all, const E1000Report *r)
{
    const E82574 *s = e1000e_of(nic);
    bool split = !at && is_split(s, r, all);
    uint8_t buffers[SPLIT_DESC], d[SPLIT_DESC] = { 0 };
    size_t n[BUFFERS] = { 0 }, done = 0;

    dma_read(&nic->pci.dev, slot, buffers, sizeof(buffers));
    for (unsigned i = at ? 1 : 0; i < BUFFERS; i++) {
        n[i] = i || !split ? MIN(buffer(s, i), all - at - done) : r->header;
        dma_write(&nic->pci.dev, le64_load(buffers + 8 * i), f + at + done, n[i]);
        done += n[i];
    }
    report(nic, d, n[0], at + done == all, r);
    le16_store(d + 16, split ? HDRSP | r->header : 0);
    for (unsigned i = 1; i < BUFFERS; i++)
        le16_store(d + 16 + 2 * i, (uint16_t)n[i]);
    dma_write(&nic->pci.dev, slot, d, sizeof(d));
    return done;
}

size_t e1000e__store(E1000 *s, const E1000Ring *q, const uint8_t *f, size_t at, size_t all, const E1000Report *r)
{
    size_t n = MIN(e1000__buffer_size(s), all - at);
    uint64_t slot = e1000__slot(q, E1000_DESC), to;
    uint8_t d[E1000_DESC];

    if (e1000e__format(s) == SPLIT_DESC)
        return store_split(s, slot, f, at, all, r);
    dma_load(&s->pci.dev, slot, 8, &to);
    dma_write(&s->pci.dev, to, f + at, n);
    report(s, d, n, at + n == all, r);
    dma_write(&s->pci.dev, slot, d, sizeof(d));
    return n;
}
