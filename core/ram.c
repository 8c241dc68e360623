/*
 * core/ram.c - RAM blocks: host memory behind guest memory, and its dirty bits.
 * Invariant: a clear bit means "nobody may write this page without saying so": display and migration
 * clear it to be told of writes; code tracking clears it while the page holds translated code.
 */
#include "core/priv.h"
#include "core/state.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, BITS = 64 };

static size_t bitmap_words(uint64_t size) { return (size_t)((size / PAGE + BITS) / BITS); }

static void bitmaps_new(RamBlock *b)
{
    size_t n = bitmap_words(b->max_size);

    for (int c = 0; c < DIRTY_CLIENTS; c++) {
        b->dirty[c] = g_new(unsigned long, n);
        memset(b->dirty[c], 0xff, n * sizeof(unsigned long));
    }
}

static void ram_destroy(void *p)
{
    RamBlock *b = p;

    munmap(b->host, b->max_size);
    if (b->fd >= 0)
        close(b->fd);
    if (b->source >= 0)
        close(b->source);
    for (int c = 0; c < DIRTY_CLIENTS; c++)
        g_free(b->dirty[c]);
    g_free(b->id);
    g_free(b);
}

static void ram_release(void *p)
{
    RamBlock *b = p;

    g_ptr_array_remove(b->owner->vm->priv->rams, b);
    rcu_retire(b, ram_destroy);
}

RamBlock *ram_new_fd(Obj *owner, const char *id, uint64_t size, int fd, uint64_t off, bool shared, Error **err)
{
    RamBlock *b;
    VmPriv *priv = owner->vm->priv;
    void *host;

    size = align_up(size, PAGE);
    host = mmap(NULL, size, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE, fd, (off_t)off);
    if (host == MAP_FAILED) {
        fail_errno(err, "cannot map %" PRIu64 " MiB of guest memory for %s", size / MiB, id);
        error_hint(err, "give the guest less memory (-m) or free some on the host");
        return NULL;
    }
    b = g_new0(RamBlock, 1);
    *b = (RamBlock){ .owner = owner, .id = g_strdup(id), .fd = fd, .fd_offset = off, .size = size, .max_size = size,
                     .page_size = PAGE, .shared = shared, .source = -1, .host = host, .ram_addr = priv->ram_next };
    priv->ram_next += align_up(size, 2 * MiB);
    bitmaps_new(b);
    g_ptr_array_add(priv->rams, b);
    return own(owner, b, ram_release);
}

RamBlock *ram_new(Obj *owner, const char *id, uint64_t size, Error **err)
{
    int fd = memfd_create(id, MFD_CLOEXEC);
    RamBlock *b;

    size = align_up(MAX(size, 1), PAGE);
    if (fd < 0 || ftruncate(fd, (off_t)size)) {
        fail_errno(err, "cannot make a memory file of %" PRIu64 " MiB for %s", size / MiB, id);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    b = ram_new_fd(owner, id, size, fd, 0, true, err);
    if (b)
        b->own_memfd = true;
    else
        close(fd);
    return b;
}

/* How many pages from `host` on, at most n, have no private copy, by the kernel's page map: bit 63 present, 62 in swap,
 * 61 of a file. */
static uint64_t untouched(const uint8_t *host, uint64_t n)
{
    static const int present = 63, swapped = 62, file = 61;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t e[512], done = 0;

    while (fd >= 0 && done < n) {
        size_t want = MIN(n - done, G_N_ELEMENTS(e));

        if (pread(fd, e, want * 8, (off_t)(((uintptr_t)host / PAGE + done) * 8)) != (ssize_t)(want * 8))
            break;
        for (size_t i = 0; i < want; i++, done++)
            if (e[i] >> swapped & 1 || (e[i] >> present & 1 && !(e[i] >> file & 1))) {
                close(fd);
                return done;
            }
    }
    if (fd >= 0)
        close(fd);
    return done;
}

bool ram_map(RamBlock *b, int fd, uint64_t off)
{
    int mine = b->own_memfd || b->source >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;

    if (mine < 0)
        return false;
    if (mmap(b->host, b->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, mine, (off_t)off) == MAP_FAILED) {
        close(mine);
        return false;
    }
    if (b->fd >= 0) /* past b->size up to max_size it stays mapped */
        close(b->fd);
    if (b->source >= 0)
        close(b->source);
    b->fd = -1;
    b->shared = b->own_memfd = false;
    b->source = mine;
    b->source_offset = off;
    return true;
}

/* Holes of the memory file; holes of the source where no page of ours was put over them. */
uint64_t ram_skip_zero(const RamBlock *b, uint64_t off)
{
    bool lazy = b->source >= 0;
    uint64_t base = lazy ? b->source_offset : b->fd_offset, end;
    off_t next;

    if (!lazy && (b->fd < 0 || !b->shared))
        return off;
    next = lseek(lazy ? b->source : b->fd, (off_t)(base + off), SEEK_DATA);
    if (next < 0 && errno != ENXIO)
        return off;
    end = next < 0 ? b->size : MIN(align_down((uint64_t)next - base, PAGE), b->size);
    return lazy ? untouched(b->host + off, (end - off) / PAGE) * PAGE + off : end;
}

bool ram_resize(RamBlock *b, uint64_t size, Error **err)
{
    size = align_up(size, PAGE);
    if (size > b->max_size)
        return fail(err, "memory %s cannot grow to %" PRIu64 " bytes: its maximum is %" PRIu64, b->id, size, b->max_size);
    b->size = size;
    return true;
}

void vm_foreach_ram(Vm *vm, void (*fn)(RamBlock *b, void *arg), void *arg)
{
    for (guint i = 0; i < vm->priv->rams->len; i++)
        fn(vm->priv->rams->pdata[i], arg);
}

char *ram_stream_id(const RamBlock *b)
{
    g_autofree char *key = core__is_dev(b->owner->cls) ? dev_state_key((const Dev *)b->owner) : NULL;

    return key ? g_strconcat(key, "/", b->id, NULL) : g_strdup(b->id);
}

static bool bit(const RamBlock *b, DirtyClient c, uint64_t page)
{
    return __atomic_load_n(&b->dirty[c][page / BITS], __ATOMIC_RELAXED) >> (page % BITS) & 1;
}

static void tell_code(RamBlock *b, uint64_t off, uint64_t len)
{
    VmPriv *priv = b->owner->vm->priv;

    for (guint s = 0; s < priv->spaces->len; s++) {
        AddrSpace *as = priv->spaces->pdata[s];

        for (guint i = 0; i < as->listeners->len; i++) {
            const MemListener *l = as->listeners->pdata[i];

            if (l->code_written)
                l->code_written(l->self, b, off, len);
        }
    }
}

void ram_mark_dirty(RamBlock *b, uint64_t off, uint64_t len)
{
    bool code = false;

    if (!len || !in_range(off, len, b->max_size))
        return;
    /* What was written is there before the bits are looked at. Who clears one looks at memory after that. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint64_t page = off / PAGE; page <= (off + len - 1) / PAGE; page++) {
        unsigned long m = 1ul << (page % BITS);

        for (int c = 0; c < DIRTY_CODE; c++)
            if (!bit(b, c, page))
                __atomic_fetch_or(&b->dirty[c][page / BITS], m, __ATOMIC_RELAXED);
        code |= !bit(b, DIRTY_CODE, page);
    }
    if (code)
        tell_code(b, off, len);
}

/* Each listener once, though it may listen on several spaces. */
void ram_discard(RamBlock *b, uint64_t off, uint64_t len)
{
    if (!in_range(off, len, b->size) || b->readonly)
        return;
    if (b->source >= 0) { /* without the page it would be the source's again */
        memset(b->host + off, 0, len);
        return;
    }
    if (b->fd >= 0 && fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(b->fd_offset + off), (off_t)len) && b->shared)
        memset(b->host + off, 0, len); /* a file that cannot have holes */
    if (b->fd < 0 || !b->shared)
        madvise(b->host + off, len, MADV_DONTNEED);
}

static void each_listener(RamBlock *b, void (*fn)(const MemListener *l, RamBlock *b, uint64_t off, uint64_t len),
                          uint64_t off, uint64_t len)
{
    VmPriv *priv = b->owner->vm->priv;
    GHashTable *seen = g_hash_table_new(NULL, NULL);

    for (guint s = 0; s < priv->spaces->len; s++) {
        AddrSpace *as = priv->spaces->pdata[s];

        for (guint i = 0; i < as->listeners->len; i++)
            if (g_hash_table_add(seen, as->listeners->pdata[i]))
                fn(as->listeners->pdata[i], b, off, len);
    }
    g_hash_table_destroy(seen);
}

static void do_start(const MemListener *l, RamBlock *b, uint64_t off, uint64_t len)
{
    if (l->log_start)
        l->log_start(l->self, b);
}

static void do_stop(const MemListener *l, RamBlock *b, uint64_t off, uint64_t len)
{
    if (l->log_stop)
        l->log_stop(l->self, b);
}

static void do_sync(const MemListener *l, RamBlock *b, uint64_t off, uint64_t len)
{
    if (l->log_sync)
        l->log_sync(l->self, b);
}

static void do_clear(const MemListener *l, RamBlock *b, uint64_t off, uint64_t len)
{
    if (l->log_clear)
        l->log_clear(l->self, b, off, len);
}

void ram_log(RamBlock *b, DirtyClient c, bool on)
{
    bool before = b->logging[DIRTY_DISPLAY] || b->logging[DIRTY_MIGRATE], now;

    b->logging[c] = on;
    if (!on) /* nobody watches: all pages writable again */
        for (size_t i = 0; i < bitmap_words(b->max_size); i++)
            __atomic_store_n(&b->dirty[c][i], ~0ul, __ATOMIC_RELAXED);
    now = b->logging[DIRTY_DISPLAY] || b->logging[DIRTY_MIGRATE];
    if (before != now)
        each_listener(b, now ? do_start : do_stop, 0, b->size);
}

void ram_log_sync(Vm *vm, RamBlock *b) { each_listener(b, do_sync, 0, b->size); }

bool ram_take_dirty(Vm *vm, RamBlock *b, DirtyClient c, uint64_t off, uint64_t len, unsigned long *out)
{
    bool any = false;

    if (!len || !in_range(off, len, b->max_size))
        return false;
    for (uint64_t page = off / PAGE, first = page; page <= (off + len - 1) / PAGE; page++) {
        unsigned long m = 1ul << (page % BITS), *w = &b->dirty[c][page / BITS];
        bool was = __atomic_load_n(w, __ATOMIC_RELAXED) & m && __atomic_fetch_and(w, ~m, __ATOMIC_ACQ_REL) & m;

        any |= was;
        if (out && was)
            out[(page - first) / BITS] |= 1ul << ((page - first) % BITS);
    }
    if (any)
        each_listener(b, do_clear, off, len);
    return any;
}
