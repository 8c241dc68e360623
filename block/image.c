/* block/image.c - small things that every format's tools need. */
#include "block/image.h"
#include "block/priv.h"
#include "util/jval.h"
#include <fcntl.h>
#include <unistd.h>

static void snapshot_free(gpointer p)
{
    BlkSnapshot *v = p;

    g_free(v->id);
    g_free(v->name);
    g_free(v);
}

void blk_snapshots_free(GPtrArray *list)
{
    g_ptr_array_set_free_func(list, snapshot_free);
    g_ptr_array_free(list, TRUE);
}

static void bitmap_free(gpointer p)
{
    BlkBitmap *b = p;

    g_free(b->name);
    g_free(b);
}

void blk_bitmaps_free(GPtrArray *list)
{
    g_ptr_array_set_free_func(list, bitmap_free);
    g_ptr_array_free(list, TRUE);
}

static void fact_free(gpointer p)
{
    BlkFact *f = p;

    g_free(f->value);
    g_free(f);
}

void blk_facts_free(GPtrArray *list)
{
    g_ptr_array_set_free_func(list, fact_free);
    g_ptr_array_free(list, TRUE);
}

void blk_fact(GPtrArray *list, const char *key, char *value, bool quoted)
{
    BlkFact *f = g_new(BlkFact, 1);

    *f = (BlkFact){ key, value, quoted };
    g_ptr_array_add(list, f);
}

void blk_check_say(BlkCheck *c, const char *fmt, ...)
{
    va_list ap;

    if (!c->lines || c->lines->len > CHECK_LINES * 80)
        return;
    va_start(ap, fmt);
    g_string_append_vprintf(c->lines, fmt, ap);
    va_end(ap);
    g_string_append_c(c->lines, '\n');
}

static JVal *value_of(const BlkFact *f)
{
    if (f->quoted)
        return j_string(f->value);
    return *f->value == 't' || *f->value == 'f' ? j_bool(*f->value == 't') : j_number(f->value);
}

/* Puts `v` into the object or list `at` under `key`, which for a list is the next index. */
static JVal *put(JVal *at, const char *key, JVal *v)
{
    if (at->kind == J_LIST)
        j_append(at, v);
    else
        j_set(at, key, v);
    return v;
}

static JVal *member(const JVal *at, const char *key)
{
    guint64 i = g_ascii_strtoull(key, NULL, 10);

    return at->kind == J_LIST ? (i < j_len(at) ? j_at(at, i) : NULL) : j_get(at, key);
}

JVal *blk_facts_tree(const GPtrArray *list)
{
    JVal *all = j_object();

    for (guint i = 0; i < list->len; i++) {
        const BlkFact *f = list->pdata[i];
        g_auto(GStrv) parts = g_strsplit(f->key, ".", -1);
        JVal *at = all, *next;

        for (char **p = parts; *p; p++) {
            if (!p[1])
                put(at, *p, value_of(f));
            else if ((next = member(at, *p)))
                at = next;
            else
                at = put(at, *p, g_ascii_isdigit(*p[1]) ? j_list() : j_object());
        }
    }
    return all;
}

CO_FN bool blk_bitmaps_load(Node *n, Error **err)
{
    for (; n; n = n->backing) { /* chains are short and end (chain.c) */
        int ret = n->drv->image && n->drv->image->bitmaps_load ? n->drv->image->bitmaps_load(n) : 0;

        if (ret)
            return fail_errno_is(err, -ret, "cannot read the bitmaps of '%s'", n->filename);
    }
    return true;
}

static char *clock_text(uint64_t ns)
{
    uint64_t s = ns / (uint64_t)SEC, ms = ns / (uint64_t)MS % 1000;

    return g_strdup_printf("%04" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%03" PRIu64, s / 3600, s / 60 % 60, s % 60, ms);
}

static void row(GString *out, const char *const cells[6])
{
    g_string_append_printf(out, "%-7s %-16s %8s %19s %15s %10s\n", cells[0], cells[1], cells[2], cells[3], cells[4], cells[5]);
}

void blk_snapshot_head(GString *out) { row(out, (const char *const[]){ "ID", "TAG", "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT" }); }

void blk_snapshot_row(GString *out, const BlkSnapshot *s)
{
    g_autofree char *size = size_text(s->vm_state_bytes), *clock = clock_text(s->vm_clock_ns);
    g_autoptr(GDateTime) when = g_date_time_new_from_unix_local(s->date_s);
    g_autofree char *date = when ? g_date_time_format(when, "%Y-%m-%d %H:%M:%S") : g_strdup("-");
    g_autofree char *icount = s->icount == -1 ? g_strdup("--") : g_strdup_printf("%" PRId64, s->icount);

    row(out, (const char *const[]){ s->id ? s->id : "--", s->name, size, date, clock, icount });
}

void blk_run(Loop *loop, void (*fn)(void *arg), void *arg) { block__run(loop, fn, arg); }

CO_FN bool blk_create_file(Loop *loop, const char *name, uint64_t size, Error **err)
{
    const char *path = g_str_has_prefix(name, "file:") ? name + 5 : name;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    bool ok;

    if (fd < 0)
        return fail_errno(err, "Could not create '%s'", path);
    ok = block__file_lock(fd, path, PERM_WRITE | PERM_RESIZE, PERM_RESIZE, 0, 0, err);
    if (ok && ftruncate(fd, 0) < 0)
        ok = fail_errno(err, "Could not create '%s'", path);
    if (ok && ftruncate(fd, (off_t)size) < 0)
        ok = fail_errno(err, "Could not resize file");
    close(fd);
    return ok;
}
