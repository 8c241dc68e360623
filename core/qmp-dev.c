/* core/qmp-dev.c - the monitor's commands that make and remove devices and objects (schema/dev.json). */
#include "core/api/dev.h"
#include "core/priv.h"

static bool add_device(Vm *vm, const char *text, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(text, "driver", err);

    return o && dev_add(vm, o, err);
}

bool qmp_device_add(Vm *vm, const JVal *json, Error **err)
{
    g_autofree char *text = j_text(json);

    return add_device(vm, text, err);
}

bool qmp_device_del(Vm *vm, const DeviceDelArgs *args, Error **err)
{
    bool path = *args->id == '/';
    Obj *o = path ? obj_find(&vm->root, args->id) : vm->peripheral ? obj_child(vm->peripheral, args->id) : NULL;

    if (o && core__is_dev(o->cls))
        return dev_del(vm, (Dev *)o, err);
    if (o || !*args->id)
        return fail(err, "%s is not a device", args->id);
    fail(err, "Device '%s' not found", args->id);
    return error_class(err, "DeviceNotFound");
}

/* ---- objects ---- */
/* "limits.a=1,limits.b=2" are one property, a structure. */
static void fold(const Prop *p, void *arg)
{
    g_autoptr(Opts) sub = p->type && g_ascii_isupper(*p->type) ? opts_sub(arg, p->name) : NULL;
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint i = 0; sub && i < sub->v->len; i++)
        g_string_append_printf(text, "%s%s=%s", i ? "," : "", ((Opt *)sub->v->pdata[i])->key, ((Opt *)sub->v->pdata[i])->value);
    if (text->len)
        opts_set(arg, p->name, text->str);
}

bool obj_create(Vm *vm, Opts *o, Error **err)
{
    g_autofree char *type = opts_take(o, "qom-type"), *id = opts_take(o, "id");
    const ObjClass *c = type ? obj_class_find(type) : NULL;
    Obj *folder = obj_container(&vm->root, "objects");

    if (!type)
        return fail(err, "Parameter 'qom-type' is missing");
    if (!c || !c->user_creatable) {
        fail(err, "invalid object type: %s", type);
        return error_hint(err, "-object help lists them");
    }
    if (!id || !*id)
        return fail(err, "Parameter 'id' is missing");
    if (obj_child(folder, id))
        return fail(err, "attempt to add duplicate property '%s' to object (type 'container')", id);
    obj_prop_foreach(c, fold, o);
    return obj_new(c, folder, id, o, err);
}

static bool add_object(Vm *vm, const char *text, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(text, "qom-type", err);

    return o && obj_create(vm, o, err);
}

bool qmp_object_add(Vm *vm, const JVal *json, Error **err)
{
    g_autofree char *text = j_text(json);

    return add_object(vm, text, err);
}

typedef struct Linked {
    const Dev *d;
    const Obj *to;
    bool found;
} Linked;

static void look_at_link(const Prop *p, void *arg)
{
    Linked *l = arg;

    if (p->kind == P_LINK && *(void *const *)(const void *)((const char *)l->d + p->at) == l->to)
        l->found = true;
}

static void look_at_dev(Dev *d, void *arg)
{
    Linked *l = arg;

    l->d = d;
    obj_prop_foreach(&d->cls->obj, look_at_link, l);
}

bool qmp_object_del(Vm *vm, const ObjectDelArgs *args, Error **err)
{
    Obj *folder = obj_child(&vm->root, "objects"), *o = folder ? obj_child(folder, args->id) : NULL;
    Linked l = { NULL, o, false };

    if (!o)
        return fail(err, "object '%s' not found", args->id);
    vm_foreach_dev(vm, look_at_dev, &l);
    if (l.found || (o->cls->in_use && o->cls->in_use(o)))
        return fail(err, "object '%s' is in use, can not be deleted", args->id);
    obj_free(o);
    return true;
}

/* ---- by hand ---- */
static bool is_help(const char *text) { return !strcmp(text, "help") || !strcmp(text, "?"); }

void hmp_device_add(Hmp *h, const HmpDeviceAddArgs *args)
{
    g_autofree char *driver = g_strndup(args->device, strcspn(args->device, ","));
    Error *err = NULL;

    if (is_help(args->device))
        dev_help_list(h->out);
    else if (is_help(args->device + strlen(driver) + (args->device[strlen(driver)] == ',')))
        dev_help(driver, h->out, &err);
    else
        add_device(h->vm, args->device, &err);
    hmp_say_error(h, err);
}

void hmp_object_add(Hmp *h, const HmpObjectAddArgs *args)
{
    Error *err = NULL;

    add_object(h->vm, args->object, &err);
    hmp_say_error(h, err);
}

void hmp_info_qdm(Hmp *h) { dev_help_list(h->out); }
