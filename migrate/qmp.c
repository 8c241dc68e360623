/* migrate/qmp.c - the monitor's commands of schema/migrate.json. VM loop, VM lock. */
#include "migrate/migrate.h"

bool qmp_migrate(Vm *vm, const MigrateArgs *args, Error **err)
{
    if (args->has_resume && args->resume)
        return fail(err, "Cannot resume if there is no paused migration");
    return migrate_start(vm, args->uri, err);
}

bool qmp_migrate_cancel(Vm *vm, Error **err)
{
    migrate_cancel(vm);
    return true;
}

static void fill_ram(const MigrateInfo *n, MigrationInfo *ret)
{
    MigrationStats *r = ret->ram = g_new0(MigrationStats, 1);
    int64_t ms = MAX(n->total_ms, 1);

    r->transferred = (int64_t)n->ram_transferred;
    r->remaining = (int64_t)n->ram_remaining;
    r->total = (int64_t)n->ram_total;
    r->duplicate = (int64_t)n->duplicate;
    r->normal = (int64_t)n->normal;
    r->normal_bytes = (int64_t)n->normal * 4096;
    r->mbps = (double)n->ram_transferred * 8 / 1000 / (double)ms;
    r->dirty_sync_count = 1;
    r->page_size = 4096;
    r->pages_per_second = n->normal * 1000 / (uint64_t)ms;
    r->downtime_bytes = n->ram_transferred;
}

bool qmp_query_migrate(Vm *vm, MigrationInfo *ret, Error **err)
{
    MigrateInfo n;
    bool ended;

    migrate_query(vm, &n);
    if (n.status == MIGRATE_NONE)
        return true;
    ret->has_status = true;
    ret->status = n.status;
    ret->error_desc = n.error_desc;
    ended = n.status == MIGRATE_COMPLETED;
    if (n.incoming || n.status == MIGRATE_FAILED || n.status == MIGRATE_CANCELLED)
        return true;
    ret->has_total_time = ret->has_setup_time = true;
    ret->total_time = n.total_ms;
    ret->setup_time = n.setup_ms;
    ret->has_downtime = ended;
    ret->has_expected_downtime = !ended;
    ret->downtime = ret->expected_downtime = n.downtime_ms;
    fill_ram(&n, ret);
    return true;
}

bool qmp_migrate_incoming(Vm *vm, const MigrateIncomingArgs *args, Error **err)
{
    return migrate_incoming(vm, args->uri, !args->has_exit_on_error || args->exit_on_error, err);
}

bool qmp_migrate_set_capabilities(Vm *vm, const MigrateSetCapabilitiesArgs *args, Error **err)
{
    for (size_t i = 0; i < args->capabilities.n; i++)
        migrate_send_events(vm, args->capabilities.v[i].state); /* the only one */
    return true;
}

bool qmp_query_migrate_capabilities(Vm *vm, MigrationCapabilityStatusList *ret, Error **err)
{
    MigrationCapabilityStatus *c = API_ADD(ret);

    *c = (MigrationCapabilityStatus){ .capability = MIGRATE_CAP_EVENTS, .state = migrate_sends_events(vm) };
    return true;
}

/* ---- the human monitor's ---- */
void hmp_migrate(Hmp *h, const HmpMigrateArgs *args)
{
    Error *e = NULL;

    migrate_start(h->vm, args->uri, &e);
    hmp_say_error(h, e);
}

void hmp_migrate_incoming(Hmp *h, const HmpMigrateIncomingArgs *args)
{
    Error *e = NULL;

    migrate_incoming(h->vm, args->uri, true, &e);
    hmp_say_error(h, e);
}

void hmp_info_migrate(Hmp *h)
{
    MigrateInfo n;

    migrate_query(h->vm, &n);
    if (n.status == MIGRATE_NONE)
        return;
    g_string_append_printf(h->out, "Migration status: %s%s%s%s\n", api_MigrationStatus.names[n.status], n.error_desc ? " (" : "",
                           n.error_desc ? n.error_desc : "", n.error_desc ? ")" : "");
    if (!n.incoming)
        g_string_append_printf(h->out,
                               "total time: %" PRId64 " ms\nsetup: %" PRId64 " ms\ndowntime: %" PRId64 " ms\ntransferred ram: %" PRIu64
                               " kbytes\nremaining ram: %" PRIu64 " kbytes\ntotal ram: %" PRIu64 " kbytes\nduplicate: %" PRIu64
                               " pages\nnormal: %" PRIu64 " pages\n",
                               n.total_ms, n.setup_ms, n.downtime_ms, n.ram_transferred / KiB, n.ram_remaining / KiB,
                               n.ram_total / KiB, n.duplicate, n.normal);
    g_free(n.error_desc);
}

void hmp_info_migrate_capabilities(Hmp *h)
{
    g_string_append_printf(h->out, "events: %s\n", migrate_sends_events(h->vm) ? "on" : "off");
}
