/* core/priv.h - what core's files share among themselves; nobody else includes it. */
#ifndef CORE_PRIV_H
#define CORE_PRIV_H
#include "core/machine.h"
#include "core/vm.h"
#include "util/rcu.h"

/* mem.c, view.c */
typedef struct EventFd {
    uint64_t off, val;
    unsigned size;
    bool match;
    int fd;
} EventFd;
typedef struct FlatEvent {
    uint64_t at;
    EventFd e;
    FlatRange range;
} FlatEvent;
typedef struct FlatView {
    FlatRange *v;
    unsigned n;
    FlatEvent *ev;
    unsigned nev;
} FlatView;
struct AddrSpace {
    char *name;
    Vm *vm;
    Region *root;
    FlatView *view; /* RCU */
    GPtrArray *listeners; /* of const MemListener * */
};
FlatView *core__view_render(Region *root);
void core__view_free(void *view);
const FlatRange *core__view_find(const FlatView *v, uint64_t addr);
void core__as_update(AddrSpace *as);
void core__mem_free(Vm *vm); /* after the object tree */

typedef struct VmClock VmClock;
VmClock *core__clock_new(Vm *vm);
void core__clock_free(VmClock *c);
void core__clock_start(Vm *vm); /* time runs */
void core__clock_stop(Vm *vm);
int64_t core__clock_get(Vm *vm);
void core__clock_set(Vm *vm, int64_t now); /* while stopped: a load */

typedef struct VmPriv VmPriv;
struct VmPriv {
    GHashTable *registry; /* "space/id" -> pointer; see vm.c */
    GPtrArray *listeners; /* of const VmListener * */
    GPtrArray *spaces;    /* of AddrSpace * */
    GPtrArray *rams;      /* of RamBlock * */
    uint64_t ram_next;
    unsigned mem_depth;
    bool mem_changed;
    uint64_t bounce_used; /* atomic */
    GArray *sections;     /* of const StateSection * */
    GCond parked, resumed;
    bool cpus_stopped;    /* VM lock */
    bool quitting, started, looped;
    Exit stop_exit;       /* of the vCPU that asked */
    Cpu *stop_cpu;
    int exit_status;
    bool exit_asked;
    GMutex exit_lock;
    GCond exit_cond;
    void (*eoi)(void *chip, uint8_t vector);
    void *eoi_chip;
    GHashTable *cpu_classes;
    bool powered;
};
void core__cpus_stop(Vm *vm);   /* VM lock held: all vCPUs parked on return */
void core__cpus_resume(Vm *vm);
void core__cpu_start_threads(Vm *vm);
void core__cpu_join(Vm *vm);
#endif
