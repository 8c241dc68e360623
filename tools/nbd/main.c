/* tools/nbd/main.c - menura-nbd: a disk image over NBD. Options and texts are qemu-nbd's. */
#include "block/objects.h"
#include "tools/nbd/nbd.h"
#include "util/daemon.h"
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

enum { OPT_CACHE = 256, OPT_AIO, OPT_DISCARD, OPT_DETECT, OPT_OBJECT, OPT_TLS, OPT_TLS_HOST, OPT_TLS_AUTHZ, OPT_IMAGE, OPT_FORK, OPT_PID,
       OPT_LIMIT, OPT_SELINUX };
/* clang-format off */
static const struct {
    struct option o;
    const char *arg, *what;
} rows[] = {
    { { "help", no_argument, NULL, 'h' }, NULL, "display this help and exit" },
    { { "version", no_argument, NULL, 'V' }, NULL, "output version information and exit" },
    { { "port", required_argument, NULL, 'p' }, "PORT", "port to listen on (default 10809)" },
    { { "bind", required_argument, NULL, 'b' }, "IFACE", "interface to bind to (default 0.0.0.0)" },
    { { "socket", required_argument, NULL, 'k' }, "PATH", "path to the unix socket" },
    { { "shared", required_argument, NULL, 'e' }, "NUM", "clients at a time (default 1; 0: any number)" },
    { { "persistent", no_argument, NULL, 't' }, NULL, "don't exit on the last connection" },
    { { "verbose", no_argument, NULL, 'v' }, NULL, "accepted" },
    { { "export-name", required_argument, NULL, 'x' }, "NAME", "expose export by name (default is empty string)" },
    { { "description", required_argument, NULL, 'D' }, "TEXT", "export a human-readable description" },
    { { "handshake-limit", required_argument, NULL, OPT_LIMIT }, "N", "limit client's handshake to N seconds (default 10; 0: none)" },
    { { "offset", required_argument, NULL, 'o' }, "OFFSET", "offset into the image" },
    { { "allocation-depth", no_argument, NULL, 'A' }, NULL, "expose the allocation depth" },
    { { "bitmap", required_argument, NULL, 'B' }, "NAME", "expose a persistent dirty bitmap" },
    { { "list", no_argument, NULL, 'L' }, NULL, "list exports available from another NBD server" },
    { { "object", required_argument, NULL, OPT_OBJECT }, "TYPE,id=ID,..", "secret (an image's password), tls-creds-x509, tls-creds-psk, tls-creds-anon" },
    { { "tls-creds", required_argument, NULL, OPT_TLS }, "ID", "use id of an earlier --object to provide TLS" },
    { { "tls-hostname", required_argument, NULL, OPT_TLS_HOST }, "NAME", "override hostname used to check x509 certificate" },
    { { "tls-authz", required_argument, NULL, OPT_TLS_AUTHZ }, "ID", "not possible" },
    { { "trace", required_argument, NULL, 'T' }, "PATTERN", "accepted" },
    { { "fork", no_argument, NULL, OPT_FORK }, NULL, "fork off the server process and exit the parent once the server is running" },
    { { "pid-file", required_argument, NULL, OPT_PID }, "PATH", "store the server's process ID in the given file" },
    { { "connect", required_argument, NULL, 'c' }, "DEV", "not possible" },
    { { "disconnect", no_argument, NULL, 'd' }, NULL, "not possible" },
    { { "format", required_argument, NULL, 'f' }, "FORMAT", "set image format (raw, qcow2, ...)" },
    { { "read-only", no_argument, NULL, 'r' }, NULL, "export read-only" },
    { { "snapshot", no_argument, NULL, 's' }, NULL, "keep what is written apart, and forget it in the end" },
    { { "load-snapshot", required_argument, NULL, 'l' }, "SNAPSHOT", "export an internal snapshot read-only" },
    { { "nocache", no_argument, NULL, 'n' }, NULL, "disable host cache" },
    { { "cache", required_argument, NULL, OPT_CACHE }, "MODE", "none, writeback (default), writethrough, directsync or unsafe" },
    { { "aio", required_argument, NULL, OPT_AIO }, "MODE", "native, io_uring or threads" },
    { { "discard", required_argument, NULL, OPT_DISCARD }, "MODE", "ignore (default) or unmap" },
    { { "detect-zeroes", required_argument, NULL, OPT_DETECT }, "MODE", "off (default), on or unmap" },
    { { "image-opts", no_argument, NULL, OPT_IMAGE }, NULL, "treat FILE as a full set of image options" },
};
/* clang-format on */

static int usage(void)
{
    printf("Usage: menura-nbd [OPTIONS] FILE\n  or:  menura-nbd -L [OPTIONS]\nDisk Network Block Device Utility\n\n");
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *l = rows[i].arg ? g_strdup_printf("--%s=%s", rows[i].o.name, rows[i].arg) : g_strdup_printf("--%s", rows[i].o.name);

        if (rows[i].o.val < OPT_CACHE)
            printf("  -%c, %-28s %s\n", rows[i].o.val, l, rows[i].what);
        else
            printf("      %-28s %s\n", l, rows[i].what);
    }
    return 0;
}

void nbd_tool_addr(const NbdTool *t, NbdAddr *a)
{
    *a = (NbdAddr){ 0 };
    if (t->socket) {
        a->path = g_strdup(t->socket);
        return;
    }
    a->host = g_strdup(t->bind ? t->bind : t->list ? "localhost" : "0.0.0.0");
    a->port = t->port ? g_strdup(t->port) : g_strdup_printf("%d", NBD_PORT);
}

static bool number(const char *v, const char *what, unsigned max, unsigned *out, Error **err)
{
    uint64_t n = 0;

    if (!parse_u64(v, &n, NULL) || n > max)
        return fail(err, "Invalid %s '%s'", what, v);
    *out = (unsigned)n;
    return true;
}

static bool set_flag(NbdTool *t, int k)
{
    bool *const flag = k == 't' ? &t->persistent : k == 'v' ? &t->verbose : k == 'A' ? &t->depth : k == 'L' ? &t->list : k == OPT_FORK ? &t->fork
                     : k == 'r' ? &t->readonly : k == 's' ? &t->snapshot : k == OPT_IMAGE ? &t->image_opts : NULL;

    if (flag)
        *flag = true;
    return flag;
}

static const char **text_of(NbdTool *t, int k)
{
    switch (k) {
    case 'p': return &t->port;
    case 'b': return &t->bind;
    case 'k': return &t->socket;
    case 'x': return &t->name;
    case 'D': return &t->description;
    case 'f': return &t->format;
    case 'l': return &t->snapshot_view;
    case OPT_CACHE: return &t->cache;
    case OPT_AIO: return &t->aio;
    case OPT_DISCARD: return &t->discard;
    case OPT_DETECT: return &t->detect_zeroes;
    case OPT_PID: return &t->pid_file;
    case OPT_TLS: return &t->tls_id;
    case OPT_TLS_HOST: return &t->tls_hostname;
    default: return NULL;
    }
}

static bool take(NbdTool *t, int k, const char *v, Error **err)
{
    const char **text = text_of(t, k);

    if (text)
        *text = v;
    if (text || set_flag(t, k) || k == 'T')
        return true;
    switch (k) {
    case 'n':
        t->cache = "none";
        return true;
    case 'e':
        return number(v, "shared device number", NBD_CLIENTS_MAX, &t->shared, err);
    case OPT_LIMIT:
        return number(v, "handshake limit", INT32_MAX / 1000, &t->handshake_s, err);
    case 'o':
        return parse_size(v, 'B', &t->offset, err);
    case 'B':
        g_ptr_array_add(t->bitmaps, (void *)(uintptr_t)v);
        return true;
    case OPT_OBJECT:
        return tool_object_add(&t->objects, t->loop, v, err);
    case 'c':
    case 'd':
        return fail(err, "kernel devices cannot be attached: use nbd-client with -k or -p");
    case OPT_TLS_AUTHZ:
        return fail(err, "--tls-authz: this program has no authorization objects");
    default:
        return fail(err, "Try 'menura-nbd --help' for more information.");
    }
}

static bool consistent(NbdTool *t, int left, Error **err)
{
    if (t->tls_id && !(t->tls = tls_creds_find(t->loop, t->tls_id)))
        return fail(err, "No TLS credentials with id '%s'", t->tls_id);
    if (t->tls && tls_creds_is_server(t->tls) == t->list)
        return fail(err, "Expecting TLS credentials with a %s endpoint", t->list ? "client" : "server");
    if (t->socket && (t->bind || t->port))
        return fail(err, "Socket activation or -k and an address exclude each other");
    if (t->list)
        return !left || fail(err, "List mode is incompatible with a file name");
    return left == 1 || fail(err, left ? "Too many arguments" : "Invalid number of arguments: a file name is wanted");
}

static bool parse(NbdTool *t, int argc, char **argv, int *status, Error **err)
{
    static struct option longs[G_N_ELEMENTS(rows) + 1];
    g_autoptr(GString) shorts = g_string_new("");
    int k;

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        longs[i] = rows[i].o;
        if (rows[i].o.val < OPT_CACHE)
            g_string_append_printf(shorts, "%c%s", rows[i].o.val, rows[i].o.has_arg ? ":" : "");
    }
    while ((k = getopt_long(argc, argv, shorts->str, longs, NULL)) != -1) {
        if (k == 'h' || k == 'V') {
            *status = k == 'h' ? usage() : printf("menura-nbd %s\n", MENURA_VERSION) < 0;
            return false;
        }
        if (!take(t, k, optarg, err))
            return false;
    }
    t->file = argv[optind];
    return consistent(t, argc - optind, err);
}

static void run(NbdTool *t, int argc, char **argv, int *status, Error **err)
{
    if (!parse(t, argc, argv, status, err))
        return;
    if (t->fork && !t->list && (t->ready_fd = daemon_begin(err)) < 0)
        return;
    *status = t->list ? nbd_list(t, err) : nbd_serve(t, err);
}

int main(int argc, char **argv)
{
    NbdTool t = { .shared = 1, .handshake_s = 10, .ready_fd = -1 };
    Error *err = NULL;
    int status = 1;

    error_style("menura-nbd", false, NULL);
    t.bitmaps = g_ptr_array_new();
    t.loop = loop_new("nbd", NULL);
    loop_set_patient(t.loop);
    run(&t, argc, argv, &status, &err);
    if (err)
        error_report_free(err);
    g_ptr_array_free(t.bitmaps, TRUE);
    tool_objects_free(t.objects);
    loop_free(t.loop);
    return err ? MAX(status, 1) : status;
}
