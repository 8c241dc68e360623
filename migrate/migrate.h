/*
 * migrate/migrate.h - the state of a whole VM, RAM included and disks not, to and from a stream (README.md has the
 * format). VM lock held or not; the work is done on a thread of its own, results arrive on the VM loop.
 */
#ifndef MIGRATE_MIGRATE_H
#define MIGRATE_MIGRATE_H
#include "core/api/migrate.h" /* MigrationStatus and the commands, from schema/migrate.json */
#include "core/vm.h"

typedef struct MigrateInfo { /* query-migrate */
    MigrationStatus status;
    bool incoming;           /* then only status and error_desc have a meaning */
    char *error_desc;        /* NULL: none; the caller frees */
    int64_t setup_ms, total_ms, downtime_ms;
    uint64_t ram_total, ram_transferred, ram_remaining; /* bytes */
    uint64_t normal, duplicate;                         /* pages of 4096 bytes sent, and left out because they are zero */
} MigrateInfo;

/*
 * migrate {uri}: file:PATH[,offset=N], where PATH may be /dev/fdset/.. Stops the VM (finish-migrate), then writes;
 * ends in postmigrate, or in the state it had before when that fails or is cancelled. False + err: nothing was begun.
 */
bool migrate_start(Vm *vm, const char *uri, Error **err);
void migrate_cancel(Vm *vm);
void migrate_query(Vm *vm, MigrateInfo *out);
void migrate_send_events(Vm *vm, bool on); /* capability "events": MIGRATION and MIGRATION_PASS */
bool migrate_sends_events(Vm *vm);

/* -incoming: after vm_start(vm, paused). The VM waits in inmigrate; autostart: it runs once the state is there. */
void migrate_await(Vm *vm, bool autostart);
/* -incoming URI and migrate-incoming. exit_on_error: a stream that is refused ends the VM with status 1. */
bool migrate_incoming(Vm *vm, const char *uri, bool exit_on_error, Error **err);
void migrate_shutdown(Vm *vm); /* before vm_free: whatever is under way ends, its thread is gone. Not on the VM loop */
bool migrate_uri_check(const char *uri, Error **err); /* of a kind that this build knows */
#endif
