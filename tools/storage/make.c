/* tools/storage/make.c - what menura-storage's options make, and the commands of its monitors. */
#include "block/disk.h"
#include "chr/chr.h"
#include "core/api/export.h"
#include "monitor/monitor.h"
#include "tools/storage/storage.h"
#include "util/trace.h"
#include <stdio.h>

/* clang-format off */
const char *const storage_commands[] = {
    "qmp_capabilities", "query-version", "query-commands", "query-qmp-schema", "quit", "add-fd", "remove-fd", "query-fdsets", "getfd", "closefd",
    "object-add", "object-del", "qom-list", "qom-get", "qom-set", "qom-list-types", "qom-list-properties",
    "chardev-add", "chardev-change", "chardev-remove", "chardev-send-break", "query-chardev", "query-chardev-backends", "ringbuf-read", "ringbuf-write",
    "block-export-add", "block-export-del", "query-block-exports", "nbd-server-start", "nbd-server-stop", "nbd-server-add", "nbd-server-remove",
    "blockdev-add", "blockdev-del", "blockdev-reopen", "blockdev-create", "x-blockdev-amend", "blockdev-set-active", "x-blockdev-set-iothread",
    "x-blockdev-change", "block-set-write-threshold", "block_resize", "query-block", "query-blockstats", "query-named-block-nodes", "x-debug-query-block-graph",
    "block-job-cancel", "block-job-change", "block-job-complete", "block-job-dismiss", "block-job-finalize", "block-job-pause", "block-job-resume",
    "block-job-set-speed", "query-block-jobs", "job-cancel", "job-complete", "job-dismiss", "job-finalize", "job-pause", "job-resume", "query-jobs",
    "block-stream", "block-commit", "blockdev-mirror", "drive-mirror", "blockdev-backup", "drive-backup", "change-backing-file",
    "blockdev-snapshot", "blockdev-snapshot-sync", "blockdev-snapshot-internal-sync", "blockdev-snapshot-delete-internal-sync", "transaction",
    "block-dirty-bitmap-add", "block-dirty-bitmap-clear", "block-dirty-bitmap-disable", "block-dirty-bitmap-enable", "block-dirty-bitmap-merge",
    "block-dirty-bitmap-remove", "x-debug-block-dirty-bitmap-sha256", NULL
};
static const char *const object_types[] = { "throttle-group", "tls-creds-anon", "tls-creds-psk", "tls-creds-x509", "secret", "secret_keyring", "iothread", NULL };
/* clang-format on */

static bool is_help(const char *v) { return !strcmp(v, "help") || !strcmp(v, "?"); }

bool o_trace(Storage *s, const char *v, Error **err)
{
    if (is_help(v)) {
        g_autoptr(GString) list = g_string_new(NULL);

        trace_list(list);
        fputs(list->str, stdout);
        return s->help_shown = true;
    }
    return trace_enable(g_str_has_prefix(v, "enable=") ? v + 7 : v, true) || fail(err, "no trace point has such a name");
}

bool o_blockdev(Storage *s, const char *v, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(v, "driver", err);

    return o && disk_add_blockdev(s->vm, o, err);
}

bool o_chardev(Storage *s, const char *v, Error **err)
{
    g_autoptr(Opts) o = is_help(v) ? NULL : opts_parse_any(v, "backend", err);

    if (is_help(v)) {
        g_autoptr(GString) list = g_string_new(NULL);

        chr_help(list);
        fputs(list->str, stdout);
        return s->help_shown = true;
    }
    return o && chr_new(s->vm, o, err);
}

bool o_monitor(Storage *s, const char *v, Error **err)
{
    g_ptr_array_add(s->monitors, g_strdup(v));
    return true;
}

bool storage_make_monitor(Storage *s, const char *v, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(v, "chardev", err);
    const char *id = o ? opts_get(o, "chardev") : NULL, *mode = o ? opts_get(o, "mode") : NULL;
    Chr *c = id ? vm_lookup(s->vm, "chardev", id) : NULL;
    bool pretty, ok;

    if (!o || !opts_get_bool(o, "pretty", false, &pretty, err))
        return false;
    opts_get(o, "id"); /* a name that nothing refers to */
    if (mode && strcmp(mode, "control"))
        return fail(err, "mode=%s: there is only control here", mode);
    if (!c)
        return fail(err, "chardev \"%s\" not found", id ? id : "");
    if (!opts_all_used(o, "--monitor", err))
        return false;
    lock_take(&s->vm->lock);
    ok = monitor_new(s->vm, c, pretty ? MONITOR_QMP_PRETTY : MONITOR_QMP, err);
    lock_drop(&s->vm->lock);
    return ok;
}

/* ---- objects ---- */
static void list_prop(const Prop *p, void *arg) { printf("  %s=<%s>%s%s\n", p->name, prop_type_name(p), p->doc ? " - " : "", p->doc ? p->doc : ""); }

static bool object_help(Storage *s, const char *v, Error **err)
{
    g_autofree char *type = g_strndup(v, strcspn(v, ","));
    const ObjClass *c = obj_class_find(type);

    if (!is_help(v) && (!c || !g_strv_contains(object_types, type)))
        return fail(err, "invalid object type: %s", type);
    printf(is_help(v) ? "List of user creatable objects:\n" : "%s options:\n", type);
    for (const char *const *t = object_types; is_help(v) && *t; t++)
        if (obj_class_find(*t))
            printf("  %s\n", *t);
    if (!is_help(v))
        obj_prop_foreach(c, list_prop, NULL);
    return s->help_shown = true;
}

bool o_object(Storage *s, const char *v, Error **err)
{
    g_autoptr(Opts) o = NULL;
    const char *type;
    bool ok;

    if (is_help(v) || g_str_has_suffix(v, ",help") || g_str_has_suffix(v, ",?"))
        return object_help(s, v, err);
    o = opts_parse_any(v, "qom-type", err);
    type = o ? opts_peek(o, "qom-type") : NULL;
    if (!o)
        return false;
    if (!type || !g_strv_contains(object_types, type))
        return fail(err, "invalid object type: %s", type ? type : "(missing)");
    lock_take(&s->vm->lock);
    ok = obj_create(s->vm, o, err);
    lock_drop(&s->vm->lock);
    return ok;
}

/* ---- NBD: the monitor's commands, by options ---- */
/* Which of `type`'s values the option names; -1: none. */
static int value_of(Opts *o, const char *option, const ApiType *type, Error **err)
{
    const char *text = opts_get(o, option);
    int value = text ? api_enum_find(type, text) : -1;

    if (!text)
        fail(err, "Parameter '%s' is missing", option);
    else if (value < 0)
        fail(err, "Parameter '%s' does not accept value '%s'", option, text);
    return value;
}

static bool address(Opts *o, SocketAddressLegacy *a, Error **err)
{
    int kind = value_of(o, "addr.type", &api_SocketAddressType, err);

    if (kind < 0)
        return false;
    a->type = (SocketAddressType)kind;
    switch (a->type) {
    case SOCKET_ADDRESS_INET:
        a->u.inet.data.host = (char *)(uintptr_t)opts_get(o, "addr.host");
        a->u.inet.data.port = (char *)(uintptr_t)opts_get(o, "addr.port");
        return (a->u.inet.data.host && a->u.inet.data.port) || fail(err, "addr.host and addr.port are wanted");
    case SOCKET_ADDRESS_UNIX_:
        a->u.unix_.data.path = (char *)(uintptr_t)opts_get(o, "addr.path");
        return a->u.unix_.data.path || fail(err, "Parameter 'addr.path' is missing");
    case SOCKET_ADDRESS_FD:
        a->u.fd.data.str = (char *)(uintptr_t)opts_get(o, "addr.str");
        return a->u.fd.data.str || fail(err, "Parameter 'addr.str' is missing");
    default:
        return fail(err, "addr.type=%s is not possible here", opts_peek(o, "addr.type"));
    }
}

static bool number(Opts *o, const char *key, bool *has, uint32_t *out, Error **err)
{
    uint64_t v = 0;

    *has = opts_peek(o, key);
    if (!opts_get_u64(o, key, 0, &v, err))
        return false;
    *out = (uint32_t)v;
    return v <= UINT32_MAX || fail(err, "%s=%" PRIu64 ": too large", key, v);
}

bool o_nbd_server(Storage *s, const char *v, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(v, NULL, err);
    NbdServerStartArgs args = { .has_max_connections = false };
    bool ok;

    if (!o || !address(o, &args.addr, err) || !number(o, "max-connections", &args.has_max_connections, &args.max_connections, err) ||
        !number(o, "handshake-max-seconds", &args.has_handshake_max_seconds, &args.handshake_max_seconds, err))
        return false;
    args.tls_creds = (char *)(uintptr_t)opts_get(o, "tls-creds");
    if (!opts_all_used(o, "--nbd-server", err))
        return false;
    lock_take(&s->vm->lock);
    ok = qmp_nbd_server_start(s->vm, &args, err);
    lock_drop(&s->vm->lock);
    return ok;
}

/* bitmaps.N=NAME, or bitmaps.N.node=.. and bitmaps.N.name=.. */
static void bitmaps(Opts *o, BlockExportOptions *args)
{
    for (unsigned i = 0; i < o->v->len; i++) { /* no more of them than options */
        g_autofree char *key = g_strdup_printf("bitmaps.%u", i), *node = g_strconcat(key, ".node", NULL), *name = g_strconcat(key, ".name", NULL);
        const char *own = opts_get(o, key);
        BlockDirtyBitmapOrStr *b;

        if (!own && !opts_peek(o, node))
            return;
        b = API_ADD(&args->u.nbd.bitmaps);
        b->which = own ? 0 : 1;
        if (own)
            b->local = g_strdup(own);
        else
            b->external = (BlockDirtyBitmap){ g_strdup(opts_get(o, node)), g_strdup(opts_get(o, name)) };
    }
}

static bool export_of(Opts *o, BlockExportOptions *args, Error **err)
{
    int kind = value_of(o, "type", &api_BlockExportType, err);

    if (kind < 0)
        return false;
    args->type = (BlockExportType)kind;
    args->id = g_strdup(opts_get(o, "id"));
    args->node_name = g_strdup(opts_get(o, "node-name"));
    if (!args->id || !args->node_name)
        return fail(err, "Parameter '%s' is missing", args->id ? "node-name" : "id");
    args->u.nbd.name = g_strdup(opts_get(o, "name"));
    args->u.nbd.description = g_strdup(opts_get(o, "description"));
    bitmaps(o, args);
    return opts_get_bool(o, "writable", false, &args->writable, err) && opts_get_bool(o, "writethrough", false, &args->writethrough, err) &&
           opts_get_bool(o, "allocation-depth", false, &args->u.nbd.allocation_depth, err) && opts_all_used(o, "--export", err);
}

bool o_export(Storage *s, const char *v, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(v, "type", err);
    BlockExportOptions args = { .id = NULL };
    bool ok = o && export_of(o, &args, err);

    if (ok) {
        lock_take(&s->vm->lock);
        ok = qmp_block_export_add(s->vm, &args, err);
        lock_drop(&s->vm->lock);
    }
    api_clear(&api_BlockExportOptions, &args);
    return ok;
}
