/*
 * migrate/snapshot.h - snapshots of a whole machine: RAM, devices and disks. In a folder when one is named (-snapdir), for
 * disks of any format; else inside the qcow2 images, as QEMU does. README.md has the rules.
 */
#ifndef MIGRATE_SNAPSHOT_H
#define MIGRATE_SNAPSHOT_H
#include "core/job.h"
#include "core/vm.h"

/* -snapdir: the folder (absolute), made when the first snapshot is. Disks that have snapshots there are guarded from now
 * on; one that was changed by something else is told by a warning. After devices, before vm_start; VM lock not held. */
bool snapshot_folder(Vm *vm, const char *dir, Error **err);
/* savevm, loadvm, delvm, -loadvm: wait for the end. VM loop, VM lock, not in a coroutine. tag NULL: named by the time. */
bool snapshot_save(Vm *vm, const char *tag, Error **err);
bool snapshot_load(Vm *vm, const char *tag, Error **err);
bool snapshot_delete(Vm *vm, const char *tag, Error **err);
/* -loadvm: snapshot_load from another thread than the VM loop's, VM lock not held. */
bool snapshot_begin_with(Vm *vm, const char *tag, Error **err);
#endif
