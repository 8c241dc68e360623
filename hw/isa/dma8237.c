/*
 * hw/isa/dma8237.c - an 8237A DMA controller with the PC's page registers; a machine has two, the second for 16-bit
 * channels. Source: Intel 8237A data sheet (231466); IBM PC/AT technical reference, "DMA controller".
 * A device holds DREQ by waiting: it asks isa_dma_ready, moves what it has with isa_dma_transfer, or gets called
 * when the guest opens its channel. Left out: memory-to-memory transfers and software requests (a PC cannot use
 * them), the timing of bus cycles.
 */
#include "hw/isa/isa.h"

enum { CHANNELS = 4, CMD_OFF = 4, MODE_DIR = 3, MODE_AUTO = 0x10, MODE_DOWN = 0x20, MODE_KIND = 0xc0, KIND_CASCADE = 0xc0 };
enum { DIR_VERIFY, DIR_WRITE /* into memory */, DIR_READ };

typedef struct DmaChannel {
    uint16_t base_addr, base_count, addr, count;
    uint8_t mode;
} DmaChannel;
typedef struct Dma {
    Dev dev;
    uint32_t base, page_base, dshift; /* properties */
    uint8_t page[8]; /* by port; those of no channel only remember */
    uint8_t command, mask, tc, request, high /* the flip-flop: the next byte is the upper one */, temp;
    DmaChannel ch[CHANNELS];
    IsaDmaUser user[CHANNELS];
} Dma;
#define DMA(d) ((Dma *)(d))

static const uint8_t page_of[CHANNELS] = { 7, 3, 1, 2 };

static bool open(const Dma *s, unsigned n)
{
    return !(s->command & CMD_OFF) && !(s->mask >> n & 1) && (s->ch[n].mode & MODE_KIND) != KIND_CASCADE &&
           (s->ch[n].mode & MODE_DIR) != MODE_DIR;
}

/* Something that may have opened channels was written: those who wait go on. */
static void call_users(Dma *s)
{
    for (unsigned n = 0; n < CHANNELS; n++)
        if (s->user[n].ready && open(s, n))
            s->user[n].ready(s->user[n].o);
}

/* ---- registers ---- */
static uint64_t address_count(const Dev *d, unsigned n)
{
    const DmaChannel *c = &DMA(d)->ch[n / 2];

    return (n & 1 ? c->count : c->addr) >> (DMA(d)->high ? 8 : 0) & 0xff;
}

static void address_count_read(Dev *d, unsigned n, unsigned lanes) { DMA(d)->high ^= 1; }

static void address_count_w(Dev *d, unsigned n, uint64_t val, unsigned lanes)
{
    Dma *s = DMA(d);
    DmaChannel *c = &s->ch[n / 2];
    uint16_t *base = n & 1 ? &c->base_count : &c->base_addr;

    *base = (uint16_t)bits_put(*base, s->high ? 8 : 0, 8, val & 0xff);
    *(n & 1 ? &c->count : &c->addr) = *base;
    s->high ^= 1;
}

static uint64_t status(const Dev *d)
{
    const Dma *s = DMA(d);
    unsigned v = s->tc;

    for (unsigned n = 0; n < CHANNELS; n++)
        v |= (s->request >> n & 1u) << (4 + n);
    return v;
}
static void status_read(Dev *d, unsigned lanes) { DMA(d)->tc = 0; }

static void command_w(Dev *d, uint64_t old)
{
    if (DMA(d)->command & 1)
        guest_unimp(d, "memory-to-memory transfers");
    call_users(DMA(d));
}

static void request_w(Dev *d, uint64_t val, unsigned lanes)
{
    Dma *s = DMA(d);

    s->request = (uint8_t)bits_put(s->request, val & 3, 1, val >> 2 & 1);
    if (val & 4)
        guest_unimp(d, "a transfer requested by software on channel %u", (unsigned)(val & 3));
}

static void single_mask_w(Dev *d, uint64_t val, unsigned lanes)
{
    DMA(d)->mask = (uint8_t)bits_put(DMA(d)->mask, val & 3, 1, val >> 2 & 1);
    call_users(DMA(d));
}

static void mode_w(Dev *d, uint64_t val, unsigned lanes)
{
    DMA(d)->ch[val & 3].mode = (uint8_t)((val & 0xf0) | (val >> 2 & 3)); /* direction in the low bits */
    call_users(DMA(d));
}

static void clear_pointer_w(Dev *d, uint64_t val, unsigned lanes) { DMA(d)->high = 0; }
static uint64_t temporary(const Dev *d) { return DMA(d)->temp; }

static void master_clear_w(Dev *d, uint64_t val, unsigned lanes)
{
    Dma *s = DMA(d);

    s->command = s->tc = s->request = s->temp = s->high = 0;
    s->mask = 0xf;
}

static void clear_mask_w(Dev *d, uint64_t val, unsigned lanes)
{
    DMA(d)->mask = 0;
    call_users(DMA(d));
}

static void all_mask_w(Dev *d, uint64_t old) { call_users(DMA(d)); }

/* ---- transfers ---- */
bool isa_dma_ready(IsaBus *b, unsigned channel, bool *to_memory)
{
    Dma *s = (Dma *)(void *)b->dma[channel >> 2 & 1];
    unsigned n = channel & 3;

    if (!s || !open(s, n))
        return false;
    *to_memory = (s->ch[n].mode & MODE_DIR) == DIR_WRITE;
    return true;
}

static void move_bytes(Dma *s, DmaChannel *c, uint64_t at, uint8_t *buf, uint64_t len)
{
    if ((c->mode & MODE_DIR) == DIR_WRITE)
        dma_write(&s->dev, at, buf, len);
    else if ((c->mode & MODE_DIR) == DIR_READ)
        dma_read(&s->dev, at, buf, len);
}

/* As many units as count and the 64 K page allow in one piece; downwards one by one. */
static size_t piece(Dma *s, unsigned n, uint8_t *buf, size_t units)
{
    DmaChannel *c = &s->ch[n];
    unsigned sh = s->dshift;
    uint64_t page = sh ? s->page[page_of[n]] & 0xfeu : s->page[page_of[n]];
    uint64_t at = page << 16 | (uint64_t)c->addr << sh;
    bool down = c->mode & MODE_DOWN;
    size_t k = MIN(units, c->count + 1u);

    k = down ? 1 : MIN(k, 0x10000u - c->addr);
    move_bytes(s, c, at, buf, k << sh);
    c->addr = (uint16_t)(c->addr + (down ? UINT16_MAX : k));
    c->count = (uint16_t)(c->count - k);
    return k;
}

/* The count ran below zero. */
static void terminal_count(Dma *s, unsigned n)
{
    DmaChannel *c = &s->ch[n];

    s->tc |= (uint8_t)(1u << n);
    s->request &= (uint8_t)~(1u << n);
    if (c->mode & MODE_AUTO) {
        c->addr = c->base_addr;
        c->count = c->base_count;
    } else {
        s->mask |= (uint8_t)(1u << n);
    }
}

/* Bounded by len: each round moves at least one unit. */
size_t isa_dma_transfer(IsaBus *b, unsigned channel, void *buf, size_t len, bool *tc)
{
    Dma *s = (Dma *)(void *)b->dma[channel >> 2 & 1];
    unsigned n = channel & 3;
    size_t done = 0;

    *tc = false;
    if (!s || !open(s, n))
        return 0;
    WITH_DEV(&s->dev) {
        size_t units = len >> s->dshift;

        while (done < units && !*tc) {
            done += piece(s, n, (uint8_t *)buf + (done << s->dshift), units - done);
            *tc = s->ch[n].count == 0xffff;
        }
        if (*tc)
            terminal_count(s, n);
    }
    return done << s->dshift;
}

void isa_dma_attach(IsaBus *b, unsigned channel, IsaDmaUser user)
{
    Dma *s = (Dma *)(void *)b->dma[channel >> 2 & 1];

    if (s)
        s->user[channel & 3] = user;
}

/* ---- life ---- */
static bool init(Obj *o, Error **err)
{
    const Dma *s = (const Dma *)(const void *)o;

    return s->dshift <= 1 || fail(err, "i8257: dshift=%u; channels are 8 (0) or 16 (1) bits wide", s->dshift);
}

static bool plug(Dev *d, Error **err)
{
    Dma *s = DMA(d);
    IsaBus *b = isa_bus(d);

    if (b->dma[s->dshift])
        return fail(err, "i8257: the bus has a controller of %u-bit channels already", 8u << s->dshift);
    b->dma[s->dshift] = d;
    region_map(b->ports, s->base, dev_region(d, s->dshift), 0);
    region_map(b->ports, s->page_base, dev_region(d, 2), 0);
    return true;
}

static void unplug(Dev *d)
{
    Dev **at = &isa_bus(d)->dma[DMA(d)->dshift];

    if (*at == d)
        *at = NULL;
}

/* clang-format off */
/* Both controllers have these; the second one's are two ports apart. */
#define REGISTERS(sh) \
    { .name = "Address and count", .off = 0, NOFIELD(1), ARRAY(8, 1 << (sh), 0), .value_n = address_count, \
      .on_read_n = address_count_read, .wrote_n = address_count_w, .doc = "channel n: 2n address, 2n+1 count less one; low byte, then high" }, \
    { .name = "Status", .off = 8 << (sh), NOFIELD(1), .ro = true, .value = status, .on_read = status_read, .doc = "0..3 end reached, 4..7 requests" }, \
    { .name = "Command", .off = 8 << (sh), REG(Dma, command), .wo = true, .rw = 0xff, .write = command_w, .doc = "2: controller off" }, \
    { .name = "Request", .off = 9 << (sh), NOFIELD(1), .wo = true, .wrote = request_w, .doc = "by software" }, \
    { .name = "Single mask", .off = 10 << (sh), NOFIELD(1), .wo = true, .wrote = single_mask_w, .doc = "0..1 channel, 2: closed" }, \
    { .name = "Mode", .off = 11 << (sh), NOFIELD(1), .wo = true, .wrote = mode_w, .doc = "0..1 channel, 2..3 direction, 4 again, 5 down, 6..7 kind" }, \
    { .name = "Clear byte pointer", .off = 12 << (sh), NOFIELD(1), .wo = true, .wrote = clear_pointer_w, .doc = "the low byte is next" }, \
    { .name = "Temporary", .off = 13 << (sh), NOFIELD(1), .ro = true, .value = temporary, .doc = "of memory-to-memory transfers" }, \
    { .name = "Master clear", .off = 13 << (sh), NOFIELD(1), .wo = true, .wrote = master_clear_w, .doc = "as by the reset pin" }, \
    { .name = "Clear mask", .off = 14 << (sh), NOFIELD(1), .wo = true, .wrote = clear_mask_w, .doc = "all channels open" }, \
    { .name = "All mask", .off = 15 << (sh), REG(Dma, mask), .wo = true, .rw = 0xf, .reset = 0xf, .write = all_mask_w, .doc = "a bit closes a channel" }
static const Reg regs8[] = { REGISTERS(0) };
static const Reg regs16[] = { REGISTERS(1) };
static const Reg page_regs[] = { { "Page", 0, REGS(Dma, page, 8, 1), .rw = 0xff, .doc = "address bits 16..23: 7 channel 0, 3 channel 1, 1 channel 2, 2 channel 3" } };
static const Bank banks[] = {
    { "dma8", 16, TABLE(regs8), .quiet = true }, { "dma16", 32, TABLE(regs16), .quiet = true }, { "dma-page", 8, TABLE(page_regs) },
};
static const Field channel_fields[] = {
    FIELD(DmaChannel, base_addr), FIELD(DmaChannel, base_count), FIELD(DmaChannel, addr), FIELD(DmaChannel, count), FIELD(DmaChannel, mode),
};
static const FieldTable channel_table = TABLE(channel_fields);
static const Field state[] = {
    FIELD(Dma, tc), FIELD(Dma, request), FIELD(Dma, high), FIELD(Dma, temp), STRUCTS(Dma, ch, &channel_table),
    TRANSIENT(Dma, user, "wiring", .keep = true),
};
static const Prop props[] = {
    PROP(Dma, base, "base", 0, "first port"), PROP(Dma, page_base, "page-base", 0x80, "first port of the page registers"),
    PROP(Dma, dshift, "dshift", 0, "1: channels of 16 bits"),
};
static const IsaClass dma = {
    ISA_DEVICE(Dma, "i8257", "DMA controller (8237A)"), .dev.no_user = true, .dev.obj.init = init, .dev.obj.props = TABLE(props),
    .dev.state = TABLE(state), .dev.banks = banks, .dev.nbanks = G_N_ELEMENTS(banks), .dev.plug = plug, .dev.unplug = unplug,
};
DEVICE_OF(Dma, dma, &dma.dev);
/* clang-format on */
