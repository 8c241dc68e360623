/*
 * hw/fw/smbios.c - SMBIOS 2.8 structures (DSP0134): BIOS, system, board, chassis, processors, memory. Texts come
 * from -smbios type=N,key=value; -smbios file= is left out.
 */
#include "core/topology.h"
#include "core/machine.h"
#include "hw/fw/fw.h"

typedef struct Build {
    GByteArray *out;
    GByteArray *body;
    GString *strings;
    unsigned nstrings, count, largest;
    const FwPlatform *p;
} Build;

static void u8(Build *b, unsigned v)
{
    uint8_t x = (uint8_t)v;

    g_byte_array_append(b->body, &x, 1);
}

static void le(Build *b, unsigned size, uint64_t v)
{
    uint8_t x[8];

    le_store(x, size, v);
    g_byte_array_append(b->body, x, size);
}

static void begin(Build *b, unsigned type, unsigned handle)
{
    b->body = g_byte_array_new();
    b->strings = g_string_new(NULL);
    b->nstrings = 0;
    u8(b, type);
    u8(b, 0);
    le(b, 2, handle);
}

static void end(Build *b)
{
    guint start = b->out->len;

    b->body->data[1] = (uint8_t)b->body->len;
    g_byte_array_append(b->out, b->body->data, b->body->len);
    g_byte_array_append(b->out, (const uint8_t *)b->strings->str, (guint)b->strings->len);
    g_byte_array_append(b->out, (const uint8_t *)"\0", 1 + !b->strings->len);
    b->largest = MAX(b->largest, b->out->len - start);
    b->count++;
    g_byte_array_unref(b->body);
    g_string_free(b->strings, TRUE);
}

/* -smbios type=N,key=..: the last one that says it. */
static char *wanted(const FwPlatform *p, unsigned type, const char *key)
{
    GPtrArray *v = p->vm->cfg.smbios;
    char *found = NULL;

    for (guint i = 0; v && i < v->len; i++) {
        g_autoptr(Opts) o = opts_parse(v->pdata[i], NULL, NULL);
        const char *t = o ? opts_peek(o, "type") : NULL, *x = o ? opts_peek(o, key) : NULL;

        if (t && x && g_ascii_strtoull(t, NULL, 10) == type) {
            g_free(found);
            found = g_strdup(x);
        }
    }
    return found;
}

static void text(Build *b, const char *s)
{
    if (!s || !*s) {
        u8(b, 0);
        return;
    }
    g_string_append_len(b->strings, s, (gssize)strlen(s) + 1);
    u8(b, ++b->nstrings);
}

static void option(Build *b, unsigned type, const char *key, const char *otherwise)
{
    g_autofree char *s = wanted(b->p, type, key);

    text(b, s ? s : otherwise);
}

static void bios(Build *b)
{
    begin(b, 0, 0);
    option(b, 0, "vendor", "Menura");
    option(b, 0, "version", MENURA_VERSION);
    le(b, 2, 0xe800);
    option(b, 0, "date", "01/01/2026");
    u8(b, 0);
    le(b, 8, 8);   /* characteristics are not given */
    le(b, 2, 0x1800); /* ACPI, virtual machine */
    u8(b, 0);
    u8(b, 0);
    u8(b, 0xff);
    u8(b, 0xff);
    end(b);
}

/* The first three parts of a UUID are little-endian here (DSP0134 7.2.1). */
static void uuid(Build *b)
{
    static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
    g_autofree char *given = wanted(b->p, 1, "uuid");
    uint8_t v[16];
    unsigned n = 0;

    memcpy(v, b->p->vm->cfg.uuid, 16);
    for (const char *s = given; s && n < 16 && s[0] && s[1];) {
        if (*s == '-') {
            s++;
            continue;
        }
        v[n++] = (uint8_t)(g_ascii_xdigit_value(s[0]) << 4 | g_ascii_xdigit_value(s[1]));
        s += 2;
    }
    for (unsigned i = 0; i < 16; i++)
        u8(b, v[order[i]]);
}

static void system_info(Build *b)
{
    begin(b, 1, 0x100);
    option(b, 1, "manufacturer", "Menura");
    option(b, 1, "product", b->p->q35 ? "Standard PC (Q35 + ICH9, 2009)" : "Standard PC (i440FX + PIIX, 1996)");
    option(b, 1, "version", b->p->vm->mc ? b->p->vm->mc->name : NULL);
    option(b, 1, "serial", NULL);
    uuid(b);
    u8(b, 6); /* power switch */
    option(b, 1, "sku", NULL);
    option(b, 1, "family", NULL);
    end(b);
}

static void board(Build *b)
{
    g_autofree char *m = wanted(b->p, 2, "manufacturer"), *n = wanted(b->p, 2, "product");

    if (!m && !n)
        return;
    begin(b, 2, 0x200);
    option(b, 2, "manufacturer", "Menura");
    option(b, 2, "product", NULL);
    option(b, 2, "version", NULL);
    option(b, 2, "serial", NULL);
    option(b, 2, "asset", NULL);
    u8(b, 1);
    option(b, 2, "location", NULL);
    le(b, 2, 0x300);
    u8(b, 10);
    u8(b, 0);
    end(b);
}

static void chassis(Build *b)
{
    begin(b, 3, 0x300);
    option(b, 3, "manufacturer", "Menura");
    u8(b, 1);
    option(b, 3, "version", b->p->vm->mc ? b->p->vm->mc->name : NULL);
    option(b, 3, "serial", NULL);
    option(b, 3, "asset", NULL);
    u8(b, 3);
    u8(b, 3);
    u8(b, 3);
    u8(b, 2);
    le(b, 4, 0);
    u8(b, 0);
    u8(b, 0);
    u8(b, 0);
    u8(b, 0);
    option(b, 3, "sku", NULL);
    end(b);
}

static void processor(Build *b, unsigned socket)
{
    const VmConfig *c = &b->p->vm->cfg;
    unsigned threads = MAX(c->threads, 1), cores = cpus_per_socket(c) / threads;
    g_autofree char *name = g_strdup_printf("CPU %u", socket);

    begin(b, 4, 0x400 + socket);
    text(b, name);
    u8(b, 3);
    u8(b, 1);
    option(b, 4, "manufacturer", "Menura");
    le(b, 8, 0);
    option(b, 4, "version", b->p->vm->mc ? b->p->vm->mc->name : NULL);
    u8(b, 0);
    le(b, 2, 0);
    le(b, 2, 2000);
    le(b, 2, 2000);
    u8(b, 0x41); /* populated, enabled */
    u8(b, 1);
    le(b, 2, 0xffff);
    le(b, 2, 0xffff);
    le(b, 2, 0xffff);
    text(b, NULL);
    text(b, NULL);
    text(b, NULL);
    u8(b, MIN(cores, 255));
    u8(b, MIN(cores, 255));
    u8(b, MIN(cores * threads, 255));
    le(b, 2, 2);
    le(b, 2, 1);
    le(b, 2, cores);
    le(b, 2, cores);
    le(b, 2, cores * threads);
    end(b);
}

static void memory_array(Build *b, uint64_t total)
{
    begin(b, 16, 0x1000);
    u8(b, 1);
    u8(b, 3);
    u8(b, 6); /* multi-bit ECC */
    le(b, 4, MIN(total / KiB, 0x80000000u));
    le(b, 2, 0xfffe);
    le(b, 2, 1);
    le(b, 8, total / KiB >= 0x80000000u ? total : 0);
    end(b);
}

static void memory_device(Build *b, uint64_t total)
{
    uint64_t mib = total / MiB;

    begin(b, 17, 0x1100);
    le(b, 2, 0x1000);
    le(b, 2, 0xfffe);
    le(b, 2, 0xffff);
    le(b, 2, 0xffff);
    le(b, 2, mib < 0x7fff ? mib : 0x7fff);
    u8(b, 9); /* DIMM */
    u8(b, 0);
    text(b, "DIMM 0");
    text(b, NULL);
    u8(b, 7); /* RAM */
    le(b, 2, 2);
    le(b, 2, 0);
    option(b, 17, "manufacturer", "Menura");
    option(b, 17, "serial", NULL);
    option(b, 17, "asset", NULL);
    option(b, 17, "part", NULL);
    u8(b, 0);
    le(b, 4, mib < 0x7fff ? 0 : mib);
    le(b, 2, 0);
    le(b, 2, 0);
    le(b, 2, 0);
    le(b, 2, 0);
    end(b);
}

static void mapped(Build *b, unsigned handle, uint64_t start, uint64_t len)
{
    bool big = (start + len) / KiB > UINT32_MAX;

    begin(b, 19, handle);
    le(b, 4, big ? UINT32_MAX : start / KiB);
    le(b, 4, big ? UINT32_MAX : (start + len) / KiB - 1);
    le(b, 2, 0x1000);
    u8(b, 1);
    le(b, 8, big ? start : 0);
    le(b, 8, big ? start + len - 1 : 0);
    end(b);
}

static void boot_info(Build *b)
{
    begin(b, 32, 0x2000);
    for (unsigned i = 0; i < 7; i++)
        u8(b, 0);
    end(b);
    begin(b, 127, 0x7f00);
    end(b);
}

/* -smbios type=11,value=.. as often as there are: OEM strings, where provisioning tools look. */
static void oem_strings(Build *b)
{
    GPtrArray *v = b->p->vm->cfg.smbios;
    unsigned n = 0;

    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) {
            if (!n)
                return;
            begin(b, 11, 0xe00);
            u8(b, MIN(n, 255));
        }
        for (guint i = 0; v && i < v->len; i++) {
            g_autoptr(Opts) o = opts_parse(v->pdata[i], NULL, NULL);
            const char *t = o ? opts_peek(o, "type") : NULL;

            for (guint k = 0; t && !strcmp(t, "11") && k < o->v->len; k++) {
                const Opt *x = o->v->pdata[k];

                if (strcmp(x->key, "value") || !*x->value)
                    continue;
                if (pass)
                    g_string_append_len(b->strings, x->value, (gssize)strlen(x->value) + 1);
                n += !pass;
            }
        }
    }
    end(b);
}

static void anchor_fill(const Build *b, GByteArray *a)
{
    uint8_t v[31] = { '_', 'S', 'M', '_', 0, 31, 2, 8 };
    uint8_t sum = 0;

    le16_store(v + 8, (uint16_t)MIN(b->largest, 0xffff));
    memcpy(v + 16, "_DMI_", 5);
    le16_store(v + 22, (uint16_t)MIN(b->out->len, 0xffff));
    le16_store(v + 28, (uint16_t)b->count);
    v[30] = 0x28;
    for (unsigned i = 16; i < 31; i++)
        sum = (uint8_t)(sum + v[i]);
    v[21] = (uint8_t)-sum;
    sum = 0;
    for (unsigned i = 0; i < 31; i++)
        sum = (uint8_t)(sum + v[i]);
    v[4] = (uint8_t)-sum;
    g_byte_array_append(a, v, sizeof(v));
}

void fw_smbios_build(const FwPlatform *p, GByteArray *tables, GByteArray *anchor)
{
    Build b = { .out = tables, .p = p };
    uint64_t total = p->below_4g + p->above_4g;
    unsigned sockets = MAX(p->vm->cfg.sockets, 1);

    bios(&b);
    system_info(&b);
    board(&b);
    chassis(&b);
    for (unsigned i = 0; i < MIN(sockets, 64); i++)
        processor(&b, i);
    oem_strings(&b);
    memory_array(&b, total);
    memory_device(&b, total);
    mapped(&b, 0x1300, 0, p->below_4g);
    if (p->above_4g)
        mapped(&b, 0x1301, 1ull << 32, p->above_4g);
    boot_info(&b);
    anchor_fill(&b, anchor);
}
