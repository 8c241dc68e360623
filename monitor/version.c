/* monitor/version.c - which emulator this is. */
#include "core/api/monitor.h"
#include "core/version.h"

void hmp_info_version(Hmp *h) { g_string_append(h->out, QEMU_VERSION " Menura " MENURA_VERSION "\n"); }

bool qmp_query_version(Vm *vm, VersionInfo *ret, Error **err)
{
    ret->qemu = (VersionTriple){ QEMU_MAJOR, QEMU_MINOR, QEMU_MICRO };
    ret->package = g_strdup("Menura " MENURA_VERSION);
    return true;
}
