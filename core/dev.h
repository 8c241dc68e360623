/*
 * core/dev.h - a device, described once. From its tables core derives register dispatch, reset,
 * the saved state, tracing, help, docs and the contract tests.
 *
 * Device code runs only inside core entry points (register access, timer, wire, completion posted
 * with dev_enter/dev_leave); when the outermost entry into a device ends, core settles it:
 * recomputes each output that is a function of state. VM lock held throughout, unless a class says
 * otherwise.
 */
#ifndef CORE_DEV_H
#define CORE_DEV_H
#include "core/clock.h"
#include "core/dma.h"
#include "core/irq.h"
#include "core/mem.h"
#include "core/obj.h"

typedef struct Dev Dev;
typedef struct DevClass DevClass;
typedef struct Bus Bus;

/* ---- state: every byte of the instance is register, state, property or declared transient ---- */
typedef enum Kind {
    K_BOOL, K_U8, K_U16, K_U32, K_U64, /* scalars and arrays of them (count > 1), host order; signed too */
    K_BYTES,     /* a byte array, saved as a blob */
    K_STRUCT,    /* nested struct(s) described by `of` */
    K_BUF,       /* bounded buffer: uint8_t *at (heap, owned), used length in uint32_t at len_at, max `max` */
    K_TIMER,     /* Timer(s) */
    K_CUSTOM,    /* save/load below: queues of in-flight requests and the like */
    K_TRANSIENT, /* not saved; rebuilt by class.loaded or without meaning; says why; zeroed by reset unless keep */
} Kind;
typedef struct FieldTable {
    const struct Field *v;
    size_t n;
} FieldTable;
struct StateOut;
struct StateIn;
typedef struct Field {
    const char *name;
    uint32_t at, size, count; /* size: of one element */
    Kind kind;
    const FieldTable *of;                  /* K_STRUCT */
    const char *why;                       /* K_TRANSIENT */
    void (*fire)(Dev *d);                  /* K_TIMER, one */
    void (*fire_n)(Dev *d, unsigned n);    /* K_TIMER, array */
    Clock clock;
    uint32_t len_at, max; /* K_BUF */
    void (*save)(const Dev *d, struct StateOut *o);       /* K_CUSTOM: one blob, core/state.h */
    bool (*load)(Dev *d, struct StateIn *i, Error **err); /* K_CUSTOM: into the shadow instance, whose field is zero */
    void (*drop)(Dev *d);                                 /* K_CUSTOM: release what the field holds; core zeroes it after */
    uint64_t reset; /* scalar value after reset */
    bool keep;      /* reset leaves it alone (CMOS, NVRAM, host resources) */
    uint16_t since; /* stream version that introduced it; 0: from the start */
    uint64_t def;   /* when absent in a stream */
} Field;
#define KIND_OF(x)                                                                                 \
    _Generic((x), bool: K_BOOL, uint8_t: K_U8, int8_t: K_U8, uint16_t: K_U16, int16_t: K_U16,      \
             uint32_t: K_U32, int32_t: K_U32, uint64_t: K_U64, int64_t: K_U64)
/* FIELD(Fact, busy), FIELD(Fact, busy, .reset = 1, .keep = true) */
#define FIELD(T, m, ...)                                                                           \
    { .name = #m, .at = offsetof(T, m), .size = sizeof_field(T, m), .count = 1, .kind = KIND_OF(((T *)0)->m), __VA_ARGS__ }
#define ARRAY_FIELD(T, m, ...)                                                                     \
    { .name = #m, .at = offsetof(T, m), .size = sizeof_field(T, m[0]),                             \
      .count = sizeof_field(T, m) / sizeof_field(T, m[0]), .kind = KIND_OF(((T *)0)->m[0]), __VA_ARGS__ }
/* any-dimensional arrays of bytes; structures without padding may be saved so only if all bytes */
#define BYTES(T, m, ...)                                                                           \
    { .name = #m, .at = offsetof(T, m), .size = sizeof_field(T, m), .count = 1, .kind = K_BYTES, __VA_ARGS__ }
#define STRUCT(T, m, tbl, ...)                                                                     \
    { .name = #m, .at = offsetof(T, m), .size = sizeof_field(T, m), .count = 1, .kind = K_STRUCT, .of = (tbl), __VA_ARGS__ }
#define STRUCTS(T, m, tbl, ...) /* an array of nested structs */                                   \
    { .name = #m, .at = offsetof(T, m), .size = sizeof_field(T, m[0]),                             \
      .count = sizeof_field(T, m) / sizeof_field(T, m[0]), .kind = K_STRUCT, .of = (tbl), __VA_ARGS__ }
#define BUF(T, m, len, mx, ...)                                                                    \
    { .name = #m, .at = offsetof(T, m), .size = sizeof(uint8_t *), .count = 1, .kind = K_BUF,      \
      .len_at = offsetof(T, len), .max = (mx), __VA_ARGS__ }
#define TIMER(T, m, f, clk)                                                                        \
    { .name = #m, .at = offsetof(T, m), .size = sizeof(Timer), .count = 1, .kind = K_TIMER, .fire = (f), .clock = (clk) }
#define TIMERS(T, m, f, clk) /* f(Dev *, unsigned n) */                                            \
    { .name = #m, .at = offsetof(T, m), .size = sizeof(Timer), .count = sizeof_field(T, m) / sizeof(Timer), \
      .kind = K_TIMER, .fire_n = (f), .clock = (clk) }
#define CUSTOM(T, m, s, l, ...)                                                                    \
    { .name = #m, .at = offsetof(T, m), .size = sizeof_field(T, m), .count = 1, .kind = K_CUSTOM, .save = (s), .load = (l), __VA_ARGS__ }
#define TRANSIENT(T, m, y, ...)                                                                    \
    { .name = #m, .at = offsetof(T, m), .size = sizeof_field(T, m), .count = 1, .kind = K_TRANSIENT, .why = (y), __VA_ARGS__ }

/* ---- registers ---- */
typedef struct RegTable {
    const struct Reg *v;
    size_t n;
} RegTable;
typedef struct Reg {
    const char *name; /* as the data sheet spells it */
    uint32_t off;     /* byte offset in the bank (INDEXED: the index) */
    uint32_t at, size; /* backing field: REG(T, m) (1, 2, 4, 8 bytes); NOFIELD(size): none, value() or 0 */
    uint64_t reset;
    uint64_t rw, w1c, w1s, rc; /* bits: writable, write-1-to-clear, write-1-to-set, read-to-clear */
    bool ro, wo;      /* the row answers only reads / only writes: two rows may share an offset */
    bool keep;        /* reset leaves it alone */
    bool (*bank)(const Dev *d); /* row applies only while true (DLAB) */
    bool (*when)(const Dev *d); /* writes are taken only while true, else guest_error */
    void (*write)(Dev *d, uint64_t old); /* side effect; the field holds the new value */
    /* side effect with the written value (before masks) and byte lanes; for rows without a field */
    void (*wrote)(Dev *d, uint64_t val, unsigned lanes);
    uint64_t (*value)(const Dev *d);     /* pure: computes what a read returns (peek calls it too) */
    void (*on_read)(Dev *d, unsigned lanes); /* side effects of a guest read, after the value was taken */
    /* ARRAY(count, stride): element i at off + i*stride, field at + i*at_stride; the callbacks below get i */
    uint16_t count, stride, at_stride;
    void (*write_n)(Dev *d, unsigned n, uint64_t old);
    void (*wrote_n)(Dev *d, unsigned n, uint64_t val, unsigned lanes);
    uint64_t (*value_n)(const Dev *d, unsigned n);
    void (*on_read_n)(Dev *d, unsigned n, unsigned lanes);
    /* SELECT: the field is element select(d) of an array with stride at_stride, at most `count` */
    unsigned (*select)(const Dev *d);
    /* INDEXED: a data port; its index register is the byte/word field at index_at, rows in `indexed` */
    const RegTable *indexed;
    uint32_t index_at, index_size;
    /* FIFO: reads pop, writes push; the field is a Fifo */
    uint32_t fifo_at;
    bool fifo;
    const char *doc;
} Reg;
#define REG(T, m)     .at = offsetof(T, m), .size = sizeof_field(T, m)
#define NOFIELD(n)    .at = UINT32_MAX, .size = (n)
/* count registers of size sizeof(m[0]) every `st` bytes of the bank, backed by the array m */
#define REGS(T, m, cnt, st)                                                                        \
    .at = offsetof(T, m), .size = sizeof_field(T, m[0]), .count = (cnt), .stride = (st), .at_stride = sizeof_field(T, m[0])
#define ARRAY(cnt, st, atst) .count = (cnt), .stride = (st), .at_stride = (atst)
#define INDEXED(T, addr, tbl)                                                                      \
    .at = UINT32_MAX, .size = 1, .indexed = (tbl), .index_at = offsetof(T, addr), .index_size = sizeof_field(T, addr)
#define FIFO_REG(T, m) .at = UINT32_MAX, .size = 1, .fifo = true, .fifo_at = offsetof(T, m)

typedef struct Fifo { /* of bytes; saved with FIFO_FIELD */
    uint8_t data[128];
    uint8_t head, used, depth;
} Fifo;
extern const FieldTable fifo_fields;
#define FIFO_FIELD(T, m) STRUCT(T, m, &fifo_fields)
bool fifo_push(Fifo *f, uint8_t v); /* false: full */
uint8_t fifo_pop(Fifo *f);          /* 0 when empty */

/* A bank of registers: becomes a Region. */
typedef struct Bank {
    const char *name;
    uint64_t size;
    RegTable regs;
    uint8_t min, max;   /* access sizes taken; 0: 1 and 8 */
    uint8_t endian;
    uint8_t unclaimed;  /* byte read where no register is (0xff on ISA) */
    bool quiet;         /* no guest_error for unclaimed offsets */
} Bank;

/* ---- wires ---- */
typedef struct Out { /* level is a function of state, settled by core; NULL for event outputs (irq_pulse, irq_set by hand) */
    const char *name;
    bool (*level)(const Dev *d);
    unsigned count; /* 0: one */
    bool (*level_n)(const Dev *d, unsigned n);
} Out;
typedef struct In {
    const char *name;
    unsigned count;
    void (*set)(Dev *d, unsigned n, bool level);
} In;

struct DevClass {
    ObjClass obj; /* name, desc, size, props, init (after properties, before the bus sees it) */
    const char *bus;        /* type of bus it plugs into: "ISA", "PCI", "virtio-bus", "ide", "System" (none) */
    const DevClass *base;   /* tables of these are walked first */
    FieldTable state;
    const Bank *banks;      /* regions named bank.name; dev_region(d, i) */
    unsigned nbanks;
    /* Base classes of buses: banks that their classes name elsewhere (BARs, ISA ports), so that their registers
     * are state too. i < nbank_at; NULL: none there. Inherited. */
    const Bank *(*bank_at)(const DevClass *c, unsigned i);
    unsigned nbank_at;
    const Out *outs;
    unsigned nouts;
    const In *ins;
    unsigned nins;
    bool (*plug)(Dev *d, Error **err);    /* base classes' plug first: maps itself (PCI BARs, ISA ports) */
    void (*on_reset)(Dev *d);             /* after all state of all devices was reset and outputs settled */
    bool (*check)(const Dev *d, Error **err); /* validate loaded state (of a shadow instance); indices! */
    void (*loaded)(Dev *d);               /* rebuild transients, remap, after commit of a load */
    void (*before_save)(Dev *d);          /* fold lazily kept state into fields; rarely needed */
    void (*unplug)(Dev *d);               /* doors off: stop taking requests */
    bool (*drained)(const Dev *d);        /* no request in flight */
    char *(*state_key)(const Dev *d);     /* from topology; NULL: path below /machine */
    const char *category;                 /* "Network devices", "Storage devices", .. for -device help */
    bool no_user;                         /* not with -device */
    bool hotplug;                         /* may come and go while the machine runs */
    const char *inner;                    /* clients know a part of it as a device below, by this name; inherited */
    void (*pad)(void *instance);          /* set by DEVICE(): clears padding, for the coverage test */
};

struct Dev {
    Obj obj; /* must be first */
    const DevClass *cls;
    const struct Layout *layout; /* core's: what the tables of cls say */
    char *id;         /* of -device, or NULL */
    Bus *bus;
    AddrSpace *dma;   /* where its DMA goes; default vm->mem */
    bool (*may_dma)(const Dev *d); /* set by its bus; NULL: always */
    uint16_t requester;
    Region **regions; /* of its banks */
    Irq *out;         /* all outputs, in table order */
    IrqTap tap;       /* on its inputs; fn NULL: none */
    unsigned nout, depth /* entries: > 0 is busy */;
    uint8_t life;     /* LIFE_* */
    bool realized, settling, unsettled;
    bool hot;         /* made while the machine runs */
    bool asked;       /* the guest was asked to let go (dev_del) */
    int64_t asked_until; /* CLOCK_VM: then it may be asked again */
    Dev *host;        /* once unplugged: the device whose bus it was on, until this one is freed */
    unsigned guests;  /* devices that were on its buses and are not freed yet */
    uint32_t errors;  /* guest_error rate limit */
    int64_t errors_since;
};
enum { LIFE_LIVE, LIFE_UNPLUGGED, LIFE_DRAINED };

/* A device that firmware may start from: field int32_t bootindex; hw/fw/bootorder.c finds it by name. */
#define PROP_BOOTINDEX(T) PROP(T, bootindex, "bootindex", -1, "place in the boot order, 0 the first; -1: none")
#define TABLE(a) { (a), G_N_ELEMENTS(a) }
#define COUNTED(f, a) .f = (a), .n##f = G_N_ELEMENTS(a) /* COUNTED(outs, fact_outs) */
#if defined(__GNUC__) && !defined(__clang__)
#define PADDING(T, c) static void c##_pad(void *p) { __builtin_clear_padding((T *)p); }
#else
#define PADDING(T, c) static void (*const c##_pad)(void *) = NULL;
#endif
typedef struct DevEntry {
    const DevClass *cls;
    void (*pad)(void *);
} DevEntry;
/* c: a const DevClass, or a bus class whose first member is one (PciClass, IsaClass): DEVICE(Edu, edu.dev) is
 * spelled DEVICE_OF(Edu, edu, &edu.dev). */
#define DEVICE_OF(T, c, ptr)                                                                       \
    PADDING(T, c)                                                                                  \
    static const DevEntry c##_entry = { (ptr), c##_pad };                                          \
    static const DevEntry *const c##_ptr                                                           \
        IN_SECTION("devclasses") = &c##_entry
#define DEVICE(T, c) DEVICE_OF(T, c, (const DevClass *)(const void *)&(c))

/* ---- life ---- */
const DevClass *dev_class_find(const char *name); /* aliases included */
void dev_class_foreach(void (*fn)(const DevClass *c, void *arg), void *arg);
void dev_entry_foreach(void (*fn)(const DevEntry *e, void *arg), void *arg);
const char *dev_class_bus(const DevClass *c); /* base classes' too; NULL: none (System) */
const char *prop_type_name(const Prop *p);    /* as -device X,help and device-list-properties spell it */
/* Create, set properties (global overrides, then `props`: -device's, "driver"/"id"/"bus" excluded),
 * init, plug into `bus` (NULL: found by class.bus, or none), reset. parent: NULL means
 * /machine/unattached; else owns it. VM lock. */
Dev *dev_new(Vm *vm, const char *driver, const char *id, Bus *bus, Obj *parent, Opts *props, Error **err);
/* dev_new with "key=value,.." text: machines and tests */
Dev *dev_plug(Vm *vm, Bus *bus, const char *text, Error **err);
bool dev_add(Vm *vm, Opts *o, Error **err);            /* -device / device_add, "driver" in o */
/* Ask the guest to let go; DEVICE_DELETED when it did. Buses without BusClass.ask: at once. */
bool dev_del(Vm *vm, Dev *d, Error **err);
void dev_asked_for(Dev *d, int64_t ns);                /* BusClass.ask: so long no second dev_del */
void dev_unplug_now(Dev *d);                           /* unplugged -> drained -> freed; tests, surprise removal */
static inline Vm *dev_vm(const Dev *d) { return d->obj.vm; }
static inline int64_t clock_now(const Dev *d) { return vm_now(d->obj.vm); }
Region *dev_region(Dev *d, unsigned bank);
Irq *dev_out(Dev *d, const char *name, unsigned n);
void dev_wire(Dev *from, const char *out, unsigned n, Irq to); /* sends the present level at once */
Irq dev_in(Dev *to, const char *in, unsigned n);               /* a wire end that enters `to` */
/* Set an input by hand: a test. name NULL: the first, whatever it is called. False: there is no such wire. */
bool dev_set_in(Dev *d, const char *name, uint64_t n, bool level);
/* fn hears every change on the inputs of a device, numbered by dev_in's n, or on its outputs (one name, or all when
 * NULL), numbered from 0. Once per device; for life. False: it has none. */
bool dev_tap_in(Dev *d, IrqTap tap);
bool dev_tap_out(Dev *d, const char *name, IrqTap tap);
Irq irq_join(Obj *owner, Irq to, unsigned n, Irq *ends);       /* n sources OR-ed (level) into one input; fills ends[n] */
/* For code called from outside core's entries: completions, UI events, chardev input. Nest. */
void dev_enter(Dev *d);
void dev_leave(Dev *d); /* outermost: settles */
#define WITH_DEV(d) for (Dev *d_ = (dev_enter(d), (d)); d_; dev_leave(d_), d_ = NULL)
void dev_reset(Dev *d); /* the three below in turn; vm_reset does each for all devices first */
void dev_reset_state(Dev *d);
void dev_settle(Dev *d);
void dev_reset_done(Dev *d); /* on_reset of base classes, then its own */
void guest_error(Dev *d, const char *fmt, ...) PRINTF(2, 3); /* rate-limited trace + -d guest_errors */
void guest_unimp(Dev *d, const char *fmt, ...) PRINTF(2, 3); /* -d unimp */
/* Register access by bank, as the region does; tests and qtest's barN+OFF use these too. */
MemResult bank_read(Dev *d, const Bank *b, uint64_t off, unsigned size, uint64_t *val);
MemResult bank_write(Dev *d, const Bank *b, uint64_t off, unsigned size, uint64_t val);
MemResult bank_peek(const Dev *d, const Bank *b, uint64_t off, unsigned size, uint64_t *val);
/* A region whose accesses go to `ops` with entry/settle/busy handling around them (opaque = d). */
Region *dev_region_io(Dev *d, const char *name, uint64_t size, const RegionOps *ops);
Region *dev_region_bank(Dev *d, const Bank *b);

/* ---- buses ---- */
typedef struct BusClass {
    ObjClass obj;
    const char *type;   /* what DevClass.bus matches: "PCI", "ISA", "ide", .. */
    bool (*plug)(Bus *b, Dev *d, Error **err);   /* assigns the address; before DevClass.plug */
    void (*unplug)(Bus *b, Dev *d);
    char *(*address)(const Bus *b, const Dev *d); /* for info qtree; caller frees */
    bool hotplug;      /* devices may come and go while the machine runs */
    /* With hotplug; each may be NULL. */
    bool (*fixed)(const Bus *b);                       /* not on this one */
    void (*arrived)(Bus *b, Dev *d);                   /* plugged while the machine runs: the guest is told */
    bool (*ask)(Bus *b, Dev *d, Error **err);          /* ask the guest to let go; then dev_unplug_now */
} BusClass;
struct Bus {
    Obj obj;           /* child of its controller; name "pci.0" */
    const BusClass *cls;
    Dev *controller;   /* or NULL */
    GPtrArray *devs;   /* plugged, in order */
    unsigned max;      /* 0: no limit */
};
Bus *bus_new(const BusClass *c, Dev *controller, const char *name);
Bus *bus_find(Vm *vm, const char *name_or_path);      /* -device bus= */
Bus *bus_find_type(Vm *vm, const char *type);         /* first with room */
void bus_foreach(Vm *vm, void (*fn)(Bus *b, void *arg), void *arg);

/* Help and docs, from the tables. */
void dev_help_list(GString *out);                       /* -device help */
bool dev_help(const char *driver, GString *out, Error **err); /* -device X,help */
void dev_print_tree(Vm *vm, GString *out);              /* info qtree */
void dev_print_regs(Dev *d, GString *out);              /* info regs */
#endif
