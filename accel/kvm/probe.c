/*
 * accel/kvm/probe.c - is KVM usable on this host, and is it worth it? Usable: the device opens and has what we need. Worth it:
 * a loop of kernel code in a VM of its own runs about as fast as the processor; a nested KVM that emulates such code
 * is slower than the software CPU. That is measured once per boot of the host and kept in the user's cache.
 */
#include "accel/kvm/kvm.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FAST_MIPS = 200, SHORT = 1000, LONG = 200000 };

/* ---- usable ---- */
static bool cpu_has_virtualisation(void)
{
    g_autofree char *text = NULL;

    return g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL) && (strstr(text, " vmx") || strstr(text, " svm"));
}

static bool explain_open(int e, Error **err)
{
    const char *user = g_get_user_name();

    switch (e) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        if (!cpu_has_virtualisation()) {
            fail(err, "there is no KVM here: the processor shows neither VT-x nor AMD-V");
            return error_hint(err, "turn on virtualisation (VT-x, SVM mode) in the firmware's set-up; in a virtual machine, nested "
                                   "virtualisation on its host");
        }
        fail(err, "there is no /dev/kvm: the kernel's module is not loaded");
        return error_hint(err, "sudo modprobe kvm_intel (or kvm_amd); in a container, pass --device /dev/kvm");
    case EACCES:
    case EPERM:
        fail(err, "no permission to open /dev/kvm");
        return error_hint(err, "sudo usermod -aG kvm %s, then log in again", user);
    default: return fail_errno_is(err, e, "cannot open /dev/kvm");
    }
}

static const struct {
    uint32_t cap;
    size_t at;
    const char *name, *why;
} caps_table[] = {
#define K(field, cap, why) { cap, offsetof(KvmCaps, field), #cap, why },
#include "accel/kvm/caps.def"
#undef K
};

static bool read_caps(int fd, KvmCaps *caps, Error **err)
{
    long version = kvm_call(fd, KVM_GET_API_VERSION, NULL);

    if (version != KVM_API_VERSION)
        return fail(err, "KVM_GET_API_VERSION: this KVM speaks version %ld, not %d", version, KVM_API_VERSION);
    for (size_t i = 0; i < G_N_ELEMENTS(caps_table); i++) {
        long v = kvm_call(fd, KVM_CHECK_EXTENSION, kvm_value(caps_table[i].cap));

        if (v < 0)
            return fail_errno_is(err, (int)-v, "KVM refuses KVM_CHECK_EXTENSION");
        *(int *)(void *)((char *)caps + caps_table[i].at) = (int)v;
        if (v <= 0 && caps_table[i].why) {
            fail(err, "this kernel's KVM lacks %s, needed for %s", caps_table[i].name, caps_table[i].why);
            return error_hint(err, "a newer kernel has it; -accel tcg needs none");
        }
    }
    return true;
}

int kvm_open(KvmCaps *caps, Error **err)
{
    int fd = kvm_kernel()->open();

    if (fd < 0) {
        explain_open(-fd, err);
        return -1;
    }
    if (read_caps(fd, caps, err))
        return fd;
    kvm_kernel()->close(fd);
    return -1;
}

bool kvm_probe(Error **err)
{
    KvmCaps caps;
    int fd = kvm_open(&caps, err);

    if (fd >= 0)
        kvm_kernel()->close(fd);
    return fd >= 0;
}

/* ---- a VM of one page of code ---- */
typedef struct Trial {
    int sys, vm, cpu;
    size_t run_size;
    struct kvm_run *run;
    uint8_t *mem;
} Trial;
enum { MEM = 0x10000, CODE = 0x1000, PML4 = 0x2000, PDPT = 0x3000 };

static void trial_end(Trial *t)
{
    const KvmKernel *k = kvm_kernel();

    if (t->run)
        k->unmap(t->run, t->run_size);
    if (t->cpu >= 0)
        k->close(t->cpu);
    if (t->vm >= 0)
        k->close(t->vm);
    free(t->mem);
}

static bool trial_start(Trial *t, int sys, Error **err)
{
    long r;
    void *p;

    *t = (Trial){ .sys = sys, .vm = -1, .cpu = -1 };
    r = kvm_call(sys, KVM_CREATE_VM, kvm_value(0));
    if (r < 0) {
        fail_errno_is(err, (int)-r, "KVM_CREATE_VM: KVM makes no virtual machine");
        return r == -EBUSY ? error_hint(err, "another hypervisor (VirtualBox, VMware) holds the processor: stop it") : false;
    }
    t->vm = (int)r;
    r = kvm_call(t->vm, KVM_CREATE_VCPU, kvm_value(0));
    if (r < 0)
        return fail_errno_is(err, (int)-r, "KVM_CREATE_VCPU: KVM makes no CPU");
    t->cpu = (int)r;
    r = kvm_call(sys, KVM_GET_VCPU_MMAP_SIZE, NULL);
    if (r < (long)sizeof(struct kvm_run))
        return fail(err, "KVM_GET_VCPU_MMAP_SIZE: a CPU's run area of %ld bytes is too small", r);
    t->run_size = (size_t)r;
    p = kvm_kernel()->map(t->cpu, t->run_size);
    if (p == MAP_FAILED)
        return fail_errno(err, "cannot map a CPU's run area");
    t->run = p;
    return true;
}

uint64_t kvm_host_tsc_hz(int sys, Error **err)
{
    Trial t;
    long khz = -1;

    if (trial_start(&t, sys, err)) {
        khz = kvm_call(t.cpu, KVM_GET_TSC_KHZ, NULL);
        if (khz <= 0)
            fail(err, "KVM_GET_TSC_KHZ: KVM does not know the frequency of this host's time stamp counter");
    }
    trial_end(&t);
    return khz > 0 ? (uint64_t)khz * 1000 : 0;
}

/* mov ecx, n; 1: dec ecx; jnz 1b; hlt */
static bool load_loop(Trial *t, Error **err)
{
    static const uint8_t code[] = { 0xff, 0xc9, 0x75, 0xfc, 0xf4 };
    struct kvm_userspace_memory_region m = { .memory_size = MEM };

    t->mem = aligned_alloc(4096, MEM);
    if (!t->mem)
        return fail(err, "no memory");
    memset(t->mem, 0, MEM);
    memcpy(t->mem + CODE, code, sizeof(code));
    le64_store(t->mem + PML4, PDPT | 3);
    le64_store(t->mem + PDPT, (PDPT + 0x1000) | 3);
    le64_store(t->mem + PDPT + 0x1000, 0x83); /* 2 MiB at 0 */
    m.userspace_addr = (uintptr_t)t->mem;
    return kvm_must(t->vm, KVM_SET_USER_MEMORY_REGION, &m, err);
}

/* Long mode, CPL 0: where a guest's kernel lives. */
static bool set_state(Trial *t, uint64_t n, Error **err)
{
    struct kvm_sregs s = { 0 };
    struct kvm_regs r = { .rip = CODE, .rflags = 2, .rcx = n, .rsp = MEM };
    struct kvm_segment code = { .limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
    struct kvm_segment data = { .limit = UINT32_MAX, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };

    if (!kvm_must(t->cpu, KVM_GET_SREGS, &s, err))
        return false;
    s.cs = code;
    s.ds = s.es = s.ss = s.fs = s.gs = data;
    s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    s.cr3 = PML4;
    s.cr4 = CR4_PAE;
    s.efer = EFER_LME | EFER_LMA;
    return kvm_must(t->cpu, KVM_SET_SREGS, &s, err) && kvm_must(t->cpu, KVM_SET_REGS, &r, err);
}

static bool give_cpuid(Trial *t, Error **err)
{
    enum { N = 256 };
    g_autofree struct kvm_cpuid2 *c = g_malloc0(sizeof(*c) + N * sizeof(c->entries[0]));

    c->nent = N;
    return kvm_must(t->sys, KVM_GET_SUPPORTED_CPUID, c, err) && kvm_must(t->cpu, KVM_SET_CPUID2, c, err);
}

/* Nanoseconds of n turns; < 0 + err. */
static int64_t time_loop(Trial *t, uint64_t n, Error **err)
{
    int64_t start;
    long r;

    if (!set_state(t, n, err))
        return -1;
    start = host_now();
    do
        r = kvm_call(t->cpu, KVM_RUN, NULL);
    while (r == -EINTR || r == -EAGAIN);
    if (r >= 0 && t->run->exit_reason == KVM_EXIT_HLT)
        return MAX(host_now() - start, 1);
    fail(err, "KVM does not run a loop of two instructions (%s, exit %u)", r < 0 ? g_strerror((int)-r) : "no error", t->run->exit_reason);
    return -1;
}

double kvm_measure(Error **err)
{
    KvmCaps caps;
    Trial t;
    int sys = kvm_open(&caps, err);
    int64_t ns = -1;
    double mips = -1;

    if (sys < 0)
        return -1;
    if (trial_start(&t, sys, err) && give_cpuid(&t, err) && load_loop(&t, err))
        ns = time_loop(&t, SHORT, err);
    if (ns > 0)
        mips = 2000.0 * SHORT / (double)ns;
    if (ns > 0 && ns < MS / 2) { /* so short that entering and leaving counted most */
        ns = time_loop(&t, LONG, err);
        mips = ns > 0 ? 2000.0 * LONG / (double)ns : -1;
    }
    trial_end(&t);
    kvm_kernel()->close(sys);
    return mips;
}

/* ---- worth it ---- */
static char *boot_id(void)
{
    char *text = NULL;

    return g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL) ? g_strstrip(text) : g_strdup("unknown");
}

static char *cache_path(void) { return g_build_filename(g_get_user_cache_dir(), "menura", "kvm-speed", NULL); }

static bool cached(const char *boot, double *mips)
{
    g_autofree char *path = cache_path(), *text = NULL;
    g_auto(GStrv) words = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return false;
    words = g_strsplit(g_strstrip(text), " ", -1);
    if (g_strv_length(words) != 2 || strcmp(words[0], boot))
        return false;
    *mips = g_ascii_strtod(words[1], NULL);
    return *mips > 0;
}

static void remember(const char *boot, double mips)
{
    g_autofree char *path = cache_path(), *dir = g_path_get_dirname(path);
    g_autofree char *text = g_strdup_printf("%s %.2f\n", boot, mips);

    if (g_mkdir_with_parents(dir, 0700) == 0)
        g_file_set_contents(path, text, -1, NULL); /* a cache that cannot be written costs milliseconds next time */
}

bool kvm_fast(Error **why)
{
    g_autofree char *boot = boot_id();
    double mips;

    if (!cached(boot, &mips)) {
        mips = kvm_measure(why);
        if (mips < 0)
            return false;
        remember(boot, mips);
    }
    if (mips >= FAST_MIPS)
        return true;
    fail(why, "this host's KVM emulates kernel code (%.1f million instructions a second), so that the software CPU is faster", mips);
    return error_hint(why, "it is the host above that must offer hardware virtualisation to this one; -accel kvm takes KVM all the same");
}
