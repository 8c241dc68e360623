/*
 * tests/contract/planted.c - devices with one bug each, to show that each check of the contract can fail, and
 * "planted-none", the same device without a bug.
 */
#include "tests/contract/contract.h"
#include <stdio.h>

typedef struct Planted {
    Dev dev;
    uint32_t ctl, src, len;
    uint32_t count;
    bool hidden; /* an unsaved bool, in one of them */
    uint8_t buf[64];
    Timer tick;
} Planted;
#define S(d) ((Planted *)(d))
enum { GO = 1, IRQ = 2, TOGGLE = 4 };

static bool level(const Dev *d) { return S(d)->ctl & IRQ; }

static void tick(Dev *d)
{
    S(d)->count++;
    S(d)->ctl |= IRQ;
}

static void ctl_w(Dev *d, uint64_t old)
{
    Planted *s = S(d);

    if (s->ctl & GO)
        timer_in(&s->tick, 10 * US);
    if (s->ctl & TOGGLE) {
        s->hidden = !s->hidden;
        s->count += s->hidden ? 1 : 3;
    }
}

static void len_w(Dev *d, uint64_t old)
{
    Planted *s = S(d);

    if (!in_range(0, s->len, sizeof(s->buf)))
        guest_error(d, "a transfer longer than the buffer");
    else
        dma_read(d, s->src, s->buf, s->len);
}

/* The log-and-copy bug. */
static void len_w_unchecked(Dev *d, uint64_t old)
{
    Planted *s = S(d);

    if (!in_range(0, s->len, sizeof(s->buf)))
        guest_error(d, "a transfer longer than the buffer");
    dma_read(d, s->src, s->buf, MIN(s->len, 1024 * 1024));
}

static bool hidden_level(const Dev *d) { return S(d)->hidden; }
static void remember(Dev *d) { S(d)->count = S(d)->hidden; }

/* clang-format off */
#define ROWS(len_fn)                                                                               \
    { "ctl",   0x00, REG(Planted, ctl), .rw = 7, .write = ctl_w },                                  \
    { "src",   0x04, REG(Planted, src), .rw = ~0u },                                                \
    { "len",   0x08, REG(Planted, len), .rw = ~0u, .write = len_fn },                               \
    { "count", 0x0c, REG(Planted, count) }
static const Reg good_regs[] = { ROWS(len_w) }, dma_regs[] = { ROWS(len_w_unchecked) };
static const Bank good_bank[] = { { "planted", 0x10, TABLE(good_regs) } };
static const Bank dma_bank[] = { { "planted", 0x10, TABLE(dma_regs) } };
#define TICK TIMER(Planted, tick, tick, CLOCK_VM)
static const Field good_state[] = { FIELD(Planted, hidden), BYTES(Planted, buf), TICK };
static const Field bool_state[] = { BYTES(Planted, buf), TICK };
static const Field lying_state[] = { TRANSIENT(Planted, hidden, "said to have no meaning"), BYTES(Planted, buf), TICK };
static const Field kept_state[] = { TRANSIENT(Planted, hidden, "said to belong to the host", .keep = true), BYTES(Planted, buf), TICK };
static const Field timer_state[] = { FIELD(Planted, hidden), BYTES(Planted, buf) };
static const Out outs[] = { { "irq", level } }, lost_outs[] = { { "irq", hidden_level } };
#define PLANTED(v, nm, st, bk, ou, ...)                                                            \
    static const DevClass v = {                                                                    \
        .obj = { .name = nm, .desc = "a planted bug", .size = sizeof(Planted) }, .no_user = true,   \
        .state = TABLE(st), COUNTED(banks, bk), COUNTED(outs, ou), __VA_ARGS__                      \
    };                                                                                             \
    DEVICE(Planted, v)
PLANTED(none, "planted-none", good_state, good_bank, outs);
PLANTED(unsaved, "planted-unsaved-bool", bool_state, good_bank, outs);
PLANTED(lying, "planted-false-transient", lying_state, good_bank, outs);
PLANTED(untimed, "planted-unlisted-timer", timer_state, good_bank, outs);
PLANTED(lost, "planted-lost-output", lying_state, good_bank, lost_outs);
PLANTED(halfway, "planted-incomplete-reset", kept_state, good_bank, outs, .on_reset = remember);
PLANTED(dma, "planted-unchecked-dma", good_state, dma_bank, outs);

static const struct {
    const char *cls;
    int check; /* that must fail; -1: none may */
    bool needs_sanitizer;
} planted[] = {
    { "planted-none", -1 }, { "planted-unsaved-bool", CHECK_COVERED }, { "planted-unlisted-timer", CHECK_COVERED },
    { "planted-false-transient", CHECK_STATE }, { "planted-lost-output", CHECK_STATE },
    { "planted-incomplete-reset", CHECK_RESET }, { "planted-unchecked-dma", CHECK_HOSTILE, true },
};
/* clang-format on */

bool contract_is_planted(const DevClass *c) { return g_str_has_prefix(c->obj.name, "planted-"); }

static bool all_pass(const char *name)
{
    bool ok = true;

    for (unsigned i = 0; i < CHECKS; i++)
        ok &= contract_passes(name, i, false);
    return ok;
}

unsigned contract_planted(void)
{
    unsigned bad = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(planted); i++) {
        bool ok;

        if (planted[i].needs_sanitizer && !T_SANITIZED)
            continue;
        if (planted[i].check == CHECK_COVERED && !T_PADDING)
            continue;
        ok = planted[i].check < 0 ? all_pass(planted[i].cls) : !contract_passes(planted[i].cls, planted[i].check, true);
        printf("%s %s is %s\n", ok ? "ok  " : "FAIL", planted[i].cls, planted[i].check < 0 ? "clean" : "caught");
        bad += !ok;
    }
    return bad;
}
