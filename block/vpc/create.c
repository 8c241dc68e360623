/* block/vpc/create.c - new VHD images, with the geometry that the specification's appendix computes. */
#include "block/vpc/vpc.h"
#include <errno.h>
#include <sys/stat.h>

const char *const vpc__create_options[] = { "size", "subformat", "force_size", "backing_file", "backing_fmt", NULL };
#define GEOMETRY_MAX (65535ull * 16 * 255)
enum { EPOCH_2000 = 946684800, QEMU_APP = 0x71656d75, QEM2_APP = 0x71656d32, WINDOWS = 0x5769326b };

typedef struct Wish {
    uint64_t size;
    unsigned type;
    bool exact; /* the size is not rounded up to a geometry */
    const char *backing;
    Node *parent;
} Wish;

/* "CHS Calculation" of the specification. */
static void geometry(VpcFooter *f, uint64_t sectors)
{
    uint64_t tracks;

    sectors = MIN(sectors, GEOMETRY_MAX);
    f->sectors = 17;
    if (sectors >= 65536ull * 16 * 63) {
        f->sectors = 255;
        f->heads = 16;
        tracks = sectors / f->sectors;
    } else {
        tracks = sectors / f->sectors;
        f->heads = MAX((tracks + 1023) / 1024, 4);
        if (tracks >= f->heads * 1024 || f->heads > 16) {
            f->sectors = 31;
            f->heads = 16;
            tracks = sectors / f->sectors;
        }
        if (tracks >= f->heads * 1024) {
            f->sectors = 63;
            f->heads = 16;
            tracks = sectors / f->sectors;
        }
    }
    f->cylinders = tracks / f->heads;
}

/* Programs that go by the geometry see a disk of no less than the size: the next larger one that has a geometry. */
static void choose_size(VpcFooter *f, const Wish *w)
{
    uint64_t want = w->size / 512;

    geometry(f, want);
    for (uint64_t try = want; !w->exact && want < GEOMETRY_MAX && f->cylinders * f->heads * f->sectors < want; try++)
        geometry(f, try);
    f->size = w->exact || want >= GEOMETRY_MAX ? w->size : f->cylinders * f->heads * f->sectors * 512;
    f->original_size = f->size;
}

static void fill_footer(VpcFooter *f, uint8_t *p, const Wish *w)
{
    *f = (VpcFooter){ .features = 2, .version = 0x10000, .data_at = w->type == VPC_FIXED ? UINT64_MAX : VPC_HEADER_AT,
                      .timestamp = (uint32_t)(g_get_real_time() / 1000000 - EPOCH_2000), .creator = w->exact ? QEM2_APP : QEMU_APP,
                      .creator_version = 0x50003, .creator_os = WINDOWS, .type = w->type };
    choose_size(f, w);
    memset(p, 0, VPC_FOOTER);
    for (unsigned i = 0; i < VPC_ID; i += 4)
        be32_store(p + VPC_ID_AT + i, g_random_int());
    vpc__pack_footer(f, p);
}

static CO_FN int write_fixed(Node *file, const uint8_t *footer, uint64_t size)
{
    int ret = blk_truncate(file, size, 0);

    if (!ret)
        ret = blk_write(file, size, footer, VPC_FOOTER);
    return ret ? ret : blk_flush(file);
}

static uint32_t changed_at(const char *file)
{
    struct stat st;

    return file && !stat(file, &st) ? (uint32_t)(st.st_mtime - EPOCH_2000) : 0;
}

static CO_FN bool write_sparse(Node *file, const Wish *w, const VpcFooter *f, const uint8_t *footer, Error **err)
{
    uint64_t entries = (f->size + VPC_BLOCK - 1) / VPC_BLOCK, table = align_up(entries * 4, 512), locator_at = VPC_TABLE_AT + table;
    uint64_t end = locator_at + (w->parent ? 512 : 0);
    g_autofree uint8_t *all = g_malloc0(end + VPC_FOOTER);
    VpcHeader h = { .data_at = UINT64_MAX, .table_at = VPC_TABLE_AT, .version = 0x10000, .entries = entries, .block_size = VPC_BLOCK,
                    .parent_time = w->parent ? changed_at(w->parent->filename) : 0 };
    int ret;

    if (w->parent && !vpc__write_parent(all + VPC_HEADER_AT, all + locator_at, locator_at, w->backing, w->parent, err))
        return false;
    memcpy(all, footer, VPC_FOOTER);
    vpc__pack_header(&h, all + VPC_HEADER_AT);
    memset(all + VPC_TABLE_AT, 0xff, table);
    memcpy(all + end, footer, VPC_FOOTER);
    ret = blk_write(file, 0, all, end + VPC_FOOTER);
    if (!ret)
        ret = blk_flush(file);
    return !ret || fail_errno_is(err, -ret, "cannot write '%s'", file->filename);
}

static bool parse(Wish *w, Opts *o, Error **err)
{
    const char *sub = opts_get(o, "subformat"), *format = opts_get(o, "backing_fmt");

    if (!opts_get_size(o, "size", 0, &w->size, err) || !opts_get_bool(o, "force_size", false, &w->exact, err))
        return false;
    w->backing = opts_get(o, "backing_file");
    if (sub && strcmp(sub, "dynamic") && strcmp(sub, "fixed"))
        return fail(err, "Invalid subformat '%s': dynamic or fixed", sub);
    w->type = sub && !strcmp(sub, "fixed") ? VPC_FIXED : w->backing ? VPC_DIFF : VPC_DYNAMIC;
    w->exact |= w->backing != NULL;
    w->size = align_up(w->size, 512);
    if (w->backing && (w->type == VPC_FIXED || g_strcmp0(format, "vpc")))
        return fail(err, "A differencing image is dynamic, and its backing file of the format vpc");
    if (w->size > VPC_SIZE_MAX)
        return fail(err, "The image size is too large for file format 'vpc'");
    return opts_all_used(o, "vpc", err);
}

static CO_FN bool open_parent(Loop *loop, const char *filename, Wish *w, Error **err)
{
    g_autofree char *path = block__beside(filename, w->backing);
    g_autoptr(Opts) o = opts_new();

    opts_set(o, "driver", "vpc");
    opts_set(o, "filename", path);
    w->parent = block__open(loop, o, true, NULL, NULL, NULL, err);
    return w->parent;
}

CO_FN bool vpc__create(Loop *loop, const char *filename, Opts *o, Error **err)
{
    uint8_t footer[VPC_FOOTER];
    Wish w = { .size = 0 };
    Node *file = NULL;
    VpcFooter f;
    bool ok;
    int ret;

    ok = parse(&w, o, err) && (!w.backing || open_parent(loop, filename, &w, err)) && (file = blocks_new_file(loop, filename, err));
    if (ok) {
        fill_footer(&f, footer, &w);
        ret = w.type == VPC_FIXED ? write_fixed(file, footer, f.size) : 0;
        ok = ret ? fail_errno_is(err, -ret, "cannot write '%s'", filename) : w.type == VPC_FIXED || write_sparse(file, &w, &f, footer, err);
    }
    node_unref(file);
    node_unref(w.parent);
    return ok;
}
