/* block/throttle-node.c - driver "throttle": a node that is a member of a group; and -object throttle-group, which makes one with limits. */
#include "block/priv.h"
#include "block/throttle.h"
#include "core/vm.h"

/* ---- the driver ---- */
static ThrottleGroup *group_of(Node *n, Opts *o, Error **err)
{
    const char *name = opts_get(o, "throttle-group");
    ThrottleGroup *g = name ? throttle_group_find(n->loop, name) : NULL;

    if (!name)
        fail(err, "Parameter 'throttle-group' is missing");
    else if (!g)
        fail(err, "Throttle group '%s' does not exist", name);
    return g;
}

static CO_FN bool node_throttle_open(Node *n, Opts *o, Error **err)
{
    ThrottleGroup *g = group_of(n, o, err);

    if (g)
        throttle_join(n->opaque, g);
    n->size = n->file->size;
    return g;
}

static CO_FN void node_throttle_close(Node *n) { throttle_leave(n->opaque); }

static CO_FN int node_throttle_submit(Node *n, BlkReq *r)
{
    if (r->op == BLK_READ || r->op == BLK_WRITE || r->op == BLK_ZERO || r->op == BLK_DISCARD)
        throttle_pass(n->opaque, r->op != BLK_READ, r->len);
    return block__forward(n, r);
}

static CO_FN bool node_throttle_reopen(Node *n, Opts *o, bool apply, Error **err)
{
    ThrottleGroup *g = group_of(n, o, err);

    if (g && apply)
        throttle_join(n->opaque, g);
    return g;
}

static const BlkDriver node_throttle = {
    .name = "throttle",
    .size = sizeof(ThrottleMember),
    .open = node_throttle_open,
    .close = node_throttle_close,
    .submit = node_throttle_submit,
    .reopen = node_throttle_reopen,
};
BLK_DRIVER(node_throttle);

void blk_unthrottle(Node *n, bool on)
{
    Node *const below[] = { n->file, n->backing, n->data };

    if (n->drv == &node_throttle)
        throttle_free(n->opaque, on);
    for (size_t i = 0; i < G_N_ELEMENTS(below); i++)
        if (below[i])
            blk_unthrottle(below[i], on);
}

/* ---- the object ---- */
typedef struct GroupObj {
    Obj obj;
    ThrottleLimits l; /* of the properties, when it is made */
    ThrottleGroup *g;
} GroupObj;
#define GROUPOBJ(o) ((GroupObj *)(o))

static bool group_init(Obj *obj, Error **err)
{
    GroupObj *t = GROUPOBJ(obj);

    if (!throttle_limits_check(&t->l, err))
        return false;
    if (throttle_group_find(obj->vm->loop, obj->name))
        return fail(err, "A group with this name already exists");
    t->g = throttle_group_get(obj->vm->loop, obj->name);
    throttle_group_set(t->g, &t->l);
    return true;
}

static void group_fini(Obj *obj)
{
    if (GROUPOBJ(obj)->g)
        throttle_group_put(GROUPOBJ(obj)->g);
}

static bool group_in_use(const Obj *obj) { return throttle_group_shared(((const GroupObj *)obj)->g); }

/* What is not named stays as it is. */
static bool set_limits(Obj *obj, const char *text, Error **err)
{
    GroupObj *t = GROUPOBJ(obj);
    g_autoptr(Opts) o = opts_parse_any(text, NULL, err);
    ThrottleLimits l = t->g ? *throttle_group_limits(t->g) : t->l;

    if (!o || !throttle_limits_parse(&l, o, "", false, err) || !opts_all_used(o, "limits", err))
        return false;
    t->l = l;
    if (t->g)
        throttle_group_set(t->g, &l);
    return true;
}

static char *get_limits(Obj *obj)
{
    GroupObj *t = GROUPOBJ(obj);
    const ThrottleLimits *l = t->g ? throttle_group_limits(t->g) : &t->l;
    GString *s = g_string_new(NULL);

    for (unsigned i = 0; i < THROTTLES; i++)
        g_string_append_printf(s, "%s=%" PRIu64 ",%s-max=%" PRIu64 ",%s-max-length=%" PRIu64 ",", throttle_names[i], l->avg[i], throttle_names[i],
                               l->max[i], throttle_names[i], l->length[i]);
    g_string_append_printf(s, "iops-size=%" PRIu64, l->op_size);
    return g_string_free(s, FALSE);
}

/* clang-format off */
#define LIMIT(i, name, what) \
    PROP(GroupObj, l.avg[i], "x-" name, 0, what " a second; 0: no limit"), \
    PROP(GroupObj, l.max[i], "x-" name "-max", 0, what " a second in a burst"), \
    PROP(GroupObj, l.length[i], "x-" name "-max-length", 1, "seconds that it may last")
static const Prop group_props[] = {
    { .name = "limits", .kind = P_CUSTOM, .get = get_limits, .set = set_limits, .type = "ThrottleLimits", .live = true, .doc = "all limits" },
    LIMIT(THROTTLE_BPS, "bps-total", "bytes"), LIMIT(THROTTLE_BPS_RD, "bps-read", "bytes read"), LIMIT(THROTTLE_BPS_WR, "bps-write", "bytes written"),
    LIMIT(THROTTLE_IOPS, "iops-total", "requests"), LIMIT(THROTTLE_IOPS_RD, "iops-read", "reads"), LIMIT(THROTTLE_IOPS_WR, "iops-write", "writes"),
    PROP(GroupObj, l.op_size, "x-iops-size", 0, "a request counts once per this many bytes"),
};
/* clang-format on */
static const ObjClass group = {
    .name = "throttle-group", .desc = "limits of disks and nodes", .size = sizeof(GroupObj), .props = TABLE(group_props),
    .init = group_init, .fini = group_fini, .user_creatable = true, .in_use = group_in_use,
};
OBJECT(group);
