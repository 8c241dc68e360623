/*
 * hw/virtio/kick.c - ioeventfd and irqfd: where the accelerator signals an eventfd for a guest's write, a kick is that, and no exit: the queue is
 * looked at on the VM loop; and where it makes an MSI-X message of one, a vector is that.
 * Invariants: the fds hang on the registers exactly while the VM runs; when it stops, kicks that are pending are served then, and
 * vectors are taken off, which waits until their last message is in, so that none is lost to a saved state. A vector's fd has the message
 * of its latest interrupt: masks and changes are looked at each time. VM lock; the loop takes it around `kicked`.
 */
#include "hw/virtio/pci.h"
#include "core/irqchip.h"
#include "util/loop.h"
#include <sys/eventfd.h>
#include <unistd.h>

enum { KICK_BYTES = 2, LEGACY_NOTIFY = 16 };
typedef struct Kick {
    struct VirtioKicks *all;
    int fd;
    guint watch;
} Kick;
typedef struct Call { /* an MSI-X vector */
    int fd; /* -1: not used yet */
    bool on;
    uint64_t addr;
    uint32_t data;
} Call;
struct VirtioKicks {
    Virtio *v;
    VmListener listener;
    bool armed;
    unsigned n;
    Call call[VIRTIO_VECTORS_MAX];
    Kick kick[];
};

static void serve(Kick *k)
{
    struct VirtioKicks *all = k->all;
    uint64_t count;

    if (read(k->fd, &count, sizeof(count)) != sizeof(count))
        return; /* not blocking: there was none */
    WITH_DEV(&all->v->pci.dev)
        virtio__notify(all->v, (unsigned)(k - all->kick));
}

static bool kicked(void *kick, int fd, GIOCondition cond)
{
    serve(kick);
    return true;
}

/* The fd of queue n on its registers: its own modern one, and its number in the legacy one that all share. */
static void hang(const Virtio *v, unsigned n, int fd, void (*on)(Region *r, uint64_t off, unsigned size, bool match, uint64_t val, int fd))
{
    Region *modern = v->pci.bar[VIRTIO_BAR], *legacy = v->pci.bar[0];

    if (modern)
        on(modern, VIRTIO_NOTIFY + VIRTIO_NOTIFY_STEP * n, KICK_BYTES, false, 0, fd);
    if (legacy)
        on(legacy, LEGACY_NOTIFY, KICK_BYTES, true, n, fd);
}

/* ---- vectors ---- */
static bool message(Call *c, Vm *vm, uint64_t addr, uint32_t data)
{
    if (c->on && c->addr == addr && c->data == data)
        return true;
    if (c->fd < 0)
        c->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    *c = (Call){ c->fd, c->fd >= 0 && vm->irq->irqfd(vm, c->fd, addr, data, true), addr, data };
    return c->on;
}

bool virtio__call(Virtio *v, unsigned vector)
{
    static const uint64_t one = 1;
    struct VirtioKicks *all = v->kicks;
    Vm *vm = v->pci.dev.obj.vm;
    uint64_t addr;
    uint32_t data;

    if (!all || !all->armed || vector >= VIRTIO_VECTORS_MAX || !vm->irq || !vm->irq->irqfd || !pci_bus_master(&v->pci) ||
        !pci_msix_message(&v->pci, vector, &addr, &data))
        return false;
    return message(&all->call[vector], vm, addr, data) && write(all->call[vector].fd, &one, sizeof(one)) == sizeof(one);
}

static void calls_off(struct VirtioKicks *all)
{
    Vm *vm = all->v->pci.dev.obj.vm;

    for (unsigned i = 0; i < VIRTIO_VECTORS_MAX; i++)
        if (all->call[i].on) {
            vm->irq->irqfd(vm, all->call[i].fd, 0, 0, false);
            all->call[i].on = false;
        }
}

/* ---- kicks and all ---- */
static void arm(struct VirtioKicks *all, bool on)
{
    Vm *vm = all->v->pci.dev.obj.vm;

    if (all->armed == on)
        return;
    all->armed = on;
    if (!on)
        calls_off(all);
    mem_begin(vm);
    for (unsigned n = 0; n < all->n; n++) {
        Kick *k = &all->kick[n];

        hang(all->v, n, k->fd, on ? region_add_eventfd : region_del_eventfd);
        if (on)
            k->watch = loop_watch_fd(vm->loop, k->fd, G_IO_IN, kicked, k);
        else
            loop_unwatch(vm->loop, k->watch);
    }
    mem_commit(vm);
}

static void state(void *self, RunState now)
{
    struct VirtioKicks *all = self;

    arm(all, now == RUN_RUNNING);
    for (unsigned n = 0; !all->armed && n < all->n; n++)
        serve(&all->kick[n]);
}

bool virtio__kicks_begin(Virtio *v, Error **err)
{
    Vm *vm = v->pci.dev.obj.vm;
    struct VirtioKicks *all;

    if (!v->ioeventfd || !vm->accel || !vm->accel->eventfds || !vm->accel->eventfds(vm))
        return true;
    all = g_malloc0(sizeof(*all) + v->queues * sizeof(Kick));
    all->v = v;
    all->n = v->queues;
    for (unsigned i = 0; i < VIRTIO_VECTORS_MAX; i++)
        all->call[i].fd = -1;
    for (unsigned n = 0; n < all->n; n++)
        all->kick[n] = (Kick){ .all = all, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
    v->kicks = all;
    for (unsigned n = 0; n < all->n; n++)
        if (all->kick[n].fd < 0)
            return fail(err, "no eventfd for queue %u", n);
    all->listener = (VmListener){ .state = state, .self = all };
    vm_listen(vm, &all->listener);
    arm(all, vm_running(vm));
    return true;
}

void virtio__kicks_end(Virtio *v)
{
    struct VirtioKicks *all = v->kicks;

    if (!all)
        return;
    v->kicks = NULL;
    arm(all, false);
    if (all->listener.self)
        vm_unlisten(v->pci.dev.obj.vm, &all->listener);
    for (unsigned n = 0; n < all->n; n++)
        if (all->kick[n].fd >= 0)
            close(all->kick[n].fd);
    for (unsigned i = 0; i < VIRTIO_VECTORS_MAX; i++)
        if (all->call[i].fd >= 0)
            close(all->call[i].fd);
    g_free(all);
}
