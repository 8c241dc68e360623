/* block/qmp-node.c - the monitor's commands that make and remove nodes (schema/block.json). */
#include "block/disk.h"
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
