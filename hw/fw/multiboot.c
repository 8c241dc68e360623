/* hw/fw/multiboot.c - see multiboot.h. Names of tags as in the specifications. */
#include "hw/fw/multiboot.h"

enum { HEADER1 = 0x1badb002, HEADER2 = 0xe85250d6, FLAG_VIDEO = 4, FLAG_ADDRESSES = 0x10000, MODULES_MAX = 64 };
enum { INFO_MEMORY = 1, INFO_CMDLINE = 4, INFO_MODS = 8, INFO_MMAP = 0x40, INFO_NAME = 0x200 };
enum { TAG_END = 0, TAG_CMDLINE = 1, TAG_NAME = 2, TAG_MODULE = 3, TAG_MEMORY = 4, TAG_MMAP = 6, TAG_ACPI_NEW = 15 };
enum { WANTS_INFO = 1, WANTS_ADDRESS = 2, WANTS_ENTRY = 3, WANTS_CONSOLE = 4, WANTS_FRAMEBUFFER = 5, WANTS_ALIGN = 6, TAG_OPTIONAL = 1 };

/* ---- the header ---- */
static bool take1(Multiboot *m, const uint8_t *h, Error **err)
{
    uint32_t flags = le32_load(h + 4);

    m->version = 1;
    if (flags & FLAG_ADDRESSES)
        return fail(err, "its Multiboot header places it by addresses instead of by ELF headers, which is not done here");
    if (flags & FLAG_VIDEO)
        warn_report("-kernel: the kernel would like a graphics mode; without firmware it gets none");
    return !(flags & 0xfff8) || fail(err, "its Multiboot header asks for unknown features: flags %#x", flags);
}

/* Tags of 8 bytes at least, up to the header's length. */
static bool take2(Multiboot *m, const uint8_t *h, size_t n, Error **err)
{
    m->version = 2;
    if (le32_load(h + 4))
        return fail(err, "its Multiboot2 header is for another architecture");
    for (size_t at = 16; in_range(at, 8, n) && le16_load(h + at) != TAG_END; at += align_up(MAX(le32_load(h + at + 4), 8), 8)) {
        unsigned type = le16_load(h + at);

        if (type == WANTS_ENTRY && in_range(at, 12, n))
            m->entry = le32_load(h + at + 8);
        else if (type != WANTS_INFO && type != WANTS_CONSOLE && type != WANTS_ALIGN && !(le16_load(h + at + 2) & TAG_OPTIONAL))
            return fail(err, "its Multiboot2 header asks for what is not done here: tag %u", type);
    }
    return true;
}

bool mb_find(Multiboot *m, const uint8_t *k, size_t n, Error **err)
{
    for (size_t at = 0; at < 32768 && in_range(at, 16, n); at += 4) {
        const uint8_t *h = k + at;
        uint32_t magic = le32_load(h), sum = magic + le32_load(h + 4) + le32_load(h + 8);

        if (magic == HEADER1 && at < 8192 && !sum)
            return take1(m, h, err);
        if (magic == HEADER2 && at % 8 == 0 && !(sum + le32_load(h + 12)))
            return take2(m, h, MIN(n - at, le32_load(h + 8)), err);
    }
    return true;
}

/* ---- modules ---- */
static bool add_module(Multiboot *m, const char *text, uint64_t *from, uint64_t top, Error **err)
{
    g_autofree char *file = g_strndup(text, strcspn(text, " "));
    g_autoptr(GError) why = NULL;
    char *p;
    gsize n;

    if (m->modules->len == MODULES_MAX)
        return fail(err, "-initrd: more than %d modules", MODULES_MAX);
    if (!g_file_get_contents(file, &p, &n, &why))
        return fail(err, "-initrd: %s", why->message);
    g_array_append_val(m->modules, ((MbModule){ g_strdup(text), g_bytes_new_take(p, n), *from }));
    if (!in_range(*from, n, top))
        return fail(err, "-initrd: the module %s does not fit into the memory of this machine", file);
    *from = align_up(*from + n, 4096);
    return true;
}

bool mb_modules(Multiboot *m, const char *list, uint64_t from, uint64_t top, Error **err)
{
    GString *one = g_string_new(NULL);
    bool ok = true;

    m->modules = g_array_new(FALSE, TRUE, sizeof(MbModule));
    from = align_up(MAX(from, MiB), 4096);
    for (const char *c = list ? list : ""; ok && *c; c++) { /* ",," is a comma of a name */
        if (*c != ',' || c[1] == ',')
            g_string_append_c(one, *c);
        c += *c == ',' && c[1] == ',';
        if ((*c == ',' && c[-1] != ',') || !c[1]) {
            ok = !one->len || add_module(m, one->str, &from, top, err);
            g_string_truncate(one, 0);
        }
    }
    g_string_free(one, TRUE);
    return ok;
}

/* ---- what the kernel is told ---- */
static void put(GByteArray *b, unsigned size, uint64_t v)
{
    uint8_t x[8];

    le_store(x, size, v);
    g_byte_array_append(b, x, size);
}

/* Appends text with its end; answers where it will be. */
static uint32_t text(GByteArray *b, const char *s)
{
    uint32_t at = MB_INFO + b->len;

    g_byte_array_append(b, (const uint8_t *)s, (guint)strlen(s) + 1);
    return at;
}

static uint32_t upper_kib(const FwE820 *map, unsigned rows)
{
    for (unsigned i = 0; i < rows; i++)
        if (map[i].addr == MiB && map[i].type == 1)
            return (uint32_t)(map[i].len / KiB);
    return 0;
}

static GByteArray *info1(const Multiboot *m, const char *name, const char *append, const FwE820 *map, unsigned rows)
{
    g_autofree char *line = g_strdup_printf("%s%s%s", name, *append ? " " : "", append);
    GByteArray *b = g_byte_array_new();
    uint32_t mods, at;

    put(b, 4, INFO_MEMORY | INFO_CMDLINE | INFO_MODS | INFO_MMAP | INFO_NAME);
    put(b, 4, 639);
    put(b, 4, upper_kib(map, rows));
    g_byte_array_set_size(b, 120);
    memset(b->data + 12, 0, 108);
    mods = b->len;
    g_byte_array_set_size(b, mods + 16 * m->modules->len);
    le32_store(b->data + 20, m->modules->len);
    le32_store(b->data + 24, MB_INFO + mods);
    le32_store(b->data + 44, 24 * rows);
    le32_store(b->data + 48, MB_INFO + b->len);
    for (unsigned i = 0; i < rows; i++) {
        put(b, 4, 20); /* bytes that follow */
        put(b, 8, map[i].addr);
        put(b, 8, map[i].len);
        put(b, 4, map[i].type);
    }
    at = text(b, line);
    le32_store(b->data + 16, at);
    at = text(b, "Menura");
    le32_store(b->data + 64, at);
    for (guint i = 0; i < m->modules->len; i++) {
        const MbModule *x = &g_array_index(m->modules, MbModule, i);
        uint8_t *row;

        at = text(b, x->text);
        row = b->data + mods + 16 * i;
        le32_store(row, (uint32_t)x->at);
        le32_store(row + 4, (uint32_t)(x->at + g_bytes_get_size(x->data)));
        le32_store(row + 8, at);
        le32_store(row + 12, 0);
    }
    return b;
}

static guint begin(GByteArray *b, uint32_t tag)
{
    while (b->len % 8)
        put(b, 1, 0);
    put(b, 4, tag);
    put(b, 4, 0);
    return b->len - 8;
}

static void end(GByteArray *b, guint at) { le32_store(b->data + at + 4, b->len - at); }

static void text_tag(GByteArray *b, uint32_t tag, const char *s)
{
    guint at = begin(b, tag);

    text(b, s);
    end(b, at);
}

static GByteArray *info2(const Multiboot *m, const char *append, const FwE820 *map, unsigned rows, const uint8_t *rsdp)
{
    GByteArray *b = g_byte_array_new();
    guint at;

    put(b, 8, 0); /* size, reserved */
    text_tag(b, TAG_CMDLINE, append);
    text_tag(b, TAG_NAME, "Menura");
    for (guint i = 0; i < m->modules->len; i++) {
        const MbModule *x = &g_array_index(m->modules, MbModule, i);

        at = begin(b, TAG_MODULE);
        put(b, 4, x->at);
        put(b, 4, x->at + g_bytes_get_size(x->data));
        text(b, x->text);
        end(b, at);
    }
    at = begin(b, TAG_MEMORY);
    put(b, 4, 639);
    put(b, 4, upper_kib(map, rows));
    end(b, at);
    at = begin(b, TAG_MMAP);
    put(b, 4, 24); /* bytes of a row */
    put(b, 4, 0);
    for (unsigned i = 0; i < rows; i++) {
        put(b, 8, map[i].addr);
        put(b, 8, map[i].len);
        put(b, 8, map[i].type);
    }
    end(b, at);
    if (rsdp) {
        at = begin(b, TAG_ACPI_NEW);
        g_byte_array_append(b, rsdp, 36);
        end(b, at);
    }
    end(b, begin(b, TAG_END));
    le32_store(b->data, b->len);
    return b;
}

GByteArray *mb_info(const Multiboot *m, const char *name, const char *append, const FwE820 *map, unsigned rows, const uint8_t *rsdp)
{
    return m->version == 1 ? info1(m, name, append, map, rows) : info2(m, append, map, rows, rsdp);
}

uint32_t mb_magic(const Multiboot *m) { return m->version == 1 ? 0x2badb002 : 0x36d76289; }

void mb_clear(Multiboot *m)
{
    for (guint i = 0; m->modules && i < m->modules->len; i++) {
        MbModule *x = &g_array_index(m->modules, MbModule, i);

        g_free(x->text);
        g_bytes_unref(x->data);
    }
    if (m->modules)
        g_array_free(m->modules, TRUE);
    m->modules = NULL;
}
