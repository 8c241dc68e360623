/*
 * migrate/statefile.c - see statefile.h. Little-endian; `str` is a 16-bit length and bytes.
 *   "MENURAST" u32 version | u32 bytes of the header | str machine | str run state | u32 n | n times { str memory, u64 bytes,
 *   u64 place in the file } | u64 length, devices (vm_save_state) | u32 CRC-32 of all before
 * Memory carries no checksum: it is read when the guest touches it.
 */
#include "migrate/statefile.h"
#include "core/api.h"
#include "core/machine.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { VERSION = 1, FIXED = 16, PAGE = STREAM_PAGE, RUN = 1024 /* pages written at once */ };
#define MAGIC "MENURAST"
typedef struct Place {
    char *id;
    uint64_t size, at;
} Place;
struct StateFile {
    int fd;
    char *machine;
    RunState state;
    GPtrArray *places; /* of Place */
    uint8_t *header;
    const uint8_t *devices; /* in the header */
    uint64_t devices_len;
};

/* ---- writing ---- */
static bool write_at(int fd, const void *p, size_t n, uint64_t at, Error **err)
{
    while (n) {
        ssize_t w = pwrite(fd, p, n, (off_t)at);

        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return fail_errno(err, "writing the state failed");
        p = (const uint8_t *)p + w;
        n -= (size_t)w;
        at += (uint64_t)w;
    }
    return true;
}

static GByteArray *make_header(const Image *m, uint64_t **places)
{
    StateOut o = { g_byte_array_new() };
    uint64_t at = FIXED + 2 + strlen(m->machine) + 2 + strlen(api_RunState.names[m->state]) + 4 + 8 + m->devices->len + 4;

    for (guint i = 0; i < m->blocks->len; i++)
        at += 2 + strlen(m->ids->pdata[i]) + 16;
    put_bytes(&o, MAGIC, 8);
    put_u32(&o, VERSION);
    put_u32(&o, (uint32_t)at);
    put_str(&o, m->machine);
    put_str(&o, api_RunState.names[m->state]);
    put_u32(&o, m->blocks->len);
    *places = g_new(uint64_t, m->blocks->len + 1);
    at = align_up(at, PAGE);
    for (guint i = 0; i < m->blocks->len; i++) {
        uint64_t size = ((RamBlock *)m->blocks->pdata[i])->size;

        put_str(&o, m->ids->pdata[i]);
        put_u64(&o, size);
        put_u64(&o, at);
        (*places)[i] = at;
        at += align_up(size, PAGE);
    }
    (*places)[m->blocks->len] = at;
    put_u64(&o, m->devices->len);
    put_bytes(&o, m->devices->data, m->devices->len);
    put_u32(&o, (uint32_t)crc32_z(0, o.b->data, o.b->len));
    return o.b;
}

static bool write_block(int fd, const RamBlock *b, uint64_t at, Error **err)
{
    for (uint64_t off = 0; off < b->size;) {
        uint64_t next = ram_skip_zero(b, off), n = 0;

        if (next == off && page_is_zero(b->host + off))
            next = off + PAGE;
        if (next != off) {
            off = next;
            continue;
        }
        while (n < RUN && off + n * PAGE < b->size && !page_is_zero(b->host + off + n * PAGE))
            n++;
        if (!write_at(fd, b->host + off, n * PAGE, at + off, err))
            return false;
        off += n * PAGE;
    }
    return true;
}

static bool write_all(int fd, const Image *m, Error **err)
{
    g_autofree uint64_t *places = NULL;
    g_autoptr(GByteArray) h = make_header(m, &places);

    if (m->devices->len > STREAM_STATE_MAX)
        return fail(err, "the devices' state is too large");
    if (ftruncate(fd, (off_t)places[m->blocks->len]))
        return fail_errno(err, "writing the state failed");
    for (guint i = 0; i < m->blocks->len; i++)
        if (!write_block(fd, m->blocks->pdata[i], places[i], err))
            return false;
    return write_at(fd, h->data, h->len, 0, err) && (!fsync(fd) || fail_errno(err, "writing the state failed"));
}

bool statefile_write(const char *path, const Image *m, uint64_t *bytes, Error **err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct stat st;
    bool ok;

    if (fd < 0)
        return fail_errno(err, "Could not create '%s'", path);
    ok = write_all(fd, m, err);
    *bytes = !fstat(fd, &st) ? (uint64_t)st.st_blocks * 512 : 0;
    close(fd);
    if (!ok)
        unlink(path);
    return ok;
}

/* ---- reading ---- */
static void place_free(gpointer p)
{
    g_free(((Place *)p)->id);
    g_free(p);
}

void statefile_free(StateFile *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    g_free(f->machine);
    g_ptr_array_free(f->places, TRUE);
    g_free(f->header);
    g_free(f);
}

static bool get_places(StateFile *f, StateIn *in, uint64_t file_bytes)
{
    uint32_t n = get_u32(in);

    for (uint32_t i = 0; i < n && !in->bad && n <= STREAM_BLOCKS; i++) {
        Place *p = g_new0(Place, 1);

        g_ptr_array_add(f->places, p);
        p->id = get_str(in);
        p->size = get_u64(in);
        p->at = get_u64(in);
        if (!p->id || p->at % PAGE || !in_range(p->at, p->size, file_bytes))
            return false;
    }
    return !in->bad && n <= STREAM_BLOCKS;
}

static bool parse(StateFile *f, size_t len, uint64_t file_bytes, Error **err)
{
    StateIn in = { .p = f->header, .n = len - 4, .at = FIXED };
    g_autofree char *state = NULL;
    int known;

    if (le32_load(f->header + len - 4) != crc32_z(0, f->header, len - 4))
        return fail(err, "the state is damaged");
    f->machine = get_str(&in);
    state = get_str(&in);
    known = state ? api_enum_find(&api_RunState, state) : -1;
    f->state = known < 0 ? RUN_PAUSED : (RunState)known;
    if (!f->machine || !state || !get_places(f, &in, file_bytes))
        return fail(err, "the state makes no sense, or its file was cut off");
    f->devices_len = get_u64(&in);
    f->devices = f->header + in.at;
    return (!in.bad && f->devices_len == in.n - in.at) || fail(err, "the state makes no sense");
}

static bool read_header(StateFile *f, Error **err)
{
    uint8_t fixed[FIXED];
    struct stat st;
    uint32_t len;

    if (fstat(f->fd, &st) || pread(f->fd, fixed, FIXED, 0) != FIXED || memcmp(fixed, MAGIC, 8))
        return fail(err, "this is not a saved state");
    if (le32_load(fixed + 8) != VERSION)
        return fail(err, "the state has version %u, this program reads version %u", le32_load(fixed + 8), VERSION);
    len = le32_load(fixed + 12);
    if (len < FIXED + 4 || len > STREAM_STATE_MAX + MiB || len > (uint64_t)st.st_size)
        return fail(err, "the state is cut off");
    f->header = g_malloc(len);
    if (pread(f->fd, f->header, len, 0) != (ssize_t)len)
        return fail(err, "the state cannot be read");
    return parse(f, len, (uint64_t)st.st_size, err);
}

StateFile *statefile_read(const char *path, Error **err)
{
    StateFile *f = g_new0(StateFile, 1);
    Error *why = NULL;

    f->places = g_ptr_array_new_with_free_func(place_free);
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0)
        fail_errno(&why, "cannot open it");
    if (!why && read_header(f, &why))
        return f;
    statefile_free(f);
    fail_because(err, why, "%s", path);
    return NULL;
}

RunState statefile_run_state(const StateFile *f) { return f->state; }

/* ---- loading ---- */
static const Place *place_of(const StateFile *f, const RamBlock *b)
{
    g_autofree char *id = ram_stream_id(b);

    for (guint i = 0; i < f->places->len; i++) {
        const Place *p = f->places->pdata[i];

        if (!strcmp(p->id, id))
            return p;
    }
    return NULL;
}

typedef struct Fit {
    const StateFile *f;
    Error **err;
    guint n;
    bool ok;
} Fit;

static void fits(RamBlock *b, void *arg)
{
    Fit *c = arg;
    const Place *p = place_of(c->f, b);

    c->n++;
    if (c->ok && !p)
        c->ok = fail(c->err, "the state lacks memory '%s'", b->id);
    else if (c->ok && p->size != b->size)
        c->ok = fail(c->err, "memory '%s' has %" PRIu64 " bytes in the state and %" PRIu64 " here", p->id, p->size, b->size);
}

static bool memories_fit(const StateFile *f, Vm *vm, Error **err)
{
    Fit c = { f, err, 0, true };
    const char *mine = vm->mc ? vm->mc->name : "";

    if (strcmp(f->machine, mine))
        return fail(err, "the state is of a machine '%s', this one is '%s'", f->machine, mine);
    vm_foreach_ram(vm, fits, &c);
    return c.ok && (c.n == f->places->len || fail(err, "the state has memories that this machine has not"));
}

bool statefile_check(const StateFile *f, Vm *vm, Error **err)
{
    StateLoad *l = memories_fit(f, vm, err) ? vm_load_check(vm, f->devices, f->devices_len, err) : NULL;

    if (l)
        vm_load_free(l);
    return l;
}

/* Memory that others share is filled. */
static bool fill(RamBlock *b, int fd, uint64_t at)
{
    uint64_t off = 0;

    while (off < b->size) {
        off_t data = lseek(fd, (off_t)(at + off), SEEK_DATA), hole;
        uint64_t from = data < 0 ? b->size : MIN(align_down((uint64_t)data - at, PAGE), b->size);

        for (; off < from; off += PAGE)
            if (ram_skip_zero(b, off) == off && !page_is_zero(b->host + off))
                memset(b->host + off, 0, PAGE);
        if (off >= b->size)
            break;
        hole = lseek(fd, (off_t)(at + off), SEEK_HOLE);
        for (uint64_t end = hole < 0 ? b->size : MIN(align_up((uint64_t)hole - at, PAGE), b->size); off < end;) {
            ssize_t r = pread(fd, b->host + off, end - off, (off_t)(at + off));

            if (r <= 0 && errno != EINTR)
                return false;
            off += r > 0 ? (uint64_t)r : 0;
        }
    }
    return true;
}

static void load_block(RamBlock *b, void *arg)
{
    Fit *c = arg;
    const Place *p = place_of(c->f, b);

    if (!ram_map(b, c->f->fd, p->at) && !fill(b, c->f->fd, p->at))
        c->ok = false;
    ram_mark_dirty(b, 0, b->size);
}

bool statefile_load(StateFile *f, Vm *vm, Error **err)
{
    Fit c = { f, err, 0, true };
    StateLoad *l = memories_fit(f, vm, err) ? vm_load_check(vm, f->devices, f->devices_len, err) : NULL;

    if (!l)
        return false;
    vm_foreach_ram(vm, load_block, &c);
    vm_load_commit(l);
    vm_load_free(l);
    return c.ok || fail(err, "the state's memory cannot be read");
}
