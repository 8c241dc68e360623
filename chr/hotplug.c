/*
 * chr/hotplug.c - the monitor's commands that make and remove back ends, and those about ring buffers (schema/char.json).
 * QMP's members become the options of -chardev by the table below.
 */
#include "chr/priv.h"
#include "core/api/char.h"
#include "core/fds.h"
#include "util/jval.h"

static const struct {
    const char *qmp, *option; /* a whole key, or what it begins with where it ends in a dot */
} names[] = { { "out", "path" },          { "in", "input-path" },         { "device", "path" },
              { "remote.data.", "" },     { "local.data.host", "localaddr" }, { "local.data.port", "localport" },
              { "remote.type", NULL },    { "local.type", NULL } };

static char *option_of(const char *key)
{
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        bool part = g_str_has_suffix(names[i].qmp, ".");

        if (part && g_str_has_prefix(key, names[i].qmp))
            return g_strconcat(names[i].option, key + strlen(names[i].qmp), NULL);
        if (!part && !strcmp(key, names[i].qmp))
            return g_strdup(names[i].option);
    }
    return g_strdup(key);
}

/* A name that getfd gave becomes a number. */
static bool resolve_fd(Vm *vm, Opts *o, Error **err)
{
    const char *text = opts_peek(o, "addr.data.str");
    uint64_t number;
    int fd;

    if (!text || parse_u64(text, &number, NULL))
        return true;
    fd = fd_take(vm, text, err);
    if (fd >= 0) {
        g_autofree char *value = g_strdup_printf("%d", fd);

        opts_set(o, "addr.data.str", value);
    }
    return fd >= 0;
}

static Opts *options_of(Vm *vm, const char *id, const ChardevBackend *b, Error **err)
{
    g_autoptr(JVal) v = api_out(&api_ChardevBackend, b);
    g_autofree char *text = j_text(v);
    g_autoptr(Opts) all = opts_parse_any(text, NULL, err), data = all ? opts_sub(all, "data") : NULL, o = NULL;
    bool sock = b->type == CHARDEV_BACKEND_SOCKET;

    if (!data)
        return NULL;
    if ((b->type == CHARDEV_BACKEND_UDP && (b->u.udp.data.remote.type != SOCKET_ADDRESS_INET ||
                                            (b->u.udp.data.local && b->u.udp.data.local->type != SOCKET_ADDRESS_INET)))) {
        fail(err, "chardev %s: udp wants addresses of type inet", id);
        return NULL;
    }
    o = opts_new();
    opts_set(o, "backend", api_ChardevBackendKind.names[b->type]);
    opts_set(o, "id", id);
    for (guint i = 0; i < data->v->len; i++) {
        const Opt *x = data->v->pdata[i];
        g_autofree char *key = option_of(x->key);

        if (key && strcmp(key, "wait"))
            opts_set(o, key, x->value);
    }
    if (sock && !b->u.socket.data.has_server)
        opts_set(o, "server", "on");
    if (sock)
        opts_set(o, "wait", "off"); /* no command waits */
    return resolve_fd(vm, o, err) ? g_steal_pointer(&o) : NULL;
}

bool qmp_chardev_add(Vm *vm, const ChardevAddArgs *args, ChardevReturn *ret, Error **err)
{
    g_autoptr(Opts) o = NULL;
    Chr *c;

    if (vm_lookup(vm, "chardev", args->id))
        return fail(err, "Chardev with id '%s' already exists", args->id);
    o = options_of(vm, args->id, &args->backend, err);
    c = o ? chr_add(vm, o, err) : NULL;
    if (c)
        ret->pty = g_strdup(chr_pty_path(c));
    return c;
}

/* As -chardev has them; but no command waits. */
static Opts *typed(const char *text, Error **err)
{
    Opts *o = opts_parse_any(text, "backend", err);

    if (o && !strcmp(opts_peek(o, "backend") ? opts_peek(o, "backend") : "", "socket"))
        opts_set(o, "wait", "off");
    return o;
}

static void say_pty(Hmp *h, const Chr *c)
{
    if (c && chr_pty_path(c))
        g_string_append_printf(h->out, "char device redirected to %s (label %s)\n", chr_pty_path(c), chr_id(c));
}

void hmp_chardev_add(Hmp *h, const HmpChardevAddArgs *args)
{
    Error *err = NULL;
    g_autoptr(Opts) o = typed(args->args, &err);

    if (o)
        say_pty(h, chr_add(h->vm, o, &err));
    hmp_say_error(h, err);
}

static Chr *find(Vm *vm, const char *id, Error **err)
{
    Chr *c = vm_lookup(vm, "chardev", id);

    if (!c)
        fail(err, "Chardev '%s' not found", id);
    return c;
}

static Chr *to_change(Vm *vm, const char *id, Error **err)
{
    Chr *c = vm_lookup(vm, "chardev", id);

    if (!c)
        fail(err, "Chardev '%s' does not exist", id);
    return c;
}

bool qmp_chardev_change(Vm *vm, const ChardevChangeArgs *args, ChardevReturn *ret, Error **err)
{
    Chr *c = to_change(vm, args->id, err);
    g_autoptr(Opts) o = c ? options_of(vm, args->id, &args->backend, err) : NULL;

    c = o ? chr_change(c, o, err) : NULL;
    if (c)
        ret->pty = g_strdup(chr_pty_path(c));
    return c;
}

void hmp_chardev_change(Hmp *h, const HmpChardevChangeArgs *args)
{
    Error *err = NULL;
    Chr *c = to_change(h->vm, args->id, &err);
    g_autoptr(Opts) o = c ? typed(args->args, &err) : NULL;

    if (o) {
        opts_set(o, "id", args->id);
        say_pty(h, chr_change(c, o, &err));
    }
    hmp_say_error(h, err);
}

bool qmp_chardev_remove(Vm *vm, const ChardevRemoveArgs *args, Error **err)
{
    Chr *c = find(vm, args->id, err);

    if (!c)
        return false;
    if (chr_in_use(c))
        return fail(err, "Chardev '%s' is busy", args->id);
    chr_free(c);
    return true;
}

bool qmp_chardev_send_break(Vm *vm, const ChardevSendBreakArgs *args, Error **err)
{
    Chr *c = find(vm, args->id, err);

    if (c)
        chr__event(c, CHR_BREAK);
    return c;
}

/* ---- ring buffers ---- */
static Chr *ring(Vm *vm, const char *id, Error **err)
{
    Chr *c = vm_lookup(vm, "chardev", id);

    if (!c)
        fail(err, "Device '%s' not found", id);
    else if (!chr_is_ring(c))
        fail(err, "%s is not a ringbuf device", id);
    return c && chr_is_ring(c) ? c : NULL;
}

bool qmp_ringbuf_write(Vm *vm, const RingbufWriteArgs *args, Error **err)
{
    Chr *c = ring(vm, args->device, err);
    bool packed = args->has_format && args->format == DATA_FORMAT_BASE64;
    gsize n = strlen(args->data);
    g_autofree uint8_t *bytes = c && packed ? g_base64_decode(args->data, &n) : NULL;

    if (c)
        chr_write(c, packed ? (const void *)bytes : args->data, n);
    return c;
}

bool qmp_ringbuf_read(Vm *vm, const RingbufReadArgs *args, char **ret, Error **err)
{
    Chr *c = ring(vm, args->device, err);
    g_autoptr(GByteArray) b = NULL;

    if (!c)
        return false;
    if (args->size <= 0)
        return fail(err, "size must be greater than zero");
    b = chr_ring_read(c, (size_t)args->size);
    if (args->has_format && args->format == DATA_FORMAT_BASE64)
        *ret = g_base64_encode(b->data, b->len);
    else
        *ret = g_utf8_make_valid((const char *)b->data, (gssize)b->len);
    return true;
}

void hmp_ringbuf_read(Hmp *h, const HmpRingbufReadArgs *args)
{
    Error *err = NULL;
    char *text = NULL;

    if (qmp_ringbuf_read(h->vm, &(RingbufReadArgs){ .device = args->device, .size = args->size }, &text, &err))
        g_string_append_printf(h->out, "%s\n", text);
    g_free(text);
    hmp_say_error(h, err);
}

void hmp_ringbuf_write(Hmp *h, const HmpRingbufWriteArgs *args)
{
    Error *err = NULL;

    qmp_ringbuf_write(h->vm, &(RingbufWriteArgs){ .device = args->device, .data = args->data }, &err);
    hmp_say_error(h, err);
}
