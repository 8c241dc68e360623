/* tools/storage/storage.h - menura-storage: nodes, jobs and exports without a machine. Main thread until the loop starts. */
#ifndef TOOLS_STORAGE_H
#define TOOLS_STORAGE_H
#include "core/vm.h"

typedef struct Storage {
    Vm *vm;
    char *pidfile;
    bool daemonize, has_pidfile, help_shown;
} Storage;
typedef struct StorageOption {
    const char *name, *arg; /* arg NULL: it takes none */
    bool (*fn)(Storage *s, const char *v, Error **err);
    const char *help;
    bool early; /* looked at before the others: about the process */
} StorageOption;
#define O(name, arg, fn, help) bool fn(Storage *s, const char *v, Error **err);
#include "tools/storage/options.def"
#undef O
/* NULL-terminated: what its monitors offer. */
extern const char *const storage_commands[];
#endif
