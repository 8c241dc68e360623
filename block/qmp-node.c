/* block/qmp-node.c - the monitor's commands that make, change and remove nodes (schema/block.json). */
#include "block/disk.h"
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
