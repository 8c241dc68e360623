/* tests/unit/error.c - messages, causes, hints. */
#include "tests/lib/t.h"
#include <errno.h>

static void chain(Vm *vm)
{
    Error *e = NULL, *outer = NULL;

    check(!fail_errno_is(&e, ENOENT, "cannot open %s", "x"));
    check_str(error_text(e), "cannot open x: No such file or directory");
    error_hint(&e, "make it");
    error_class(&e, "DeviceNotFound");
    check(!fail_because(&outer, e, "drive 'd'"));
    check_str(error_text(outer), "drive 'd': cannot open x: No such file or directory");
    check_str(error_hint_text(outer), "make it");
    check_str(error_qmp_class(outer), "DeviceNotFound");
    error_free(outer);
}
TEST("error/chain", chain);

static void dropped(Vm *vm)
{
    Error *e = NULL;

    check(!fail(NULL, "nobody hears"));
    check(!fail_because(NULL, e, "nor this"));
    check(!error_hint(NULL, "x") && !error_hint(&e, "x") && !e);
}
TEST("error/dropped", dropped);
