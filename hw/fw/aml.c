/* hw/fw/aml.c - ACPI Machine Language, ACPI 6.4 chapters 20 (terms) and 6.4 (resources). Only what our tables need. */
#include "hw/fw/aml.h"

static void u8(Aml *a, unsigned v)
{
    uint8_t b = (uint8_t)v;

    g_byte_array_append(a, &b, 1);
}

static void le(Aml *a, unsigned size, uint64_t v)
{
    uint8_t b[8];

    le_store(b, size, v);
    g_byte_array_append(a, b, size);
}

static void insert(Aml *a, guint at, const uint8_t *p, guint n)
{
    guint tail = a->len - at;

    g_byte_array_set_size(a, a->len + n);
    memmove(a->data + at + n, a->data + at, tail);
    memcpy(a->data + at, p, n);
}

/* PkgLength counts its own bytes (20.2.4). */
static guint pkg_length(uint8_t *out, guint body)
{
    guint n = body + 1 < 0x40 ? 1 : body + 2 < 0x1000 ? 2 : 3;
    guint v = body + n;

    if (n == 1) {
        out[0] = (uint8_t)v;
        return 1;
    }
    out[0] = (uint8_t)((n - 1) << 6 | (v & 15));
    for (guint i = 1; i < n; i++)
        out[i] = (uint8_t)(v >> (4 + 8 * (i - 1)));
    return n;
}

void aml_close(Aml *a, guint open)
{
    uint8_t len[4];
    guint n = pkg_length(len, a->len - open);

    insert(a, open, len, n);
}

void aml_op(Aml *a, unsigned op)
{
    if (op > 0xff)
        u8(a, op >> 8);
    u8(a, op);
}

static guint open_op(Aml *a, unsigned op)
{
    aml_op(a, op);
    return a->len;
}

static void segment(Aml *a, const char *s, size_t n)
{
    for (size_t i = 0; i < 4; i++)
        u8(a, i < n ? (uint8_t)s[i] : '_');
}

void aml_path(Aml *a, const char *path)
{
    unsigned n = 1;

    while (*path == '\\' || *path == '^')
        u8(a, (uint8_t)*path++);
    if (!*path) {
        u8(a, 0);
        return;
    }
    for (const char *p = path; *p; p++)
        n += *p == '.';
    if (n == 2)
        u8(a, 0x2e);
    if (n > 2) {
        u8(a, 0x2f);
        u8(a, n);
    }
    while (n--) {
        size_t len = strcspn(path, ".");

        segment(a, path, len);
        path += len + (path[len] == '.');
    }
}

static guint named(Aml *a, unsigned op, const char *name)
{
    guint open = open_op(a, op);

    aml_path(a, name);
    return open;
}

guint aml_scope(Aml *a, const char *path) { return named(a, 0x10, path); }
guint aml_device(Aml *a, const char *name) { return named(a, 0x5b82, name); }
guint aml_if(Aml *a) { return open_op(a, 0xa0); }
guint aml_else(Aml *a) { return open_op(a, 0xa1); }

guint aml_method(Aml *a, const char *name, unsigned args, bool serialized)
{
    guint open = named(a, 0x14, name);

    u8(a, args | (serialized ? 8 : 0));
    return open;
}

guint aml_package(Aml *a, unsigned n)
{
    guint open = open_op(a, 0x12);

    u8(a, n);
    return open;
}

guint aml_field(Aml *a, const char *region, uint8_t flags)
{
    guint open = named(a, 0x5b81, region);

    u8(a, flags);
    return open;
}

void aml_unit(Aml *a, const char *name, unsigned bits)
{
    uint8_t len[4];

    if (name)
        segment(a, name, strlen(name));
    else
        u8(a, 0);
    if (bits < 0x40) { /* here the number is the bits, not a length with itself */
        u8(a, bits);
        return;
    }
    len[0] = (uint8_t)(1 << 6 | (bits & 15));
    len[1] = (uint8_t)(bits >> 4);
    g_byte_array_append(a, len, 2);
}

guint aml_buffer(Aml *a) { return open_op(a, 0x11); }

void aml_close_buffer(Aml *a, guint open)
{
    Aml *size = g_byte_array_new();

    aml_int(size, a->len - open);
    insert(a, open, size->data, size->len);
    g_byte_array_unref(size);
    aml_close(a, open);
}

void aml_name(Aml *a, const char *name)
{
    u8(a, 0x08);
    aml_path(a, name);
}

void aml_int(Aml *a, uint64_t v)
{
    unsigned size = v > UINT32_MAX ? 8 : v > 0xffff ? 4 : v > 0xff ? 2 : 1;
    static const uint8_t prefix[9] = { [1] = 0x0a, [2] = 0x0b, [4] = 0x0c, [8] = 0x0e };

    if (v <= 1) {
        u8(a, (unsigned)v);
        return;
    }
    u8(a, prefix[size]);
    le(a, size, v);
}

void aml_string(Aml *a, const char *s)
{
    u8(a, 0x0d);
    g_byte_array_append(a, (const uint8_t *)s, (guint)strlen(s) + 1);
}

/* "PNP0A03": three letters in 5 bits each, four hexadecimal digits, big-endian (19.3.4). */
void aml_eisaid(Aml *a, const char *id)
{
    uint32_t v = (uint32_t)((id[0] - 0x40) & 31) << 26 | (uint32_t)((id[1] - 0x40) & 31) << 21 |
                 (uint32_t)((id[2] - 0x40) & 31) << 16;
    uint8_t b[4];

    for (unsigned i = 0; i < 4; i++)
        v |= (uint32_t)g_ascii_xdigit_value(id[3 + i]) << (12 - 4 * i);
    be32_store(b, v);
    u8(a, 0x0c);
    g_byte_array_append(a, b, 4);
}

void aml_region(Aml *a, const char *name, uint8_t space, uint64_t at, uint64_t len)
{
    aml_op(a, 0x5b80);
    aml_path(a, name);
    u8(a, space);
    aml_int(a, at);
    aml_int(a, len);
}

void aml_arg(Aml *a, unsigned n) { u8(a, 0x68 + n); }
void aml_local(Aml *a, unsigned n) { u8(a, 0x60 + n); }

void aml_create_dword(Aml *a, unsigned arg, uint64_t at, const char *name)
{
    u8(a, 0x8a);
    aml_arg(a, arg);
    aml_int(a, at);
    aml_path(a, name);
}

void aml_mutex(Aml *a, const char *name)
{
    aml_op(a, 0x5b01);
    aml_path(a, name);
    u8(a, 0); /* level */
}

void aml_acquire(Aml *a, const char *mutex)
{
    aml_op(a, 0x5b23);
    aml_path(a, mutex);
    le(a, 2, 0xffff);
}

void aml_release(Aml *a, const char *mutex)
{
    aml_op(a, 0x5b27);
    aml_path(a, mutex);
}

/* ---- resources ---- */
void aml_crs_io(Aml *a, uint16_t at, uint16_t len)
{
    u8(a, 0x47);
    u8(a, 1); /* decodes 16 bits */
    le(a, 2, at);
    le(a, 2, at);
    u8(a, 1);
    u8(a, len);
}

void aml_crs_irq(Aml *a, unsigned irq)
{
    u8(a, 0x22);
    le(a, 2, 1u << irq);
}

void aml_crs_irq_list(Aml *a, uint16_t mask)
{
    u8(a, 0x23);
    le(a, 2, mask);
    u8(a, 0x18);
}

void aml_crs_dma(Aml *a, unsigned channel)
{
    u8(a, 0x2a);
    u8(a, 1u << channel);
    u8(a, 0);
}

void aml_crs_memory(Aml *a, uint32_t at, uint32_t len, bool writable)
{
    u8(a, 0x86);
    le(a, 2, 9);
    u8(a, writable);
    le(a, 4, at);
    le(a, 4, len);
}

/* Word, dword and qword address spaces share one shape (6.4.3.5). */
static void space(Aml *a, unsigned width, uint8_t type, uint8_t flags, uint8_t specific, uint64_t first, uint64_t last)
{
    static const uint8_t tag[9] = { [2] = 0x88, [4] = 0x87, [8] = 0x8a };

    u8(a, tag[width]);
    le(a, 2, 3 + 5 * width);
    u8(a, type);
    u8(a, flags);
    u8(a, specific);
    le(a, width, 0);
    le(a, width, first);
    le(a, width, last);
    le(a, width, 0);
    le(a, width, last - first + 1);
}

enum { FIXED = 0x0c };

void aml_crs_bus(Aml *a, uint16_t first, uint16_t last) { space(a, 2, 2, FIXED, 0, first, last); }
void aml_crs_io_window(Aml *a, uint16_t first, uint16_t last) { space(a, 2, 1, FIXED, 3, first, last); }

void aml_crs_memory_window(Aml *a, uint64_t first, uint64_t last, bool cacheable, bool wide)
{
    space(a, wide ? 8 : 4, 0, FIXED, cacheable ? 3 : 1, first, last);
}

void aml_crs_end(Aml *a, guint open)
{
    u8(a, 0x79);
    u8(a, 0);
    aml_close_buffer(a, open);
}
