/* block/drive.h - -drive, -hda, -cdrom: a Disk and where the machine should put it. Start-up, VM
 * lock not needed. */
#ifndef BLOCK_DRIVE_H
#define BLOCK_DRIVE_H
#include "block/disk.h"
#include "core/machine.h"

/* Takes if, index, bus, unit, media, id from `o`, makes the Disk of the rest, appends the DriveInfo
 * to vm->cfg.drives (which owns it) and returns it. mc gives the default interface and units per
 * bus; not NULL. `o` is consumed. */
DriveInfo *drive_add(Vm *vm, const MachineClass *mc, Opts *o, Error **err);
void drive_remove(Disk *disk); /* and its DriveInfo; nobody uses it */
/* "-hda FILE": {"file": FILE, "index": 0, "media": "disk"} and so on for letter a..d; 'r' is -cdrom
 */
DriveInfo *drive_add_simple(Vm *vm, const MachineClass *mc, char letter, const char *file,
                            Error **err);
#endif
