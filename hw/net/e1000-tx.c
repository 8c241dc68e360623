/*
 * hw/net/e1000-tx.c - the 82540EM sends: legacy, context and data descriptors, checksums, TCP segmentation, VLAN tags.
 * Source: 317453 sections 3.3 to 3.5. A frame is gathered whole before it leaves, so descriptors may be split anywhere.
 * Invariants: descriptors are bounded by a share per turn (the rest by timer); a frame begins only when the back end has
 * room; offsets from descriptors are checked against the gathered length where they are used.
 */
#include "hw/net/e1000.h"

enum { CMD_EOP = 1, CMD_IC = 4, CMD_TSE = 4, CMD_RS = 8, CMD_DEXT = 0x20, CMD_VLE = 0x40, CMD_IDE = 0x80 };
enum { DTYP_CONTEXT = 0, DTYP_DATA = 1, POPTS_IXSM = 1, POPTS_TXSM = 2, STA_DD = 1, SHARE = 512, DELAY_UNIT = 1024 };

/* One's complement sum of [css, cse] (cse 0: to the end) into cso. */
static void insert_checksum(E1000 *s, size_t css, size_t cso, size_t cse)
{
    size_t end = cse ? MIN(cse + 1, s->tx_len) : s->tx_len;
    uint16_t v;

    if (css >= end || cso + 2 > s->tx_len)
        return;
    v = net_fold(net_sum(s->tx + css, end - css, 0));
    be_store(s->tx + cso, 2, v);
}

static void out_on_wire(void *arg, const uint8_t *p, size_t n)
{
    E1000 *s = arg;

    e1000__count(s, ST_GPTC, ST_GOTC, n + 4);
    e1000__count(s, ST_TPT, ST_TOT, n + 4);
    net_send_flat(&s->port, p, n);
}

static void piece(void *arg, const uint8_t *p, size_t n)
{
    E1000 *s = arg;
    g_autofree uint8_t *tagged = NULL;
    uint8_t padded[NET_MIN_FRAME] = { 0 };

    if (s->tx_cmd & CMD_VLE && s->ctrl & CTRL_VME && n >= NET_HEADER) {
        tagged = g_malloc(n + 4);
        memcpy(tagged, p, 12);
        be_store(tagged + 12, 2, s->vet & 0xffff);
        be_store(tagged + 14, 2, s->tx_vlan);
        memcpy(tagged + 16, p + 12, n - 12);
        p = tagged;
        n += 4;
    }
    if (n < sizeof(padded)) { /* TCTL.PSP or not: the wire knows no shorter ones */
        memcpy(padded, p, n);
        p = padded;
        n = sizeof(padded);
    }
    out_on_wire(s, p, n);
}

static void segment(E1000 *s)
{
    const E1000Context *c = &s->context;

    if (!net_segment(s->tx, s->tx_len, c->ipcss, c->tucss, c->mss, piece, s))
        guest_error(&s->pci.dev, "a segmentation context that does not fit its frame");
}

static void send_frame(E1000 *s)
{
    const E1000Context *c = &s->context;

    if (s->tx_bad || !s->tx_len) {
        guest_error(&s->pci.dev, "a frame of impossible length");
        return;
    }
    if (s->tx_legacy) {
        if (s->tx_cmd & CMD_IC)
            insert_checksum(s, s->tx_css, s->tx_cso, 0);
        piece(s, s->tx, s->tx_len);
    } else if (s->tx_cmd & CMD_TSE) {
        segment(s);
    } else {
        if (s->tx_popts & POPTS_IXSM)
            insert_checksum(s, c->ipcss, c->ipcso, c->ipcse);
        if (s->tx_popts & POPTS_TXSM)
            insert_checksum(s, c->tucss, c->tucso, c->tucse);
        piece(s, s->tx, s->tx_len);
    }
}

static void set_context(E1000 *s, const uint8_t *d)
{
    s->context = (E1000Context){
        .ipcss = d[0], .ipcso = d[1], .ipcse = le16_load(d + 2), .tucss = d[4], .tucso = d[5], .tucse = le16_load(d + 6),
        .tucmd = d[11], .hdrlen = d[13], .mss = le16_load(d + 14),
    };
}

static void gather(E1000 *s, uint64_t at, size_t len)
{
    if (s->tx_bad || len > NET_FRAME_MAX - s->tx_len) {
        s->tx_bad = 1;
        return;
    }
    s->tx = g_realloc(s->tx, NET_FRAME_MAX);
    dma_read(&s->pci.dev, at, s->tx + s->tx_len, len);
    s->tx_len += (uint32_t)len;
}

static void data(E1000 *s, const uint8_t *d)
{
    uint32_t low = le32_load(d + 8);
    uint8_t cmd = (uint8_t)(low >> 24);
    bool legacy = !(cmd & CMD_DEXT), first = !s->tx_len && !s->tx_bad;

    if (first) { /* options count in the first descriptor of a frame */
        s->tx_legacy = legacy;
        s->tx_popts = d[13];
        s->tx_cso = d[10];
        s->tx_css = d[13];
    }
    if (first || cmd & CMD_EOP)
        s->tx_cmd = legacy || first ? cmd : (uint8_t)(cmd | (s->tx_cmd & CMD_TSE));
    s->tx_vlan = le16_load(d + 14);
    gather(s, le64_load(d), low & (legacy ? 0xffffu : 0xfffffu));
    if (!(cmd & CMD_EOP))
        return;
    send_frame(s);
    s->tx_len = 0;
    s->tx_bad = 0;
}

/* Returns the causes that its end brings about. */
static uint32_t descriptor(E1000 *s, uint64_t at)
{
    uint8_t d[DESC_BYTES];
    uint8_t cmd;

    dma_read(&s->pci.dev, at, d, sizeof(d));
    cmd = d[11];
    if (cmd & CMD_DEXT && (d[10] >> 4) == DTYP_CONTEXT)
        set_context(s, d);
    else
        data(s, d);
    if (!(cmd & CMD_RS))
        return 0;
    d[12] |= STA_DD;
    dma_write(&s->pci.dev, at + 12, d + 12, 1);
    if (cmd & CMD_IDE && s->tidv) {
        if (!timer_pending(&s->tx_delay))
            timer_in(&s->tx_delay, (int64_t)s->tidv * DELAY_UNIT);
        return 0;
    }
    return ICR_TXDW;
}

void e1000__transmit(Dev *d)
{
    E1000 *s = E(d);
    uint64_t base = (uint64_t)s->tdbah << 32 | s->tdbal;
    uint32_t slots = s->tdlen / DESC_BYTES, causes = 0;
    unsigned i = 0;

    if (!(s->tctl & TCTL_EN) || s->tdh == s->tdt)
        return;
    if (s->tdh >= slots || s->tdt >= slots) {
        guest_error(d, "transmit ring of %u descriptors with head %u, tail %u", slots, s->tdh, s->tdt);
        return;
    }
    while (s->tdh != s->tdt && (s->tx_len || net_has_room(&s->port))) {
        if (i++ == SHARE) {
            timer_in(&s->more, US);
            break;
        }
        causes |= descriptor(s, base + DESC_BYTES * (uint64_t)s->tdh);
        s->tdh = s->tdh + 1 == slots ? 0 : s->tdh + 1;
    }
    if (s->tdh == s->tdt)
        causes |= ICR_TXQE;
    e1000__cause(s, causes);
}
