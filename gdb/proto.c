/*
 * gdb/proto.c - packets of the remote serial protocol: $body#sum, acknowledged by + or -, }
 * escapes, 0x03 interrupts. Whatever arrives: no packet is longer than PACKET_MAX, a bad sum is
 * answered by -.
 */
#include "gdb/priv.h"

void gdb__hex(GString *out, const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        g_string_append_c(out, digits[((const uint8_t *)p)[i] >> 4]);
        g_string_append_c(out, digits[((const uint8_t *)p)[i] & 15]);
    }
}

bool gdb__unhex(const char *text, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        int hi = g_ascii_xdigit_value(text[2 * i]),
            lo = hi < 0 ? -1 : g_ascii_xdigit_value(text[2 * i + 1]);

        if (lo < 0)
            return false;
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

/* text may hold any bytes: what the protocol uses itself is escaped. */
void gdb__send(Gdb *g, const char *text, size_t n)
{
    uint8_t sum = 0;

    g_string_assign(g->last, "$");
    for (size_t i = 0; i < n; i++) {
        char ch = text[i];

        if (ch == '$' || ch == '#' || ch == '}' || ch == '*') {
            g_string_append_c(g->last, '}');
            ch ^= 0x20;
        }
        g_string_append_c(g->last, ch);
    }
    for (gsize i = 1; i < g->last->len; i++)
        sum = (uint8_t)(sum + (uint8_t)g->last->str[i]);
    g_string_append_printf(g->last, "#%02x", sum);
    chr_write_all(g->chr, g->last->str, g->last->len);
}

void gdb__text(Gdb *g, const char *text) { gdb__send(g, text, strlen(text)); }

static void body_byte(Gdb *g, uint8_t b)
{
    if (g->body->len >= PACKET_MAX) { /* garbage: wait for the next $ */
        g->in = IN_IDLE;
        return;
    }
    g_byte_array_append(g->body, &b, 1);
}

static void packet_end(Gdb *g, uint8_t sum)
{
    uint8_t zero = 0;

    g->in = IN_IDLE;
    if (!g->noack) {
        bool good = sum == g->sum;

        chr_write_all(g->chr, good ? "+" : "-", 1);
        if (!good)
            return;
    }
    g_byte_array_append(g->body, &zero, 1);
    gdb__packet(g, (char *)g->body->data, g->body->len - 1);
    if (g->noack_next)
        g->noack = true;
}

static void idle_byte(Gdb *g, uint8_t b)
{
    if (b == '$') {
        g->in = IN_BODY;
        g->sum = 0;
        g_byte_array_set_size(g->body, 0);
    } else if (b == 3) {
        gdb__interrupt(g);
    } else if (b == '-' && g->last->len) {
        chr_write_all(g->chr, g->last->str, g->last->len);
    }
}

static void byte(Gdb *g, uint8_t b)
{
    int digit = g_ascii_xdigit_value((char)b);

    switch (g->in) {
    case IN_IDLE:
        idle_byte(g, b);
        break;
    case IN_BODY:
    case IN_ESCAPE:
        if (b == '#' && g->in == IN_BODY) {
            g->in = IN_SUM1;
            break;
        }
        g->sum = (uint8_t)(g->sum + b);
        if (b == '}' && g->in == IN_BODY) {
            g->in = IN_ESCAPE;
            break;
        }
        b ^= g->in == IN_ESCAPE ? 0x20 : 0;
        g->in = IN_BODY;
        body_byte(g, b);
        break;
    case IN_SUM1:
        g->sum_hi = (uint8_t)(MAX(digit, 0) << 4);
        g->in = IN_SUM2;
        break;
    case IN_SUM2:
        packet_end(g, (uint8_t)(g->sum_hi | MAX(digit, 0)));
        break;
    }
}

/* ---- the character device ---- */
static size_t can_take(void *o) { return 4096; }

static void attach(Gdb *g)
{
    g->attached = true;
    if (!g->stop)
        g->stop = g_strdup("S05");
    vm_stop(g->vm, RUN_PAUSED);
}

static void take(void *o, const uint8_t *p, size_t n)
{
    Gdb *g = o;

    for (size_t i = 0; i < n; i++) {
        if (!g->attached && p[i] != '$' && p[i] != 3)
            continue; /* the acknowledgement of what detached is no new debugger */
        if (!g->attached)
            attach(g);
        byte(g, p[i]);
    }
}

static void event(void *o, ChrEvent e)
{
    Gdb *g = o;

    if (e == CHR_OPENED && chr_backend(g->chr) && !strcmp(chr_backend(g->chr), "socket"))
        attach(g); /* others are open before anybody is there */
    else if (e == CHR_CLOSED)
        gdb__detach(g);
    g->in = IN_IDLE;
}

/* ---- life ---- */
static void release(void *arg)
{
    Gdb *g = arg;

    vm_unlisten(g->vm, &g->listener);
    g_byte_array_free(g->body, TRUE);
    g_string_free(g->last, TRUE);
    g_array_free(g->points, TRUE);
    g_free(g->stop);
    g_free(g->library);
    g_free(g);
}

void gdb_close(Gdb *g)
{
    if (!g)
        return;
    gdb__detach(g);
    chr_detach(g->chr, g);
    chr_free(g->chr);
    disown(&g->vm->root, g);
    release(g);
}

void gdb_set_monitor(Gdb *g, char *(*exec)(Vm *vm, const char *line)) { g->exec = exec; }

static bool has_option(const char *device, const char *key)
{
    const char *at = strchr(device, ',');

    return at && strstr(at, key);
}

Gdb *gdb_open(Vm *vm, const char *device, Error **err)
{
    bool tcp = g_str_has_prefix(device, "tcp:") || g_str_has_prefix(device, "unix:");
    g_autofree char *text =
        g_strconcat(device, tcp && !has_option(device, "server") ? ",server=on" : "",
                    tcp && !has_option(device, "wait") ? ",wait=off" : "",
                    g_str_has_prefix(device, "tcp:") ? ",nodelay=on" : "", NULL);
    Chr *c = chr_new_short(vm, "gdb", text, err);
    Gdb *g;

    if (!c)
        return NULL;
    g = g_new0(Gdb, 1);
    g->vm = vm;
    g->chr = c;
    g->step_cpu = -1;
    g->body = g_byte_array_new();
    g->last = g_string_new(NULL);
    g->points = g_array_new(FALSE, TRUE, sizeof(DebugPoint));
    g->listener = (VmListener){ .state = gdb__on_state, .debug = gdb__on_debug, .self = g };
    vm_listen(vm, &g->listener);
    own(&vm->root, g, release);
    if (!chr_attach(c, &(ChrUser){ can_take, take, event, g }, err)) {
        disown(&vm->root, g);
        release(g);
        return NULL;
    }
    return g;
}
