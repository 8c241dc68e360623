/* tests/unit/obj.c - the tree, scopes, unwinding, properties of every kind. */
#include "tests/lib/t.h"

typedef struct Thing {
    Obj obj;
    bool flag;
    uint8_t small, which, tri, mac[6], uuid[16];
    uint64_t size;
    int32_t s;
    char *text;
    void *link;
    uint8_t any;
} Thing;

static const char *const names[] = { "one", "two", NULL };
static unsigned released;
static void count(void *p) { released = released * 10 + GPOINTER_TO_UINT(p); }

static bool thing_init(Obj *o, Error **err)
{
    own(o, GUINT_TO_POINTER(1), count);
    own(o, GUINT_TO_POINTER(2), count);
    return !((Thing *)o)->flag || fail(err, "flag");
}

/* clang-format off */
static const Prop props[] = {
    PROP(Thing, flag, "flag", false, "refuses"), PROP(Thing, small, "small", 7, "a byte"), PROP(Thing, any, "any", -1, "a byte; -1: whichever"), PROP(Thing, s, "s", -5, "signed"),
    PROP_SIZE(Thing, size, "size", 1024, "bytes"), PROP_STR(Thing, text, "text", "dflt", "words"),
    PROP_ENUM(Thing, which, "which", names, "two", "one of two"), PROP_AUTO(Thing, tri, "tri", AUTO, "three states"),
    PROP_MAC(Thing, mac, "mac", "address"), { .name = "uuid", PROP_(Thing, uuid), .kind = P_UUID },
    PROP_LINK(Thing, link, "link", "widget", "another thing"),
};
/* clang-format on */
static const ObjClass thing = { .name = "thing", .size = sizeof(Thing), .props = TABLE(props), .init = thing_init };
OBJECT(thing);

static void check_prop(Obj *o, const char *name, const char *want)
{
    g_autofree char *v = obj_prop_get(o, name, &abort_on_error);

    check_str(v, want);
}

static void properties(Vm *vm)
{
    Obj *o = obj_new(&thing, &vm->root, "t", NULL, &abort_on_error);
    static const struct {
        const char *name, *def, *set, *now, *bad;
    } v[] = {
        { "flag", "false", "on", "true", "perhaps" }, { "small", "7", "0xff", "255", "256" }, { "small", "255", "3", "3", "-1" },
        { "s", "-5", "7", "7", "4294967295" }, { "any", "255", "-1", "255", "-2" },
        { "s", "7", "-2147483648", "-2147483648", "-2147483649" }, { "size", "1024", "2M", "2097152", "2Q" },
        { "text", "dflt", "a b", "a b", NULL }, { "which", "two", "one", "one", "three" },
        { "tri", "auto", "off", "off", "x" }, { "mac", "00:00:00:00:00:00", "52:54:00:ab:cd:ef", "52:54:00:ab:cd:ef", "52:54" },
        { "uuid", "00000000-0000-0000-0000-000000000000", "12345678-9abc-def0-1234-56789abcdef0",
          "12345678-9abc-def0-1234-56789abcdef0", "1234" },
        { "link", "", "w", "w", "nobody" },
    };

    vm_register(vm, "widget", "w", vm);
    for (size_t i = 0; i < G_N_ELEMENTS(v); i++) {
        check_prop(o, v[i].name, v[i].def);
        check(obj_prop_set(o, v[i].name, v[i].set, &abort_on_error));
        check_prop(o, v[i].name, v[i].now);
        check(!v[i].bad || !obj_prop_set(o, v[i].name, v[i].bad, NULL));
        check_prop(o, v[i].name, v[i].now);
    }
    check(!obj_prop_set(o, "nothing", "1", NULL));
}
TEST("obj/properties", properties);

static void unwinding(Vm *vm)
{
    g_autoptr(Opts) bad = opts_parse("flag=on", NULL, &abort_on_error);
    Error *e = NULL;

    check(!obj_new(&thing, &vm->root, "t", bad, &e));
    check_str(error_text(e), "flag");
    error_free(e);
    check_eq(released, 21); /* newest first */
    check(!obj_child(&vm->root, "t"));
}
TEST("obj/unwinding", unwinding);

static void paths(Vm *vm)
{
    Obj *a = obj_new(&thing, vm->unattached, NULL, NULL, &abort_on_error);
    Obj *b = obj_new(&thing, vm->unattached, NULL, NULL, &abort_on_error);
    g_autofree char *path = obj_path(b);

    check_str(path, "/machine/unattached/device[1]");
    check(obj_find(&vm->root, path) == b && obj_find(&vm->root, "machine/unattached/device[0]") == a);
    check(!obj_find(&vm->root, "/machine/nothing/x") && obj_is(a, &thing));
    check(!obj_new(&thing, vm->unattached, "device[1]", NULL, NULL)); /* taken */
    check(obj_class_find("thing") == &thing);
}
TEST("obj/paths", paths);

static void two_vms(Vm *vm)
{
    Vm *other = t_vm();
    uint32_t v = 0x12345678, got = 0;

    check(as_write(vm->mem, 0x1000, &v, 4, MEM_CPU) == MEM_OK);
    check(as_read(other->mem, 0x1000, &got, 4, MEM_CPU) == MEM_OK && got == 0);
    t_step(vm, 5 * MS);
    check_eq(vm_now(other), 0);
    check_eq(vm_now(vm), 5 * MS);
    vm_free(other);
    check(as_read(vm->mem, 0x1000, &got, 4, MEM_CPU) == MEM_OK && got == v);
}
TEST("obj/two-vms", two_vms);
