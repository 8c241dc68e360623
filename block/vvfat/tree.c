/* block/vvfat/tree.c - the folder read into memory, and its directories as FAT has them: names of 8.3 and long ones. */
#include "block/vvfat/vvfat.h"
#include <errno.h>
#include <sys/stat.h>
#include <time.h>

enum { LONG_CHARS = 13, NAME_UNITS = 255 };

void fat_tree_free(FatFile *f)
{
    if (!f)
        return;
    for (guint i = 0; f->files && i < f->files->len; i++)
        fat_tree_free(f->files->pdata[i]);
    if (f->files)
        g_ptr_array_free(f->files, TRUE);
    if (f->bytes)
        g_byte_array_free(f->bytes, TRUE);
    g_free(f->path);
    g_free(f->name);
    g_free(f);
}

/* ---- reading the folder ---- */
static gint by_name(gconstpointer a, gconstpointer b)
{
    const FatFile *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static bool usable(const char *path, const char *name, struct stat *st)
{
    bool link = !lstat(path, st) && S_ISLNK(st->st_mode);
    glong units = 0;
    g_autofree gunichar2 *text = g_utf8_to_utf16(name, -1, NULL, &units, NULL);

    if (link && (stat(path, st) < 0 || S_ISDIR(st->st_mode))) /* a link to a folder may lead in a circle */
        return false;
    return text && units <= NAME_UNITS && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode));
}

static bool scan_into(FatFile *dir, unsigned depth, unsigned *count, Error **err);

static bool add_file(FatFile *dir, const char *name, unsigned depth, unsigned *count, Error **err)
{
    g_autofree char *path = g_build_filename(dir->path, name, NULL);
    struct stat st;
    FatFile *f;

    if (!usable(path, name, &st)) {
        warn_report("vvfat: '%s' is left out: no file or folder, or no name for FAT", path);
        return true;
    }
    if (++*count > FAT_FILES_MAX)
        return fail(err, "more than %d files are in the folder", FAT_FILES_MAX);
    f = g_new0(FatFile, 1);
    f->path = g_steal_pointer(&path);
    f->name = g_strdup(name);
    f->dir = S_ISDIR(st.st_mode);
    f->size = f->dir ? 0 : (uint64_t)st.st_size;
    f->mtime = st.st_mtime;
    f->readonly = !(st.st_mode & 0222);
    g_ptr_array_add(dir->files, f);
    if (f->size > UINT32_MAX)
        return fail(err, "File '%s' is larger than 2GB: FAT has none over 4 GiB", f->path);
    return !f->dir || scan_into(f, depth + 1, count, err);
}

static bool scan_into(FatFile *dir, unsigned depth, unsigned *count, Error **err)
{
    g_autoptr(GError) why = NULL;
    GDir *d = g_dir_open(dir->path, 0, &why);
    const char *name;
    bool ok = true;

    dir->files = g_ptr_array_new();
    if (!d)
        return fail(err, "vvfat: %s", why->message);
    if (depth > FAT_DEPTH_MAX)
        ok = fail(err, "vvfat: '%s' lies more than %d folders deep", dir->path, FAT_DEPTH_MAX);
    while (ok && (name = g_dir_read_name(d)))
        ok = add_file(dir, name, depth, count, err);
    g_dir_close(d);
    g_ptr_array_sort(dir->files, by_name);
    return ok;
}

FatFile *fat_scan(const char *path, Error **err)
{
    FatFile *root = g_new0(FatFile, 1);
    unsigned count = 0;

    root->path = g_strdup(path);
    root->dir = true;
    if (scan_into(root, 0, &count, err))
        return root;
    fat_tree_free(root);
    return NULL;
}

/* ---- short names ---- */
static bool is_short_char(char c) { return g_ascii_isupper(c) || g_ascii_isdigit(c) || (c && strchr("$%'-_@~`!(){}^#&", c)); }

/* At most `max` characters of text up to `end`, as a short name may have them. True: nothing was lost. */
static bool squeeze(const char *text, const char *end, unsigned max, uint8_t *out)
{
    unsigned n = 0;
    bool whole = true;

    for (; text < end; text++) {
        char c = g_ascii_toupper(*text);

        whole &= is_short_char(*text) && n < max;
        if (*text == ' ' || *text == '.' || n == max)
            continue;
        out[n++] = (uint8_t)(is_short_char(c) ? c : '_');
    }
    return whole;
}

/* Spells `out`; true: the name is one of 8.3 itself and needs no long one. */
static bool basis(const char *name, uint8_t out[11])
{
    const char *dot = strrchr(name, '.');
    bool whole;

    memset(out, ' ', 11);
    if (dot == name)
        dot = NULL;
    whole = squeeze(name, dot ? dot : name + strlen(name), 8, out);
    if (dot)
        whole &= squeeze(dot + 1, dot + strlen(dot), 3, out + 8) && dot[1];
    if (out[0] == ' ')
        out[0] = '_';
    return whole;
}

static void number(uint8_t out[11], unsigned n)
{
    g_autofree char *tail = g_strdup_printf("~%u", n);
    size_t len = strlen(tail), at = 0;

    while (at < 8 - len && out[at] != ' ')
        at++;
    memset(out + at, ' ', 8 - at);
    memcpy(out + at, tail, len);
}

/* Distinct in the directory. At most FAT_FILES_MAX tries each, and few of them long. */
static void name_all(FatFile *dir)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) next = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (guint i = 0; i < dir->files->len; i++) {
        FatFile *f = dir->files->pdata[i];
        bool plain = basis(f->name, f->short_name);
        g_autofree char *start = g_strndup((const char *)f->short_name, 3);
        unsigned n = GPOINTER_TO_UINT(g_hash_table_lookup(next, start));
        uint8_t was[11];

        memcpy(was, f->short_name, sizeof(was));
        while (!plain || !g_hash_table_add(seen, g_strndup((const char *)f->short_name, 11))) {
            memcpy(f->short_name, was, sizeof(was));
            number(f->short_name, ++n);
            plain = true;
        }
        g_hash_table_insert(next, g_steal_pointer(&start), GUINT_TO_POINTER(n));
    }
}

static bool needs_long(const FatFile *f)
{
    uint8_t own[11];

    return !basis(f->name, own) || memcmp(own, f->short_name, sizeof(own));
}

static glong long_units(const FatFile *f)
{
    glong n = 0;

    if (needs_long(f))
        g_free(g_utf8_to_utf16(f->name, -1, NULL, &n, NULL));
    return n;
}

uint32_t fat_entry_count(const FatFile *dir, bool root)
{
    uint32_t n = root ? 1 : 2; /* the label; "." and ".." */

    name_all((FatFile *)(uintptr_t)dir);
    for (guint i = 0; i < dir->files->len; i++)
        n += 1 + (uint32_t)((long_units(dir->files->pdata[i]) + LONG_CHARS - 1) / LONG_CHARS);
    return n;
}

/* ---- entries ---- */
static void put_entry(GByteArray *out, const uint8_t name[11], uint8_t attributes, int64_t mtime, uint32_t cluster, uint64_t size)
{
    time_t t = (time_t)mtime;
    struct tm tm = { 0 };
    uint8_t e[FAT_ENTRY] = { 0 };
    uint16_t date, clock;

    localtime_r(&t, &tm);
    date = (uint16_t)(MAX(tm.tm_year - 80, 0) << 9 | (tm.tm_mon + 1) << 5 | tm.tm_mday);
    clock = (uint16_t)(tm.tm_hour << 11 | tm.tm_min << 5 | tm.tm_sec / 2);
    memcpy(e, name, 11);
    e[11] = attributes;
    le16_store(e + 14, clock);
    le16_store(e + 16, date);
    le16_store(e + 18, date);
    le16_store(e + 20, (uint16_t)(cluster >> 16));
    le16_store(e + 22, clock);
    le16_store(e + 24, date);
    le16_store(e + 26, (uint16_t)cluster);
    le32_store(e + 28, (uint32_t)size);
    g_byte_array_append(out, e, sizeof(e));
}

static uint8_t checksum(const uint8_t name[11])
{
    uint8_t sum = 0;

    for (int i = 0; i < 11; i++)
        sum = (uint8_t)((sum >> 1 | sum << 7) + name[i]);
    return sum;
}

/* The last part first; what is left of it: one zero, then ones. */
static void put_long(GByteArray *out, const FatFile *f)
{
    static const uint8_t places[LONG_CHARS] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
    glong n = 0;
    g_autofree gunichar2 *text = g_utf8_to_utf16(f->name, -1, NULL, &n, NULL);
    glong parts = (n + LONG_CHARS - 1) / LONG_CHARS;

    for (glong p = parts; p > 0; p--) {
        uint8_t e[FAT_ENTRY] = { (uint8_t)(p | (p == parts ? 0x40 : 0)) };

        e[11] = FAT_LONG;
        e[13] = checksum(f->short_name);
        for (glong i = 0; i < LONG_CHARS; i++) {
            glong at = (p - 1) * LONG_CHARS + i;

            le16_store(e + places[i], at < n ? text[at] : at == n ? 0 : 0xffff);
        }
        g_byte_array_append(out, e, sizeof(e));
    }
}

void fat_entries(const FatDisk *d, FatFile *dir, uint32_t parent)
{
    dir->bytes = g_byte_array_new();
    if (dir == d->root) {
        put_entry(dir->bytes, (const uint8_t *)d->label, FAT_LABEL, dir->mtime, 0, 0);
    } else {
        put_entry(dir->bytes, (const uint8_t *)".          ", FAT_DIRECTORY, dir->mtime, dir->first, 0);
        put_entry(dir->bytes, (const uint8_t *)"..         ", FAT_DIRECTORY, dir->mtime, parent, 0);
    }
    for (guint i = 0; i < dir->files->len; i++) {
        const FatFile *f = dir->files->pdata[i];

        if (needs_long(f))
            put_long(dir->bytes, f);
        put_entry(dir->bytes, f->short_name, (uint8_t)((f->dir ? FAT_DIRECTORY : FAT_ARCHIVE) | (f->readonly ? FAT_READONLY : 0)), f->mtime, f->first, f->size);
    }
}
