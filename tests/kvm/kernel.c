/* tests/kvm/kernel.c - see kernel.h. State is kept as the bytes it came in, under the number of the GET request. */
#include "tests/kvm/kernel.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

Fake fake;
enum { FIRST_FD = 5000, FDS = 64, KHZ = 2000000, PAGE_SIZE = 4096, RUN_SIZE = 3 * PAGE_SIZE };
static struct {
    bool open;
    unsigned cpu;        /* of a CPU: number */
    GHashTable *state;   /* GET request (and chip) -> GByteArray */
} fds[FDS];
static GArray *slots; /* of kvm_userspace_memory_region */
static GHashTable *msrs;
static GMutex lock;

static const unsigned long requests[] = {
#define C(r) r,
#include "accel/kvm/calls.def"
#undef C
};

unsigned fake_calls(unsigned long request)
{
    unsigned n = 0;

    g_mutex_lock(&lock); /* the answers so far are then to be seen as well */
    for (size_t i = 0; i < G_N_ELEMENTS(requests); i++)
        if (requests[i] == request)
            n = fake.calls[i];
    g_mutex_unlock(&lock);
    return n;
}

static int new_fd(unsigned cpu)
{
    for (int i = 0; i < FDS; i++)
        if (!fds[i].open) {
            fds[i].open = true;
            fds[i].cpu = cpu;
            fds[i].state = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, (GDestroyNotify)(void (*)(void))g_byte_array_unref);
            fake.fds++;
            return FIRST_FD + i;
        }
    return -EMFILE;
}

static int fake_open(void) { return fake.open_errno ? -fake.open_errno : new_fd(0); }

static void fake_close(int fd)
{
    g_assert(fd >= FIRST_FD && fd < FIRST_FD + FDS && fds[fd - FIRST_FD].open);
    g_hash_table_destroy(fds[fd - FIRST_FD].state);
    fds[fd - FIRST_FD].open = false;
    fake.fds--;
}

static void *fake_map(int fd, size_t len)
{
    struct kvm_run *r = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    g_assert(r != MAP_FAILED);
    fake.run[fds[fd - FIRST_FD].cpu] = r;
    fake.maps++;
    return r;
}

static void fake_unmap(void *p, size_t len)
{
    munmap(p, len);
    fake.maps--;
}

/* ---- what is kept ---- */
static const struct {
    unsigned long set, get;
    size_t size;
} pairs[] = {
    { KVM_SET_REGS, KVM_GET_REGS, sizeof(struct kvm_regs) }, { KVM_SET_SREGS, KVM_GET_SREGS, sizeof(struct kvm_sregs) },
    { KVM_SET_SREGS2, KVM_GET_SREGS2, sizeof(struct kvm_sregs2) }, { KVM_SET_XSAVE, KVM_GET_XSAVE, PAGE_SIZE },
    { 0, KVM_GET_XSAVE2, PAGE_SIZE }, { KVM_SET_XCRS, KVM_GET_XCRS, sizeof(struct kvm_xcrs) },
    { KVM_SET_DEBUGREGS, KVM_GET_DEBUGREGS, sizeof(struct kvm_debugregs) },
    { KVM_SET_VCPU_EVENTS, KVM_GET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events) },
    { KVM_SET_MP_STATE, KVM_GET_MP_STATE, sizeof(struct kvm_mp_state) }, { KVM_SET_LAPIC, KVM_GET_LAPIC, sizeof(struct kvm_lapic_state) },
    { KVM_SET_PIT2, KVM_GET_PIT2, sizeof(struct kvm_pit_state2) }, { KVM_SET_CLOCK, KVM_GET_CLOCK, sizeof(struct kvm_clock_data) },
    { KVM_SET_IRQCHIP, KVM_GET_IRQCHIP, sizeof(struct kvm_irqchip) }, { KVM_SET_NESTED_STATE, KVM_GET_NESTED_STATE, PAGE_SIZE },
};

static bool keep(int fd, unsigned long request, void *arg, long *ret)
{
    GHashTable *state = fds[fd - FIRST_FD].state;

    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        gint64 key = (gint64)pairs[i].get;
        size_t n = pairs[i].size;
        GByteArray *b;

        if (request != pairs[i].set && request != pairs[i].get)
            continue;
        if (key == (gint64)KVM_GET_IRQCHIP)
            key += (gint64)((struct kvm_irqchip *)arg)->chip_id << 40;
        if (key == (gint64)KVM_GET_NESTED_STATE)
            n = ((struct kvm_nested_state *)arg)->size;
        b = g_hash_table_lookup(state, &key);
        *ret = 0;
        if (request == pairs[i].get) {
            if (key == (gint64)KVM_GET_NESTED_STATE && !b) {
                memset(arg, 0, sizeof(struct kvm_nested_state));
                ((struct kvm_nested_state *)arg)->size = sizeof(struct kvm_nested_state);
            } else if (b) {
                memcpy(arg, b->data, MIN(b->len, n));
            }
            return true;
        }
        b = g_byte_array_append(g_byte_array_new(), arg, (guint)n);
        g_hash_table_replace(state, g_memdup2(&key, sizeof(key)), b);
        return true;
    }
    return false;
}

static long msr_call(unsigned long request, struct kvm_msrs *m)
{
    for (uint32_t i = 0; i < m->nmsrs; i++) {
        gpointer key = GUINT_TO_POINTER(m->entries[i].index), v;

        if (request == KVM_SET_MSRS)
            g_hash_table_insert(msrs, key, (gpointer)(uintptr_t)m->entries[i].data);
        else
            m->entries[i].data = g_hash_table_lookup_extended(msrs, key, NULL, &v) ? (uintptr_t)v : 0;
    }
    return m->nmsrs;
}

/* ---- memory ---- */
static long set_slot(const struct kvm_userspace_memory_region *r)
{
    if (!r->memory_size && __atomic_load_n(&fake.running, __ATOMIC_SEQ_CST))
        fake.torn++;
    for (guint i = 0; i < slots->len; i++) {
        struct kvm_userspace_memory_region *o = &g_array_index(slots, struct kvm_userspace_memory_region, i);

        if (o->slot == r->slot) {
            g_array_remove_index_fast(slots, i--);
            *(r->slot >> 16 ? &fake.nslots_smm : &fake.nslots) -= 1;
        } else if (o->slot >> 16 == r->slot >> 16 && r->memory_size && r->guest_phys_addr < o->guest_phys_addr + o->memory_size &&
                   o->guest_phys_addr < r->guest_phys_addr + r->memory_size) {
            return -EEXIST;
        }
    }
    if (!r->memory_size)
        return 0;
    g_array_append_val(slots, *r);
    *(r->slot >> 16 ? &fake.nslots_smm : &fake.nslots) += 1;
    return 0;
}

static long dirty_log(struct kvm_dirty_log *d)
{
    for (guint i = 0; i < slots->len; i++) {
        const struct kvm_userspace_memory_region *r = &g_array_index(slots, struct kvm_userspace_memory_region, i);

        if (r->slot == d->slot && in_range(fake.dirty_at, 1, r->guest_phys_addr + r->memory_size) && fake.dirty_at >= r->guest_phys_addr) {
            uint64_t page = (fake.dirty_at - r->guest_phys_addr) / PAGE_SIZE;

            ((uint64_t *)d->dirty_bitmap)[page / 64] |= 1ull << (page % 64);
        }
    }
    return 0;
}

/* ---- running ---- */
static long run(int fd)
{
    unsigned cpu = fds[fd - FIRST_FD].cpu;
    struct kvm_run *r = fake.run[cpu];
    unsigned n;

    while (!__atomic_load_n(&r->immediate_exit, __ATOMIC_SEQ_CST)) {
        n = cpu ? fake.nscript : __atomic_load_n(&fake.next, __ATOMIC_SEQ_CST);
        if (n >= fake.nscript) {
            g_usleep(100);
            continue;
        }
        r->exit_reason = fake.script[n].reason;
        r->if_flag = r->ready_for_interrupt_injection = 1;
        if (fake.script[n].fill)
            fake.script[n].fill(r);
        __atomic_store_n(&fake.next, n + 1, __ATOMIC_SEQ_CST);
        return 0;
    }
    r->exit_reason = KVM_EXIT_INTR;
    return -EINTR;
}

/* ---- the rest ---- */
static long cap(uint32_t n)
{
    static const struct {
        uint32_t cap;
        int v;
    } special[] = { { KVM_CAP_COALESCED_MMIO, 2 }, { KVM_CAP_MULTI_ADDRESS_SPACE, 2 }, { KVM_CAP_XSAVE2, PAGE_SIZE },
                    { KVM_CAP_NESTED_STATE, PAGE_SIZE }, { KVM_CAP_VCPU_ATTRIBUTES, 0 } };

    if (n + 1 == fake.no_cap)
        return 0;
    if (n == KVM_CAP_NR_MEMSLOTS)
        return fake.memslots ? fake.memslots : 64;
    for (size_t i = 0; i < G_N_ELEMENTS(special); i++)
        if (special[i].cap == n)
            return special[i].v;
    return 1;
}

static void supported_cpuid(struct kvm_cpuid2 *c)
{
    static const struct kvm_cpuid_entry2 rows[] = {
        { .function = 0, .eax = 0xd, .ebx = 0x68747541, .edx = 0x69746e65, .ecx = 0x444d4163 },
        { .function = 1, .eax = 0xa00f10, .ecx = ~0u, .edx = ~0u }, { .function = 6, .eax = 4 },
        { .function = 7, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX },
        { .function = 0xd, .flags = 1, .eax = 7, .ebx = 0x340, .ecx = 0x340 }, { .function = 0xd, .index = 1, .flags = 1 },
        { .function = 0xd, .index = 2, .flags = 1, .eax = 256, .ebx = 576 },
        { .function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b, .ecx = 0x564b4d56, .edx = 0x4d }, { .function = 0x40000001 },
        { .function = 0x80000000, .eax = 0x80000008 }, { .function = 0x80000001, .ecx = ~0u, .edx = ~0u },
        { .function = 0x80000008, .eax = 0x3028 },
    };

    c->nent = G_N_ELEMENTS(rows);
    memcpy(c->entries, rows, sizeof(rows));
}

static long msr_list(struct kvm_msr_list *l)
{
    uint32_t n = 0, room = l->nmsrs;

    for (size_t i = 0; i < target_x86.nregs; i++)
        if (target_x86.regs[i].kvm != -1) {
            if (n < room)
                l->indices[n] = (uint32_t)target_x86.regs[i].kvm;
            n++;
        }
    l->nmsrs = n;
    return n > room ? -E2BIG : 0;
}

static long answer(int fd, unsigned long request, void *arg)
{
    long r;

    switch (request) {
    case KVM_GET_API_VERSION: return KVM_API_VERSION;
    case KVM_CHECK_EXTENSION: return cap((uint32_t)(uintptr_t)arg);
    case KVM_CREATE_VM: return new_fd(0);
    case KVM_CREATE_VCPU: return new_fd((unsigned)(uintptr_t)arg);
    case KVM_GET_VCPU_MMAP_SIZE: return RUN_SIZE;
    case KVM_GET_TSC_KHZ: return KHZ;
    case KVM_GET_SUPPORTED_CPUID: supported_cpuid(arg); return 0;
    case KVM_GET_MSR_INDEX_LIST: return msr_list(arg);
    case KVM_SET_USER_MEMORY_REGION: return set_slot(arg);
    case KVM_GET_DIRTY_LOG: return dirty_log(arg);
    case KVM_GET_MSRS:
    case KVM_SET_MSRS: return msr_call(request, arg);
    case KVM_INTERRUPT: fake.interrupt = *(struct kvm_interrupt *)arg; return 0;
    case KVM_SIGNAL_MSI: fake.msi = *(struct kvm_msi *)arg; return 1;
    default: return keep(fd, request, arg, &r) ? r : 0;
    }
}

static long fake_call(int fd, unsigned long request, void *arg)
{
    long r = 0;
    bool in_run = request == KVM_RUN;

    g_assert(fd >= FIRST_FD && fd < FIRST_FD + FDS && fds[fd - FIRST_FD].open);
    g_mutex_lock(&lock);
    for (size_t i = 0; i < G_N_ELEMENTS(requests); i++)
        if (requests[i] == request)
            fake.calls[i]++;
    if (request == fake.fail_call && (!fake.failed || fake.fail_for_ever) && !(fake.fail_skip && fake.fail_skip--)) {
        fake.failed++;
        r = -fake.fail_errno;
    }
    if (in_run && !r)
        __atomic_fetch_add(&fake.running, 1, __ATOMIC_SEQ_CST);
    if (!r && !in_run)
        r = answer(fd, request, arg);
    g_mutex_unlock(&lock);
    if (in_run && !r) {
        r = run(fd);
        __atomic_fetch_sub(&fake.running, 1, __ATOMIC_SEQ_CST);
    }
    return r;
}

static const KvmKernel kernel = { fake_open, fake_call, fake_map, fake_unmap, fake_close };

void fake_install(void)
{
    slots = g_array_new(FALSE, FALSE, sizeof(struct kvm_userspace_memory_region));
    msrs = g_hash_table_new(NULL, NULL);
    kvm_use_kernel(&kernel);
}
