/* tools/storage/storage.h - menura-storage: nodes, jobs and exports without a machine. Main thread until the loop starts. */
#ifndef TOOLS_STORAGE_H
#define TOOLS_STORAGE_H
#include "core/vm.h"

typedef struct Storage {
    Vm *vm;
    char *pidfile;
    GPtrArray *monitors; /* of char *: --monitor, made last: opening an image lets the loop turn, and nothing is to be asked before all is there */
    bool daemonize, has_pidfile, help_shown;
} Storage;
typedef struct StorageOption {
    const char *name, *arg; /* arg NULL: it takes none */
    bool (*fn)(Storage *s, const char *v, Error **err);
    const char *help;
} StorageOption;
#define O(name, arg, fn, help) bool fn(Storage *s, const char *v, Error **err);
#include "tools/storage/options.def"
#undef O
bool storage_make_monitor(Storage *s, const char *v, Error **err);
/* NULL-terminated: what its monitors offer. */
extern const char *const storage_commands[];
#endif
