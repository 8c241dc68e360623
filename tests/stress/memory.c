/* memory.c - of the stress kernel: mappings that change, strings across them, locked operations. */
#include "stress.h"

static void r_store(ul p) { *(volatile uint64_t *)p = 1; }
static void r_load(ul p) { (void)*(volatile uint64_t *)p; }

/* Random mappings of the window, flushed as the manual demands: each access sees the mapping as it is, or faults as it says. */
void paging(void)
{
    static uint64_t now[16];
    unsigned a = below(WINDOW_PAGES - 16);

    for (unsigned f = 0; f < FRAMES; f++)
        *(volatile uint64_t *)frame[f] = f + 1;
    for (unsigned i = 0; i < 16; i++)
        now[i] = 0;
    for (unsigned n = 0; n < 300; n++) {
        unsigned i = below(16), f = below(FRAMES), what = below(8);
        volatile uint64_t *p = (volatile uint64_t *)window(a + i);
        uint64_t old = now[i];

        now[i] = what == 0 ? 0 : pte_of(frame[f], what < 3 ? P : P | W);
        window_set(a + i, now[i]);
        if (old & P)
            below(4) ? invlpg((ul)p) : wrcr3(rdcr3());
        if (!now[i]) {
            expect(attempt(r_load, (ul)p), PF, "a page that is not there");
            continue;
        }
        expect(*p, f + 1, "the frame that is mapped");
        if (now[i] & W) {
            p[1] = n;
            expect(*(volatile uint64_t *)(frame[f] + 8), n, "the frame that is written");
        } else if (below(4) == 0) {
            expect(attempt(r_store, (ul)p), PF, "a store to a read-only page");
        }
    }
    for (unsigned i = 0; i < 16; i++)
        window_set(a + i, 0);
    wrcr3(rdcr3());
}

/* ---- TLBs of two processors */
static volatile uint32_t generation, acked, shot_page; /* generation: odd while the mapping changes */
static volatile uint64_t mapped[4];
enum { SHOT = 40 };

bool on_shoot(Frame *f)
{
    invlpg((ul)window(SHOT + shot_page));
    apic_wr(0xb0, 0);
    acked = generation;
    return true;
}

void read_window_job(void)
{
    for (uint32_t n = 0; !other.stop; n++) {
        uint32_t g = generation, i = n % 4;
        uint64_t want = mapped[i], got;

        if (g & 1)
            continue;
        got = n & 4 ? call(window(SHOT + i) + 128) : *(volatile uint64_t *)window(SHOT + i);
        __asm__ volatile("" ::: "memory");
        if (g == generation && got != want) {
            other.bad = (uint32_t)got;
            other.bad_at = i;
        }
    }
}

void shootdown(void)
{
    for (unsigned f = 0; f < FRAMES; f++) {
        *(volatile uint64_t *)frame[f] = 77 + f;
        constant(frame[f] + 128, 77 + f);
    }
    for (unsigned i = 0; i < 4; i++) {
        window_set(SHOT + i, pte_of(frame[i], P | W));
        mapped[i] = 77 + i;
    }
    generation = 0;
    other_begin(JOB_READ_WINDOW);
    for (unsigned n = 0; n < 60; n++) {
        unsigned i = below(4), f = below(FRAMES);

        generation++;
        window_set(SHOT + i, pte_of(frame[f], P | W));
        mapped[i] = 77 + f;
        shot_page = i;
        invlpg((ul)window(SHOT + i));
        icr(1, 0x4000 | SHOOT);
        while (acked != generation)
            __asm__ volatile("pause");
        generation++;
        expect(*(volatile uint64_t *)window(SHOT + i), 77 + f, "after a shoot-down");
        for (unsigned k = below(300); k; k--)
            __asm__ volatile("pause");
    }
    other_end("TLB shoot-downs");
    for (unsigned i = 0; i < 4; i++) {
        generation++;
        window_set(SHOT + i, 0);
        shot_page = i;
        invlpg((ul)window(SHOT + i));
        icr(1, 0x4000 | SHOOT);
        while (acked != generation)
            __asm__ volatile("pause");
    }
}

/* ---- strings over pages that come when they are touched */
enum { STR = 16, STR_PAGES = 6 };
static volatile uint32_t demand;

static bool on_fault(Frame *f)
{
    ul page = (rdcr2() - (ul)window(STR)) >> 12;

    if (page >= STR_PAGES || (f->error & 1))
        return false;
    window_set(STR + (unsigned)page, pte_of(frame[page], P | W));
    demand++;
    return true;
}

static void forget(void)
{
    for (unsigned i = 0; i < STR_PAGES; i++)
        if (below(2)) {
            window_set(STR + i, 0);
            invlpg((ul)window(STR + i));
        }
}

static uint8_t model[STR_PAGES * 4096];

static bool same(void)
{
    forget();
    for (unsigned i = 0; i < sizeof(model); i++)
        if (((volatile uint8_t *)window(STR))[i] != model[i])
            return false;
    return true;
}

#define STRING(op)                                                                                                                         \
    __asm__ volatile("pushf\n test %b3, %b3\n jz 1f\n std\n1: " op "\n popf" : "+S"(si), "+D"(di), "+c"(cx) : "d"(down), "a"(fill) : "memory", "cc")

/* movs and stos of any size, either way, with overlap; a byte loop is the model. */
static void one_string(void)
{
    unsigned size = below(4), bytes = 1u << size, n = below(900), op = below(2), down = below(3) == 0;
    ul from = below((uint32_t)(sizeof(model) - 8192)), to = below(3) ? below((uint32_t)(sizeof(model) - 8192)) : from + below(64);
    ul si = (ul)window(STR) + from, di = (ul)window(STR) + to, cx = n, step = down ? 0ul - bytes : bytes;
    uint64_t fill = rnd();

    if (down)
        si += n * bytes, di += n * bytes, from += n * bytes, to += n * bytes;
    for (unsigned i = 0; i < n; i++, from += step, to += step)
        for (unsigned k = 0; k < bytes; k++) { /* an element is read whole before it is written */
            static uint8_t e[8];

            if (!k)
                for (unsigned j = 0; j < bytes; j++)
                    e[j] = op ? (uint8_t)(fill >> (8 * j)) : model[from + j];
            model[to + k] = e[k];
        }
    switch (op * 4 + size) {
    case 0: STRING("rep movsb"); break;
    case 1: STRING("rep movsw"); break;
    case 2: STRING("rep movsl"); break;
    case 3: STRING("rep movsq"); break;
    case 4: STRING("rep stosb"); break;
    case 5: STRING("rep stosw"); break;
    case 6: STRING("rep stosl"); break;
    default: STRING("rep stosq"); break;
    }
    expect(cx, 0, "rcx after a string instruction");
    expect(di, (ul)window(STR) + to, "rdi");
    if (!op)
        expect(si, (ul)window(STR) + from, "rsi");
}

static void scan(void)
{
    ul at = below(sizeof(model) - 1), di = (ul)window(STR), cx = sizeof(model), want = 0;
    uint8_t v = model[at];

    while (model[want] != v)
        want++;
    forget();
    __asm__ volatile("repne scasb" : "+D"(di), "+c"(cx) : "a"(v) : "memory", "cc");
    expect(di - (ul)window(STR) - 1, want, "repne scasb");
    expect(cx, sizeof(model) - 1 - want, "its count");
}

void strings(void)
{
    handlers[PF] = on_fault;
    for (unsigned i = 0; i < STR_PAGES; i++) {
        window_set(STR + i, pte_of(frame[i], P | W));
        invlpg((ul)window(STR + i));
        for (unsigned k = 0; k < 4096; k++)
            frame[i][k] = model[i * 4096 + k] = (uint8_t)(k * 7 + i + (k >> 8));
    }
    for (unsigned n = 0; n < 12; n++) {
        forget();
        one_string();
        scan();
    }
    check(same(), "memory after string instructions");
    check(demand, "pages came on demand");
    handlers[PF] = NULL;
    for (unsigned i = 0; i < STR_PAGES; i++) {
        window_set(STR + i, 0);
        invlpg((ul)window(STR + i));
    }
}

/* ---- locked operations of two processors */
static struct {
    volatile uint64_t counter, pad[7];
    volatile uint32_t lock, plain;
    volatile uint8_t bits[16];
} shared __attribute__((aligned(64)));

static void locked_round(unsigned n, unsigned bit)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t one = 1;
        uint64_t two = 2;

        __asm__ volatile("lock incq %0" : "+m"(shared.counter)::"cc");
        do
            __asm__ volatile("xchg %0, %1" : "+r"(one), "+m"(shared.lock));
        while (one);
        shared.plain++;
        __atomic_store_n(&shared.lock, 0, __ATOMIC_RELEASE);
        __asm__ volatile("lock btcl %1, %0" : "+m"(shared.bits) : "Ir"(bit) : "cc");
        __asm__ volatile("lock xaddq %0, %1" : "+r"(two), "+m"(shared.counter)::"cc");
    }
}

void locked_job(void) { locked_round(300, 9); }

void locked(void)
{
    shared.counter = 0;
    shared.plain = 0;
    memset((void *)shared.bits, 0, sizeof(shared.bits));
    other_begin(JOB_LOCKED);
    locked_round(301, 8);
    while (other.job)
        __asm__ volatile("pause");
    expect(shared.counter, 3 * 601, "locked additions of both");
    expect(shared.plain, 601, "what a spin lock guards");
    expect(shared.bits[1], 1, "locked bits of both");
}
