/* block/vmdk/create.c - new images: the descriptor's text and its extents, each with all its grain tables. */
#include "block/vmdk/vmdk.h"
#include <errno.h>

const char *const vmdk__create_options[] = { "size", "adapter_type", "backing_file", "backing_fmt", "compat6=off", "hwversion=undefined",
                                             "subformat", "toolsversion", "zeroed_grain", NULL };
enum { DESCRIPTOR_SECTORS = 20, SPLIT_SECTORS = 4 << 20, CAPACITY_MAX_SECTORS = INT32_MAX };
/* clang-format off */
typedef struct Subformat { const char *name; bool flat, split, packed; } Subformat;
static const Subformat subformats[] = {
    { "monolithicSparse", false, false, false }, { "monolithicFlat", true, false, false }, { "twoGbMaxExtentSparse", false, true, false },
    { "twoGbMaxExtentFlat", true, true, false }, { "streamOptimized", false, false, true },
};
static const char *const adapters[] = { "ide", "lsilogic", "buslogic", "legacyESX" };
/* clang-format on */
typedef struct Wish {
    uint64_t size; /* sectors */
    const Subformat *sub;
    const char *adapter, *hw, *tools, *backing;
    bool compat6, zeroed;
    uint32_t parent_cid;
} Wish;

/* ---- what is asked for ---- */
static bool parse_texts(Wish *w, Opts *o, Error **err)
{
    const char *sub = opts_get(o, "subformat"), *adapter = opts_get(o, "adapter_type"), *hw = opts_get(o, "hwversion"), *tools = opts_get(o, "toolsversion");
    const char *format = opts_get(o, "backing_fmt");
    unsigned i = 0;

    for (; sub && i < G_N_ELEMENTS(subformats) && strcmp(subformats[i].name, sub); i++)
        ;
    if (i == G_N_ELEMENTS(subformats))
        return fail(err, "invalid parameter value: %s", sub);
    w->sub = &subformats[i];
    w->adapter = adapter ? adapter : "ide";
    for (i = 0; i < G_N_ELEMENTS(adapters) && strcmp(adapters[i], w->adapter); i++)
        ;
    if (i == G_N_ELEMENTS(adapters))
        return fail(err, "invalid parameter value: %s", adapter);
    hw = hw && strcmp(hw, "undefined") ? hw : NULL;
    if (hw && w->compat6)
        return fail(err, "compat6 cannot be enabled with hwversion set");
    w->hw = hw ? hw : w->compat6 ? "6" : "4";
    w->tools = tools ? tools : "2147483647";
    if (strpbrk(w->hw, "\"\n") || strpbrk(w->tools, "\"\n"))
        return fail(err, "a version has no quotes");
    w->backing = opts_get(o, "backing_file");
    return !w->backing || !format || !strcmp(format, "vmdk") || fail(err, "backing_file must be a vmdk image");
}

static bool parse(Wish *w, Opts *o, Error **err)
{
    uint64_t bytes;

    if (!opts_get_size(o, "size", 0, &bytes, err) || !opts_get_bool(o, "compat6", false, &w->compat6, err) ||
        !opts_get_bool(o, "zeroed_grain", false, &w->zeroed, err) || !parse_texts(w, o, err) || !opts_all_used(o, "vmdk", err))
        return false;
    w->size = (bytes + SECTOR - 1) / SECTOR;
    if (w->sub->flat && w->backing)
        return fail(err, "Flat image can't have backing file");
    if (w->sub->flat && w->zeroed)
        return fail(err, "Flat image can't enable zeroed grain");
    if (!w->sub->split && !w->sub->flat && w->size > CAPACITY_MAX_SECTORS)
        return fail(err, "an extent of this kind holds less than 1 TiB: use subformat=twoGbMaxExtentSparse");
    if (w->size > (uint64_t)VMDK_EXTENTS_MAX * SPLIT_SECTORS)
        return fail(err, "The image size is too large for file format 'vmdk'");
    return !w->backing || !strpbrk(w->backing, "\"\n") || fail(err, "the backing file's name has a quote");
}

static CO_FN bool ask_parent(Loop *loop, const char *filename, Wish *w, Error **err)
{
    g_autofree char *path = block__beside(filename, w->backing);
    g_autoptr(Opts) o = opts_new();
    Node *n;

    opts_set(o, "driver", "vmdk");
    opts_set(o, "filename", path);
    opts_set(o, "backing", NULL);
    n = block__open(loop, o, true, NULL, NULL, NULL, err);
    if (!n)
        return false;
    w->parent_cid = ((Vmdk *)n->opaque)->cid;
    node_unref(n);
    return true;
}

/* ---- the text ---- */
static char *extent_name(const char *filename, const Wish *w, unsigned i)
{
    g_autofree char *base = g_path_get_basename(filename);

    if (g_str_has_suffix(base, ".vmdk"))
        base[strlen(base) - 5] = 0;
    if (w->sub->split)
        return g_strdup_printf("%s-%c%03u.vmdk", base, w->sub->flat ? 'f' : 's', i + 1);
    return w->sub->flat ? g_strdup_printf("%s-flat.vmdk", base) : g_path_get_basename(filename);
}

static unsigned extents_of(const Wish *w) { return w->sub->split ? (unsigned)((w->size + SPLIT_SECTORS - 1) / SPLIT_SECTORS) : 1; }

static uint64_t extent_sectors(const Wish *w, unsigned i)
{
    return w->sub->split ? MIN(w->size - (uint64_t)i * SPLIT_SECTORS, SPLIT_SECTORS) : w->size;
}

static char *describe(const char *filename, const Wish *w)
{
    bool ide = !strcmp(w->adapter, "ide");
    unsigned heads = ide ? 16 : 255;
    GString *t = g_string_new("# Disk DescriptorFile\nversion=1\n");

    g_string_append_printf(t, "CID=%08x\nparentCID=%08x\ncreateType=\"%s\"\n", g_random_int() & 0x7fffffff, w->parent_cid, w->sub->name);
    if (w->backing)
        g_string_append_printf(t, "parentFileNameHint=\"%s\"\n", w->backing);
    g_string_append(t, "\n# Extent description\n");
    for (unsigned i = 0; i < extents_of(w); i++) {
        g_autofree char *name = extent_name(filename, w, i);

        g_string_append_printf(t, "RW %" PRIu64 " %s \"%s\"%s\n", extent_sectors(w, i), w->sub->flat ? "FLAT" : "SPARSE", name, w->sub->flat ? " 0" : "");
    }
    g_string_append_printf(t, "\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"%s\"\nddb.geometry.cylinders = \"%" PRIu64 "\"\n"
                           "ddb.geometry.heads = \"%u\"\nddb.geometry.sectors = \"63\"\nddb.adapterType = \"%s\"\nddb.toolsVersion = \"%s\"\n",
                           w->hw, w->size / (63 * heads), heads, w->adapter, w->tools);
    return g_string_free(t, FALSE);
}

/* ---- the files ---- */
static VmdkHeader header_of(const Wish *w, uint64_t sectors)
{
    uint64_t covers = VMDK_GRAIN * VMDK_GTES, tables = (sectors + covers - 1) / covers, dir = (tables * 4 + SECTOR - 1) / SECTOR;
    uint64_t all = dir + tables * VMDK_GTES * 4 / SECTOR;
    VmdkHeader h = { .version = w->sub->packed ? 3 : w->zeroed ? 2 : 1, .capacity = sectors, .grain = VMDK_GRAIN, .descriptor_at = 1,
                     .descriptor_len = DESCRIPTOR_SECTORS, .gtes = VMDK_GTES, .redundant_at = 1 + DESCRIPTOR_SECTORS, .newlines = 0x0a0d200a,
                     .flags = VMDK_NEWLINES | VMDK_TWICE | (w->sub->packed ? VMDK_PACKED | VMDK_MARKERS : 0) | (w->zeroed ? VMDK_ZEROED : 0),
                     .compression = w->sub->packed };

    h.directory_at = h.redundant_at + all;
    h.overhead = align_up(h.directory_at + all, VMDK_GRAIN);
    return h;
}

static void fill_directory(uint8_t *file, uint64_t at, uint64_t sectors)
{
    uint64_t covers = VMDK_GRAIN * VMDK_GTES, tables = (sectors + covers - 1) / covers, first = at + (tables * 4 + SECTOR - 1) / SECTOR;

    for (uint64_t i = 0; i < tables; i++)
        le32_store(file + at * SECTOR + i * 4, (uint32_t)(first + i * VMDK_GTES * 4 / SECTOR));
}

static CO_FN int write_sparse(Node *file, const Wish *w, uint64_t sectors, const char *text)
{
    VmdkHeader h = header_of(w, sectors);
    g_autofree uint8_t *all = g_try_malloc0(h.overhead * SECTOR);
    int ret;

    if (!all)
        return -ENOMEM;
    vmdk__pack_header(&h, all);
    fill_directory(all, h.redundant_at, sectors);
    fill_directory(all, h.directory_at, sectors);
    if (text && strlen(text) > DESCRIPTOR_SECTORS * SECTOR)
        return -ENAMETOOLONG;
    if (text)
        memcpy(all + SECTOR, text, strlen(text));
    ret = blk_write(file, 0, all, h.overhead * SECTOR);
    return ret ? ret : blk_flush(file);
}

static CO_FN bool write_file(Loop *loop, const char *filename, const Wish *w, uint64_t sectors, const char *text, Error **err)
{
    Node *file;
    int ret;

    if (w->sub->flat && !text)
        return blk_create_file(loop, filename, sectors * SECTOR, err);
    file = blocks_new_file(loop, filename, err);
    if (!file)
        return false;
    ret = text && (w->sub->split || w->sub->flat) ? blk_write(file, 0, text, strlen(text)) : write_sparse(file, w, sectors, text);
    node_unref(file);
    return !ret || fail_errno_is(err, -ret, "cannot write '%s'", filename);
}

CO_FN bool vmdk__create(Loop *loop, const char *filename, Opts *o, Error **err)
{
    Wish w = { .parent_cid = VMDK_NO_PARENT };
    g_autofree char *text = NULL, *dir = NULL;
    bool ok = parse(&w, o, err) && (!w.backing || ask_parent(loop, filename, &w, err));

    if (!ok)
        return false;
    text = describe(filename, &w);
    dir = g_path_get_dirname(filename);
    for (unsigned i = 0; i < extents_of(&w) && ok && (w.sub->split || w.sub->flat); i++) {
        g_autofree char *name = extent_name(filename, &w, i), *path = strcmp(dir, ".") ? g_build_filename(dir, name, NULL) : g_strdup(name);

        ok = write_file(loop, path, &w, extent_sectors(&w, i), NULL, err);
    }
    return ok && write_file(loop, filename, &w, w.size, text, err);
}
