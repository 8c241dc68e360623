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
    unsigned looks;       /* depth of vm_look_begin */
    bool quitting, started, looped;
    Exit stop_exit;       /* of the vCPU that asked */
    Cpu *stop_cpu;
    int exit_status;
    bool exit_asked;
    GMutex exit_lock;
    GCond exit_cond;
    void (*eoi)(void *chip, uint8_t vector);
    void *eoi_chip;
    bool (*ferr)(void *chip, bool level);
    void *ferr_chip;
    GHashTable *cpu_classes;
    bool powered;
    GPtrArray *buses; /* of Bus *, in order of creation; NULL: none yet */
};
void core__cpus_stop(Vm *vm);   /* VM lock held: all vCPUs parked on return */
void core__cpus_resume(Vm *vm);
void core__cpu_start_threads(Vm *vm);
void core__cpu_join(Vm *vm);

/* obj.c, prop.c, dev.c */
extern const ObjClass core__device_class; /* parent of all device classes */
const ObjClass *core__class_parent(const ObjClass *c); /* explicit parent, or base of a device class */
const char *core__type_alias(const char *name);        /* core/compat.def */
const char *core__prop_alias(const ObjClass *cls, const char *name);
void core__dev_classes(void (*fn)(const ObjClass *c, void *arg), void *arg);
/* What o acquired with this release function. */
void core__scope_foreach(Obj *o, void (*release)(void *), void (*fn)(void *p));
void core__retire(void *p); /* g_free once no reader is left */
bool core__is_dev(const ObjClass *c);
bool core__is_bus(Vm *vm, const Obj *o);
bool core__bus_takes(const Bus *b); /* devices while the machine runs */
void core__leave_bus(Dev *d);
void core__drop_asked(Vm *vm); /* after a reset nobody is left who could refuse: what was to go goes */
bool core__dev_may_enter(Dev *d); /* else busy or gone: guest_error said so */
void core__prop_defaults(Obj *o);
void core__prop_release(Obj *o);
bool core__prop_apply(Obj *o, Opts *props, Error **err);
/* obj_new with a step between the defaults and the properties. */
Obj *core__obj_make(const ObjClass *cls, Obj *parent, const char *name, Opts *props,
                    bool (*prepare)(Obj *o, void *arg, Error **err), void *arg, Error **err);

/* layout.c: what a class's tables say about its instance, base classes first, each fact once. */
typedef struct Slot { /* registers and fields alike */
    char *name;          /* unique in the class: the key in streams */
    uint32_t at, size, count, stride;
    Kind kind;
    const Field *field;  /* NULL: a register */
    uint64_t reset;
    bool keep;
} Slot;
typedef struct Layout Layout;
struct Layout {
    Slot *v;
    unsigned n;
    GPtrArray *resets; /* of const Reg *: rows with a reset value whose bytes a field saves */
    GPtrArray *banks;  /* of const Bank * */
    GPtrArray *chain;  /* of const DevClass *, base first */
    unsigned nout;
};
const Layout *core__layout(const DevClass *c);
void core__reset_fields(Dev *d); /* state.c's neighbour: all slots to their reset values */
void core__timers_init(Dev *d);
void core__timers_stop(Dev *d);
void core__state_free(Dev *d);   /* what fields own: buffers, custom queues */
typedef struct BankIndex BankIndex;
/* devstate.c: a load in two steps. */
typedef struct Shadow Shadow;
Shadow *core__shadow_new(Dev *d, const uint8_t *p, size_t n, Error **err); /* parsed and checked, or NULL */
void core__shadow_commit(Shadow *w); /* then loaded and propagate, for each device of the load */
void core__shadow_free(Shadow *w);
Dev *core__shadow_dev(Shadow *w);
void core__dev_loaded(Dev *d);
void core__shadow_propagate(Shadow *w);
void core__unmap_owned(Obj *o); /* region.c: what o owns leaves its address spaces */
#endif
