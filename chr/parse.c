/*
 * chr/parse.c - the short forms of -serial, -parallel, -monitor, -debugcon, -gdb: a prefix, what it
 * stands for, and how its rest is spelled.
 */
#include "chr/priv.h"

/* "tcp:host:port,server=on": host and port become options, the rest follows the first comma. */
static bool host_port(Opts *o, const char *rest, Error **err)
{
    g_autofree char *addr = g_strndup(rest, strcspn(rest, ","));
    char *colon = strrchr(addr, ':');

    if (!colon) {
        fail(err, "'%s': a port is missing", rest);
        return error_hint(err, "write tcp:HOST:PORT, or tcp::PORT for all addresses");
    }
    *colon = 0;
    if (addr[0] == '[' && colon > addr && colon[-1] == ']') { /* [::1]:port */
        colon[-1] = 0;
        memmove(addr, addr + 1, strlen(addr));
    }
    opts_set(o, "host", addr);
    opts_set(o, "port", colon + 1);
    return true;
}

static bool append_rest(Opts *o, const char *rest, Error **err)
{
    const char *comma = strchr(rest, ',');
    g_autoptr(Opts) more = comma ? opts_parse(comma + 1, NULL, err) : opts_new();

    if (!more)
        return false;
    for (guint i = 0; i < more->v->len; i++) {
        Opt *x = more->v->pdata[i];

        opts_set(o, x->key, x->value);
    }
    return true;
}

typedef struct Prefix {
    const char *text, *backend,
        *key; /* key: the option that is the rest up to a comma; NULL: host:port */
    bool telnet;
} Prefix;
static const Prefix prefixes[] = {
    { "unix:", "socket", "path", false },     { "tcp:", "socket", NULL, false },
    { "telnet:", "socket", NULL, true },      { "file:", "file", "path", false },
    { "pipe:", "pipe", "path", false },       { "vc:", "vc", "size", false },
    { "ringbuf:", "ringbuf", "size", false }, { "/dev/", "serial", "path", false },
};

static bool prefixed(Opts *o, const char *text, Error **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        const Prefix *p = &prefixes[i];
        const char *rest = text + (p->text[0] == '/' ? 0 : strlen(p->text));
        g_autofree char *value = NULL;

        if (!g_str_has_prefix(text, p->text))
            continue;
        opts_set(o, "backend", p->backend);
        if (p->telnet)
            opts_set(o, "telnet", "on");
        if (!p->key)
            return host_port(o, rest, err) && append_rest(o, rest, err);
        value = g_strndup(rest, strcspn(rest, ","));
        opts_set(o, p->key, value);
        return append_rest(o, rest, err);
    }
    fail(err, "'%s' is not a character device", text);
    return error_hint(err, "for instance stdio, pty, null, file:PATH, "
                           "unix:PATH,server=on,wait=off, tcp:HOST:PORT, chardev:ID");
}

static bool translate(Opts *o, const char *text, Error **err)
{
    static const char *const plain[] = { "null", "pty", "stdio", "vc", "ringbuf" };

    for (size_t i = 0; i < G_N_ELEMENTS(plain); i++) {
        size_t n = strlen(plain[i]);

        if (!strncmp(text, plain[i], n) && (!text[n] || text[n] == ',')) {
            opts_set(o, "backend", plain[i]);
            return append_rest(o, text, err);
        }
    }
    return prefixed(o, text, err);
}

Chr *chr_new_short(Vm *vm, const char *id, const char *text, Error **err)
{
    g_autoptr(Opts) o = NULL;
    Chr *c;

    if (!strcmp(text, "none"))
        return NULL;
    if (g_str_has_prefix(text, "chardev:")) {
        c = vm_lookup(vm, "chardev", text + 8);
        if (!c) {
            fail(err, "chardev '%s' not found", text + 8);
            error_hint(err, "define it with -chardev BACKEND,id=%s", text + 8);
        }
        return c;
    }
    o = opts_new();
    opts_set(o, "id", id);
    if (g_str_has_prefix(text, "mon:")) {
        text += 4;
        opts_set(o, "mux", "on");
        if (g_str_has_prefix(text, "stdio"))
            opts_set(o, "signal", "off");
    }
    return translate(o, text, err) ? chr_new(vm, o, err) : NULL;
}
