/*
 * migrate/incoming.c - reading. The stream is hostile: lengths are bounded by what this VM has, nothing of the VM
 * changes before the checksum at the end was right and every device accepted its part.
 * Loops end with the stream: each turn consumes a record.
 */
#include "migrate/stream.h"
#include "core/api.h"
#include "core/machine.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct Shadow { /* RAM as the stream has it */
    char *id;
    uint64_t size;
    uint8_t *host;          /* zero where the stream has nothing; mapped when first needed */
    unsigned long *present; /* a bit per page */
    bool named;             /* by the stream */
} Shadow;
enum { WORD = 8 * sizeof(long) };

static void shadow_free(gpointer p)
{
    Shadow *h = p;

    if (h->host)
        munmap(h->host, h->size);
    g_free(h->present);
    g_free(h->id);
    g_free(h);
}

static void add_block(RamBlock *b, void *arg)
{
    Incoming *in = arg;
    Shadow *h = g_new0(Shadow, 1);

    h->id = ram_stream_id(b);
    h->size = b->size;
    g_ptr_array_add(in->blocks, h);
}

Incoming *incoming_new(Vm *vm)
{
    Incoming *in = g_new0(Incoming, 1);

    in->machine = g_strdup(vm->mc ? vm->mc->name : "");
    in->devices = g_byte_array_new();
    in->blocks = g_ptr_array_new_with_free_func(shadow_free);
    vm_foreach_ram(vm, add_block, in);
    return in;
}

void incoming_free(Incoming *in)
{
    if (!in)
        return;
    g_free(in->machine);
    g_byte_array_unref(in->devices);
    g_ptr_array_free(in->blocks, TRUE);
    g_free(in);
}

static Shadow *find(const Incoming *in, const char *id)
{
    for (guint i = 0; i < in->blocks->len; i++) {
        Shadow *h = in->blocks->pdata[i];

        if (!strcmp(h->id, id))
            return h;
    }
    return NULL;
}

static bool get_block(Incoming *in, Stream *s, GPtrArray *order)
{
    g_autofree char *id = stream_get_str(s);
    uint64_t size = stream_get_int(s, 8);
    Shadow *h = id ? find(in, id) : NULL;

    if (s->err)
        return false;
    if (!h)
        return fail(&s->err, "the state has memory '%s', this machine does not", id);
    if (h->named)
        return fail(&s->err, "the state has memory '%s' twice", id);
    if (h->size != size)
        return fail(&s->err, "memory '%s' has %" PRIu64 " bytes in the state and %" PRIu64 " here", id, size, h->size);
    h->named = true;
    g_ptr_array_add(order, h);
    return true;
}

static bool get_run_state(Incoming *in, Stream *s)
{
    g_autofree char *name = stream_get_str(s);

    int n = name ? api_enum_find(&api_RunState, name) : -1;

    in->state = n < 0 ? RUN_PAUSED : (RunState)n;
    return n >= 0 || s->err ? !s->err : fail(&s->err, "the state is of a VM that was '%s', which is not known here", name);
}

static bool get_header(Incoming *in, Stream *s, GPtrArray *order)
{
    char magic[8];
    uint32_t version, n;

    stream_get(s, magic, 8);
    if (!s->err && memcmp(magic, STREAM_MAGIC, 8))
        return fail(&s->err, "this is not a saved state");
    version = (uint32_t)stream_get_int(s, 4);
    if (!s->err && version != STREAM_VERSION)
        return fail(&s->err, "the state has version %u, this program reads version %u", version, STREAM_VERSION);
    g_autofree char *machine = stream_get_str(s);
    if (machine && strcmp(machine, in->machine))
        return fail(&s->err, "the state is of a machine '%s', this one is '%s'", machine, in->machine);
    if (s->err || !get_run_state(in, s))
        return false;
    n = (uint32_t)stream_get_int(s, 4);
    for (uint32_t i = 0; i < n; i++) /* ends: each is a different one of ours */
        if (!get_block(in, s, order))
            return false;
    for (guint i = 0; i < in->blocks->len && !s->err; i++)
        if (!((Shadow *)in->blocks->pdata[i])->named)
            return fail(&s->err, "the state lacks memory '%s'", ((Shadow *)in->blocks->pdata[i])->id);
    return !s->err;
}

static bool get_state(Incoming *in, Stream *s)
{
    uint64_t n = stream_get_int(s, 8);

    if (in->devices->len)
        return s->err ? false : fail(&s->err, "the state has its devices twice");
    if (n > STREAM_STATE_MAX)
        return fail(&s->err, "the state claims %" PRIu64 " bytes of devices", n);
    while (n && !s->err) { /* memory grows with what is really there */
        guint k = (guint)MIN(n, 1 * MiB), at = in->devices->len;

        g_byte_array_set_size(in->devices, at + k);
        stream_get(s, in->devices->data + at, k);
        n -= k;
    }
    return !s->err;
}

static bool map_shadow(Shadow *h, Error **err)
{
    void *p;

    if (h->host)
        return true;
    p = mmap(NULL, h->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return fail_errno(err, "no memory to load '%s'", h->id);
    h->host = p;
    h->present = g_new0(unsigned long, h->size / STREAM_PAGE / WORD + 1);
    return true;
}

static bool get_pages(Stream *s, GPtrArray *order)
{
    uint64_t index = stream_get_int(s, 2), page = stream_get_int(s, 8), n = stream_get_int(s, 4);
    Shadow *h = index < order->len ? order->pdata[index] : NULL;

    if (s->err)
        return false;
    if (!h || !n || n > STREAM_RUN || !in_range(page, n, h->size / STREAM_PAGE))
        return fail(&s->err, "the state has pages of memory that does not exist");
    if (!map_shadow(h, &s->err) || !stream_get(s, h->host + page * STREAM_PAGE, n * STREAM_PAGE))
        return false;
    for (uint64_t i = page; i < page + n; i++)
        h->present[i / WORD] |= 1ul << (i % WORD);
    return true;
}

static bool get_end(Incoming *in, Stream *s)
{
    uint32_t crc = s->crc, said = (uint32_t)stream_get_int(s, 4);

    if (s->err)
        return false;
    if (said != crc)
        return fail(&s->err, "the state is damaged: its checksum is %08x, not %08x", crc, said);
    return in->devices->len || fail(&s->err, "the state lacks its devices");
}

bool incoming_read(Incoming *in, Stream *s)
{
    g_autoptr(GPtrArray) order = g_ptr_array_new();

    if (!get_header(in, s, order))
        return false;
    for (;;) {
        uint8_t tag = (uint8_t)stream_get_int(s, 1);

        if (s->err)
            return false;
        if (tag == REC_END)
            return get_end(in, s);
        if (tag != REC_STATE && tag != REC_PAGES)
            return fail(&s->err, "the state has a record of unknown kind %u", tag);
        if (!(tag == REC_STATE ? get_state(in, s) : get_pages(s, order)))
            return false;
    }
}

/* ---- commit ---- */
typedef struct Commit {
    Incoming *in;
    Error **err;
    bool ok;
} Commit;

static void check_block(RamBlock *b, void *arg)
{
    Commit *c = arg;
    g_autofree char *id = ram_stream_id(b);
    Shadow *h = find(c->in, id);

    if (c->ok && (!h || h->size != b->size)) /* plugged or unplugged while we read */
        c->ok = fail(c->err, "memory '%s' changed while the state was read", id);
}

static bool is_hole(const RamBlock *b, uint64_t page)
{
    uint64_t at = b->fd_offset + page * STREAM_PAGE;
    off_t data = b->fd >= 0 && b->shared ? lseek(b->fd, (off_t)at, SEEK_DATA) : (off_t)at;

    return data < 0 ? errno == ENXIO : (uint64_t)data >= at + STREAM_PAGE;
}

/* What the stream has not is zero; holes of the memory file are that already, and looking would fill them. */
static void fill_block(RamBlock *b, const Shadow *h)
{
    for (uint64_t page = 0; page < b->size / STREAM_PAGE; page++) {
        uint8_t *p = b->host + page * STREAM_PAGE;

        if (h->present && h->present[page / WORD] >> (page % WORD) & 1)
            memcpy(p, h->host + page * STREAM_PAGE, STREAM_PAGE);
        else if (!is_hole(b, page) && !page_is_zero(p))
            memset(p, 0, STREAM_PAGE);
    }
}

static void commit_block(RamBlock *b, void *arg)
{
    g_autofree char *id = ram_stream_id(b);

    fill_block(b, find(((Commit *)arg)->in, id));
    ram_mark_dirty(b, 0, b->size);
}

bool incoming_commit(Incoming *in, Vm *vm, Error **err)
{
    Commit c = { in, err, true };
    StateLoad *load;

    vm_foreach_ram(vm, check_block, &c);
    load = c.ok ? vm_load_check(vm, in->devices->data, in->devices->len, err) : NULL;
    if (!load)
        return false;
    vm_foreach_ram(vm, commit_block, &c);
    vm_load_commit(load);
    vm_load_free(load);
    return true;
}
