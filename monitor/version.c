/* monitor/version.c - which emulator this is. */
#include "core/api/monitor.h"
#include "core/version.h"

bool qmp_query_version(Vm *vm, VersionInfo *ret, Error **err)
{
    ret->qemu = (VersionTriple){ QEMU_MAJOR, QEMU_MINOR, QEMU_MICRO };
    ret->package = g_strdup("Menura " MENURA_VERSION);
    return true;
}
