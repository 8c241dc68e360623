/*
 * tests/device/fuzz-usb.c - a driver without manners in front of an xHCI controller with devices: rings, contexts and doorbells that are nearly
 * right, devices that come and go, states saved and loaded. Nothing may crash, hang or leave memory that it does not own (build with sanitizers).
 * FUZZ_SECONDS=n for longer, FUZZ_SEED=n for one round.
 */
#include "hw/usb/xhci.h"
#include "tests/device/xhcidrv.h"
#include "ui/ui.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { STEPS = 400, SLOTS = 6 };
typedef struct Fuzz {
    Vm *vm;
    Rng rng;
    unsigned extra; /* devices plugged so far */
} Fuzz;

static unsigned pick(Fuzz *f, unsigned n) { return (unsigned)(rng_next(&f->rng) % n); }
static uint64_t address(Fuzz *f) { return pick(f, 16) ? X_DATA + pick(f, 1 << 16) : rng_value(&f->rng); }

static uint32_t flags(Fuzz *f)
{
    uint32_t v = 0;
    static const uint32_t bits[] = { TRB_IOC, TRB_CH, TRB_ISP, TRB_IDT, TRB_BEI, TRB_DIR, TRB_TC, 3 << 16 };

    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++)
        v |= pick(f, i ? 6 : 2) ? 0 : bits[i];
    return v;
}

static uint64_t request(Fuzz *f)
{
    static const uint16_t ops[] = { 0x8006, 0x8106, 0x0009, 0x0005, 0xa101, 0x2109, 0x210a, 0x210b, 0xa300, 0x2303, 0x2301, 0xa006, 0x21ff, 0xa1fe, 0x0201,
                                    0x0203, 0x8200, 0x010b, 0x0003 };
    static const uint16_t values[] = { 0x100, 0x200, 0x2200, 0x300, 0x303, 0xf00, 0x2900, 0, 1, 4, 8, 16, 20 };
    uint16_t op = pick(f, 20) ? ops[pick(f, G_N_ELEMENTS(ops))] : (uint16_t)rng_next(&f->rng);
    uint16_t value = pick(f, 20) ? values[pick(f, G_N_ELEMENTS(values))] : (uint16_t)rng_next(&f->rng);

    return x_setup(op >> 8, op & 0xff, value, pick(f, 4), pick(f, 3) ? pick(f, 256) : (unsigned)rng_next(&f->rng) & 0xffff);
}

static void control(Fuzz *f)
{
    unsigned slot = 1 + pick(f, SLOTS), len = pick(f, 300);
    uint64_t r = request(f);

    x_put(f->vm, slot, 1, r, pick(f, 30) ? 8 : pick(f, 20), 2 << 10 | (pick(f, 30) ? 1 << 6 : 0) | 3 << 16);
    if (pick(f, 2))
        x_put(f->vm, slot, 1, address(f), len, 3 << 10 | (r & 0x80 || !pick(f, 30) ? 1 << 16 : 0) | (pick(f, 4) ? 0 : TRB_ISP | TRB_IOC));
    if (pick(f, 20))
        x_put(f->vm, slot, 1, 0, 0, 4 << 10 | TRB_IOC);
    x_bell(f->vm, slot, 1);
}

static void transfer(Fuzz *f)
{
    unsigned slot = 1 + pick(f, SLOTS), dci = pick(f, 8) ? 3 + pick(f, 2) : pick(f, 32), n = 1 + pick(f, 4);

    while (n--) {
        unsigned type = pick(f, 10) ? TRB_NORMAL : pick(f, 12);

        x_put(f->vm, slot, dci & 31, address(f), (uint32_t)(pick(f, 4) ? pick(f, 2) ? 31 : pick(f, 2048) : rng_value(&f->rng)), type << 10 | flags(f));
    }
    x_bell(f->vm, slot, dci);
}

/* A bulk-only command, sometimes with its data and status. */
static void storage(Fuzz *f)
{
    static const uint8_t codes[] = { 0x00, 0x03, 0x12, 0x25, 0x28, 0x2a, 0x35, 0x41, 0x42, 0x1a, 0x15, 0x88, 0x8a, 0x93, 0xa0 };
    unsigned slot = 1 + pick(f, SLOTS), len = pick(f, 8) * 512 + (pick(f, 8) ? 0 : pick(f, 512)), cbw = X_DATA + pick(f, 1 << 15);
    bool in = pick(f, 2);

    t_st(f->vm, cbw, 8, pick(f, 50) ? 0x43425355 : 0);
    t_st(f->vm, cbw + 8, 8, len | (in ? 0x80ull << 32 : 0) | (uint64_t)(pick(f, 30) ? 0 : pick(f, 20)) << 40 | (uint64_t)(pick(f, 30) ? 10 : pick(f, 20)) << 48);
    t_st(f->vm, cbw + 15, 1, codes[pick(f, G_N_ELEMENTS(codes))]);
    t_st(f->vm, cbw + 16, 8, rng_value(&f->rng) & 0xff00000000);
    t_st(f->vm, cbw + 22, 4, pick(f, 8) << 16 | pick(f, 40));
    x_put(f->vm, slot, 4, cbw, 31, TRB_NORMAL << 10 | TRB_IOC);
    x_bell(f->vm, slot, 4);
    if (pick(f, 4) && len)
        x_put(f->vm, slot, in ? 3 : 4, address(f), len, TRB_NORMAL << 10 | TRB_IOC);
    x_bell(f->vm, slot, in ? 3 : 4);
    if (pick(f, 4))
        x_put(f->vm, slot, 3, address(f), 13, TRB_NORMAL << 10 | TRB_IOC);
    x_bell(f->vm, slot, 3);
}

static void give_command(Fuzz *f, uint64_t param, uint32_t status, uint32_t c)
{
    x_append_command(f->vm, param, status, c);
    t_st(f->vm, X_DB, 4, pick(f, 50) ? 0 : pick(f, 256));
}

static void recover(Fuzz *f)
{
    unsigned slot = 1 + pick(f, SLOTS), dci = 1 + pick(f, 4);
    uint64_t at;

    x_ring_at(slot, dci, &at);
    give_command(f, 0, 0, 14 << 10 | dci << 16 | slot << 24);
    if (pick(f, 2))
        give_command(f, 0, 0, 15 << 10 | dci << 16 | slot << 24);
    x_forget_ring(f->vm, slot, dci);
    give_command(f, at | 1, 0, 16 << 10 | dci << 16 | slot << 24);
}

static void command(Fuzz *f)
{
    unsigned type = pick(f, 10) ? 9 + pick(f, 10) : pick(f, 64), slot = pick(f, 10) ? 1 + pick(f, SLOTS) : pick(f, 256);

    if (pick(f, 3)) /* an input context that is nearly good */
        x_input(f->vm, pick(f, 4) ? 0 : (uint32_t)rng_value(&f->rng) & ~3u, pick(f, 2) ? 3 : 0x19, 1 + pick(f, SLOTS), pick(f, 9), pick(f, 4) ? 0 : pick(f, 0x1000));
    for (unsigned n = pick(f, 4); n; n--)
        t_st(f->vm, X_INPUT + pick(f, 33 * 8) * 4, 4, rng_value(&f->rng));
    give_command(f, pick(f, 10) ? X_INPUT : rng_value(&f->rng), (uint32_t)rng_value(&f->rng), type << 10 | flags(f) | pick(f, 6) << 16 | slot << 24);
}

static void registers(Fuzz *f)
{
    uint64_t at = pick(f, 3) ? X_PORTS + 16 * pick(f, 8) : X_BAR + (pick(f, 2) ? 0x40 + pick(f, 16) * 4 : 0x1000 + pick(f, 0x60));

    t_st(f->vm, at & ~3ull, 4, pick(f, 2) ? 0x210 | 0xfe0000 : rng_value(&f->rng));
    if (!pick(f, 4))
        x_rings(f->vm);
}

static void world(Fuzz *f)
{
    static const char *const devices[] = { "usb-tablet", "usb-kbd", "usb-mouse", "usb-hub", "usb-hub,port=5", "usb-tablet,port=5.1", "usb-kbd,port=5.2" };
    g_autofree char *text = g_strdup_printf("%s,id=e%u", devices[pick(f, G_N_ELEMENTS(devices))], f->extra++);
    g_autofree char *old = g_strdup_printf("e%u", pick(f, f->extra));
    Dev *d = vm_find_dev(f->vm, old);

    if (pick(f, 2))
        dev_plug(f->vm, bus_find(f->vm, "x.0"), text, NULL);
    else if (d)
        dev_unplug_now(d);
}

static void people(Fuzz *f)
{
    UiEvent e = { .kind = (UiEventKind)pick(f, 4), .key = (uint16_t)pick(f, 256), .down = pick(f, 2), .button = (uint8_t)pick(f, UI_BUTTONS), .axis = (uint8_t)pick(f, 2),
                  .value = (int32_t)pick(f, 0x8000) };

    ui_input_send(f->vm, &e, 1);
}

static void move_state(Fuzz *f)
{
    g_autoptr(GByteArray) s = g_byte_array_new();

    if (!vm_save_state(f->vm, s, NULL))
        return;
    for (unsigned n = pick(f, 3); n; n--)
        s->data[pick(f, s->len)] = (uint8_t)rng_next(&f->rng);
    if (pick(f, 2))
        vm_reset(f->vm, CAUSE_NONE);
    vm_load_state(f->vm, s->data, s->len, NULL);
}

static void step(Fuzz *f)
{
    XEvent e;

    switch (pick(f, 24)) {
    case 0: registers(f); break;
    case 1: world(f); break;
    case 2: people(f); break;
    case 3: t_step(f->vm, (int64_t)pick(f, 20) * MS); break;
    case 4:
        if (!pick(f, 10))
            move_state(f);
        break;
    case 5: recover(f); break;
    case 6:
    case 7: command(f); break;
    case 8:
    case 9:
    case 10: control(f); break;
    case 11:
    case 12:
    case 13:
    case 14: storage(f); break;
    case 15:
    case 16:
    case 17: transfer(f); break;
    default:
        for (unsigned n = pick(f, 20); n && x_event(f->vm, &e); n--)
            ;
    }
}

static void setup(Fuzz *f)
{
    static const unsigned ports[] = { 5, 6, 7, 8 };
    Bus *b;

    t_backends(f->vm);
    x_start(f->vm, ",p2=5");
    b = bus_find(f->vm, "x.0");
    dev_plug(f->vm, b, "usb-tablet,port=1", &abort_on_error);
    dev_plug(f->vm, b, "usb-kbd,port=2", &abort_on_error);
    dev_plug(f->vm, b, "usb-hub,port=3", &abort_on_error);
    dev_plug(f->vm, b, "usb-storage,port=4,drive=null0", &abort_on_error);
    for (unsigned i = 0; i < 4; i++) {
        unsigned slot = x_attach(f->vm, i == 3 ? 4 : ports[i], 0);

        x_control(f->vm, slot, x_setup(0, 9, 1, 0, 0), 0);
        x_add_ep(f->vm, slot, 3, i == 3 ? EPT_BULK_IN : EPT_INTERRUPT_IN, 64, 3);
        if (i == 3)
            x_add_ep(f->vm, slot, 4, EPT_BULK_OUT, 64, 0);
    }
}

static void one_round(Vm *vm, const void *arg)
{
    Fuzz f = { .vm = vm, .rng = { *(const uint64_t *)arg } };

    setup(&f);
    for (unsigned i = 0; i < STEPS; i++)
        step(&f);
}

int t_main(int argc, char **argv)
{
    const char *seconds = g_getenv("FUZZ_SECONDS"), *alone = g_getenv("FUZZ_SEED");
    int64_t end = host_now() + (seconds ? g_ascii_strtoll(seconds, NULL, 10) : 2) * SEC;
    struct rlimit quiet = { 0, 0 };
    uint64_t seed = alone ? g_ascii_strtoull(alone, NULL, 10) : 1;
    bool ok;

    setrlimit(RLIMIT_CORE, &quiet);
    do {
        g_autofree char *name = g_strdup_printf("seed %" PRIu64, seed);

        ok = t_run(name, one_round, &seed, !alone);
        if (!ok)
            printf("FAIL %s\n", name);
        seed++;
    } while (ok && !alone && host_now() < end);
    printf("%" PRIu64 " rounds\n", seed - 1);
    return ok ? 0 : 1;
}
