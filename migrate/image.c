/*
 * migrate/image.c - writing: what is in a stream, taken from a stopped VM.
 * Pages of zeros are left out; holes of the memory file are not even looked at, which would fill them.
 */
#include "migrate/stream.h"
#include "core/api.h"
#include "core/machine.h"
#include <errno.h>
#include <unistd.h>

bool page_is_zero(const uint8_t *p) { return !p[0] && !memcmp(p, p + 1, STREAM_PAGE - 1); }

static void take_block(RamBlock *b, void *arg)
{
    Image *m = arg;

    g_ptr_array_add(m->blocks, b);
    g_ptr_array_add(m->ids, ram_stream_id(b));
}

static bool ids_differ(const Image *m, Error **err)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < m->ids->len; i++)
        if (!g_hash_table_add(seen, m->ids->pdata[i]))
            return fail(err, "two memories are called '%s': this VM's state cannot be saved", (char *)m->ids->pdata[i]);
    return m->ids->len <= STREAM_BLOCKS || fail(err, "this VM has too many memories");
}

Image *image_take(Vm *vm, RunState state, Error **err)
{
    Image *m = g_new0(Image, 1);

    m->machine = g_strdup(vm->mc ? vm->mc->name : "");
    m->state = state;
    m->devices = g_byte_array_new();
    m->blocks = g_ptr_array_new();
    m->ids = g_ptr_array_new_with_free_func(g_free);
    vm_foreach_ram(vm, take_block, m);
    if (ids_differ(m, err) && vm_save_state(vm, m->devices, err))
        return m;
    image_free(m);
    return NULL;
}

void image_free(Image *m)
{
    if (!m)
        return;
    g_free(m->machine);
    g_byte_array_unref(m->devices);
    g_ptr_array_free(m->blocks, TRUE);
    g_ptr_array_free(m->ids, TRUE);
    g_free(m);
}

static void put_header(Image *m, Stream *s)
{
    StateOut o = { g_byte_array_new() };

    put_bytes(&o, STREAM_MAGIC, 8);
    put_u32(&o, STREAM_VERSION);
    put_str(&o, m->machine);
    put_str(&o, api_RunState.names[m->state]);
    put_u32(&o, m->blocks->len);
    for (guint i = 0; i < m->blocks->len; i++) {
        put_str(&o, m->ids->pdata[i]);
        put_u64(&o, ((RamBlock *)m->blocks->pdata[i])->size);
    }
    put_u8(&o, REC_STATE);
    put_u64(&o, m->devices->len);
    stream_put(s, o.b->data, o.b->len);
    stream_put(s, m->devices->data, m->devices->len);
    g_byte_array_unref(o.b);
}

static void add(uint64_t *n, uint64_t by) { __atomic_fetch_add(n, by, __ATOMIC_RELAXED); }

/* A run of pages that are not zero, from off on; returns where it ended. */
static uint64_t put_run(Stream *s, uint16_t index, const RamBlock *b, uint64_t off)
{
    StateOut o = { g_byte_array_new() };
    uint64_t n = 0;

    while (n < STREAM_RUN && off + n * STREAM_PAGE < b->size && !page_is_zero(b->host + off + n * STREAM_PAGE))
        n++;
    put_u8(&o, REC_PAGES);
    put_u16(&o, index);
    put_u64(&o, off / STREAM_PAGE);
    put_u32(&o, (uint32_t)n);
    stream_put(s, o.b->data, o.b->len);
    stream_put(s, b->host + off, n * STREAM_PAGE);
    g_byte_array_unref(o.b);
    return off + n * STREAM_PAGE;
}

static bool put_block(Stream *s, uint16_t index, const RamBlock *b, StreamCount *n)
{
    for (uint64_t off = 0; off < b->size && !s->err;) {
        uint64_t next = ram_skip_zero(b, off), sent = s->bytes;

        if (next == off && !page_is_zero(b->host + off)) {
            next = put_run(s, index, b, off);
            add(&n->normal, (next - off) / STREAM_PAGE);
        } else {
            next = MAX(next, off + STREAM_PAGE);
            add(&n->zero, (next - off) / STREAM_PAGE);
        }
        add(&n->sent, s->bytes - sent);
        add(&n->left, -(next - off));
        off = next;
    }
    return !s->err;
}

bool image_write(Image *m, Stream *s, StreamCount *n)
{
    uint8_t end[5] = { REC_END };

    put_header(m, s);
    add(&n->sent, s->bytes);
    for (guint i = 0; i < m->blocks->len; i++)
        if (!put_block(s, (uint16_t)i, m->blocks->pdata[i], n))
            return false;
    stream_put(s, end, 1);
    le32_store(end + 1, s->crc);
    return stream_put(s, end + 1, 4) && stream_flush(s);
}
