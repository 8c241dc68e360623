/*
 * core/mem.h - guest memory: RAM blocks, a tree of regions with priorities, an immutable flat view
 * per address space (RCU), listeners.
 * Topology changes: VM lock. as_* accesses: any thread; an I/O region's lock (default: the VM lock)
 * is taken around its callbacks.
 */
#ifndef CORE_MEM_H
#define CORE_MEM_H
#include "core/obj.h"
#include "util/lock.h"

typedef enum MemResult { MEM_OK, MEM_NOBODY, MEM_REFUSED } MemResult;
typedef struct MemAttrs {
    uint16_t requester; /* PCI bus/devfn + 1; 0: a CPU */
    bool secure;        /* SMM */
    bool peek;          /* no side effects: GDB, x, trace, autopsy */
} MemAttrs;
#define MEM_CPU ((MemAttrs){ 0 })
typedef struct Region Region;
typedef struct AddrSpace AddrSpace;
typedef struct RamBlock RamBlock;

/* ---- RAM ---- */
typedef enum DirtyClient { DIRTY_DISPLAY, DIRTY_MIGRATE, DIRTY_CODE, DIRTY_CLIENTS } DirtyClient;
struct RamBlock {
    Obj *owner;
    char *id;       /* stable: "pc.ram", "vga.vram", "0000:00:02.0/vga.vram" */
    int fd;         /* memfd or file; -1 for private anonymous */
    uint64_t fd_offset, size, max_size, page_size;
    bool shared, readonly;
    uint8_t *host;  /* stable while the block lives; keep it only inside an RCU read section or pin */
    uint64_t ram_addr; /* start in the VM's dense ram space (index of bitmaps) */
    unsigned long *dirty[DIRTY_CLIENTS]; /* a bit per 4 KiB; atomic; all ones at start */
    bool logging[DIRTY_CLIENTS];
    gint pins;
    bool own_memfd; /* fd is ours alone: made by ram_new */
    int source;     /* the file that pages not written since are read from when first touched (ram_map); -1: none */
    uint64_t source_offset;
};
/* memfd by default; NULL+err when memory cannot be had. Freed with owner. */
RamBlock *ram_new(Obj *owner, const char *id, uint64_t size, Error **err);
RamBlock *ram_new_fd(Obj *owner, const char *id, uint64_t size, int fd, uint64_t off, bool shared, Error **err);
bool ram_resize(RamBlock *b, uint64_t size, Error **err);
/* Its contents become those of a file, read as pages are touched; writes stay private. fd: a copy of it is taken; it has
 * b->size bytes from `off` on, a multiple of 4096, and nobody changes it while it is mapped. False: this block cannot
 * (others share its memory), or the host refuses; its contents are as they were. VM lock, vCPUs stopped. */
bool ram_map(RamBlock *b, int fd, uint64_t off);
/* The end of the run of pages from `off` on that are zero for sure, found without touching them; `off`: not known. */
uint64_t ram_skip_zero(const RamBlock *b, uint64_t off);
/* All blocks in order of creation (VM lock), and the name of one in streams: its id; a device's RAM has the device's
 * state key before it. The caller frees. */
void vm_foreach_ram(Vm *vm, void (*fn)(RamBlock *b, void *arg), void *arg);
char *ram_stream_id(const RamBlock *b);
/* After host-side writes: sets dirty bits of all clients, tells code tracking (see MemListener.code_written). */
void ram_mark_dirty(RamBlock *b, uint64_t off, uint64_t len);
static inline bool ram_is_dirty(const RamBlock *b, DirtyClient c, uint64_t off)
{
    return __atomic_load_n(&b->dirty[c][off / 4096 / 64], __ATOMIC_RELAXED) >> (off / 4096 % 64) & 1;
}
/* The host gets the memory of whole pages back; they read as zero. The caller marks them dirty. */
void ram_discard(RamBlock *b, uint64_t off, uint64_t len);
/* Start/stop logging for a client; log_sync folds in accelerator logs (KVM); take clears bits of
 * [off,len) and returns whether any was set, `out` (may be NULL) gets a bit per page. */
void ram_log(RamBlock *b, DirtyClient c, bool on);
void ram_log_sync(Vm *vm, RamBlock *b);
bool ram_take_dirty(Vm *vm, RamBlock *b, DirtyClient c, uint64_t off, uint64_t len, unsigned long *out);

/* ---- regions ---- */
typedef enum Endian { LITTLE, BIG } Endian;
enum { REGION_COALESCED = 1, REGION_NO_LOCK = 2 /* callbacks do their own locking */ };
typedef struct RegionOps {
    MemResult (*read)(void *owner, uint64_t off, unsigned size, uint64_t *val, MemAttrs at);
    MemResult (*write)(void *owner, uint64_t off, unsigned size, uint64_t val, MemAttrs at);
    MemResult (*peek)(const void *owner, uint64_t off, unsigned size, uint64_t *val); /* or NULL */
    struct {
        uint8_t min, max; /* 0: 1 and 8 */
        bool unaligned;
    } takes, does; /* what the guest may use; what the callbacks see (core splits and widens) */
    uint8_t endian, flags;
    Lock *(*lock)(void *owner); /* NULL: the VM lock */
} RegionOps;
typedef enum RegionKind { REGION_RAM, REGION_ROM, REGION_ROMD, REGION_IO, REGION_BOX, REGION_ALIAS, REGION_IOMMU } RegionKind;
struct Region {
    Obj *obj;    /* freed with it */
    char *name;
    RegionKind kind;
    uint64_t size; /* up to 2^64-1 (boxes: UINT64_MAX means the whole space) */
    bool enabled, readonly;
    bool romd_on;          /* REGION_ROMD: reads come from RAM */
    RamBlock *ram;         /* RAM, ROM, ROMD */
    uint64_t ram_off;
    const RegionOps *ops;  /* IO, ROMD (writes) */
    void *opaque;          /* handed to ops */
    Region *alias;
    uint64_t alias_off;
    Region *parent;
    uint64_t at;
    int priority;
    GPtrArray *subs;
    GArray *eventfds; /* core's */
    Vm *vm;
};
Region *region_ram(Obj *o, const char *name, RamBlock *ram); /* the whole block */
Region *region_rom(Obj *o, const char *name, uint64_t size, Error **err); /* own block; fill r->ram->host */
Region *region_romd(Obj *o, const char *name, RamBlock *ram, const RegionOps *ops, void *opaque);
Region *region_io(Obj *o, const char *name, uint64_t size, const RegionOps *ops, void *opaque);
Region *region_box(Obj *o, const char *name, uint64_t size);
Region *region_alias(Obj *o, const char *name, Region *of, uint64_t off, uint64_t size);
void region_map(Region *box, uint64_t at, Region *child, int priority);
void region_unmap(Region *child); /* no-op if not mapped */
void region_move(Region *child, uint64_t at);
void region_set_enabled(Region *r, bool on);
void region_set_readonly(Region *r, bool ro);
void region_set_romd(Region *r, bool on);
void region_set_alias_off(Region *r, uint64_t off);
void region_set_size(Region *r, uint64_t size);
void mem_begin(Vm *vm);  /* batch changes; nests; the outermost commit rebuilds views once */
void mem_commit(Vm *vm);
/* A guest write of `size` (0: any) at off [with value] signals fd instead of calling ops. */
void region_add_eventfd(Region *r, uint64_t off, unsigned size, bool match, uint64_t val, int fd);
void region_del_eventfd(Region *r, uint64_t off, unsigned size, bool match, uint64_t val, int fd);

/* ---- address spaces ---- */
typedef struct FlatRange {
    Region *region;
    uint64_t offset, at, len; /* [at, at+len) of the space is region at offset */
    bool readonly, romd;
} FlatRange;
AddrSpace *as_new(Obj *owner, const char *name, Region *root);
Region *as_root(AddrSpace *as);
MemResult as_read(AddrSpace *as, uint64_t addr, void *buf, size_t len, MemAttrs at);
MemResult as_write(AddrSpace *as, uint64_t addr, const void *buf, size_t len, MemAttrs at);
/* One access of 1, 2, 4 or 8 bytes as the bus sees it, value in host order. */
MemResult as_load(AddrSpace *as, uint64_t addr, unsigned size, uint64_t *val, MemAttrs at);
MemResult as_store(AddrSpace *as, uint64_t addr, unsigned size, uint64_t val, MemAttrs at);
/*
 * RAM behind the 4 KiB page of addr, for TLB fills. host: pointer to addr itself. NULL when I/O.
 * writable false for ROM/ROMD/readonly. The pointer is good until the view changes: the listener's
 * commit comes first, under which accelerators stop vCPUs and flush. RCU read section or lock.
 */
uint8_t *as_ram(AddrSpace *as, uint64_t addr, RamBlock **block, uint64_t *off, bool *writable);
/* All of the RAM that continues the page of addr, whole pages; good as long as as_ram()'s pointer. False: I/O. */
typedef struct RamRange {
    uint64_t at, len;
    uint8_t *host;   /* of `at` */
    RamBlock *block;
    uint64_t off;    /* of `at` in the block */
    bool writable;
} RamRange;
bool as_ram_range(AddrSpace *as, uint64_t addr, RamRange *out);
/* Writes to ROM too (loading firmware, GDB breakpoints). */
MemResult as_write_rom(AddrSpace *as, uint64_t addr, const void *buf, size_t len);

/* Called in address order between begin and commit, VM lock held. add/del: ranges that changed; keep:
 * unchanged ones. A listener joining an existing space gets everything as add. Members may be NULL. */
typedef struct MemListener {
    void (*begin)(void *self), (*add)(void *self, const FlatRange *), (*del)(void *self, const FlatRange *);
    void (*keep)(void *self, const FlatRange *), (*commit)(void *self);
    void (*log_start)(void *self, RamBlock *), (*log_stop)(void *self, RamBlock *);
    void (*log_sync)(void *self, RamBlock *); /* OR your log into block->dirty */
    void (*log_clear)(void *self, RamBlock *, uint64_t off, uint64_t len); /* re-arm after ram_take_dirty */
    void (*code_written)(void *self, RamBlock *, uint64_t off, uint64_t len); /* DMA or host write */
    void (*eventfd_add)(void *self, const FlatRange *, uint64_t at, unsigned size, bool match, uint64_t val, int fd);
    void (*eventfd_del)(void *self, const FlatRange *, uint64_t at, unsigned size, bool match, uint64_t val, int fd);
    void (*coalesced_add)(void *self, const FlatRange *), (*coalesced_del)(void *self, const FlatRange *);
    void *self;
} MemListener;
void as_listen(AddrSpace *as, const MemListener *l); /* l stays valid until as_unlisten */
void as_unlisten(AddrSpace *as, const MemListener *l);
void as_print(AddrSpace *as, GString *out, bool flat); /* info mtree [-f] */
#endif
