/* chr/qmp.c - the monitor's commands about character devices (schema/char.json). */
#include "chr/priv.h"
#include "core/api/char.h"

static void list_one(const char *id, void *p, void *arg)
{
    const Chr *c = p;
    ChardevInfo *i = API_ADD((ChardevInfoList *)arg);

    i->label = g_strdup(id);
    i->filename = chr_describe(c);
    i->frontend_open = chr_in_use(c);
}

bool qmp_query_chardev(Vm *vm, ChardevInfoList *ret, Error **err)
{
    vm_registry_foreach(vm, "chardev", list_one, ret);
    return true;
}

static void list_backend(const char *name, void *arg) { API_ADD((ChardevBackendInfoList *)arg)->name = g_strdup(name); }

bool qmp_query_chardev_backends(Vm *vm, ChardevBackendInfoList *ret, Error **err)
{
    chr_backend_foreach(list_backend, ret);
    return true;
}

void hmp_info_chardev(Hmp *h)
{
    ChardevInfoList l = { NULL, 0 };

    qmp_query_chardev(h->vm, &l, NULL);
    for (size_t i = 0; i < l.n; i++)
        g_string_append_printf(h->out, "%s: filename=%s\n", l.v[i].label, l.v[i].filename);
    api_clear(&api_ChardevInfoList, &l);
}
