/* core/machine.c - finding machine types, accelerators and targets in their linker sections. */
#include "core/machine.h"

#define SECTION(T, s)                                                                              \
    extern const T *const __start_##s[] __attribute__((weak));                                     \
    extern const T *const __stop_##s[] __attribute__((weak));
SECTION(MachineClass, machines)
SECTION(Accel, accels)
SECTION(Target, targets)

const MachineClass *machine_find(const char *name)
{
    for (const MachineClass *const *p = __start_machines; p < __stop_machines; p++)
        if (name ? !g_strcmp0((*p)->name, name) || !g_strcmp0((*p)->alias, name) : (*p)->is_default)
            return *p;
    return NULL;
}

void machine_foreach(void (*fn)(const MachineClass *m, void *arg), void *arg)
{
    for (const MachineClass *const *p = __start_machines; p < __stop_machines; p++)
        fn(*p, arg);
}

const Accel *accel_find(const char *name)
{
    for (const Accel *const *p = __start_accels; p < __stop_accels; p++)
        if (!strcmp((*p)->name, name))
            return *p;
    return NULL;
}

void accel_foreach(void (*fn)(const Accel *a, void *arg), void *arg)
{
    for (const Accel *const *p = __start_accels; p < __stop_accels; p++)
        fn(*p, arg);
}

const Target *target_find(const char *name)
{
    for (const Target *const *p = __start_targets; p < __stop_targets; p++)
        if (!name || !strcmp((*p)->name, name))
            return *p;
    return NULL;
}

DriveInfo *machine_drive(Vm *vm, const char *iface, int bus, int unit)
{
    for (guint i = 0; vm->cfg.drives && i < vm->cfg.drives->len; i++) {
        DriveInfo *d = vm->cfg.drives->pdata[i];

        if (!strcmp(d->iface, iface) && d->bus == bus && d->unit == unit) {
            d->claimed = true;
            return d;
        }
    }
    return NULL;
}
