/* block/vmdk/descriptor.c - the text: key=value lines, and a line for each extent: access, sectors, type, "file", offset. */
#include "block/vmdk/vmdk.h"
#include <errno.h>
#include <stdio.h>

/* clang-format off */
static const struct { const char *type; ExtentKind kind; bool has_file; } types[] = {
    { "FLAT", EXTENT_FLAT, true }, { "VMFS", EXTENT_FLAT, true }, { "SPARSE", EXTENT_SPARSE, true }, { "ZERO", EXTENT_ZERO, false },
};
/* clang-format on */

/* The value of `key` at the beginning of a line, without quotes; caller frees; NULL: no such line. */
static char *value_of(const char *text, const char *key)
{
    size_t n = strlen(key);

    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!g_ascii_strncasecmp(line, key, n)) {
            const char *v = line + n;
            size_t len;

            v += strspn(v, " \t");
            if (*v != '=')
                continue;
            v++;
            v += strspn(v, " \t\"");
            len = strcspn(v, "\"\r\n");
            return g_strndup(v, len);
        }
    }
    return NULL;
}

static uint32_t hex_of(const char *text, const char *key, uint32_t otherwise)
{
    g_autofree char *v = value_of(text, key);

    return v ? (uint32_t)g_ascii_strtoull(v, NULL, 16) : otherwise;
}

CO_FN bool vmdk__read_descriptor(Vmdk *s, uint64_t at, uint64_t room, Error **err)
{
    const Node *n = s->b.n;
    uint64_t len = room ? room : n->file->size;
    int ret;

    if (len > VMDK_DESCRIPTOR_MAX || !in_range(at, len, n->file->size))
        return fail(err, "'%s': the descriptor is too large, or beyond the end of the file", n->filename);
    s->text = g_malloc0(len + 1);
    ret = blk_read(n->file, at, s->text, len);
    if (ret)
        return fail_errno_is(err, -ret, "cannot read the descriptor of '%s'", n->filename);
    s->text_at = at;
    s->text_room = room;
    s->create_type = value_of(s->text, "createType");
    if (!s->create_type)
        return fail(err, "'%s' has no VMDK descriptor: it may be an extent, open the file that lists it", n->filename);
    s->cid = hex_of(s->text, "CID", 0);
    s->parent_cid = hex_of(s->text, "parentCID", VMDK_NO_PARENT);
    if (s->parent_cid != VMDK_NO_PARENT)
        s->parent = value_of(s->text, "parentFileNameHint");
    return true;
}

/* ---- extents ---- */
typedef struct Line {
    char access[16], type[16], file[1024];
    uint64_t sectors, offset;
} Line;

/* False: the line is none of an extent. */
static bool parse_line(const char *line, size_t len, Line *out)
{
    g_autofree char *copy = g_strndup(line, len);
    unsigned long long sectors, offset = 0;
    int n = sscanf(copy, "%15s %llu %15s \"%1023[^\"\r\n]\" %llu", out->access, &sectors, out->type, out->file, &offset);

    if (n < 3 || (strcmp(out->access, "RW") && strcmp(out->access, "RDONLY") && strcmp(out->access, "NOACCESS")))
        return false;
    if (n < 4)
        out->file[0] = 0;
    out->sectors = sectors;
    out->offset = offset;
    return true;
}

static CO_FN Node *open_file(Vmdk *s, const char *name, Error **err)
{
    Node *n = s->b.n, *file;
    g_autofree char *path = block__beside(n->filename, name);
    g_autoptr(Opts) o = opts_new();

    opts_set(o, "driver", "file");
    opts_set(o, "filename", path);
    if (n->direct)
        opts_set(o, "cache.direct", "on");
    if (n->force_share)
        opts_set(o, "force-share", "on");
    if (n->no_flush)
        opts_set(o, "cache.no-flush", "on");
    file = block__open(n->loop, o, n->readonly, NULL, NULL, NULL, err);
    if (!file)
        return NULL;
    g_ptr_array_add(n->extents, file);
    return blocks_take_file(file, n->readonly, err) ? file : NULL;
}

static CO_FN bool fill_extent(Vmdk *s, Extent *e, const Line *l, Error **err)
{
    unsigned i = 0;
    const char *f = s->b.n->filename;

    while (i < G_N_ELEMENTS(types) && strcmp(types[i].type, l->type))
        i++;
    if (i == G_N_ELEMENTS(types))
        return fail(err, "'%s': extents of the type %s are not supported", f, l->type);
    if (!strcmp(l->access, "NOACCESS"))
        return fail(err, "'%s': an extent without access is not supported", f);
    if (types[i].has_file && !*l->file)
        return fail(err, "'%s': an extent has no file's name", f);
    if (l->sectors > INT64_MAX / SECTOR - e->start / SECTOR || l->offset > INT64_MAX / SECTOR / 2)
        return fail(err, "'%s': the extents are too large", f);
    e->only_read = !strcmp(l->access, "RDONLY");
    e->kind = types[i].kind;
    e->type = types[i].type;
    e->size = l->sectors * SECTOR;
    e->flat_at = l->offset * SECTOR;
    if (types[i].has_file && !(e->file = open_file(s, l->file, err)))
        return false;
    return e->kind != EXTENT_SPARSE || vmdk__open_sparse(s, e, err);
}

CO_FN bool vmdk__open_extents(Vmdk *s, Error **err)
{
    uint64_t at = 0;

    s->b.n->extents = g_ptr_array_new();
    for (const char *line = s->text; *line;) {
        size_t len = strcspn(line, "\n");
        Extent *e;
        Line l;

        if (parse_line(line, len, &l)) {
            if (s->extents->len == VMDK_EXTENTS_MAX)
                return fail(err, "'%s': more than %d extents", s->b.n->filename, VMDK_EXTENTS_MAX);
            e = g_new0(Extent, 1);
            e->start = at;
            e->index = s->extents->len;
            g_ptr_array_add(s->extents, e);
            if (!fill_extent(s, e, &l, err))
                return false;
            at += e->size;
        }
        line += len + (line[len] == '\n');
    }
    return s->extents->len || fail(err, "'%s': the descriptor lists no extents", s->b.n->filename);
}

/* ---- writing ---- */
/* Another content identity: images on top of this one know that it changed. */
CO_FN int vmdk__new_cid(Vmdk *s)
{
    const char *line = g_str_has_prefix(s->text, "CID=") ? s->text : strstr(s->text, "\nCID=");
    uint32_t cid = g_random_int() & 0x7fffffff;
    const char *rest;
    g_autofree char *text = NULL;
    size_t len;
    int ret;

    if (!line)
        return 0;
    rest = strchr(line, '=') + 1;
    rest += strcspn(rest, "\r\n");
    text = g_strdup_printf("%.*sCID=%08x%s", (int)(line + (*line == '\n') - s->text), s->text, cid, rest);
    len = strlen(text);
    if (s->text_room && len > s->text_room)
        return 0; /* no room for a longer one */
    ret = blk_write(s->b.n->file, s->text_at, text, len);
    if (ret)
        return ret;
    g_free(s->text);
    s->text = g_steal_pointer(&text);
    s->cid = cid;
    return 0;
}
