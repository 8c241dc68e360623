/*
 * monitor/qtest.c - QEMU's qtest protocol (docs of qtest; one line in, one line out):
 *   inb|inw|inl ADDR               -> OK 0xVALUE         outb|outw|outl ADDR VALUE       -> OK
 *   readb|readw|readl|readq ADDR   -> OK 0xVALUE         writeb|..|writeq ADDR VALUE     -> OK
 *   read ADDR SIZE                 -> OK 0xHEX           write ADDR SIZE 0xHEX           -> OK
 *   b64read ADDR SIZE              -> OK BASE64          b64write ADDR SIZE BASE64       -> OK
 *   memset ADDR SIZE BYTE          -> OK                 endianness                      -> OK little
 *   irq_intercept_in|out PATH [N]  -> OK, then "IRQ raise N" and "IRQ lower N" as they happen
 *   set_irq_in PATH NAME N LEVEL   -> OK
 *   clock_step [NS], clock_set NS  -> OK NOW             (accelerator qtest only)
 * Anything else is answered by FAIL; data that is none by ERR. Sizes are bounded by QTEST_DATA_MAX.
 */
#include "monitor/qtest.h"
#include <errno.h>
#include <stdarg.h>

enum { WORDS = 6 };
#define TIME_MAX (INT64_MAX / 2) /* ns: devices add to it */
struct Qtest {
    Vm *vm;
    QtestSend send;
    void *arg;
    Dev *tapped;
    GHashTable *high; /* numbers of intercepted wires that are up */
    GString *out;
};
typedef struct Request {
    char *v[WORDS];
    unsigned n;
} Request;
typedef struct Verb {
    const char *name;
    void (*fn)(Qtest *q, const struct Verb *v, const Request *r);
    uint8_t min, max; /* words after the name */
    uint8_t size;     /* of an access */
    bool write, clock;
} Verb;

static void PRINTF(2, 3) reply(Qtest *q, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_string_vprintf(q->out, fmt, ap);
    va_end(ap);
    g_string_append_c(q->out, '\n');
    q->send(q->arg, q->out->str, q->out->len);
}

/* Numbers as C writes them. */
static bool number(Qtest *q, const char *text, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = g_ascii_isdigit(*text) ? g_ascii_strtoull(text, &end, 0) : 0;
    if (g_ascii_isdigit(*text) && !*end && !errno)
        return true;
    reply(q, "FAIL '%s' is no number", text);
    return false;
}

static bool range(Qtest *q, const Request *r, uint64_t *addr, uint64_t *size)
{
    if (!number(q, r->v[1], addr) || !number(q, r->v[2], size))
        return false;
    if (*size && *size <= QTEST_DATA_MAX && in_range(*addr, *size, UINT64_MAX))
        return true;
    reply(q, "FAIL the size must be 1 to %d", QTEST_DATA_MAX);
    return false;
}

/* ---- ports and memory ---- */
/* Of ports answers have at least 4 digits, of memory 16. */
static void access_space(Qtest *q, const Verb *v, const Request *r, AddrSpace *as, uint64_t last, int digits)
{
    uint64_t addr, val = 0;

    if (!number(q, r->v[1], &addr) || (v->write && !number(q, r->v[2], &val)))
        return;
    if (addr > last) {
        reply(q, "FAIL there is no port %#" PRIx64, addr);
    } else if (v->write) {
        as_store(as, addr, v->size, val, MEM_CPU);
        reply(q, "OK");
    } else {
        if (as_load(as, addr, v->size, &val, MEM_CPU) != MEM_OK)
            val = bytes_mask(v->size); /* nobody drives the bus */
        reply(q, "OK 0x%0*" PRIx64, digits, val);
    }
}

static void access_port(Qtest *q, const Verb *v, const Request *r) { access_space(q, v, r, q->vm->ports, 0xffff, 4); }
static void access_memory(Qtest *q, const Verb *v, const Request *r) { access_space(q, v, r, q->vm->mem, UINT64_MAX, 16); }

static uint8_t *fetch(Qtest *q, uint64_t addr, uint64_t size)
{
    uint8_t *p = g_malloc0(size);

    as_read(q->vm->mem, addr, p, size, MEM_CPU);
    return p;
}

static void read_hex(Qtest *q, const Verb *v, const Request *r)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t addr, size;
    g_autofree uint8_t *p = NULL;
    g_autofree char *text = NULL;

    if (!range(q, r, &addr, &size))
        return;
    p = fetch(q, addr, size);
    text = g_malloc(2 * size + 1);
    for (uint64_t i = 0; i < size; i++) {
        text[2 * i] = digits[p[i] >> 4];
        text[2 * i + 1] = digits[p[i] & 15];
    }
    text[2 * size] = 0;
    reply(q, "OK 0x%s", text);
}

/* What the data lacks is zero. */
static void write_hex(Qtest *q, const Verb *v, const Request *r)
{
    uint64_t addr, size;
    const char *text = r->v[3];
    g_autofree uint8_t *p = NULL;
    size_t n;

    if (!range(q, r, &addr, &size))
        return;
    if (!g_str_has_prefix(text, "0x")) {
        reply(q, "ERR the data must begin with 0x");
        return;
    }
    text += 2;
    n = strlen(text);
    p = g_malloc0(size);
    for (size_t i = 0; i + 1 < n && i / 2 < size; i += 2) {
        int hi = g_ascii_xdigit_value(text[i]), lo = g_ascii_xdigit_value(text[i + 1]);

        if (hi < 0 || lo < 0) {
            reply(q, "ERR the data is not hexadecimal");
            return;
        }
        p[i / 2] = (uint8_t)(hi << 4 | lo);
    }
    as_write(q->vm->mem, addr, p, size, MEM_CPU);
    reply(q, "OK");
}

static void read_b64(Qtest *q, const Verb *v, const Request *r)
{
    uint64_t addr, size;
    g_autofree uint8_t *p = NULL;
    g_autofree char *text = NULL;

    if (!range(q, r, &addr, &size))
        return;
    p = fetch(q, addr, size);
    text = g_base64_encode(p, size);
    reply(q, "OK %s", text);
}

static bool is_base64(const char *s)
{
    size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    size_t pad = strspn(s + n, "=");

    return !s[n + pad] && pad <= 2 && (n + pad) % 4 == 0;
}

static void write_b64(Qtest *q, const Verb *v, const Request *r)
{
    uint64_t addr, size;
    g_autofree uint8_t *p = NULL, *got = NULL;
    gsize n = 0;

    if (!range(q, r, &addr, &size))
        return;
    if (!is_base64(r->v[3])) {
        reply(q, "ERR the data is not base64");
        return;
    }
    got = g_base64_decode(r->v[3], &n);
    p = g_malloc0(size);
    memcpy(p, got, MIN(n, size));
    as_write(q->vm->mem, addr, p, size, MEM_CPU);
    reply(q, "OK");
}

static void set_memory(Qtest *q, const Verb *v, const Request *r)
{
    uint64_t addr, size, byte;
    g_autofree uint8_t *p = NULL;

    if (!number(q, r->v[2], &size) || !number(q, r->v[3], &byte))
        return;
    if (!size) {
        reply(q, "OK");
        return;
    }
    if (!range(q, r, &addr, &size))
        return;
    p = g_malloc(size);
    memset(p, (int)(byte & 0xff), size);
    as_write(q->vm->mem, addr, p, size, MEM_CPU);
    reply(q, "OK");
}

static void endianness(Qtest *q, const Verb *v, const Request *r) { reply(q, "OK little"); }

/* ---- wires ---- */
typedef struct Search {
    const char *name;
    Dev *found[2]; /* by path, id or name; by type */
    unsigned n[2];
} Search;

static void match(Dev *d, void *arg)
{
    Search *s = arg;
    g_autofree char *path = obj_path(&d->obj);

    if (!strcmp(path, s->name) || !g_strcmp0(d->id, s->name) || !strcmp(d->obj.name, s->name)) {
        s->found[0] = d;
        s->n[0]++;
    } else if (!strcmp(d->obj.cls->name, s->name)) {
        s->found[1] = d;
        s->n[1]++;
    }
}

static Dev *find(Qtest *q, const char *name)
{
    Search s = { .name = name };

    vm_foreach_dev(q->vm, match, &s);
    for (int i = 0; i < 2; i++)
        if (s.n[i] == 1)
            return s.found[i];
    reply(q, "FAIL Unknown device");
    return NULL;
}

static void edge(void *arg, unsigned n, bool level)
{
    Qtest *q = arg;
    gpointer key = GUINT_TO_POINTER(n);
    g_autofree char *line = NULL;

    if (g_hash_table_contains(q->high, key) == level)
        return;
    if (level)
        g_hash_table_add(q->high, key);
    else
        g_hash_table_remove(q->high, key);
    line = g_strdup_printf("IRQ %s %u\n", level ? "raise" : "lower", n);
    q->send(q->arg, line, strlen(line));
}

/* Names that QEMU gives to wires without one. */
static const char *wire_name(const Request *r, unsigned i)
{
    static const char *const anonymous[] = { "unnamed-gpio-in", "unnamed-gpio-out", "sysbus-irq" };

    for (size_t k = 0; k < G_N_ELEMENTS(anonymous); k++)
        if (i >= r->n || !strcmp(r->v[i], anonymous[k]))
            return NULL;
    return r->v[i];
}

static void intercept(Qtest *q, const Verb *v, const Request *r)
{
    Dev *d = find(q, r->v[1]);
    IrqTap tap = { edge, q };

    if (!d)
        return;
    if (q->tapped) {
        reply(q, q->tapped == d ? "OK" : "FAIL IRQ intercept already enabled");
        return;
    }
    if (!(v->write ? dev_tap_out(d, wire_name(r, 2), tap) : dev_tap_in(d, tap))) {
        reply(q, "FAIL the device has no such wires");
        return;
    }
    q->tapped = d;
    reply(q, "OK");
}

static void set_irq(Qtest *q, const Verb *v, const Request *r)
{
    Dev *d = find(q, r->v[1]);
    uint64_t n, level;

    if (!d || !number(q, r->v[3], &n) || !number(q, r->v[4], &level))
        return;
    reply(q, dev_set_in(d, wire_name(r, 2), n, level != 0) ? "OK" : "FAIL the device has no such wire");
}

/* ---- time ---- */
/* Time goes to `then`, never back. */
static void go_to(Qtest *q, int64_t then)
{
    if (then > vm_now(q->vm))
        vm_clock_run(q->vm, then);
    reply(q, "OK %" PRId64, vm_now(q->vm));
}

static void step(Qtest *q, const Verb *v, const Request *r)
{
    int64_t now = vm_now(q->vm), next = vm_next_deadline(q->vm);
    uint64_t ns;

    if (r->n < 2)
        go_to(q, next == INT64_MAX ? now : next);
    else if (number(q, r->v[1], &ns))
        go_to(q, ns > (uint64_t)(TIME_MAX - now) ? TIME_MAX : now + (int64_t)ns);
}

static void set_clock(Qtest *q, const Verb *v, const Request *r)
{
    uint64_t ns;

    if (number(q, r->v[1], &ns))
        go_to(q, ns > TIME_MAX ? TIME_MAX : (int64_t)ns);
}

/* ---- lines ---- */
static const Verb verbs[] = {
    { "inb", access_port, 1, 1, 1 },
    { "inw", access_port, 1, 1, 2 },
    { "inl", access_port, 1, 1, 4 },
    { "outb", access_port, 2, 2, 1, .write = true },
    { "outw", access_port, 2, 2, 2, .write = true },
    { "outl", access_port, 2, 2, 4, .write = true },
    { "readb", access_memory, 1, 1, 1 },
    { "readw", access_memory, 1, 1, 2 },
    { "readl", access_memory, 1, 1, 4 },
    { "readq", access_memory, 1, 1, 8 },
    { "writeb", access_memory, 2, 2, 1, .write = true },
    { "writew", access_memory, 2, 2, 2, .write = true },
    { "writel", access_memory, 2, 2, 4, .write = true },
    { "writeq", access_memory, 2, 2, 8, .write = true },
    { "read", read_hex, 2, 2 },
    { "write", write_hex, 3, 3 },
    { "b64read", read_b64, 2, 2 },
    { "b64write", write_b64, 3, 3 },
    { "memset", set_memory, 3, 3 },
    { "endianness", endianness, 0, 0 },
    { "irq_intercept_in", intercept, 1, 1 },
    { "irq_intercept_out", intercept, 1, 2, .write = true },
    { "set_irq_in", set_irq, 4, 4 },
    { "clock_step", step, 0, 1, .clock = true },
    { "clock_set", set_clock, 1, 1, .clock = true },
};

static void serve(Qtest *q, const Request *r)
{
    bool owns_time = !strcmp(q->vm->accel->name, "qtest");

    for (size_t i = 0; i < G_N_ELEMENTS(verbs); i++) {
        const Verb *v = &verbs[i];

        if (strcmp(v->name, r->v[0]) || (v->clock && !owns_time))
            continue;
        if (r->n - 1 < v->min || r->n - 1 > v->max)
            reply(q, "FAIL %s: wrong number of arguments", v->name);
        else
            v->fn(q, v, r);
        return;
    }
    reply(q, "FAIL Unknown command '%.100s'", r->v[0]);
}

void qtest_line(Qtest *q, const char *line, size_t n)
{
    g_autofree char *text = g_strndup(line, n);
    Request r = { .n = 0 };
    char *at = text;

    if (strlen(text) != n || !g_utf8_validate(text, (gssize)n, NULL)) {
        reply(q, "FAIL the line is not text");
        return;
    }
    while (at && *(at += strspn(at, " \t\r"))) {
        if (r.n == WORDS) {
            reply(q, "FAIL too many words");
            return;
        }
        r.v[r.n++] = at;
        at = strpbrk(at, " \t\r");
        if (at)
            *at++ = 0;
    }
    if (r.n)
        serve(q, &r);
    else
        reply(q, "FAIL Unknown command ''");
}

static void qtest_free(void *p)
{
    Qtest *q = p;

    g_hash_table_destroy(q->high);
    g_string_free(q->out, TRUE);
    g_free(q);
}

Qtest *qtest_new(Vm *vm, QtestSend send, void *arg)
{
    Qtest *q = g_new0(Qtest, 1);

    q->vm = vm;
    q->send = send;
    q->arg = arg;
    q->high = g_hash_table_new(NULL, NULL);
    q->out = g_string_new(NULL);
    return own(&vm->root, q, qtest_free);
}
