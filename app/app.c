/* app/app.c - the command line as it is collected. */
#include "app/app.h"
#include "migrate/migrate.h"
#include <unistd.h>

static void free_pair(gpointer p) { g_strfreev(p); }

App *app_new(void)
{
    App *a = g_new0(App, 1);

    a->vm = vm_new("menura");
    a->machine = opts_new();
    app_describe_options(&a->vm->cfg);
    a->accels = g_ptr_array_new_with_free_func(g_free);
    a->drives = g_ptr_array_new_with_free_func(free_pair);
    a->later = g_ptr_array_new_with_free_func(app_later_free);
    a->serials = g_ptr_array_new_with_free_func(g_free);
    a->nets = g_ptr_array_new_with_free_func(free_pair);
    a->parallels = g_ptr_array_new_with_free_func(g_free);
    a->monitors = g_ptr_array_new_with_free_func(g_free);
    a->mons = g_ptr_array_new_with_free_func(g_free);
    a->gdbs = g_ptr_array_new_with_free_func(g_free);
    a->vm->cfg.firmware_dirs = g_ptr_array_new_with_free_func(g_free);
    a->vm->cfg.globals = g_ptr_array_new_with_free_func(free_pair);
    a->vm->cfg.smbios = g_ptr_array_new_with_free_func(g_free);
    a->vm->cfg.fw_cfg = g_ptr_array_new_with_free_func(g_free);
    a->vm->cfg.option_roms = g_ptr_array_new_with_free_func(g_free);
    return a;
}

void app_free(App *a)
{
    GPtrArray *const lists[] = { a->accels, a->drives, a->later, a->serials, a->parallels, a->nets, a->monitors, a->mons, a->gdbs };

    migrate_shutdown(a->vm);
    vm_free(a->vm);
    if (a->has_pidfile) /* the last thing to go: who waits for that finds all gone */
        unlink(a->pidfile);
    if (a->cards)
        g_ptr_array_free(a->cards, TRUE);
    opts_free(a->machine);
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++)
        g_ptr_array_free(lists[i], TRUE);
    g_free(a->display);
    g_free(a->debugcon);
    g_free(a->pidfile);
    g_free(a->chroot);
    g_free(a->user);
    g_free(a->incoming);
    g_free(a->loadvm);
    g_free(a->snapdir);
    g_free(a->mem_path);
    g_free(a->qtest);
    g_free(a->qtest_log);
    g_free(a->ctl);
    g_free(a);
}
