/* app/accel.c - which accelerator: the ones asked for, in order, or the best of this host. */
#include "app/app.h"
#include <stdio.h>
#include <unistd.h>

const char *app_choose_accel(GString *why)
{
    const Accel *kvm = accel_find("kvm");
    Error *err = NULL;

    if (!kvm) {
        g_string_append(why, "software CPU (tcg): this build has no KVM accelerator");
        return "tcg";
    }
    if ((kvm->probe && !kvm->probe(&err)) || (kvm->fast && !kvm->fast(&err))) {
        g_string_append_printf(why, "software CPU (tcg): %s", error_text(err));
        if (error_hint_text(err))
            g_string_append_printf(why, "; %s", error_hint_text(err));
        error_free(err);
        return "tcg";
    }
    g_string_append(why, "KVM");
    return "kvm";
}

bool app_start_accel(App *a, Error **err)
{
    Error *last = NULL;

    if (!a->accels->len) {
        GString *why = g_string_new(NULL);
        const char *name = app_choose_accel(why);

        if (a->friendly || isatty(STDERR_FILENO))
            fprintf(stderr, "menura: accelerator: %s\n", why->str);
        g_string_free(why, TRUE);
        return vm_set_accel(a->vm, name, NULL, err);
    }
    for (guint i = 0; i < a->accels->len; i++) {
        g_autoptr(Opts) o = opts_parse(a->accels->pdata[i], "accel", err);
        g_autofree char *name = o ? opts_take(o, "accel") : NULL;

        if (!o)
            return false;
        error_free(last);
        last = NULL;
        if (vm_set_accel(a->vm, name, o, &last))
            return true;
        if (a->vm->accel)
            break; /* half built: no other can take over */
    }
    return error_pass(err, last);
}
