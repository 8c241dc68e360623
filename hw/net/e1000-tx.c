/*
 * hw/net/e1000-tx.c - Intel's gigabit cards send: legacy, context and data descriptors, checksums, TCP segmentation, VLAN tags.
 * Source: 317453 sections 3.3 to 3.5. A frame is gathered whole before it leaves, so descriptors may be split anywhere.
 * Invariants: descriptors are bounded by a share per turn (the rest by timer); a frame begins only when the back end has
 * room; offsets from descriptors are checked against the gathered length where they are used.
 */
#include "hw/net/e1000.h"

enum { CMD_EOP = 1, CMD_IC = 4, CMD_TSE = 4, CMD_RS = 8, CMD_DEXT = 0x20, CMD_VLE = 0x40, CMD_IDE = 0x80 };
enum { DTYP_CONTEXT = 0, DTYP_DATA = 1, POPTS_IXSM = 1, POPTS_TXSM = 2, STA_DD = 1, SHARE = 512 };

/* One's complement sum of [css, cse] (cse 0: to the end) into cso. */
static void insert_checksum(E1000Frame *f, size_t css, size_t cso, size_t cse)
{
    size_t end = cse ? MIN(cse + 1, f->len) : f->len;
    uint16_t v;

    if (css >= end || cso + 2 > f->len)
        return;
    v = net_fold(net_sum(f->data + css, end - css, 0));
    be_store(f->data + cso, 2, v);
}

typedef struct Sending { /* from one queue */
    E1000 *s;
    E1000Frame *f;
    E1000Ring *q;
    unsigned n;
} Sending;

static void out_on_wire(E1000 *s, const uint8_t *p, size_t n)
{
    e1000__count(s, ST_GPTC, ST_GOTC, n + 4);
    e1000__count(s, ST_TPT, ST_TOT, n + 4);
    net_send_flat(&s->port, p, n);
}

static void piece(void *arg, const uint8_t *p, size_t n)
{
    const E1000Frame *f = ((Sending *)arg)->f;
    E1000 *s = ((Sending *)arg)->s;
    g_autofree uint8_t *tagged = NULL;
    uint8_t padded[NET_MIN_FRAME] = { 0 };

    if (f->cmd & CMD_VLE && s->ctrl & CTRL_VME && n >= NET_HEADER) {
        tagged = g_malloc(n + 4);
        memcpy(tagged, p, 12);
        be_store(tagged + 12, 2, s->vet & 0xffff);
        be_store(tagged + 14, 2, f->vlan);
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

static void segment(Sending *x)
{
    const E1000Context *c = &x->f->context;

    if (!net_segment(x->f->data, x->f->len, c->ipcss, c->tucss, c->mss, piece, x))
        guest_error(&x->s->pci.dev, "a segmentation context that does not fit its frame");
}

static void send_frame(Sending *x)
{
    E1000Frame *f = x->f;
    const E1000Context *c = &f->context;

    if (f->bad || !f->len) {
        guest_error(&x->s->pci.dev, "a frame of impossible length");
        return;
    }
    if (f->legacy) {
        if (f->cmd & CMD_IC)
            insert_checksum(f, f->css, f->cso, 0);
        piece(x, f->data, f->len);
    } else if (f->cmd & CMD_TSE) {
        segment(x);
    } else {
        if (f->popts & POPTS_IXSM)
            insert_checksum(f, c->ipcss, c->ipcso, c->ipcse);
        if (f->popts & POPTS_TXSM)
            insert_checksum(f, c->tucss, c->tucso, c->tucse);
        piece(x, f->data, f->len);
    }
}

static void set_context(E1000Frame *f, const uint8_t *d)
{
    f->context = (E1000Context){
        .ipcss = d[0], .ipcso = d[1], .ipcse = le16_load(d + 2), .tucss = d[4], .tucso = d[5], .tucse = le16_load(d + 6),
        .tucmd = d[11], .hdrlen = d[13], .mss = le16_load(d + 14),
    };
}

static void gather(E1000 *s, E1000Frame *f, uint64_t at, size_t len)
{
    if (f->bad || len > NET_FRAME_MAX - f->len) {
        f->bad = 1;
        return;
    }
    f->data = g_realloc(f->data, NET_FRAME_MAX);
    dma_read(&s->pci.dev, at, f->data + f->len, len);
    f->len += (uint32_t)len;
}

static void data(Sending *x, const uint8_t *d)
{
    E1000Frame *f = x->f;
    uint32_t low = le32_load(d + 8);
    uint8_t cmd = (uint8_t)(low >> 24);
    bool legacy = !(cmd & CMD_DEXT), first = !f->len && !f->bad;

    if (first) { /* options count in the first descriptor of a frame */
        f->legacy = legacy;
        f->popts = d[13];
        f->cso = d[10];
        f->css = d[13];
    }
    if (first || cmd & CMD_EOP)
        f->cmd = legacy || first ? cmd : (uint8_t)(cmd | (f->cmd & CMD_TSE));
    f->vlan = le16_load(d + 14);
    gather(x->s, f, le64_load(d), low & (legacy ? 0xffffu : 0xfffffu));
    if (!(cmd & CMD_EOP))
        return;
    send_frame(x);
    f->len = 0;
    f->bad = 0;
}

/* Returns the causes that its end brings about. */
static uint32_t descriptor(Sending *x, uint64_t at)
{
    E1000 *s = x->s;
    uint8_t d[E1000_DESC];
    uint8_t cmd;

    dma_read(&s->pci.dev, at, d, sizeof(d));
    cmd = d[11];
    if (cmd & CMD_DEXT && (d[10] >> 4) == DTYP_CONTEXT)
        set_context(x->f, d);
    else
        data(x, d);
    if (!(cmd & CMD_RS))
        return 0;
    d[12] |= STA_DD;
    dma_write(&s->pci.dev, at + 12, d + 12, 1);
    if (cmd & CMD_IDE && s->tidv) {
        s->tx_late |= (uint8_t)(1 << x->n);
        if (!timer_pending(&s->tx_delay))
            timer_in(&s->tx_delay, (int64_t)s->tidv * E1000_DELAY);
        return 0;
    }
    return ICR_TXDW | ICR_TXQ0 << x->n;
}

/* Returns causes. */
static uint32_t send_queue(Sending *x)
{
    E1000 *s = x->s;
    E1000Ring *q = x->q;
    uint32_t slots = q->len / E1000_DESC, causes = 0;
    unsigned i = 0;

    if (q->head == q->tail)
        return 0;
    if (q->head >= slots || q->tail >= slots) {
        guest_error(&s->pci.dev, "transmit ring of %u descriptors with head %u, tail %u", slots, q->head, q->tail);
        return 0;
    }
    while (q->head != q->tail && (x->f->len || net_has_room(&s->port))) {
        if (i++ == SHARE) {
            timer_in(&s->more, US);
            break;
        }
        causes |= descriptor(x, e1000__slot(q, E1000_DESC));
        q->head = q->head + 1 == slots ? 0 : q->head + 1;
    }
    return q->head == q->tail ? causes | ICR_TXQE : causes;
}

void e1000__transmit(Dev *d)
{
    E1000 *s = E(d);
    char *at = (char *)s;
    uint32_t causes = 0;

    if (!(s->tctl & TCTL_EN))
        return;
    for (unsigned n = 0; n < s->ops->queues; n++)
        causes |= send_queue(&(Sending){ s, (void *)(at + s->ops->frame_at[n]), (void *)(at + s->ops->tx_at[n]), n });
    if (causes)
        e1000__cause(s, causes);
}

/* clang-format off */
static const Field context_fields[] = {
    FIELD(E1000Context, ipcss), FIELD(E1000Context, ipcso), FIELD(E1000Context, tucss), FIELD(E1000Context, tucso), FIELD(E1000Context, hdrlen),
    FIELD(E1000Context, tucmd), FIELD(E1000Context, ipcse), FIELD(E1000Context, tucse), FIELD(E1000Context, mss),
};
static const FieldTable context_table = TABLE(context_fields);
static const Field frame_fields[] = {
    STRUCT(E1000Frame, context, &context_table), FIELD(E1000Frame, popts), FIELD(E1000Frame, cmd), FIELD(E1000Frame, legacy), FIELD(E1000Frame, cso),
    FIELD(E1000Frame, css), FIELD(E1000Frame, bad), FIELD(E1000Frame, vlan), BUF(E1000Frame, data, len, NET_FRAME_MAX),
};
const FieldTable e1000__frame_fields = TABLE(frame_fields);
/* clang-format on */
