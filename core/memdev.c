/*
 * core/memdev.c - memory backends: anonymous memory, a memfd, or a file (hugetlbfs, /dev/shm, a disk).
 * The RamBlock bears the object's name, so that libvirt's "pc.ram" is what a machine without backend calls it.
 */
#include "core/memdev.h"
#include "core/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct MemDev {
    Obj obj;
    uint64_t size;
    bool share, prealloc, dump, merge, readonly, seal, hugetlb;
    char *path;
    RamBlock *ram;
    bool taken;
} MemDev;
#define MEMDEV(o) ((MemDev *)(o))

static bool preallocate(MemDev *d, Error **err)
{
    if (!d->prealloc || !madvise(d->ram->host, d->ram->size, MADV_POPULATE_WRITE))
        return true;
    if (errno != EINVAL) /* an older kernel: by hand */
        return fail_errno(err, "cannot preallocate %" PRIu64 " MiB", d->size / MiB);
    for (uint64_t at = 0; at < d->ram->size; at += 4096)
        *(volatile uint8_t *)(d->ram->host + at) = d->ram->host[at];
    return true;
}

static bool adopt(MemDev *d, int fd, bool share, Error **err)
{
    if (fd < 0)
        return false;
    d->ram = ram_new_fd(&d->obj, d->obj.name, d->size, fd, 0, share, err);
    if (!d->ram) {
        close(fd);
        return false;
    }
    madvise(d->ram->host, d->ram->size, d->merge ? MADV_MERGEABLE : MADV_UNMERGEABLE); /* hints: they may fail */
    if (!d->dump)
        madvise(d->ram->host, d->ram->size, MADV_DONTDUMP);
    vm_register(d->obj.vm, "memory-backend", d->obj.name, d);
    return preallocate(d, err);
}

static bool has_size(const MemDev *d, Error **err)
{
    if (!d->size)
        return fail(err, "size= is missing");
    return d->size <= 1024 * GiB || fail(err, "size=%" PRIu64 " is too large", d->size);
}

static int memfd(const MemDev *d, Error **err)
{
    int fd = memfd_create(d->obj.name, MFD_CLOEXEC | (d->seal ? MFD_ALLOW_SEALING : 0) | (d->hugetlb ? MFD_HUGETLB : 0));

    if (fd >= 0 && !ftruncate(fd, (off_t)align_up(d->size, 4096)))
        return fd;
    fail_errno(err, "cannot make a memory file of %" PRIu64 " MiB", d->size / MiB);
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool init_memfd(Obj *o, Error **err)
{
    MemDev *d = MEMDEV(o);

    return has_size(d, err) && adopt(d, memfd(d, err), true, err);
}

static void fini(Obj *o) { vm_unregister(o->vm, "memory-backend", o->name); }

/* A folder gets a file of its own that nobody else sees. */
static int open_path(const MemDev *d, Error **err)
{
    int fd;

    if (g_file_test(d->path, G_FILE_TEST_IS_DIR))
        fd = open(d->path, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
    else
        fd = open(d->path, d->readonly ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        fail_errno(err, "mem-path=%s: cannot open it", d->path);
    return fd;
}

static bool init_file(Obj *o, Error **err)
{
    MemDev *d = MEMDEV(o);
    int fd;

    if (!d->path)
        return fail(err, "mem-path= is missing");
    if (d->readonly)
        return fail(err, "readonly=on: guest RAM must be writable");
    fd = has_size(d, err) ? open_path(d, err) : -1;
    if (fd >= 0 && lseek(fd, 0, SEEK_END) < (off_t)d->size && ftruncate(fd, (off_t)align_up(d->size, 4096))) {
        fail_errno(err, "mem-path=%s: cannot make it %" PRIu64 " MiB large", d->path, d->size / MiB);
        close(fd);
        return false;
    }
    return adopt(d, fd, d->share, err);
}

RamBlock *memdev_take(Vm *vm, const char *id, uint64_t bytes, Error **err)
{
    MemDev *d = vm_lookup(vm, "memory-backend", id);

    if (!d) {
        fail(err, "there is no memory backend '%s'", id);
        return NULL;
    }
    if (d->taken) {
        fail(err, "memory backend '%s' is used already", id);
        return NULL;
    }
    if (bytes && d->size != bytes) {
        fail(err, "memory backend '%s' has %" PRIu64 " bytes, the machine %" PRIu64, id, d->size, bytes);
        return NULL;
    }
    d->taken = true;
    return d->ram;
}

static bool in_use(const Obj *o) { return ((const MemDev *)(const void *)o)->taken; }

/* clang-format off */
#define COMMON                                                                                                              \
    PROP_SIZE(MemDev, size, "size", 0, "bytes"), PROP(MemDev, prealloc, "prealloc", false, "take the memory at once"),      \
    PROP(MemDev, dump, "dump", true, "part of core dumps of this process"),                                                  \
    PROP(MemDev, merge, "merge", false, "the host may merge equal pages")
static const Prop ram_props[] = { COMMON, PROP(MemDev, share, "share", false, "means nothing: no other process can map it") };
static const Prop memfd_props[] = {
    COMMON, PROP(MemDev, share, "share", true, "means nothing: a memfd is shared"), PROP(MemDev, seal, "seal", true, "its size cannot change"),
    PROP(MemDev, hugetlb, "hugetlb", false, "huge pages"),
};
static const Prop file_props[] = {
    COMMON, PROP(MemDev, share, "share", false, "writes go to the file"), PROP_STR(MemDev, path, "mem-path", NULL, "file, or folder for an unnamed one"),
    PROP(MemDev, readonly, "readonly", false, "must be off"),
};
static const ObjClass memory_ram = { .name = "memory-backend-ram", .desc = "guest memory", .size = sizeof(MemDev), .props = TABLE(ram_props),
    .init = init_memfd, .fini = fini, .user_creatable = true, .in_use = in_use };
static const ObjClass memory_memfd = { .name = "memory-backend-memfd", .desc = "guest memory in a memfd", .size = sizeof(MemDev),
    .props = TABLE(memfd_props), .init = init_memfd, .fini = fini, .user_creatable = true, .in_use = in_use };
static const ObjClass memory_file = { .name = "memory-backend-file", .desc = "guest memory in a file", .size = sizeof(MemDev),
    .props = TABLE(file_props), .init = init_file, .fini = fini, .user_creatable = true, .in_use = in_use };
OBJECT(memory_ram);
OBJECT(memory_memfd);
OBJECT(memory_file);
/* clang-format on */
