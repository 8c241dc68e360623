/*
 * accel/kvm/mem.c - guest memory as KVM sees it: a slot per range of RAM, ROM or romd of the flat view; everything else
 * ends in an exit. Dirty logs, eventfds and collected writes hang on the same listener.
 * Invariants: slots change only under the VM lock; a slot leaves only while no CPU is in KVM_RUN (the gate), so that
 * for guests a commit is one step; what KVM logged is in the RamBlock's bitmaps before its slot goes.
 * Parts of a range that are no whole pages are left to exits: KVM maps pages.
 */
#include "accel/kvm/kvm.h"
#include <errno.h>

enum { SLOTS = 4096 };

static KvmSlot *slot(KvmVm *v, guint i) { return &g_array_index(v->slots, KvmSlot, i); }

static int slot_id(KvmVm *v, unsigned space)
{
    unsigned max = v->caps.nr_memslots > 0 ? MIN((unsigned)v->caps.nr_memslots, SLOTS) : 32;

    for (unsigned i = 0; i < max; i++)
        if (!(v->ids[space][i / 64] >> (i % 64) & 1)) {
            v->ids[space][i / 64] |= 1ull << (i % 64);
            return (int)i;
        }
    return -1;
}

static void slot_id_free(KvmVm *v, uint32_t id) { v->ids[id >> 16][(id & 0xffff) / 64] &= ~(1ull << (id % 64)); }

static bool slot_tell(KvmVm *v, const KvmSlot *s, uint64_t size)
{
    struct kvm_userspace_memory_region r = {
        .slot = s->id, .flags = s->flags, .guest_phys_addr = s->at, .memory_size = size,
        .userspace_addr = (uint64_t)(uintptr_t)(s->ram->host + s->ram_off),
    };
    long e = kvm_call(v->fd, KVM_SET_USER_MEMORY_REGION, &r);

    if (e < 0)
        kvm_break(v, "KVM_SET_USER_MEMORY_REGION: KVM refuses %#" PRIx64 " bytes of %s at %#" PRIx64 ": %s", size, s->ram->id, s->at,
                  g_strerror((int)-e));
    return e >= 0;
}

/* ---- the gate: see kvm.c, which passes it ---- */
static bool somebody_inside(KvmVm *v)
{
    bool any = false;

    for (unsigned i = 0; i < v->vm->ncpus; i++) {
        KvmCpu *k = kvm_cpu_of(v->vm->cpus[i]);

        if (k && __atomic_load_n(&k->inside, __ATOMIC_SEQ_CST)) {
            kvm_kick(k->cpu);
            any = true;
        }
    }
    return any;
}

static void gate_close(KvmVm *v)
{
    if (v->closed)
        return;
    __atomic_store_n(&v->closed, 1, __ATOMIC_SEQ_CST);
    g_mutex_lock(&v->gate);
    while (somebody_inside(v)) /* ends: whoever was kicked leaves and waits at the gate */
        g_cond_wait_until(&v->left, &v->gate, g_get_monotonic_time() + 1000);
    g_mutex_unlock(&v->gate);
}

static void gate_open(KvmVm *v)
{
    if (!v->closed)
        return;
    g_mutex_lock(&v->gate);
    __atomic_store_n(&v->closed, 0, __ATOMIC_SEQ_CST);
    g_cond_broadcast(&v->opened);
    g_mutex_unlock(&v->gate);
}

/* ---- slots ---- */
static bool mapped(const FlatRange *f)
{
    return f->region->kind == REGION_RAM || f->region->kind == REGION_ROM || f->romd;
}

static bool logging(const RamBlock *b) { return b->logging[DIRTY_DISPLAY] || b->logging[DIRTY_MIGRATE]; }

static void add(void *self, const FlatRange *f)
{
    KvmSpace *sp = self;
    KvmVm *v = sp->v;
    uint64_t lo = align_up(f->at, 4096), hi = align_down(f->at + f->len, 4096), off;
    KvmSlot s = { 0 };
    int id;

    if (!mapped(f) || lo < f->at || lo >= hi)
        return;
    off = f->region->ram_off + f->offset + (lo - f->at);
    if (off & 4095)
        return; /* no page of the guest is a page of the host */
    id = slot_id(v, sp->number);
    if (id < 0) {
        kvm_break(v, "this KVM has %d memory slots and the machine needs more", v->caps.nr_memslots);
        return;
    }
    s = (KvmSlot){ .ram = f->region->ram, .ram_off = off, .at = lo, .size = hi - lo, .id = (uint32_t)id | sp->number << 16 };
    s.flags = (f->readonly || f->region->kind != REGION_RAM ? KVM_MEM_READONLY : 0) |
              (logging(s.ram) ? KVM_MEM_LOG_DIRTY_PAGES : 0);
    if (slot_tell(v, &s, s.size))
        g_array_append_val(v->slots, s);
    else
        slot_id_free(v, s.id);
}

static void sync_slot(KvmVm *v, const KvmSlot *s)
{
    uint64_t pages = s->size / 4096;
    g_autofree uint64_t *bits = NULL;
    struct kvm_dirty_log log = { .slot = s->id };
    long e;

    if (!(s->flags & KVM_MEM_LOG_DIRTY_PAGES))
        return;
    bits = g_new0(uint64_t, (pages + 63) / 64);
    log.dirty_bitmap = bits;
    e = kvm_call(v->fd, KVM_GET_DIRTY_LOG, &log);
    if (e < 0) { /* nothing may be missed: all of it is dirty */
        warn_report("KVM_GET_DIRTY_LOG: %s: all of %s counts as written", g_strerror((int)-e), s->ram->id);
        ram_mark_dirty(s->ram, s->ram_off, s->size);
        return;
    }
    for (uint64_t p = 0; p < pages;) {
        uint64_t from = p;

        if (!bits[p / 64]) {
            p = (p / 64 + 1) * 64;
            continue;
        }
        while (p < pages && bits[p / 64] >> (p % 64) & 1)
            p++;
        if (p > from)
            ram_mark_dirty(s->ram, s->ram_off + from * 4096, (p - from) * 4096);
        else
            p++;
    }
}

static void del(void *self, const FlatRange *f)
{
    KvmSpace *sp = self;
    KvmVm *v = sp->v;
    uint64_t lo = align_up(f->at, 4096);

    if (!mapped(f))
        return;
    for (guint i = 0; i < v->slots->len; i++) {
        KvmSlot s = *slot(v, i);

        if (s.id >> 16 != sp->number || s.at != lo)
            continue;
        gate_close(v);
        sync_slot(v, &s);
        slot_tell(v, &s, 0);
        slot_id_free(v, s.id);
        g_array_remove_index_fast(v->slots, i);
        return;
    }
}

static void commit(void *self) { gate_open(((KvmSpace *)self)->v); }

/* ---- dirty log ---- */
static void set_log(KvmVm *v, RamBlock *b, bool on)
{
    for (guint i = 0; i < v->slots->len; i++) {
        KvmSlot *s = slot(v, i);

        if (s->ram != b || s->flags & KVM_MEM_READONLY)
            continue;
        if (!on)
            sync_slot(v, s);
        s->flags = on ? s->flags | KVM_MEM_LOG_DIRTY_PAGES : s->flags & ~(uint32_t)KVM_MEM_LOG_DIRTY_PAGES;
        slot_tell(v, s, s->size);
    }
}

static void log_start(void *self, RamBlock *b) { set_log(((KvmSpace *)self)->v, b, true); }
static void log_stop(void *self, RamBlock *b) { set_log(((KvmSpace *)self)->v, b, false); }

/* KVM_GET_DIRTY_LOG also protects the pages again, so that log_clear has nothing to do. */
static void log_sync(void *self, RamBlock *b)
{
    KvmVm *v = ((KvmSpace *)self)->v;

    kvm_drain(v);
    for (guint i = 0; i < v->slots->len; i++)
        if (slot(v, i)->ram == b)
            sync_slot(v, slot(v, i));
}

/* ---- eventfds: without them the exit comes and core writes the fd ---- */
static void eventfd(KvmSpace *sp, uint64_t at, unsigned size, bool match, uint64_t val, int fd, bool on)
{
    struct kvm_ioeventfd e = {
        .datamatch = val, .addr = at, .len = size, .fd = fd,
        .flags = (sp->ports ? KVM_IOEVENTFD_FLAG_PIO : 0u) | (match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0u) |
                 (on ? 0u : KVM_IOEVENTFD_FLAG_DEASSIGN),
    };

    if (sp->v->caps.ioeventfd > 0)
        kvm_call(sp->v->fd, KVM_IOEVENTFD, &e);
}

static void eventfd_add(void *self, const FlatRange *f, uint64_t at, unsigned size, bool match, uint64_t val, int fd)
{
    eventfd(self, at, size, match, val, fd, true);
}

static void eventfd_del(void *self, const FlatRange *f, uint64_t at, unsigned size, bool match, uint64_t val, int fd)
{
    eventfd(self, at, size, match, val, fd, false);
}

/* ---- collected writes ---- */
static void coalesce(KvmSpace *sp, const FlatRange *f, bool on)
{
    for (uint64_t at = f->at, end = f->at + f->len; at < end;) { /* bound: 4 GiB pieces of one range */
        struct kvm_coalesced_mmio_zone z = { .addr = at, .size = (uint32_t)MIN(end - at, 1u << 31) };

        kvm_call(sp->v->fd, on ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &z);
        at += z.size;
    }
}

static void coalesced_add(void *self, const FlatRange *f)
{
    KvmSpace *sp = self;

    if (sp->v->caps.coalesced_mmio > 0)
        coalesce(sp, f, true);
}

static void coalesced_del(void *self, const FlatRange *f)
{
    KvmSpace *sp = self;

    if (sp->v->caps.coalesced_mmio <= 0)
        return;
    kvm_drain(sp->v);
    coalesce(sp, f, false);
}

void kvm_drain(KvmVm *v)
{
    struct kvm_coalesced_mmio_ring *r = __atomic_load_n(&v->ring, __ATOMIC_ACQUIRE);
    enum { MAX = (4096 - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio) };

    if (!r || __atomic_load_n(&r->first, __ATOMIC_ACQUIRE) == __atomic_load_n(&r->last, __ATOMIC_ACQUIRE))
        return;
    lock_take(&v->vm->lock);
    for (unsigned i = 0; i < MAX && r->first != __atomic_load_n(&r->last, __ATOMIC_ACQUIRE); i++) {
        struct kvm_coalesced_mmio m = r->coalesced_mmio[r->first % MAX];

        as_write(m.pio ? v->vm->ports : v->vm->mem, m.phys_addr, m.data, MIN(m.len, sizeof(m.data)), MEM_CPU);
        __atomic_store_n(&r->first, (r->first + 1) % MAX, __ATOMIC_RELEASE);
    }
    lock_drop(&v->vm->lock);
}

/* ---- life ---- */
static void space_init(KvmVm *v, unsigned i, AddrSpace *as, unsigned number)
{
    KvmSpace *sp = &v->space[i];

    *sp = (KvmSpace){ .v = v, .as = as, .number = number, .ports = as == v->vm->ports };
    sp->listen = (MemListener){ .commit = commit, .self = sp };
    if (!sp->ports) {
        sp->listen.add = add;
        sp->listen.del = del;
    }
    if (!number) { /* KVM looks at addresses only: SMM's view would say the same twice */
        sp->listen.eventfd_add = eventfd_add;
        sp->listen.eventfd_del = eventfd_del;
    }
    if (i == 0) { /* slots of both memories are in one list: one of them tells about logs */
        sp->listen.coalesced_add = coalesced_add;
        sp->listen.coalesced_del = coalesced_del;
        sp->listen.log_start = log_start;
        sp->listen.log_stop = log_stop;
        sp->listen.log_sync = log_sync;
    }
    as_listen(as, &sp->listen);
}

bool kvm_mem_init(KvmVm *v, Error **err)
{
    v->slots = g_array_new(FALSE, FALSE, sizeof(KvmSlot));
    space_init(v, 0, v->vm->mem, 0);
    if (v->caps.smm > 0 && v->caps.address_spaces > 1)
        space_init(v, 1, v->vm->smm, 1);
    space_init(v, 2, v->vm->ports, 0);
    return !v->broken || fail(err, "%s", v->broken);
}

void kvm_mem_exit(KvmVm *v)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(v->space); i++) {
        KvmSpace *sp = &v->space[i];

        if (!sp->as)
            continue;
        sp->listen = (MemListener){ 0 }; /* the regions may be gone already; the slots end with the VM's fd */
        as_unlisten(sp->as, &sp->listen);
    }
    if (v->slots)
        g_array_free(v->slots, TRUE);
}
