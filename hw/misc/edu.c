/*
 * hw/misc/edu.c - the teaching device: a factorial engine and a DMA engine over a 4 KiB buffer, INTx or MSI.
 * Interface: docs/specs/edu of the QEMU project (registers 0x00..0x98 of BAR 0, buffer at 0x40000 of the device's own
 * address space, 28 address bits by default).
 */
#include "hw/pci/pci.h"

typedef struct Edu {
    PciDev pci;
    uint32_t id, live, fact, status, irq;
    uint64_t src, dst, len, cmd, dma_mask;
    uint8_t buf[4096];
    Timer work, dma;
} Edu;
#define EDU(d) container_of(d, Edu, pci.dev)

enum { BUSY = 0x01, FACT_IRQ = 0x80 };        /* status */
enum { RUN = 1, TO_RAM = 2, DMA_IRQ = 4 };    /* cmd */
enum { FACT_DONE = 0x001, DMA_DONE = 0x100 }; /* irq */
enum { BUF_AT = 0x40000 };

static bool idle(const Dev *d) { return !(EDU(d)->status & BUSY); }
static bool dma_idle(const Dev *d) { return !(EDU(d)->cmd & RUN); }
static bool line(const Dev *d) { return EDU(d)->irq != 0; }

static void live_w(Dev *d, uint64_t old) { EDU(d)->live = ~EDU(d)->live; }

static void fact_w(Dev *d, uint64_t old)
{
    EDU(d)->status |= BUSY;
    timer_in(&EDU(d)->work, 1 * MS);
}

static void cmd_w(Dev *d, uint64_t old)
{
    if (EDU(d)->cmd & RUN)
        timer_in(&EDU(d)->dma, 100 * MS);
}

static void fact_done(Dev *d)
{
    Edu *s = EDU(d);
    uint32_t r = 1;

    /* 34! is 0 mod 2^32: the guest cannot stall us. */
    for (uint32_t n = MIN(s->fact, 34); n > 1; n--)
        r *= n;
    s->fact = r;
    s->status &= ~(uint32_t)BUSY;
    if (s->status & FACT_IRQ)
        s->irq |= FACT_DONE;
}

static void dma_done(Dev *d)
{
    Edu *s = EDU(d);
    uint64_t at = (s->cmd & TO_RAM ? s->src : s->dst) - BUF_AT;

    if (!in_range(at, s->len, sizeof(s->buf)))
        guest_error(d, "DMA of %#" PRIx64 " bytes is outside the buffer", s->len);
    else if (s->cmd & TO_RAM)
        dma_write(d, s->dst & s->dma_mask, s->buf + at, s->len);
    else
        dma_read(d, s->src & s->dma_mask, s->buf + at, s->len);
    s->cmd &= ~(uint64_t)RUN;
    if (s->cmd & DMA_IRQ)
        s->irq |= DMA_DONE;
}

/* clang-format off */
static const Reg edu_regs[] = {
    { "id",     0x00, REG(Edu, id), .reset = 0x010000ed, .doc = "identification, 0xRRrr00ed" },
    { "live",   0x04, REG(Edu, live), .rw = ~0u, .write = live_w, .doc = "reads back inverted" },
    { "fact",   0x08, REG(Edu, fact), .rw = ~0u, .when = idle, .write = fact_w, .doc = "n, then n!" },
    { "status", 0x20, REG(Edu, status), .rw = FACT_IRQ, .doc = "1: busy, 0x80: interrupt when done" },
    { "irq",    0x24, REG(Edu, irq), .doc = "pending causes" },
    { "raise",  0x60, REG(Edu, irq), .w1s = ~0u, .wo = true, .doc = "set causes" },
    { "ack",    0x64, REG(Edu, irq), .w1c = ~0u, .wo = true, .doc = "clear causes" },
    { "src",    0x80, REG(Edu, src), .rw = ~0ull, .when = dma_idle, .doc = "DMA source" },
    { "dst",    0x88, REG(Edu, dst), .rw = ~0ull, .when = dma_idle, .doc = "DMA destination" },
    { "len",    0x90, REG(Edu, len), .rw = ~0ull, .when = dma_idle, .doc = "DMA length" },
    { "cmd",    0x98, REG(Edu, cmd), .rw = 7, .when = dma_idle, .write = cmd_w, .doc = "1: run, 2: to RAM, 4: irq" },
};
static const Bank edu_bank = { "edu", 1 * MiB, TABLE(edu_regs), .min = 4 };
static const Field edu_state[] = {
    BYTES(Edu, buf), TIMER(Edu, work, fact_done, CLOCK_VM), TIMER(Edu, dma, dma_done, CLOCK_VM),
};
static const Prop edu_props[] = { PROP(Edu, dma_mask, "dma_mask", (1u << 28) - 1, "address bits the engine drives") };
static const Out edu_outs[] = { { "intx", line } };

static const PciClass edu = {
    PCI_DEVICE(Edu, "edu", "Teaching device: factorial and DMA engines"), .dev.hotplug = true,
    .vendor = 0x1234, .device = 0x11e8, .class_id = 0x00ff00, .revision = 0x10, .irq_pin = 1, .msi_vectors = 1,
    .dev.obj.props = TABLE(edu_props), .dev.state = TABLE(edu_state), .dev.outs = edu_outs, .dev.nouts = 1,
    .bar[0] = { .size = 1 * MiB, .bank = &edu_bank },
};
DEVICE_OF(Edu, edu, &edu.dev);
/* clang-format on */
