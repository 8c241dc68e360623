/*
 * core/bank.c - register access from tables: which rows a guest access touches, what it reads, what a
 * write changes, and the guest errors in between.
 * Invariants: an access that comes while the device is busy (its own DMA) is refused; a dense index gives
 * the first row at each offset, rows that share bytes are tried in table order, those that start at
 * the offset first; peek never changes anything.
 */
#include "core/priv.h"
#include "util/trace.h"

TRACE_POINT(reg_read, "reg.read", "-> %#" PRIx64 " (offset %#" PRIx64 ", %" PRIu64 " bytes)");
TRACE_POINT(reg_write, "reg.write", "<- %#" PRIx64 " (offset %#" PRIx64 ", %" PRIu64 " bytes)");

enum { DENSE_MAX = 65536 };

struct BankIndex {
    const Bank *bank;
    uint32_t extent;    /* bytes indexed */
    uint16_t *first;    /* row + 1, or 0 */
    const char **names; /* interned "bank.register" */
};

static GMutex lock;
static GHashTable *indexes; /* Bank -> BankIndex, derived from const tables; guarded by lock */

static uint32_t row_end(const Reg *r) { return r->off + (r->count && r->stride ? (r->count - 1) * r->stride : 0) + r->size; }

/* Does the row cover byte `off`, and as which element, at which byte of it? */
static bool row_covers(const Reg *r, uint64_t off, unsigned *n, unsigned *lo)
{
    uint64_t rel;

    if (off < r->off)
        return false;
    rel = off - r->off;
    *n = 0;
    if (r->stride) {
        *n = (unsigned)(rel / r->stride);
        rel %= r->stride;
        if (*n >= r->count)
            return false;
    }
    *lo = (unsigned)rel;
    return rel < r->size;
}

/* The first row that starts at off, else the first that covers it; + 1. */
static uint16_t first_row(const RegTable *t, uint32_t off)
{
    unsigned n, lo;
    uint16_t covers = 0;

    for (size_t i = 0; i < t->n; i++)
        if (row_covers(&t->v[i], off, &n, &lo)) {
            if (lo == 0)
                return (uint16_t)(i + 1);
            if (!covers)
                covers = (uint16_t)(i + 1);
        }
    return covers;
}

static BankIndex *index_build(const Bank *b)
{
    BankIndex *x = g_new0(BankIndex, 1);

    x->bank = b;
    x->names = g_new0(const char *, b->regs.n);
    for (size_t i = 0; i < b->regs.n; i++) {
        g_autofree char *full = g_strdup_printf("%s.%s", b->name ? b->name : "regs", b->regs.v[i].name);

        x->names[i] = g_intern_string(full);
        x->extent = MAX(x->extent, row_end(&b->regs.v[i]));
    }
    x->extent = MIN(x->extent, DENSE_MAX);
    x->first = g_new0(uint16_t, x->extent + 1);
    for (uint32_t off = 0; off < x->extent; off++)
        x->first[off] = first_row(&b->regs, off);
    return x;
}

static const BankIndex *index_of(const Bank *b)
{
    BankIndex *x;

    g_mutex_lock(&lock);
    if (!indexes)
        indexes = g_hash_table_new(NULL, NULL);
    x = g_hash_table_lookup(indexes, b);
    if (!x) {
        x = index_build(b);
        g_hash_table_insert(indexes, (gpointer)b, x);
    }
    g_mutex_unlock(&lock);
    return x;
}

/* One register as an access meets it. */
typedef struct Hit {
    const Reg *r;
    unsigned n, lo; /* element; first byte of it that is touched */
    void *at;       /* its storage, or NULL */
} Hit;

static bool applies(const Dev *d, const Reg *r, bool write)
{
    return !(write ? r->ro : r->wo) && (!r->bank || r->bank(d));
}

static bool locate(Dev *d, Hit *h)
{
    unsigned e = h->n;

    h->at = NULL;
    if (h->r->select) {
        e = h->r->select(d);
        if (e >= h->r->count)
            return false;
        h->n = e;
    }
    if (h->r->at != UINT32_MAX)
        h->at = (char *)d + h->r->at + (size_t)e * h->r->at_stride;
    return true;
}

static uint64_t value_in(const void *at, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, at, size); /* little-endian hosts */
    return v;
}

static bool find_indexed(Dev *d, const Reg *port, bool write, Hit *h)
{
    uint64_t index = value_in((char *)d + port->index_at, port->index_size);

    for (size_t i = 0; i < port->indexed->n; i++) {
        const Reg *r = &port->indexed->v[i];
        uint64_t rel = index - r->off, step = r->stride ? r->stride : 1;

        if (index < r->off || rel % step || rel / step >= MAX(r->count, 1) || !applies(d, r, write))
            continue;
        h->r = r;
        h->n = (unsigned)(rel / step);
        return locate(d, h);
    }
    return false;
}

/* Rows that start at the offset first, then the others. */
static bool find_slow(const RegTable *t, Dev *d, uint64_t off, bool write, Hit *h)
{
    for (int inside = 0; inside <= 1; inside++)
        for (size_t i = 0; i < t->n; i++) {
            h->r = &t->v[i];
            if (row_covers(h->r, off, &h->n, &h->lo) && (h->lo != 0) == inside && applies(d, h->r, write))
                return locate(d, h);
        }
    return false;
}

static bool find(const BankIndex *x, Dev *d, uint64_t off, bool write, Hit *h)
{
    const RegTable *t = &x->bank->regs;
    size_t i = off < x->extent ? x->first[off] : 0;

    if (off < x->extent && !i)
        return false;
    if (!i)
        return find_slow(t, d, off, write, h); /* beyond the dense part */
    h->r = &t->v[i - 1];
    if (row_covers(h->r, off, &h->n, &h->lo) && applies(d, h->r, write))
        return locate(d, h);
    return find_slow(t, d, off, write, h);
}

/* The whole register, without side effects. */
static uint64_t row_value(Dev *d, const Hit *h)
{
    const Reg *r = h->r;

    if (r->value_n)
        return r->value_n(d, h->n);
    if (r->value)
        return r->value(d);
    return h->at ? value_in(h->at, r->size) : 0;
}

static uint64_t fifo_peek(const Fifo *f, unsigned n)
{
    return n < f->used ? f->data[(f->head + n) % sizeof(f->data)] : 0;
}

static uint64_t row_fifo(Dev *d, const Reg *r, unsigned take, bool peek)
{
    Fifo *f = (Fifo *)(void *)((char *)d + r->fifo_at);
    uint64_t v = 0;

    for (unsigned i = 0; i < take; i++)
        v |= (peek ? fifo_peek(f, i) : fifo_pop(f)) << (8 * i);
    return v;
}

static unsigned shift_of(const Bank *b, unsigned size, unsigned lo, unsigned take)
{
    return 8 * (b->endian == BIG ? size - lo - take : lo);
}

/* `take` bytes of the row from byte h->lo; peek: nothing changes. */
static uint64_t row_read(Dev *d, const Bank *b, Hit *h, unsigned take, bool peek)
{
    const Reg *r = h->r;
    unsigned sh = shift_of(b, r->size, h->lo, take), lanes = (unsigned)ones(take) << (sh / 8);
    uint64_t v, mask = bytes_mask(take) << sh;

    if (r->indexed) {
        Hit in = { .lo = 0 };

        if (!find_indexed(d, r, false, &in)) {
            if (!peek && !b->quiet)
                guest_error(d, "%s: no register %#" PRIx64 " behind it", r->name,
                            value_in((char *)d + r->index_at, r->index_size));
            return 0;
        }
        in.lo = h->lo;
        return h->lo < in.r->size ? row_read(d, b, &in, MIN(take, in.r->size - h->lo), peek) : 0;
    }
    if (r->fifo)
        v = row_fifo(d, r, take, peek) << sh;
    else
        v = row_value(d, h);
    if (!peek) {
        if (r->rc && h->at) {
            uint64_t left = value_in(h->at, r->size) & ~(r->rc & mask);

            memcpy(h->at, &left, r->size);
        }
        if (r->on_read_n)
            r->on_read_n(d, h->n, lanes);
        else if (r->on_read)
            r->on_read(d, lanes);
    }
    return (v & mask) >> sh;
}

static MemResult read_bytes(const BankIndex *x, Dev *d, uint64_t off, unsigned size, uint64_t *val, bool peek)
{
    const Bank *b = x->bank;
    unsigned missing = 0, pos = 0;

    *val = 0;
    while (pos < size) {
        Hit h;
        unsigned take = 1;
        uint64_t v;

        if (find(x, d, off + pos, false, &h)) {
            take = MIN(size - pos, h.r->size - h.lo);
            v = row_read(d, b, &h, take, peek);
            if (!peek)
                trace(&reg_read, x->names[h.r - b->regs.v], v, off + pos, take, 0);
        } else {
            v = b->unclaimed;
            missing++;
        }
        *val |= v << shift_of(b, size, pos, take);
        pos += take;
    }
    if (missing && !peek && !b->quiet)
        guest_error(d, "read of %u bytes at %s+%#" PRIx64 ": no such register", size, b->name ? b->name : "", off);
    return MEM_OK;
}

static bool can_change(const Reg *r)
{
    return r->rw | r->w1c | r->w1s || r->write || r->wrote || r->write_n || r->wrote_n || r->fifo || r->indexed;
}

/* `in`: the written bytes at their place in the register; mask: which. */
static void row_store(Dev *d, Hit *h, uint64_t in, uint64_t mask)
{
    const Reg *r = h->r;
    uint64_t old = 0;
    unsigned lanes = 0;

    for (unsigned i = 0; i < r->size; i++)
        if (mask >> (8 * i) & 0xff)
            lanes |= 1u << i;
    if (h->at) {
        uint64_t v;

        old = value_in(h->at, r->size);
        v = (old & ~(r->rw & mask)) | (in & r->rw);
        v = (v | (in & r->w1s)) & ~(in & r->w1c);
        memcpy(h->at, &v, r->size);
    }
    if (r->write_n)
        r->write_n(d, h->n, old);
    else if (r->write)
        r->write(d, old);
    if (r->wrote_n)
        r->wrote_n(d, h->n, in, lanes);
    else if (r->wrote)
        r->wrote(d, in, lanes);
}

static void row_write(Dev *d, const Bank *b, Hit *h, unsigned take, uint64_t part)
{
    const Reg *r = h->r;
    unsigned sh = shift_of(b, r->size, h->lo, take);

    if (!can_change(r)) {
        if (!b->quiet)
            guest_error(d, "%s is read-only", r->name);
    } else if (r->when && !r->when(d)) {
        guest_error(d, "%s written while locked", r->name);
    } else if (r->indexed) {
        Hit in = { .lo = 0 };

        if (find_indexed(d, r, true, &in) && h->lo < in.r->size) {
            in.lo = h->lo;
            row_write(d, b, &in, MIN(take, in.r->size - h->lo), part);
        } else if (!b->quiet) {
            guest_error(d, "%s: no writable register %#" PRIx64 " behind it", r->name,
                        value_in((char *)d + r->index_at, r->index_size));
        }
    } else {
        Fifo *f = (Fifo *)(void *)((char *)d + r->fifo_at);

        for (unsigned i = 0; r->fifo && i < take; i++)
            if (!fifo_push(f, (uint8_t)(part >> (8 * i))))
                guest_error(d, "%s: the FIFO is full", r->name);
        row_store(d, h, (part & bytes_mask(take)) << sh, bytes_mask(take) << sh);
    }
}

static MemResult write_bytes(const BankIndex *x, Dev *d, uint64_t off, unsigned size, uint64_t val)
{
    const Bank *b = x->bank;
    unsigned missing = 0, pos = 0;

    while (pos < size) {
        Hit h;
        unsigned take = 1;

        if (find(x, d, off + pos, true, &h)) {
            uint64_t part;

            take = MIN(size - pos, h.r->size - h.lo);
            part = val >> shift_of(b, size, pos, take) & bytes_mask(take);
            trace(&reg_write, x->names[h.r - b->regs.v], part, off + pos, take, 0);
            row_write(d, b, &h, take, part);
        } else {
            missing++;
        }
        pos += take;
    }
    if (missing && !b->quiet)
        guest_error(d, "write of %u bytes at %s+%#" PRIx64 ": no such register", size, b->name ? b->name : "", off);
    return MEM_OK;
}

/* Sizes the bank takes; and the device must not be the one that is asking. */
static bool may_enter(Dev *d, const Bank *b, uint64_t off, unsigned size)
{
    if (size < MAX(b->min, 1) || size > (b->max ? b->max : 8) || !in_range(off, size, MAX(b->size, 1))) {
        guest_error(d, "access of %u bytes at %s+%#" PRIx64 " is not possible", size, b->name ? b->name : "", off);
        return false;
    }
    return core__dev_may_enter(d);
}

static MemResult guest_read(const BankIndex *x, Dev *d, uint64_t off, unsigned size, uint64_t *val)
{
    MemResult r;

    *val = bytes_mask(size);
    if (!may_enter(d, x->bank, off, size))
        return MEM_REFUSED;
    dev_enter(d);
    r = read_bytes(x, d, off, size, val, false);
    dev_leave(d);
    return r;
}

static MemResult guest_write(const BankIndex *x, Dev *d, uint64_t off, unsigned size, uint64_t val)
{
    MemResult r;

    if (!may_enter(d, x->bank, off, size))
        return MEM_REFUSED;
    dev_enter(d);
    r = write_bytes(x, d, off, size, val);
    dev_leave(d);
    return r;
}

MemResult bank_read(Dev *d, const Bank *b, uint64_t off, unsigned size, uint64_t *val)
{
    return guest_read(index_of(b), d, off, size, val);
}

MemResult bank_write(Dev *d, const Bank *b, uint64_t off, unsigned size, uint64_t val)
{
    return guest_write(index_of(b), d, off, size, val);
}

MemResult bank_peek(const Dev *d, const Bank *b, uint64_t off, unsigned size, uint64_t *val)
{
    return read_bytes(index_of(b), (Dev *)(uintptr_t)d, off, size, val, true);
}

/* ---- regions ---- */
typedef struct BankIo {
    Dev *d;
    const BankIndex *x;
    RegionOps ops;
} BankIo;

static MemResult io_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    BankIo *io = o;

    return at.peek ? read_bytes(io->x, io->d, off, size, val, true) : guest_read(io->x, io->d, off, size, val);
}

static MemResult io_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    BankIo *io = o;

    return guest_write(io->x, io->d, off, size, val);
}

static MemResult io_peek(const void *o, uint64_t off, unsigned size, uint64_t *val)
{
    const BankIo *io = o;

    return read_bytes(io->x, io->d, off, size, val, true);
}

Region *dev_region_bank(Dev *d, const Bank *b)
{
    BankIo *io = g_new0(BankIo, 1);

    io->d = d;
    io->x = index_of(b);
    io->ops = (RegionOps){ .read = io_read, .write = io_write, .peek = io_peek, .endian = b->endian };
    io->ops.takes.min = b->min;
    io->ops.takes.max = b->max;
    io->ops.takes.unaligned = true;
    io->ops.does.unaligned = true;
    own(&d->obj, io, core__retire);
    return region_io(&d->obj, b->name ? b->name : d->cls->obj.name, b->size, &io->ops, io);
}

/* ---- FIFO ---- */
/* clang-format off */
static const Field fifo_rows[] = {
    BYTES(Fifo, data), FIELD(Fifo, head), FIELD(Fifo, used), FIELD(Fifo, depth, .keep = true),
};
/* clang-format on */
const FieldTable fifo_fields = TABLE(fifo_rows);

static unsigned fifo_room(const Fifo *f) { return f->depth && f->depth <= sizeof(f->data) ? f->depth : sizeof(f->data); }

bool fifo_push(Fifo *f, uint8_t v)
{
    if (f->used >= fifo_room(f))
        return false;
    f->data[(f->head + f->used++) % sizeof(f->data)] = v;
    return true;
}

uint8_t fifo_pop(Fifo *f)
{
    uint8_t v;

    if (!f->used)
        return 0;
    v = f->data[f->head % sizeof(f->data)];
    f->head = (uint8_t)((f->head + 1) % sizeof(f->data));
    f->used--;
    return v;
}

/* ---- info regs ---- */
void dev_print_regs(Dev *d, GString *out)
{
    const Layout *l = core__layout(d->cls);

    for (guint i = 0; i < l->banks->len; i++) {
        const Bank *b = l->banks->pdata[i];

        for (size_t k = 0; k < b->regs.n; k++)
            for (unsigned n = 0; n < MAX(b->regs.v[k].count, 1); n++) {
                const Reg *r = &b->regs.v[k];
                Hit h = { r, n, 0, NULL };

                if (r->wo || r->indexed || r->fifo || (r->bank && !r->bank(d)) || (r->select && n) || !locate(d, &h))
                    continue;
                g_string_append_printf(out, "%s+%#06x %s", b->name ? b->name : "", r->off + n * r->stride, r->name);
                if (r->count > 1)
                    g_string_append_printf(out, "[%u]", n);
                g_string_append_printf(out, " = %#" PRIx64 "\n", row_value(d, &h) & bytes_mask(r->size));
            }
    }
}
