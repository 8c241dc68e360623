/*
 * core/vm.h - a virtual machine: everything that is not const. Two in one process is a unit test.
 */
#ifndef CORE_VM_H
#define CORE_VM_H
#include "core/api/run.h" /* RunState, ShutdownCause, RebootAction, .. from schema/run.json */
#include "core/cpu.h"
#include "core/dev.h"
#include "core/irqchip.h"
#include "util/loop.h"

/* Requests are served by the VM loop after all vCPUs stopped (3b.3). */
typedef enum VmRequest { VM_RESET = 1, VM_SHUTDOWN = 2, VM_POWERDOWN = 4, VM_TRIPLE_FAULT = 8, VM_INTERNAL_ERROR = 16,
    VM_DEBUG = 32, VM_PANIC = 64, VM_IO_ERROR = 128, VM_SUSPEND = 256, VM_WAKEUP = 512, VM_STOP = 1024, VM_QUIT = 2048,
    VM_WATCHDOG = 4096 } VmRequest;
typedef ShutdownCause Cause;

typedef struct VmListener { /* on the VM loop, VM lock held; members may be NULL */
    void (*state)(void *self, RunState now);                     /* after a change */
    void (*event)(void *self, const char *name, const char *json); /* QMP events: data object text or NULL */
    void (*reset)(void *self);
    void (*loaded)(void *self);      /* a saved state took the place of the present one */
    void (*powerdown)(void *self);   /* the power button: ACPI devices */
    void (*debug)(void *self, Cpu *cpu, const Exit *e); /* a vCPU hit a breakpoint or finished a step; VM is stopped */
    void (*exit_asked)(void *self, int status); /* the VM ends: main should quit */
    void (*ending)(void *self); /* vm_free begins, no vCPU is left, the loop's thread still is: whatever runs on it ends now */
    void *self;
} VmListener;

typedef struct VmConfig { /* what the machine needs to know of the command line; owned by vm */
    char *name, *uuid_text;
    bool named;                      /* -name was given */
    uint8_t uuid[16];
    bool uuid_set;
    uint64_t ram_size, ram_max;
    unsigned ram_slots;
    char *ram_backend;               /* -machine memory-backend= */
    unsigned cpus, max_cpus, sockets, dies, modules, cores, threads; /* topology.h */
    char *cpu_model;                 /* -cpu text or NULL */
    char *machine_opts_left;         /* internal */
    char *kernel, *initrd, *append, *dtb, *bios;
    GPtrArray *firmware_dirs;        /* -L, then the built-in list */
    char *boot_order, *boot_once;    /* "cad" */
    bool boot_menu, boot_strict;
    int boot_splash_ms, boot_retry_ms; /* -1: the firmware's own, never */
    char *boot_splash;               /* picture beside the boot menu: a file */
    char *vga;                       /* -vga: "std", "none", .. or NULL: default */
    const char *const *commands;     /* what the monitors offer, NULL-terminated; NULL: all. Static */
    bool nodefaults, no_user_config, nographic;
    char *rtc_base, *rtc_clock, *rtc_driftfix; /* utc, localtime or a date */
    RebootAction on_reboot;
    ShutdownAction on_shutdown;
    PanicAction on_panic;
    bool autopsy_stops;              /* menura run: triple fault stops with a report */
    uint64_t tsc_hz;                 /* 0: the host's */
    GPtrArray *options;              /* of char *[3] {name, argument, help}: the command line's, for query-command-line-options */
    GPtrArray *globals;              /* of char *[3] {driver, prop, value} */
    GPtrArray *drives;               /* of DriveInfo: app and machine (core/machine.h) */
    GPtrArray *smbios;               /* -smbios texts */
    GPtrArray *fw_cfg;               /* -fw_cfg texts */
    GPtrArray *option_roms;          /* -option-rom texts */
    uint8_t escape_char;             /* -echr; 0: Ctrl-A */
    WatchdogAction on_watchdog;
    void *serial[4], *parallel[3], *debugcon; /* Chr *, by slot; NULL: none */
    unsigned nserial, nparallel;
} VmConfig;

struct Vm {
    Obj root;             /* "/": children machine, objects, chardevs, backend */
    Obj *machine, *unattached, *peripheral, *peripheral_anon, *objects;
    VmConfig cfg;
    const struct MachineClass *mc;
    bool ending;          /* vm_free is at work: devices go in an order of its own, and tell each other nothing */
    Lock lock;            /* RANK_VM: devices, topology, run state */
    Loop *loop;           /* its thread runs timers, requests, chardevs, monitor */
    const Accel *accel;
    Obj *accel_obj;       /* -accel's properties */
    void *accel_data;
    const IrqBackend *irq;
    void *irq_data;       /* software backend's */
    AddrSpace *mem, *smm, *ports;
    Region *sysmem, *smmmem, *sysports; /* roots; smm: sysmem below, SMRAM above */
    Cpu **cpus;
    unsigned ncpus;
    RunState state;
    bool awaiting;        /* atomic: the first state, or that of -loadvm, is still to come; see vm_awaits_state() */
    bool autostart;       /* inmigrate: run once the state is loaded (vm_cont asks for it) */
    uint32_t requests;    /* VmRequest bits; atomic */
    Cause cause;
    Rng rng;              /* seeded per VM; door_random */
    struct VmClock *clock;
    struct VmPriv *priv;  /* core's own */
};
/* An empty VM: root, lock, loop (not started), clock; no machine, no accelerator. */
Vm *vm_new(const char *name);
void vm_free(Vm *vm);    /* stops everything first */
bool vm_set_accel(Vm *vm, const char *name, Opts *props, Error **err); /* then memory roots exist */
bool vm_init_machine(Vm *vm, const char *machine, Opts *machine_props, Error **err);
bool vm_start(Vm *vm, bool paused, Error **err); /* reset, threads, run */
void vm_start_loop(Vm *vm); /* the loop's thread alone: for who has no machine, but nodes, character devices and monitors */
/* Stop all vCPUs (returns when none runs) / let them go. VM lock held or not; nests by state only. */
void vm_stop(Vm *vm, RunState why);
void vm_cont(Vm *vm); /* inmigrate: later, when loaded; finish-migrate: not at all */
bool vm_running(const Vm *vm);
/* A saved state will take the place of this one: devices leave input where it is, or it would be lost. */
static inline bool vm_awaits_state(const Vm *vm) { return __atomic_load_n(&vm->awaiting, __ATOMIC_RELAXED) || vm->state == RUN_INMIGRATE; }
/* For looking at CPUs: all are at rest in between; no event, the run state stays. Nests. VM loop, VM lock held. */
void vm_look_begin(Vm *vm);
void vm_look_end(Vm *vm);
void vm_request(Vm *vm, VmRequest r, Cause c);       /* any thread; returns at once */
void vm_request_cpu(Vm *vm, VmRequest r, Cpu *cpu, const Exit *e); /* from cpu_park */
void vm_watchdog(Vm *vm);                            /* a watchdog's time is up: what -watchdog-action says. VM loop, VM lock */
void vm_exit_code(Vm *vm, int status);               /* isa-debug-exit: end the process with it */
int vm_wait(Vm *vm);                                 /* until somebody asks to exit; the status. Not on the loop */
bool vm_wait_for(Vm *vm, int64_t host_ns, int *status); /* the same with a limit: false when it passed */
void vm_reset(Vm *vm, Cause c);                      /* VM lock, vCPUs stopped: all state, settle, on_reset */
void vm_listen(Vm *vm, const VmListener *l);
void vm_unlisten(Vm *vm, const VmListener *l);
void vm_event(Vm *vm, const char *name, const char *json_fmt, ...) PRINTF(3, 4); /* QMP event; any thread */
/* Named things devices link to by property: ("chardev", "serial0"), ("drive", id), ("netdev", id).. */
void vm_register(Vm *vm, const char *space, const char *id, void *p);
void vm_unregister(Vm *vm, const char *space, const char *id);
void *vm_lookup(Vm *vm, const char *space, const char *id);
void vm_registry_foreach(Vm *vm, const char *space, void (*fn)(const char *id, void *p, void *arg), void *arg);
/* All devices, parents first, in order of creation. */
void vm_foreach_dev(Vm *vm, void (*fn)(Dev *d, void *arg), void *arg);
Dev *vm_find_dev(Vm *vm, const char *id_or_path);
/* Doors: outside input enters here, so that it can be recorded and replayed. VM lock. */
void door_random(Vm *vm, void *buf, size_t len);
void door_call(Vm *vm, const char *door, void (*fn)(void *arg, const void *data, size_t len), void *arg, const void *data, size_t len);
/* A file of firmware or keymaps: -L dirs, then the built-in list; NULL + err naming where it looked. */
char *vm_find_firmware(Vm *vm, const char *name, Error **err);
#endif
