/*
 * accel/kvm/call.c - the one way to the kernel. Tests put a scripted kernel in its place.
 */
#include "accel/kvm/kvm.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RETRIES = 1000 };

static const struct {
    unsigned long request;
    const char *name;
} calls[] = {
#define C(r) { r, #r },
#include "accel/kvm/calls.def"
#undef C
};

static int host_open(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static long host_call(int fd, unsigned long request, void *arg)
{
    int r = ioctl(fd, request, arg);

    return r < 0 ? -errno : r;
}

static void *host_map(int fd, size_t len) { return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); }
static void host_unmap(void *p, size_t len) { munmap(p, len); }
static void host_close(int fd) { close(fd); }

static const KvmKernel host = { host_open, host_call, host_map, host_unmap, host_close };
static const KvmKernel *kernel = &host; /* of the process, as /dev/kvm is; no VM's */

void kvm_use_kernel(const KvmKernel *k) { kernel = k ? k : &host; }
const KvmKernel *kvm_kernel(void) { return kernel; }

const char *kvm_call_name(unsigned long request)
{
    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++)
        if (calls[i].request == request)
            return calls[i].name;
    return "an unnamed KVM call";
}

long kvm_call(int fd, unsigned long request, void *arg)
{
    long r = kernel->call(fd, request, arg);

    for (unsigned i = 0; r == -EINTR && request != KVM_RUN && i < RETRIES; i++)
        r = kernel->call(fd, request, arg);
    return r;
}

bool kvm_must(int fd, unsigned long request, void *arg, Error **err)
{
    long r = kvm_call(fd, request, arg);

    return r >= 0 || fail_errno_is(err, (int)-r, "KVM refuses %s", kvm_call_name(request));
}
