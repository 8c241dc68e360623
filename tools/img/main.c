/*
 * tools/img/main.c - menura-img: disk images made, looked at, checked, copied. Verbs, options and texts are qemu-img's.
 */
#include "block/objects.h"
#include "tools/img/img.h"
#include <errno.h>
#include <stdlib.h>

/* clang-format off */
static const Verb verbs[] = {
    { "amend", "Update format-specific options of the image", "[-f FMT] [-q] [--force] -o OPTIONS FILENAME", img_amend },
    { "bench", "Run simple image benchmark", "[-f FMT] [-c COUNT] [-d DEPTH] [-s SIZE] [-S STEP] [-o OFFSET] [-w] [--flush-interval N] FILENAME", img_bench },
    { "bitmap", "Manipulate the dirty bitmaps of an image", "[-f FMT] (--add [-g GRANULARITY] | --remove | --clear | --enable | --disable | --merge BITMAP)..\n"
      "      [-b SOURCE [-F SOURCE-FMT]] FILENAME BITMAP", img_bitmap },
    { "check", "Check basic image integrity", "[-f FMT | --image-opts] [-U] [-r leaks|all] [--output human|json] FILENAME", img_check },
    { "commit", "Commit image to its backing file", "[-f FMT] [-b BASE] [-d] [-p] FILENAME", img_commit },
    { "compare", "Check if two images have the same contents", "[-f FMT] [-F FMT] [-s] [-p] [-U] FILENAME1 FILENAME2", img_compare },
    { "convert", "Copy one image to another with optional format conversion",
      "[-f FMT] [-O FMT] [-o OPTIONS] [-c] [-n] [-S SIZE] [-m NUM] [-p] [-B BACKING [-F FMT]] SOURCE.. TARGET", img_convert },
    { "create", "Create and format new image file", "[-f FMT] [-o OPTIONS] [-b BACKING [-F FMT]] [-u] FILENAME [SIZE]", img_create },
    { "dd", "Copy input to output with optional format conversion", "[-f FMT] [-O FMT] [-U] [bs=SIZE] [count=N] [skip=N] if=INPUT of=OUTPUT", img_dd },
    { "info", "Display information about image", "[-f FMT | --image-opts] [--backing-chain] [-U] [--output human|json] FILENAME", img_info },
    { "map", "Dump image metadata", "[-f FMT] [--output human|json] [--start-offset N] [--max-length N] [-U] FILENAME", img_map },
    { "measure", "Calculate file size required for a new image", "[-f FMT] [-O FMT] [-o OPTIONS] [--output human|json] (--size SIZE | FILENAME)", img_measure },
    { "rebase", "Change backing file of the image", "[-f FMT] [-u] [-p] [-c] -b BACKING [-F FMT] FILENAME", img_rebase },
    { "resize", "Resize the image to the new size", "[-f FMT] [--shrink] [--preallocation MODE] FILENAME [+-]SIZE", img_resize },
    { "snapshot", "List or manipulate snapshots within image", "[-f FMT] [-l | -c NAME | -a NAME | -d NAME] FILENAME", img_snapshot },
};
/* clang-format on */

/* ---- options that many verbs have ---- */
enum { OPT_OUTPUT = 1000, OPT_IMAGE_OPTS, OPT_OBJECT };
static const struct option common_long[] = {
    { "help", no_argument, NULL, 'h' },           { "format", required_argument, NULL, 'f' },
    { "output", required_argument, NULL, OPT_OUTPUT }, { "image-opts", no_argument, NULL, OPT_IMAGE_OPTS },
    { "quiet", no_argument, NULL, 'q' },          { "progress", no_argument, NULL, 'p' },
    { "force-share", no_argument, NULL, 'U' },    { "cache", required_argument, NULL, 'T' },
    { "object", required_argument, NULL, OPT_OBJECT },
};

static const struct option *all_long(const struct option *own)
{
    static struct option all[40]; /* one verb a process */
    size_t n = 0;

    for (; own && own->name; own++)
        all[n++] = *own;
    for (size_t i = 0; i < G_N_ELEMENTS(common_long); i++)
        all[n++] = common_long[i];
    all[n] = (struct option){ 0 };
    return all;
}

static int take_common(Img *m, Common *c, int k, Error **err)
{
    switch (k) {
    case 'f':
        c->format = optarg;
        return 0;
    case 'T':
        c->cache = optarg;
        return 0;
    case 'q':
        m->quiet = true;
        return 0;
    case 'p':
        m->progress = true;
        return 0;
    case 'U':
        m->force_share = true;
        return 0;
    case OPT_IMAGE_OPTS:
        m->image_opts = true;
        return 0;
    case OPT_OBJECT:
        return tool_object_add(&m->objects, m->loop, optarg, err) ? 0 : '?';
    case OPT_OUTPUT:
        m->json = !strcmp(optarg, "json");
        if (m->json || !strcmp(optarg, "human"))
            return 0;
        fail(err, "--output must be used with human or json as argument.");
        return '?';
    default:
        return k;
    }
}

int img_option(Img *m, Common *c, int argc, char **argv, const char *own_short, const struct option *own_long, Error **err)
{
    g_autofree char *shorts = g_strconcat(own_short, "hf:T:qpU", NULL);
    int k, got;

    for (;;) {
        k = getopt_long(argc, argv, shorts, all_long(own_long), NULL);
        if (k == -1)
            return -1;
        if (strchr(own_short, k) || k >= 2000)
            return k;
        got = take_common(m, c, k, err);
        if (got == 'h') {
            img_usage(argv[0], NULL, "help");
            return 'h';
        }
        if (got && !(err && *err))
            img_usage(argv[0], err, "wrong option");
        if (got)
            return '?';
    }
}

static const Verb *find_verb(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(verbs); i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

int img_usage(const char *verb, Error **err, const char *why, ...)
{
    const Verb *v = find_verb(verb);
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, why);
    text = g_strdup_vprintf(why, ap);
    va_end(ap);
    if (!err) {
        printf("Usage:\n%s.  Usage:\n\n  menura-img %s %s\n", v->what, v->name, v->usage);
        return 0;
    }
    fail(err, "%s", text);
    error_hint(err, "menura-img %s %s", v->name, v->usage);
    return 1;
}

/* ---- opening ---- */
bool img_parse_options(Opts *o, const char *text, Error **err)
{
    g_autoptr(Opts) more = opts_parse(text, NULL, err);

    for (guint i = 0; more && i < more->v->len; i++)
        opts_set(o, ((Opt *)more->v->pdata[i])->key, ((Opt *)more->v->pdata[i])->value);
    return more;
}

static bool cache_mode(Opts *o, const char *v, Error **err)
{
    static const char *const names[] = { "writeback", "writethrough", "none", "off", "directsync", "unsafe", NULL };

    if (!g_strv_contains(names, v))
        return fail(err, "Invalid cache mode");
    if (*v == 'n' || *v == 'o' || *v == 'd')
        opts_set(o, "cache.direct", "on");
    if (*v == 'u')
        opts_set(o, "cache.no-flush", "on");
    return true;
}

Opts *img_secrets(const Opts *o)
{
    Opts *out = opts_new();

    for (guint i = 0; i < o->v->len; i++) {
        const Opt *x = o->v->pdata[i];

        if (!strcmp(x->key, "key-secret") || g_str_has_suffix(x->key, ".key-secret"))
            opts_set(out, x->key, x->value);
    }
    return out;
}

static void give_secrets(Img *m, Opts *o)
{
    for (guint i = 0; m->secrets && i < m->secrets->v->len; i++) {
        const Opt *x = m->secrets->v->pdata[i];

        opts_set(o, x->key, x->value);
    }
}

static bool describe(Img *m, Opts *o, const char *name, const char *format, unsigned flags, Error **err)
{
    const BlkDriver *d;

    if (m->image_opts && !img_parse_options(o, name, err))
        return false;
    if (!m->image_opts)
        opts_set(o, "filename", name);
    if (format)
        opts_set(o, "driver", format);
    d = opts_peek(o, "driver") ? blk_driver_find(opts_peek(o, "driver")) : NULL;
    if (flags & OPEN_NO_BACKING && d && d->has_backing)
        opts_set(o, "backing", NULL);
    if (flags & OPEN_FOR_CHECK && !g_strcmp0(opts_peek(o, "driver"), "qcow2"))
        opts_set(o, "for-check", "on");
    give_secrets(m, o);
    if (flags & OPEN_NO_IO && d && d->encrypts)
        opts_set(o, "no-io", "on");
    if (flags & OPEN_UNSAFE)
        opts_set(o, "cache.no-flush", "on");
    if (flags & OPEN_UNMAP)
        opts_set(o, "discard", "unmap");
    if (m->force_share)
        opts_set(o, "force-share", "on");
    if (m->aio)
        opts_set(o, "aio", m->aio);
    return !m->cache || cache_mode(o, m->cache, err);
}

static CO_FN Node *open_as(Img *m, const char *name, const char *format, unsigned flags, Error **err)
{
    g_autoptr(Opts) o = opts_new();

    return describe(m, o, name, format, flags, err) ? node_open(m->loop, o, !(flags & OPEN_WRITE), err) : NULL;
}

/* The format is found first, because some options are one format's own. What was guessed raw stays guessed. */
CO_FN Node *img_open(Img *m, const char *name, const char *format, unsigned flags, Error **err)
{
    unsigned share = PERM_ALL & ~(unsigned)(PERM_WRITE | PERM_RESIZE);
    const char *f = format ? format : m->image_opts ? "" : blk_guess_format(m->loop, name, m->force_share, err);
    Node *n = NULL;

    if (f)
        n = open_as(m, name, *f && (format || strcmp(f, "raw") || !(flags & OPEN_WRITE)) ? f : NULL, flags, err);
    if (!n || node_permissions(n, PERM_CONSISTENT_READ | (flags & OPEN_WRITE ? PERM_WRITE | PERM_RESIZE : 0), share, err))
        return n;
    node_unref(n);
    return NULL;
}

/* ---- text ---- */
void img_progress(Img *m, uint64_t done, uint64_t all)
{
    int now = all ? (int)(done * 10000.0 / (double)all) : 10000;

    if (!m->progress || now - m->shown < (now == 10000 ? 1 : 100))
        return;
    m->shown = now;
    printf("    (%d.%02d/100%%)\r", now / 100, now % 100);
    fflush(stdout);
}

bool img_size(const char *text, uint64_t *out, Error **err)
{
    if (parse_size(text, 'B', out, NULL) && *out <= INT64_MAX)
        return true;
    fail(err, "Invalid image size specified. You may use k, M, G, T, P or E suffixes for");
    return error_hint(err, "kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes");
}

/* ---- main ---- */
typedef struct Run {
    Img *m;
    const Verb *v;
    int argc, status;
    char **argv;
    Error *err;
} Run;

static void run(void *arg)
{
    Run *r = arg;

    r->status = r->v->fn(r->m, r->argc, r->argv, &r->err);
}

static int help(void)
{
    printf("menura-img version %s\nDisk image utility.  Usage:\n\n  menura-img COMMAND [--help | command options]\n\nCommands:\n\n", MENURA_VERSION);
    for (size_t i = 0; i < G_N_ELEMENTS(verbs); i++)
        printf("  %s - %s\n", verbs[i].name, verbs[i].what);
    return 0;
}

int main(int argc, char **argv)
{
    Img m = { .shown = -1000 };
    Run r = { .m = &m };

    error_style("menura-img", false, NULL);
    if (argc < 2) {
        fprintf(stderr, "menura-img: Not enough arguments\nTry 'menura-img --help' for more info\n");
        return 1;
    }
    if (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))
        return help();
    if (!strcmp(argv[1], "-V") || !strcmp(argv[1], "--version"))
        return printf("menura-img version %s\n", MENURA_VERSION) < 0;
    if (!(r.v = find_verb(argv[1]))) {
        fprintf(stderr, "menura-img: Command not found: %s\nTry 'menura-img --help' for more info\n", argv[1]);
        return 1;
    }
    m.loop = loop_new("img", NULL);
    loop_set_patient(m.loop);
    r.argc = argc - 1;
    r.argv = argv + 1;
    blk_run(m.loop, run, &r);
    if (m.progress && m.shown >= 0)
        printf("\n");
    if (r.err)
        error_report_free(r.err);
    tool_objects_free(m.objects);
    loop_free(m.loop);
    return r.err ? MAX(r.status, 1) : r.status;
}
