/*
 * block/vpc/parent.c - a differencing image's parent: its name, relative or absolute, in a locator (UTF-16, little-endian,
 * Windows's slashes) or, without a path, in the header (big-endian); and its identity.
 */
#include "block/vpc/vpc.h"
#include <errno.h>

enum { LOCATOR_MAX = 8192, RELATIVE = 0x57327275 /* W2ru */, ABSOLUTE = 0x57326b75 /* W2ku */ };

static char *from_utf16(const uint8_t *p, size_t n, const char *order)
{
    g_autofree char *text = NULL;
    size_t len = 0;

    while (len + 1 < n && (p[len] || p[len + 1]))
        len += 2;
    text = g_convert((const char *)p, (gssize)len, "UTF-8", order, NULL, NULL, NULL);
    if (!text || !*text)
        return NULL;
    g_strdelimit(text, "\\", '/');
    return g_strdup(g_str_has_prefix(text, "./") ? text + 2 : text);
}

/* One locator; what it uses of the file is no place for blocks. */
static CO_FN bool read_locator(Vpc *s, const uint8_t *p, char **relative, char **absolute, Error **err)
{
    uint32_t code = be32_load(p), space = be32_load(p + 4), len = be32_load(p + 8);
    uint64_t at = be64_load(p + 16);
    const Node *n = s->b.n;
    char **to = code == RELATIVE ? relative : code == ABSOLUTE ? absolute : NULL;
    uint8_t text[LOCATOR_MAX];
    int ret;

    if (!code)
        return true;
    if (len > LOCATOR_MAX || !in_range(at, len, n->file->size))
        return fail(err, "'%s' is corrupt: a locator of the parent lies outside of the file", n->filename);
    s->tables_end = MAX(s->tables_end, align_up(at + len, 512));
    if (space <= LOCATOR_MAX)
        s->tables_end = MAX(s->tables_end, align_up(at + space, 512));
    if (!to || *to)
        return true;
    ret = blk_read(n->file, at, text, len);
    if (ret)
        return fail_errno_is(err, -ret, "cannot read the parent's name of '%s'", n->filename);
    *to = from_utf16(text, len, "UTF-16LE");
    return true;
}

CO_FN bool vpc__read_parent(Vpc *s, Error **err)
{
    g_autofree char *relative = NULL, *absolute = NULL;

    for (unsigned i = 0; i < VPC_LOCATORS; i++)
        if (!read_locator(s, s->header + VPC_LOCATORS_AT + i * VPC_LOCATOR, &relative, &absolute, err))
            return false;
    s->parent = relative ? g_steal_pointer(&relative) : absolute ? g_steal_pointer(&absolute)
                : from_utf16(s->header + VPC_PARENT_NAME_AT, VPC_PARENT_NAME, "UTF-16BE");
    return s->parent || fail(err, "'%s' is a differencing image that does not name its parent", s->b.n->filename);
}

static const uint8_t *id_of(const Node *parent)
{
    return parent && !strcmp(parent->drv->name, "vpc") ? ((const Vpc *)parent->opaque)->footer + VPC_ID_AT : NULL;
}

bool vpc__parent_fits(const Vpc *s, Error **err)
{
    const uint8_t *id = id_of(s->b.n->backing);

    if (!id || !memcmp(id, s->header + VPC_PARENT_ID_AT, VPC_ID))
        return true;
    fail(err, "'%s' is not the parent that '%s' was made on (its identity differs)", s->b.n->backing->filename, s->b.n->filename);
    return error_hint(err, "say backing.file.filename=PATH of the right one");
}

static uint8_t *to_utf16(const char *text, const char *order, gsize *len)
{
    return (uint8_t *)g_convert(text, -1, order, "UTF-8", NULL, len, NULL);
}

bool vpc__write_parent(uint8_t *header, uint8_t *data, uint64_t data_at, const char *name, const Node *parent, Error **err)
{
    bool absolute = g_path_is_absolute(name);
    g_autofree char *base = g_path_get_basename(name);
    g_autofree char *path = g_strdelimit(g_strconcat(absolute ? "" : "./", name, NULL), "/", '\\');
    gsize len = 0, base_len = 0;
    g_autofree uint8_t *text = to_utf16(path, "UTF-16LE", &len), *short_text = to_utf16(base, "UTF-16BE", &base_len);
    uint8_t *locator = header + VPC_LOCATORS_AT;
    const uint8_t *id = id_of(parent);

    if (!id)
        return fail(err, "the parent of a vpc image must be one, too");
    if (!text || !short_text || len > 512 || base_len > VPC_PARENT_NAME)
        return fail(err, "the backing file's name is too long, or not UTF-8");
    memcpy(header + VPC_PARENT_ID_AT, id, VPC_ID);
    memcpy(header + VPC_PARENT_NAME_AT, short_text, base_len);
    memcpy(data, text, len);
    be32_store(locator, absolute ? ABSOLUTE : RELATIVE);
    be32_store(locator + 4, 512);
    be32_store(locator + 8, (uint32_t)len);
    be64_store(locator + 16, data_at);
    return true;
}
