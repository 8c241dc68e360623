/* tests/device/xhcidrv.c - see xhcidrv.h. */
#include "tests/device/xhcidrv.h"

typedef struct Place {
    unsigned at;
    bool cycle;
} Place;
static Place events, commands, rings[65][32];

void x_rings(Vm *vm)
{
    for (unsigned i = 0; i < 0x7000; i += 8)
        t_st(vm, X_DCBAA + i, 8, 0);
    for (unsigned i = 1; i < 64; i++)
        t_st(vm, X_DCBAA + 8 * i, 8, X_CTX + 0x800 * i);
    events = commands = (Place){ 0, true };
    t_st(vm, X_OP + 0x38, 4, 64);
    t_st(vm, X_OP + 0x30, 8, X_DCBAA);
    t_st(vm, X_OP + 0x18, 4, X_CMD | 1);
    t_st(vm, X_OP + 0x1c, 4, 0);
    t_st(vm, X_ERST, 8, X_EVENTS);
    t_st(vm, X_ERST + 8, 4, X_EVENT_N);
    t_st(vm, X_RT + 0x28, 4, 1);
    t_st(vm, X_RT + 0x38, 8, X_EVENTS);
    t_st(vm, X_RT + 0x30, 8, X_ERST);
    t_st(vm, X_RT + 0x20, 4, 2);
    t_st(vm, X_OP, 4, 5);
}

Dev *x_start(Vm *vm, const char *options)
{
    g_autofree char *text = g_strdup_printf("qemu-xhci,id=x%s", options);
    Dev *d;

    t_pci(vm);
    d = dev_plug(vm, NULL, text, &abort_on_error);
    t_enable(d, 0, X_BAR);
    t_st(vm, X_OP, 4, 2);
    x_rings(vm);
    return d;
}

static uint64_t event_at(void) { return X_EVENTS + 16 * events.at; }

bool x_event(Vm *vm, XEvent *e)
{
    uint32_t status = (uint32_t)t_ld(vm, event_at() + 8, 4), control = (uint32_t)t_ld(vm, event_at() + 12, 4);

    if ((control & 1) != events.cycle)
        return false;
    *e = (XEvent){ t_ld(vm, event_at(), 8), status >> 24, status & 0xffffff, control >> 10 & 63, control >> 16 & 31, control >> 24 };
    events.at = (events.at + 1) % X_EVENT_N;
    events.cycle ^= !events.at;
    t_st(vm, X_RT + 0x38, 8, event_at() | 8);
    return true;
}

static bool due(void *vm) { return (t_ld(vm, event_at() + 12, 4) & 1) == events.cycle; }

XEvent x_wait(Vm *vm, unsigned type)
{
    XEvent e = { .type = 0 };

    while (e.type != type) {
        t_loop(vm, due, vm);
        check(x_event(vm, &e));
    }
    return e;
}

static void trb(Vm *vm, uint64_t at, uint64_t param, uint32_t status, uint32_t control)
{
    t_st(vm, at, 8, param);
    t_st(vm, at + 8, 4, status);
    t_st(vm, at + 12, 4, control);
}

/* Writes at the next place of a ring that ends in a link. */
static uint64_t append(Vm *vm, Place *p, uint64_t base, unsigned n, uint64_t param, uint32_t status, uint32_t control)
{
    uint64_t at = base + 16 * p->at;

    trb(vm, at, param, status, control | p->cycle);
    if (++p->at == n - 1) {
        trb(vm, base + 16 * p->at, base, 0, 6 << 10 | 2 | p->cycle);
        p->at = 0;
        p->cycle ^= 1;
    }
    return at;
}

void x_append_command(Vm *vm, uint64_t param, uint32_t status, uint32_t control)
{
    append(vm, &commands, X_CMD, X_RING_N, param, status, control);
}

XEvent x_command(Vm *vm, uint64_t param, uint32_t status, uint32_t control)
{
    x_append_command(vm, param, status, control);
    t_st(vm, X_DB, 4, 0);
    return x_wait(vm, 33);
}

void x_ring_at(unsigned slot, unsigned dci, uint64_t *at) { *at = X_RINGS + (slot * 32 + dci) * 0x400ull; }

uint64_t x_put(Vm *vm, unsigned slot, unsigned dci, uint64_t param, uint32_t status, uint32_t control)
{
    uint64_t base;

    x_ring_at(slot, dci, &base);
    return append(vm, &rings[slot][dci], base, X_RING_N, param, status, control);
}

void x_bell(Vm *vm, unsigned slot, unsigned dci) { t_st(vm, X_DB + 4 * slot, 4, dci); }

void x_reset_port(Vm *vm, unsigned port)
{
    t_st(vm, X_PORTS + 16 * (port - 1), 4, 0x210);
    check(t_ld(vm, X_PORTS + 16 * (port - 1), 4) & 2);
    t_st(vm, X_PORTS + 16 * (port - 1), 4, 0xfe0200);
}

static void input(Vm *vm, uint32_t drop, uint32_t add)
{
    for (unsigned i = 0; i < 33 * 32; i += 8)
        t_st(vm, X_INPUT + i, 8, 0);
    t_st(vm, X_INPUT, 4, drop);
    t_st(vm, X_INPUT + 4, 4, add);
}

void x_forget_ring(Vm *vm, unsigned slot, unsigned dci)
{
    uint64_t ring;

    x_ring_at(slot, dci, &ring);
    for (unsigned i = 0; i < X_RING_N; i++)
        trb(vm, ring + 16 * i, 0, 0, 0);
    rings[slot][dci] = (Place){ 0, true };
}

static void ep_context(Vm *vm, unsigned slot, unsigned dci, unsigned type, unsigned packet, unsigned interval)
{
    uint64_t c = X_INPUT + 32 * (dci + 1), ring;

    x_forget_ring(vm, slot, dci);
    x_ring_at(slot, dci, &ring);
    t_st(vm, c, 4, interval << 16);
    t_st(vm, c + 4, 4, 3 << 1 | type << 3 | packet << 16);
    t_st(vm, c + 8, 8, ring | 1);
}

void x_input(Vm *vm, uint32_t drop, uint32_t add, unsigned slot, unsigned port, uint32_t route)
{
    input(vm, drop, add);
    t_st(vm, X_INPUT + 32, 4, route | 3 << 20 | 4u << 27);
    t_st(vm, X_INPUT + 36, 4, port << 16);
    ep_context(vm, slot, 1, 4, 64, 0);
    ep_context(vm, slot, 3, slot % 2 ? 6 : 7, 64, 3);
    ep_context(vm, slot, 4, 2, 64, 0);
}

unsigned x_attach(Vm *vm, unsigned port, uint32_t route)
{
    XEvent e;
    unsigned slot;

    if (!route)
        x_reset_port(vm, port);
    e = x_command(vm, 0, 0, 9 << 10);
    check_eq(e.code, 1);
    slot = e.slot;
    input(vm, 0, 3);
    t_st(vm, X_INPUT + 32, 4, route | 3 << 20 | 1u << 27);
    t_st(vm, X_INPUT + 36, 4, port << 16);
    ep_context(vm, slot, 1, 4, 64, 0);
    e = x_command(vm, X_INPUT, 0, 11 << 10 | slot << 24);
    check_eq(e.code, 1);
    check_eq(t_ld(vm, X_CTX + 0x800 * slot + 12, 4), 2u << 27 | slot);
    return slot;
}

unsigned x_add_ep(Vm *vm, unsigned slot, unsigned dci, unsigned type, unsigned packet, unsigned interval)
{
    input(vm, 0, 1u << dci | 1);
    for (unsigned i = 0; i < 12; i += 4)
        t_st(vm, X_INPUT + 32 + i, 4, t_ld(vm, X_CTX + 0x800 * slot + i, 4));
    ep_context(vm, slot, dci, type, packet, interval);
    return x_command(vm, X_INPUT, 0, 12 << 10 | slot << 24).code;
}

XEvent x_control(Vm *vm, unsigned slot, uint64_t setup, unsigned len)
{
    bool in = setup & 0x80;

    x_put(vm, slot, 1, setup, 8, 2 << 10 | 1 << 6 | (len ? (in ? 3u : 2u) << 16 : 0));
    if (len)
        x_put(vm, slot, 1, X_DATA, len, 3 << 10 | (in ? 1u << 16 : 0));
    x_put(vm, slot, 1, 0, 0, 4 << 10 | 1 << 5 | (in && len ? 0 : 1u << 16));
    x_bell(vm, slot, 1);
    return x_wait(vm, 32);
}

XEvent x_transfer(Vm *vm, unsigned slot, unsigned dci, uint64_t at, unsigned len)
{
    x_put(vm, slot, dci, at, len, 1 << 10 | 1 << 5);
    x_bell(vm, slot, dci);
    return x_wait(vm, 32);
}
