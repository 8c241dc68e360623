/*
 * core/obj.h - the object tree. The parent owns; classes are const data compared by address; what
 * an object acquires it acquires for itself with own(), released newest first when it is freed.
 * Paths have QEMU's shape: /machine/peripheral/ID, /machine/unattached/device[N], /objects/ID.
 */
#ifndef CORE_OBJ_H
#define CORE_OBJ_H
#include "util/error.h"
#include "util/opts.h"

typedef struct Obj Obj;
typedef struct Vm Vm;
struct DevClass;

/* ---- properties: one row serves the command line, QOM, help and docs ---- */
typedef enum PropKind {
    P_BOOL, P_U8, P_U16, P_U32, P_U64, P_S32, P_S64, P_SIZE /* u64 with suffix */, P_STR /* char *, owned */,
    P_ENUM /* uint8_t index into names */, P_ONOFFAUTO /* uint8_t: 0 off 1 on 2 auto */,
    P_MAC /* uint8_t[6] */, P_UUID /* uint8_t[16] */,
    P_LINK /* void *: named thing of `space`, see vm_register */,
    P_CUSTOM /* get/set below */,
} PropKind;
typedef struct Prop {
    const char *name; /* external, QEMU's spelling; written, never derived */
    uint32_t at, size;
    PropKind kind;
    uint64_t def;
    const char *def_str;      /* P_STR, P_MAC, P_UUID, P_ENUM by name */
    const char *const *names; /* P_ENUM: NULL-terminated */
    const char *space;        /* P_LINK: "chardev", "drive", "netdev", "memory-backend", "rng", .. */
    const char *doc;
    bool live;                /* may be set after init (qom-set) */
    bool (*set)(Obj *o, const char *text, Error **err); /* P_CUSTOM */
    char *(*get)(Obj *o);                               /* P_CUSTOM; caller frees */
    char *(*get_named)(Obj *o, const struct Prop *p);   /* P_CUSTOM: one function for many rows */
    const char *type;                                   /* P_CUSTOM: as clients see it; "str" unless given; "strList": with commas; capital: a structure of numbers, "a=1,b=2" */
} Prop;
typedef struct PropTable {
    const Prop *v;
    size_t n;
} PropTable;
#define PROP_KIND(x)                                                                               \
    _Generic((x), bool: P_BOOL, uint8_t: P_U8, uint16_t: P_U16, uint32_t: P_U32, uint64_t: P_U64,  \
             int32_t: P_S32, int64_t: P_S64, char *: P_STR)
#define PROP_(T, m) .at = offsetof(T, m), .size = sizeof_field(T, m)
#define PROP(T, m, nm, d, dc)                                                                      \
    { .name = (nm), PROP_(T, m), .kind = PROP_KIND(((T *)0)->m), .def = (uint64_t)(d), .doc = (dc) }
#define PROP_STR(T, m, nm, d, dc)                                                                  \
    { .name = (nm), PROP_(T, m), .kind = P_STR, .def_str = (d), .doc = (dc) }
#define PROP_SIZE(T, m, nm, d, dc)                                                                 \
    { .name = (nm), PROP_(T, m), .kind = P_SIZE, .def = (d), .doc = (dc) }
#define PROP_AUTO(T, m, nm, d, dc)                                                                 \
    { .name = (nm), PROP_(T, m), .kind = P_ONOFFAUTO, .def = (d), .doc = (dc) }
#define PROP_ENUM(T, m, nm, nms, d, dc)                                                            \
    { .name = (nm), PROP_(T, m), .kind = P_ENUM, .names = (nms), .def_str = (d), .doc = (dc) }
#define PROP_MAC(T, m, nm, dc) { .name = (nm), PROP_(T, m), .kind = P_MAC, .doc = (dc) }
#define PROP_LINK(T, m, nm, sp, dc)                                                                \
    { .name = (nm), PROP_(T, m), .kind = P_LINK, .space = (sp), .doc = (dc) }
#define PROP_CUSTOM(nm, g, s, dc) { .name = (nm), .kind = P_CUSTOM, .get = (g), .set = (s), .doc = (dc) }
enum { OFF, ON, AUTO }; /* P_ONOFFAUTO */

typedef struct ObjClass {
    const char *name;
    const struct ObjClass *parent;
    const char *desc;
    size_t size;
    PropTable props; /* rows of the parents apply too */
    bool (*init)(Obj *o, Error **err); /* parent's first; properties are set already */
    void (*fini)(Obj *o);              /* own class first; rarely needed: prefer own() */
    bool user_creatable;               /* -object */
    bool (*in_use)(const Obj *o);      /* object-del refuses; what devices link to is known without */
} ObjClass;
/* Classes are found through a linker section. Devices register with DEVICE() (core/dev.h). */
#define OBJECT(c)                                                                                  \
    static const ObjClass *const c##_objclass                                                      \
        IN_SECTION("objclasses") = &c
struct Obj {
    const ObjClass *cls;
    Obj *parent;
    char *name;
    Vm *vm;
    GPtrArray *children; /* of Obj *, in order of creation; may be NULL */
    GPtrArray *scope;    /* own() entries; may be NULL */
};
/* Allocates, sets defaults, then `props` (each key must exist), then init; NULL + err on failure,
 * everything unwound. parent may be NULL (a root). name: "edu0"; NULL: "device[N]" is chosen.
 * `props` may be NULL; not consumed. */
Obj *obj_new(const ObjClass *cls, Obj *parent, const char *name, Opts *props, Error **err);
/* -object, object-add: "qom-type" and "id" in o, below /objects. */
bool obj_create(Vm *vm, Opts *o, Error **err);
void obj_free(Obj *o); /* children newest first, then fini, then its scope */
void *own(Obj *o, void *p, void (*release)(void *)); /* returns p; NULL is not recorded */
int own_fd(Obj *o, int fd);                          /* returns fd; -1 is not recorded */
void disown(Obj *o, void *p);                        /* forget without release */
Obj *obj_child(const Obj *parent, const char *name);
Obj *obj_container(Obj *parent, const char *name); /* find or make a plain folder */
Obj *obj_find(Obj *root, const char *path);        /* "/machine/unattached/device[3]" */
char *obj_path(const Obj *o);                      /* caller frees */
bool obj_is(const Obj *o, const ObjClass *cls);    /* or a subclass */
const ObjClass *obj_class_find(const char *name);  /* alias names (core/compat.def) included */
void obj_class_foreach(void (*fn)(const ObjClass *c, void *arg), void *arg); /* devices too */
const Prop *obj_prop_find(const ObjClass *cls, const char *name);
void obj_prop_foreach(const ObjClass *cls, void (*fn)(const Prop *p, void *arg), void *arg);
bool obj_prop_set(Obj *o, const char *name, const char *text, Error **err);
char *obj_prop_get(Obj *o, const char *name, Error **err); /* as text; caller frees */
#endif
