/* block/qmp-node.c - the monitor's commands that make, change and remove nodes (schema/block.json). */
#include "block/disk.h"
#include "block/image.h"
#include "block/qmp-job.h"
#include "block/reopen.h"
#include "core/api/block.h"

bool qmp_blockdev_add(Vm *vm, const JVal *json, Error **err)
{
    g_autofree char *text = j_text(json);
    g_autoptr(Opts) o = opts_parse_any(text, NULL, err);

    if (!o)
        return false;
    if (!opts_peek(o, "node-name"))
        return fail(err, "'node-name' must be specified for the root node");
    return disk_add_blockdev(vm, o, err);
}

bool qmp_blockdev_del(Vm *vm, const BlockdevDelArgs *args, Error **err) { return disk_del_blockdev(vm, args->node_name, err); }

/* ---- other options ---- */
static bool add_wish(Reopen *x, const JVal *options, Error **err)
{
    g_autofree char *text = j_text(options);
    g_autoptr(Opts) o = options->kind == J_OBJECT ? opts_parse_any(text, NULL, err) : NULL;

    if (options->kind != J_OBJECT)
        return fail(err, "Invalid parameter type for 'options', expected: object");
    return o && reopen_add(x, o, err);
}

static bool reopen_in_co(Vm *vm, const void *a, Error **err)
{
    const BlockdevReopenArgs *args = a;
    Reopen *x = reopen_new(vm);
    bool ok = true;

    for (size_t i = 0; i < args->options.n && ok; i++)
        ok = add_wish(x, args->options.v[i], err);
    ok = ok && reopen_do(x, err);
    reopen_free(x);
    return ok;
}

bool qmp_blockdev_reopen(Vm *vm, const BlockdevReopenArgs *args, Error **err) { return qmp__in_co(vm, reopen_in_co, args, err); }

/* ---- being told of a file that fills up ---- */
static void exceeded(Node *n, uint64_t by, void *vm)
{
    event_block_write_threshold(vm, &(EventBlockWriteThreshold){ .node_name = n->name, .amount_exceeded = by, .write_threshold = n->write_threshold });
}

bool qmp_block_set_write_threshold(Vm *vm, const BlockSetWriteThresholdArgs *args, Error **err)
{
    Node *n = graph_find(vm, args->node_name);

    if (!n)
        return fail(err, "Device '%s' not found", args->node_name);
    n->exceeded = exceeded;
    n->exceeded_arg = vm;
    n->write_threshold = args->write_threshold;
    return true;
}

/* ---- options of the image itself ---- */
typedef struct Amend {
    Node *node;
    Opts *o;
    bool force;
} Amend;

static CO_FN bool amend_run(Job *j, Error **err)
{
    Amend *a = job_state(j);
    bool ok;

    job_total(j, 1);
    node_quiesce(a->node);
    ok = a->node->drv->image->amend(a->node, a->o, a->force, err);
    node_release(a->node);
    job_done(j, ok);
    return ok;
}

static void amend_clean(Job *j)
{
    Amend *a = job_state(j);

    opts_free(a->o);
    node_unref(a->node);
}

static const JobDriver amend = { .type = JOB_TYPE_AMEND, .size = sizeof(Amend), .run = amend_run, .clean = amend_clean };

/* As `create -o` spells them: cluster_size, not cluster-size. */
static Opts *spelled(Opts *given, const char **driver)
{
    Opts *o = opts_new();

    for (guint i = 0; i < given->v->len; i++) {
        const Opt *x = given->v->pdata[i];
        g_autofree char *key = g_strdelimit(g_strdup(x->key), "-", '_');

        if (strcmp(key, "driver"))
            opts_set(o, key, x->value);
    }
    *driver = opts_peek(given, "driver");
    return o;
}

static bool amendable(const Node *n, const char *driver, const char *name, Error **err)
{
    if (!n)
        return fail(err, "Cannot find device='' nor node-name='%s'", name);
    if (!driver || strcmp(driver, n->drv->name))
        return fail(err, "x-blockdev-amend doesn't support changing the block driver");
    return (n->drv->image && n->drv->image->amend) || fail(err, "Driver does not support x-blockdev-amend");
}

bool qmp_x_blockdev_amend(Vm *vm, const XBlockdevAmendArgs *args, Error **err)
{
    Node *n = graph_find(vm, args->node_name);
    g_autofree char *text = args->options->kind == J_OBJECT ? j_text(args->options) : NULL;
    g_autoptr(Opts) given = text ? opts_parse_any(text, NULL, err) : NULL;
    const char *driver = NULL;
    g_autoptr(Opts) o = given ? spelled(given, &driver) : NULL;
    Job *j;

    if (!text)
        return fail(err, "Invalid parameter type for 'options', expected: object");
    if (!o || !amendable(n, driver, args->node_name, err))
        return false;
    j = job_new(vm, &amend, args->job_id, JOB_MANUAL_DISMISS, err);
    if (!j)
        return false;
    *(Amend *)job_state(j) = (Amend){ node_ref(n), g_steal_pointer(&o), args->force };
    job_start(j);
    return true;
}
