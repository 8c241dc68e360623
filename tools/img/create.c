/* tools/img/create.c - create, and what convert needs of it. */
#include "tools/img/img.h"

static CO_FN bool backing_size(Img *m, const char *image, Opts *o, bool unsafe, uint64_t *size, Error **err)
{
    const char *file = opts_peek(o, "backing_file"), *format = opts_peek(o, "backing_fmt");
    g_autofree char *dir = g_path_get_dirname(image);
    g_autofree char *path = NULL;
    Error *why = NULL;
    Node *n;

    if (!file || !*file)
        return true;
    path = g_path_is_absolute(file) || strchr(file, ':') ? g_strdup(file) : g_build_filename(dir, file, NULL);
    n = img_open(m, path, format, 0, &why);
    if (!n && unsafe && *size != UINT64_MAX) {
        error_free(why);
        return true;
    }
    if (!n)
        return fail_because(err, why, "%s", image);
    if (!format) {
        fail(err, "%s: Backing file specified without backing format", image);
        error_hint(err, "Detected format of %s", n->drv->name);
    }
    if (*size == UINT64_MAX)
        *size = n->size;
    node_unref(n);
    return format;
}

/* ---- what a format's options are ---- */
static const char *const *options_of(const BlkDriver *d)
{
    static const char *const raw[] = { "size", "preallocation", "extent_size_hint", "nocow", NULL };

    return d->image ? d->image->create_options : raw;
}

static bool names_it(const char *option, const char *key)
{
    size_t n = strcspn(option, "=");

    return strlen(key) == n && !strncmp(option, key, n);
}

static bool is_flag(const char *v)
{
    bool flag;

    return v && parse_bool(v, &flag, NULL);
}

static void append(GString *s, const Opts *o, const char *key, const char *otherwise)
{
    const char *v = opts_peek(o, key);
    uint64_t bytes;
    bool flag;

    if (!v && !otherwise)
        return;
    v = v ? v : otherwise;
    if (g_str_has_suffix(key, "_size") && parse_size(v, 'B', &bytes, NULL))
        g_string_append_printf(s, " %s=%" PRIu64, key, bytes);
    else if (is_flag(otherwise) && parse_bool(v, &flag, NULL))
        g_string_append_printf(s, " %s=%s", key, flag ? "on" : "off");
    else
        g_string_append_printf(s, " %s=%s", key, v);
}

/* The line's order of options is QEMU's. */
static char *formatting(const char *filename, const BlkDriver *d, const Opts *o, uint64_t size)
{
    g_autoptr(GString) s = g_string_new(NULL);

    g_string_printf(s, "Formatting '%s', fmt=%s", filename, d->name);
    for (const char *const *p = options_of(d); *p; p++) {
        g_auto(GStrv) v = g_strsplit(*p, "=", 2);

        if (!strcmp(v[0], "size"))
            g_string_append_printf(s, " size=%" PRIu64, size);
        else
            append(s, o, v[0], v[1]);
    }
    return g_strdup(s->str);
}

static bool unknown_option(const BlkDriver *d, const Opts *o, const char *filename, Error **err)
{
    for (guint i = 0; i < o->v->len; i++) {
        const char *k = ((Opt *)o->v->pdata[i])->key;
        const char *const *p = options_of(d);

        while (*p && !names_it(*p, k))
            p++;
        if (!*p && (!strcmp(k, "backing_file") || !strcmp(k, "backing_fmt")))
            return fail(err, "%s: Backing file not supported for file format '%s'", filename, d->name);
        if (!*p) {
            fail(err, "Invalid parameter '%s'", k);
            return error_hint(err, "format %s does not know it", d->name);
        }
    }
    return true;
}

static CO_FN bool make_raw(Img *m, const char *filename, Opts *o, uint64_t size, Error **err)
{
    const char *pre = opts_get(o, "preallocation");
    g_autoptr(Opts) open = opts_new();
    Node *n;
    int ret;

    if (pre && strcmp(pre, "off") && strcmp(pre, "falloc") && strcmp(pre, "full"))
        return fail(err, "Invalid parameter '%s': preallocation is off, falloc or full", pre);
    if (!blk_create_file(m->loop, filename, align_up(size, 512), err))
        return false;
    if (!pre || !strcmp(pre, "off"))
        return true;
    opts_set(open, "driver", "file");
    opts_set(open, "filename", filename);
    n = node_open(m->loop, open, false, err);
    ret = n ? blk_zero(n, 0, n->size, BLK_RESERVE) : 0;
    if (ret)
        fail_errno_is(err, -ret, "%s: cannot preallocate", filename);
    node_unref(n);
    return n && !ret;
}

CO_FN bool img_make(Img *m, const char *filename, const char *format, Opts *o, uint64_t size, bool unsafe, Error **err)
{
    const BlkDriver *d = blk_driver_find(format);
    g_autofree char *line = NULL, *text = NULL;
    Error *why = NULL;

    if (!d || (!d->image && strcmp(format, "raw")))
        return fail(err, "Unknown file format '%s'", format);
    if (d->image && !d->image->create)
        return fail(err, "Format driver '%s' does not support image creation", format);
    if (!unknown_option(d, o, filename, err))
        return false;
    if (opts_peek(o, "size") && size == UINT64_MAX && !img_size(opts_peek(o, "size"), &size, err))
        return false;
    if (!backing_size(m, filename, o, unsafe, &size, err))
        return false;
    if (size == UINT64_MAX)
        return fail(err, "%s: Image creation needs a size parameter", filename);
    text = g_strdup_printf("%" PRIu64, align_up(size, 512));
    opts_set(o, "size", text);
    line = formatting(filename, d, o, align_up(size, 512));
    if (!m->quiet)
        puts(line);
    fflush(stdout);
    if (d->image ? d->image->create(m->loop, filename, o, &why) : make_raw(m, filename, o, size, &why))
        return true;
    return fail_because(err, why, "%s", filename);
}

CO_FN int img_create(Img *m, int argc, char **argv, Error **err)
{
    static const struct option own[] = { { "options", required_argument, NULL, 'o' }, { "backing", required_argument, NULL, 'b' },
                                         { "backing-format", required_argument, NULL, 'F' }, { "backing-unsafe", no_argument, NULL, 'u' }, { 0 } };
    g_autoptr(Opts) o = opts_new();
    Common c = { "raw" };
    uint64_t size = UINT64_MAX;
    bool unsafe = false;
    int k;

    while ((k = img_option(m, &c, argc, argv, "o:b:F:u", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        if (k == 'o' && !img_parse_options(o, optarg, err))
            return 1;
        if (k == 'b')
            opts_set(o, "backing_file", optarg);
        if (k == 'F')
            opts_set(o, "backing_fmt", optarg);
        unsafe |= k == 'u';
    }
    if (optind >= argc)
        return img_usage("create", err, "Expecting image file name");
    if (argc - optind > 2)
        return img_usage("create", err, "Unexpected argument: %s", argv[optind + 2]);
    if (argc - optind == 2 && !img_size(argv[optind + 1], &size, err))
        return 1;
    return !img_make(m, argv[optind], c.format, o, size, unsafe, err);
}
