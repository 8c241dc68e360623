/*
 * core/hmp-mem.c - x, xp, print, i, o, sum, gva2gpa: looking at memory, ports and values by hand (schema/machine.json).
 * Counts are bounded at COUNT_MAX, code at CODE_MAX bytes.
 */
#include "core/api/machine.h"
#include "core/machine.h"

enum { COUNT_MAX = 65536, CODE_MAX = 4096 };

typedef struct Source { /* where x and xp read */
    Vm *vm;
    Cpu *cpu; /* NULL: physical */
} Source;

static bool get(const Source *s, uint64_t at, void *buf, size_t n)
{
    return s->cpu ? cpu_read_va(s->cpu, at, buf, n) : as_read(s->vm->mem, at, buf, n, (MemAttrs){ .peek = true }) == MEM_OK;
}

static void print_char(GString *out, uint8_t c)
{
    static const char from[] = "'\\\n\r", *const to[] = { "\\'", "\\\\", "\\n", "\\r" };
    const char *e = c ? strchr(from, c) : NULL;

    g_string_append_c(out, '\'');
    if (e)
        g_string_append(out, to[e - from]);
    else if (c >= 32 && c <= 126)
        g_string_append_c(out, (char)c);
    else
        g_string_append_printf(out, "\\x%02x", c);
    g_string_append_c(out, '\'');
}

static unsigned width_of(char letter, unsigned bits)
{
    return letter == 'o' ? (bits + 2) / 3 : letter == 'x' ? bits / 4 : (bits * 10 + 32) / 33;
}

static void print_value(GString *out, char letter, unsigned size, uint64_t v)
{
    int64_t s = (int64_t)(v << (64 - 8 * size)) >> (64 - 8 * size);
    int w = (int)width_of(letter, 8 * size);

    switch (letter) {
    case 'o': g_string_append_printf(out, "%#*" PRIo64, w, v); break;
    case 'u': g_string_append_printf(out, "%*" PRIu64, w, v); break;
    case 'd': g_string_append_printf(out, "%*" PRId64, w, s); break;
    case 'c': print_char(out, (uint8_t)v); break;
    default: g_string_append_printf(out, "0x%0*" PRIx64, w, v); break;
    }
}

static void code(Hmp *h, const Source *s, uint64_t at, unsigned count)
{
    uint8_t buf[CODE_MAX];
    size_t want = MIN((size_t)count * 16, sizeof(buf)), n = 0;
    Cpu *cpu = s->cpu ? s->cpu : h->cpu < h->vm->ncpus ? h->vm->cpus[h->cpu] : NULL;

    while (n < want && get(s, at + n, buf + n, 1))
        n++;
    if (cpu && n)
        cpu->target->disas(cpu, at, buf, n, count, h->out);
    if (!n)
        g_string_append_printf(h->out, "0x%08" PRIx64 ":  unable to read memory\n", at);
}

static void dump(Hmp *h, const Source *s, const HmpFormat *f, uint64_t at)
{
    unsigned size = f->letter == 'c' ? 1 : f->size, line = size == 1 && f->letter != 'c' ? 8 : 16;
    uint64_t left = (uint64_t)MIN(f->count, COUNT_MAX) * size;

    if (f->letter == 'i') {
        code(h, s, at, MIN(f->count, COUNT_MAX));
        return;
    }
    while (left) {
        unsigned n = (unsigned)MIN(left, line);
        uint8_t buf[16];

        g_string_append_printf(h->out, "%016" PRIx64 ":", at);
        for (unsigned i = 0; i < n; i += size) {
            if (!get(s, at + i, buf + i, size)) {
                g_string_append_printf(h->out, " Cannot access memory\n");
                return;
            }
            g_string_append_c(h->out, ' ');
            print_value(h->out, f->letter, size, le_load(buf + i, size));
        }
        g_string_append_c(h->out, '\n');
        at += n;
        left -= n;
    }
}

void hmp_x(Hmp *h, const HmpXArgs *args)
{
    Source s = { h->vm, h->cpu < h->vm->ncpus ? h->vm->cpus[h->cpu] : NULL };

    if (!s.cpu) {
        g_string_append(h->out, "Can not dump without CPU\n");
        return;
    }
    vm_look_begin(h->vm);
    dump(h, &s, &args->fmt, (uint64_t)args->addr);
    vm_look_end(h->vm);
}

void hmp_xp(Hmp *h, const HmpXpArgs *args) { dump(h, &(Source){ h->vm, NULL }, &args->fmt, (uint64_t)args->addr); }

void hmp_print(Hmp *h, const HmpPrintArgs *args)
{
    uint64_t v = (uint64_t)args->val;

    switch (args->fmt.letter) {
    case 'c': print_char(h->out, (uint8_t)v); break;
    case 'o': g_string_append_printf(h->out, "%#" PRIo64, v); break;
    case 'u': g_string_append_printf(h->out, "%" PRIu64, v); break;
    case 'd': g_string_append_printf(h->out, "%" PRId64, args->val); break;
    default: g_string_append_printf(h->out, "%#" PRIx64, v); break;
    }
    g_string_append_c(h->out, '\n');
}

/* ---- ports ---- */
static char suffix(unsigned size) { return size == 1 ? 'b' : size == 2 ? 'w' : 'l'; }
static unsigned port_size(const HmpFormat *f) { return MIN(f->size, 4); }

void hmp_i(Hmp *h, const HmpIArgs *args)
{
    unsigned size = port_size(&args->fmt);
    uint16_t port = (uint16_t)args->addr;
    uint64_t v = 0;

    if (args->has_index) {
        as_store(h->vm->ports, port, 1, (uint8_t)args->index, (MemAttrs){ 0 });
        port++;
    }
    if (as_load(h->vm->ports, port, size, &v, (MemAttrs){ 0 }) != MEM_OK)
        v = bytes_mask(size); /* nobody drives the bus */
    g_string_append_printf(h->out, "port%c[0x%04x] = 0x%0*" PRIx64 "\n", suffix(size), port, (int)size * 2, v);
}

void hmp_o(Hmp *h, const HmpOArgs *args)
{
    as_store(h->vm->ports, (uint16_t)args->addr, port_size(&args->fmt), (uint64_t)args->val, (MemAttrs){ 0 });
}

/* ---- more ---- */
/* The BSD checksum: rotate right by one, add. */
void hmp_sum(Hmp *h, const HmpSumArgs *args)
{
    uint16_t sum = 0;
    uint64_t n = MIN((uint64_t)MAX(args->size, 0), 64 * MiB);

    for (uint64_t i = 0; i < n; i++) {
        uint8_t b = 0;

        as_read(h->vm->mem, (uint64_t)args->start + i, &b, 1, (MemAttrs){ .peek = true });
        sum = (uint16_t)((uint16_t)(sum >> 1 | sum << 15) + b);
    }
    g_string_append_printf(h->out, "%05d\n", sum);
}

void hmp_gva2gpa(Hmp *h, const HmpGva2gpaArgs *args)
{
    Cpu *c = h->cpu < h->vm->ncpus ? h->vm->cpus[h->cpu] : NULL;
    Walk w;

    if (!c) {
        g_string_append(h->out, "No cpu\n");
        return;
    }
    vm_look_begin(h->vm);
    cpu_sync(c, RG_ALL);
    if (c->target->walk(c, (uint64_t)args->addr, ACC_R | ACC_PEEK, &w))
        g_string_append_printf(h->out, "gpa: %#" PRIx64 "\n", w.pa);
    else
        g_string_append(h->out, "Unmapped\n");
    vm_look_end(h->vm);
}

/* ---- ROMs ---- */
static void print_roms(const Region *r, uint64_t base, GString *out)
{
    if (r->kind == REGION_ROM || r->kind == REGION_ROMD)
        g_string_append_printf(out, "addr=%016" PRIx64 " size=0x%06" PRIx64 " mem=rom name=\"%s\"\n", base, r->size, r->name);
    for (guint i = 0; r->subs && i < r->subs->len; i++) {
        const Region *s = r->subs->pdata[i];

        if (s->enabled && s->kind != REGION_ALIAS) /* where the chip is; its other places are in info mtree */
            print_roms(s, base + s->at, out);
    }
}

void hmp_info_roms(Hmp *h) { print_roms(h->vm->sysmem, 0, h->out); }
