/* hw/virtio/balloon-qmp.c - the monitor's commands about the balloon (schema/balloon.json). */
#include "core/api/balloon.h"
#include "hw/virtio/balloon.h"

bool qmp_balloon(Vm *vm, const BalloonArgs *args, Error **err)
{
    if (args->value <= 0)
        return fail(err, "Parameter 'target' expects a size");
    return balloon_set(vm, (uint64_t)args->value, err) || error_class(err, "DeviceNotActive");
}

bool qmp_query_balloon(Vm *vm, BalloonInfo *ret, Error **err)
{
    uint64_t n;

    if (!balloon_actual(vm, &n, err))
        return error_class(err, "DeviceNotActive");
    ret->actual = (int64_t)n;
    return true;
}

void hmp_info_balloon(Hmp *h)
{
    Error *err = NULL;
    uint64_t n;

    if (balloon_actual(h->vm, &n, &err))
        g_string_append_printf(h->out, "balloon: actual=%" PRIu64 "\n", n / MiB);
    hmp_say_error(h, err);
}
