/* tools/img/info.c - info and check. */
#include "tools/img/img.h"
#include "util/jval.h"
#include <errno.h>
#include <sys/stat.h>

enum { CHAIN_MAX = 1000 };

static uint64_t actual_size(const char *file)
{
    struct stat st;

    return file && !stat(file, &st) ? (uint64_t)st.st_blocks * 512 : 0;
}

static uint64_t file_length(const Node *file)
{
    struct stat st;

    return file->filename && !stat(file->filename, &st) && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : file->size;
}

/* ---- snapshots ---- */
void img_print_snapshots(GPtrArray *list)
{
    g_autoptr(GString) out = g_string_new(list->len ? "Snapshot list:\n" : "");

    if (list->len)
        blk_snapshot_head(out);
    for (guint i = 0; i < list->len; i++)
        blk_snapshot_row(out, list->pdata[i]);
    fputs(out->str, stdout);
}

static void json_snapshots(Json *j, GPtrArray *list)
{
    json_open(j, "snapshots", '[');
    for (guint i = 0; i < list->len; i++) {
        const BlkSnapshot *v = list->pdata[i];

        json_open(j, NULL, '{');
        if (v->icount != -1)
            json_number(j, "icount", (uint64_t)v->icount);
        json_number(j, "vm-clock-nsec", v->vm_clock_ns % 1000000000);
        json_text(j, "name", v->name);
        json_number(j, "date-sec", v->date_s);
        json_number(j, "date-nsec", v->date_ns);
        json_number(j, "vm-clock-sec", v->vm_clock_ns / 1000000000);
        json_text(j, "id", v->id);
        json_number(j, "vm-state-size", v->vm_state_bytes);
        json_close(j, '}');
    }
    json_close(j, ']');
}

/* ---- one image ---- */
typedef struct Facts {
    Node *n;
    BlkNames names;
    GPtrArray *facts, *snapshots, *bitmaps;
    char *full_backing;
} Facts;

static Facts facts_of(Node *n)
{
    const BlkImageOps *ops = n->drv->image;
    Facts f = { .n = n };
    g_autofree char *dir = g_path_get_dirname(n->filename ? n->filename : ".");

    if (ops) {
        ops->names(n, &f.names);
        f.facts = ops->facts ? ops->facts(n) : NULL;
        f.snapshots = ops->snapshots ? ops->snapshots(n) : NULL;
        f.bitmaps = ops->bitmaps ? ops->bitmaps(n) : NULL;
    }
    if (f.names.backing)
        f.full_backing = g_path_is_absolute(f.names.backing) || strchr(f.names.backing, ':') || !strcmp(dir, ".")
                             ? g_strdup(f.names.backing)
                             : g_build_filename(dir, f.names.backing, NULL);
    return f;
}

static void facts_free(Facts *f)
{
    if (f->facts)
        blk_facts_free(f->facts);
    if (f->bitmaps)
        blk_bitmaps_free(f->bitmaps);
    if (f->snapshots)
        blk_snapshots_free(f->snapshots);
    g_free(f->full_backing);
}

static void print_bitmaps(GPtrArray *list)
{
    if (list && list->len)
        printf("    bitmaps:\n");
    for (guint i = 0; list && i < list->len; i++) {
        const BlkBitmap *b = list->pdata[i];
        unsigned n = 0;

        printf("        [%u]:\n            flags:\n", i);
        if (b->in_use)
            printf("                [%u]: in-use\n", n++);
        if (b->recording)
            printf("                [%u]: auto\n", n++);
        printf("            name: %s\n            granularity: %" PRIu64 "\n", b->name, b->granularity);
    }
}

static void json_bitmaps(Json *j, GPtrArray *list)
{
    json_open(j, "bitmaps", '[');
    for (guint i = 0; i < list->len; i++) {
        const BlkBitmap *b = list->pdata[i];

        json_open(j, NULL, '{');
        json_open(j, "flags", '[');
        if (b->in_use)
            json_text(j, NULL, "in-use");
        if (b->recording)
            json_text(j, NULL, "auto");
        json_close(j, ']');
        json_text(j, "name", b->name);
        json_number(j, "granularity", b->granularity);
        json_close(j, '}');
    }
    json_close(j, ']');
}

/* Objects and lists of the driver's own facts: not deep. */
static void print_tree(const Facts *f, const JVal *v, int depth)
{
    for (size_t i = 0; i < j_len(v); i++) {
        const JVal *x = j_at(v, i);
        g_autofree char *key = x->key ? g_strdelimit(g_strdup(x->key), "-", ' ') : g_strdup_printf("[%zu]", i);

        if (!g_strcmp0(x->key, "refcount-bits"))
            print_bitmaps(f->bitmaps);
        if (x->items)
            printf("%*s%s:\n", depth * 4, "", key);
        else
            printf("%*s%s: %s\n", depth * 4, "", key, x->kind == J_BOOL ? (x->yes ? "true" : "false") : x->text);
        if (x->items)
            print_tree(f, x, depth + 1);
    }
}

static void print_facts(const Facts *f)
{
    g_autoptr(JVal) all = blk_facts_tree(f->facts);

    printf("Format specific information:\n");
    print_tree(f, all, 1);
}

static void print_child(const char *name, const Node *file)
{
    uint64_t length = file_length(file);
    g_autofree char *actual = size_text(actual_size(file->filename)), *len = size_text(length);

    printf("Child node '/%s':\n    filename: %s\n    protocol type: %s\n    file length: %s (%" PRIu64 " bytes)\n    disk size: %s\n", name,
           file->filename, file->drv->name, len, length, actual);
}

/* The files of an image, those of its extents and its own, in QEMU's order. */
static void each_file(const Node *n, void (*fn)(void *arg, const char *name, const Node *file), void *arg)
{
    for (guint i = n->extents ? n->extents->len : 0; i-- > 0;) {
        g_autofree char *name = g_strdup_printf("extents.%u", i);

        fn(arg, name, n->extents->pdata[i]);
    }
    if (n->file)
        fn(arg, "file", n->file);
}

static void print_one(void *arg, const char *name, const Node *file) { print_child(name, file); }
static void add_actual(void *arg, const char *name, const Node *file) { *(uint64_t *)arg += actual_size(file->filename); }

static uint64_t actual_of(const Node *n)
{
    uint64_t sum = 0;

    if (!n->file)
        return actual_size(n->filename);
    each_file(n, add_actual, &sum);
    return sum;
}

static void print_info(const Facts *f)
{
    g_autofree char *size = size_text(f->n->size), *actual = size_text(actual_of(f->n));

    printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n", f->n->filename, f->n->drv->name, size,
           f->n->size, actual);
    if (f->names.encrypted)
        printf("encrypted: yes\n");
    if (f->names.dirty)
        printf("cleanly shut down: no\n");
    if (f->names.cluster_size)
        printf("cluster_size: %" PRIu64 "\n", f->names.cluster_size);
    if (f->names.backing) {
        printf("backing file: %s", f->names.backing);
        printf(strcmp(f->names.backing, f->full_backing) ? " (actual path: %s)\n" : "\n", f->full_backing);
    }
    if (f->names.backing_format)
        printf("backing file format: %s\n", f->names.backing_format);
    if (f->snapshots)
        img_print_snapshots(f->snapshots);
    if (f->facts)
        print_facts(f);
    each_file(f->n, print_one, NULL);
}

static void json_child(void *arg, const char *name, const Node *file)
{
    Json *j = arg;

    json_open(j, NULL, '{');
    json_text(j, "name", name);
    json_open(j, "info", '{');
    json_open(j, "children", '[');
    json_close(j, ']');
    json_number(j, "virtual-size", file_length(file));
    json_text(j, "filename", file->filename);
    json_text(j, "format", file->drv->name);
    json_number(j, "actual-size", actual_size(file->filename));
    json_open(j, "format-specific", '{');
    json_text(j, "type", file->drv->name);
    json_open(j, "data", '{');
    json_close(j, '}');
    json_close(j, '}');
    json_bare(j, "dirty-flag", "false");
    json_close(j, '}');
    json_close(j, '}');
}

static void json_children(Json *j, const Facts *f)
{
    json_open(j, "children", '[');
    each_file(f->n, json_child, j);
    json_close(j, ']');
}

static void json_tree(Json *j, const Facts *f, const JVal *v)
{
    for (size_t i = 0; i < j_len(v); i++) {
        const JVal *x = j_at(v, i);

        if (!g_strcmp0(x->key, "refcount-bits") && f->bitmaps && f->bitmaps->len)
            json_bitmaps(j, f->bitmaps);
        if (x->items) {
            json_open(j, x->key, x->kind == J_LIST ? '[' : '{');
            json_tree(j, f, x);
            json_close(j, x->kind == J_LIST ? ']' : '}');
        } else if (x->kind == J_STRING) {
            json_text(j, x->key, x->text);
        } else {
            json_bare(j, x->key, x->kind == J_BOOL ? (x->yes ? "true" : "false") : x->text);
        }
    }
}

static void json_specific(Json *j, const Facts *f)
{
    g_autoptr(JVal) all = blk_facts_tree(f->facts);

    json_open(j, "format-specific", '{');
    json_text(j, "type", f->n->drv->name);
    json_open(j, "data", '{');
    json_tree(j, f, all);
    json_close(j, '}');
    json_close(j, '}');
}

static void json_info(Json *j, const Facts *f)
{
    json_open(j, NULL, '{');
    json_children(j, f);
    if (f->names.backing_format)
        json_text(j, "backing-filename-format", f->names.backing_format);
    if (f->snapshots && f->snapshots->len)
        json_snapshots(j, f->snapshots);
    json_number(j, "virtual-size", f->n->size);
    json_text(j, "filename", f->n->filename);
    if (f->names.cluster_size)
        json_number(j, "cluster-size", f->names.cluster_size);
    json_text(j, "format", f->n->drv->name);
    json_number(j, "actual-size", actual_of(f->n));
    if (f->facts)
        json_specific(j, f);
    if (f->names.backing) {
        json_text(j, "full-backing-filename", f->full_backing);
        json_text(j, "backing-filename", f->names.backing);
    }
    if (f->names.encrypted)
        json_bare(j, "encrypted", "true");
    if (!f->names.untold)
        json_bare(j, "dirty-flag", f->names.dirty ? "true" : "false");
    json_close(j, '}');
}

/* Each layer is opened for itself, so that a chain of any depth costs no more than its headers. */
static CO_FN bool chain(Img *m, Json *j, const char *name, const char *format, bool all, Error **err)
{
    g_autofree char *next = g_strdup(name), *next_format = g_strdup(format);
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (int depth = 0; next && depth < CHAIN_MAX; depth++) {
        Node *n;
        Facts f;

        if (!g_hash_table_add(seen, g_strdup(next)))
            return fail(err, "Backing file '%s' creates an infinite loop.", next);
        n = img_open(m, next, next_format, OPEN_NO_BACKING | OPEN_NO_IO, err);
        if (!n)
            return false;
        f = facts_of(n);
        if (depth && !m->json)
            putchar('\n');
        if (m->json)
            json_info(j, &f);
        else
            print_info(&f);
        g_free(next);
        g_free(next_format);
        next = all ? g_strdup(f.full_backing) : NULL;
        next_format = g_strdup(f.names.backing_format);
        m->image_opts = false;
        facts_free(&f);
        node_unref(n);
    }
    return true;
}

CO_FN int img_info(Img *m, int argc, char **argv, Error **err)
{
    static const struct option own[] = { { "backing-chain", no_argument, NULL, 'b' }, { 0 } };
    Common c = { NULL };
    Json j = { NULL };
    bool all = false, ok;
    int k;

    while ((k = img_option(m, &c, argc, argv, "b", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        all |= k == 'b';
    }
    if (argc - optind != 1)
        return img_usage("info", err, "Expecting one image file name");
    if (m->json && all)
        json_open(&j, NULL, '[');
    ok = chain(m, &j, argv[optind], c.format, all, err);
    if (m->json && all && ok)
        json_close(&j, ']');
    if (j.out && ok)
        json_print(&j);
    else if (j.out)
        g_string_free(j.out, TRUE);
    return !ok;
}

/* ---- check ---- */
static void print_check(const BlkCheck *c, const BlkCheck *fixed)
{
    uint64_t bad = c->corruptions - c->corruptions_fixed, leaks = c->leaks - c->leaks_fixed;

    if (fixed->corruptions_fixed || fixed->leaks_fixed)
        printf("The following inconsistencies were found and repaired:\n\n    %" PRIu64 " leaked clusters\n    %" PRIu64
               " corruptions\n\nDouble checking the fixed image now...\n", fixed->leaks_fixed, fixed->corruptions_fixed);
    if (!bad && !leaks && !c->errors)
        printf("No errors were found on the image.\n");
    if (bad)
        printf("\n%" PRIu64 " errors were found on the image.\nData may be corrupted, or further writes to the image may corrupt it.\n", bad);
    if (leaks)
        printf("\n%" PRIu64 " leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n", leaks);
    if (c->errors)
        printf("\n%" PRIu64 " internal errors have occurred during the check.\n", c->errors);
    if (c->total_clusters && c->allocated_clusters)
        printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n", c->allocated_clusters,
               c->total_clusters, (double)c->allocated_clusters * 100 / (double)c->total_clusters,
               (double)c->fragmented_clusters * 100 / (double)c->allocated_clusters,
               (double)c->compressed_clusters * 100 / (double)c->allocated_clusters);
    if (c->image_end)
        printf("Image end offset: %" PRIu64 "\n", c->image_end);
}

static void json_check(const Node *n, const BlkCheck *c, const BlkCheck *fixed)
{
    Json j = { NULL };
    const struct {
        const char *key;
        uint64_t v;
        bool always;
    } rows[] = { { "image-end-offset", c->image_end, false },
                 { "total-clusters", c->total_clusters, false },
                 { "corruptions-fixed", fixed->corruptions_fixed, false },
                 { "leaks-fixed", fixed->leaks_fixed, false },
                 { "allocated-clusters", c->allocated_clusters, false },
                 { "compressed-clusters", c->compressed_clusters, false },
                 { "fragmented-clusters", c->fragmented_clusters, false },
                 { "corruptions", c->corruptions - c->corruptions_fixed, false },
                 { "leaks", c->leaks - c->leaks_fixed, false },
                 { "check-errors", c->errors, true } };

    json_open(&j, NULL, '{');
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        if (rows[i].v || rows[i].always)
            json_number(&j, rows[i].key, rows[i].v);
    json_text(&j, "filename", n->filename);
    json_text(&j, "format", n->drv->name);
    json_close(&j, '}');
    json_print(&j);
}

static CO_FN int check_node(Img *m, Node *n, unsigned fix, Error **err)
{
    BlkCheck c = { .lines = g_string_new(NULL) }, fixed = { .lines = NULL };
    int ret = n->drv->image->check(n, &c, fix);

    if (!m->quiet && !m->json)
        fputs(c.lines->str, stdout);
    if (!ret && (c.corruptions_fixed || c.leaks_fixed)) {
        fixed = c;
        c = (BlkCheck){ .lines = g_string_set_size(c.lines, 0) };
        ret = n->drv->image->check(n, &c, 0);
    }
    g_string_free(c.lines, TRUE);
    if (ret) {
        fail_errno_is(err, -ret, "Check failed");
        return 1;
    }
    if (m->json)
        json_check(n, &c, &fixed);
    else if (!m->quiet)
        print_check(&c, &fixed);
    return c.errors ? 1 : c.corruptions > c.corruptions_fixed ? 2 : c.leaks > c.leaks_fixed ? 3 : 0;
}

CO_FN int img_check(Img *m, int argc, char **argv, Error **err)
{
    static const struct option own[] = { { "repair", required_argument, NULL, 'r' }, { 0 } };
    Common c = { NULL };
    unsigned fix = 0;
    Node *n;
    int k, ret = 63;

    while ((k = img_option(m, &c, argc, argv, "r:", own, err)) != -1) {
        if (k == 'h' || k == '?')
            return k == '?';
        if (k == 'r')
            fix = !strcmp(optarg, "leaks") ? FIX_LEAKS : !strcmp(optarg, "all") ? FIX_LEAKS | FIX_ERRORS : ~0u;
    }
    if (fix == ~0u)
        return img_usage("check", err, "-r/--repair expects 'leaks' or 'all'");
    if (argc - optind != 1)
        return img_usage("check", err, "Expecting one image file name");
    n = img_open(m, argv[optind], c.format, OPEN_NO_BACKING | OPEN_FOR_CHECK | (fix ? OPEN_WRITE : 0), err);
    if (!n)
        return 1;
    if (n->drv->image && n->drv->image->check)
        ret = check_node(m, n, fix, err);
    else
        fprintf(stderr, "menura-img: This image format does not support checks\n");
    node_unref(n);
    return ret;
}
