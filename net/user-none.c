/* net/user-none.c - a build without libslirp: there are no user networks. */
#include "core/vm.h"
#include "net/net.h"

bool net_hostfwd_add(Vm *vm, const char *dev, const char *text, Error **err) { return fail(err, "this build has no user networks"); }
bool net_hostfwd_remove(Vm *vm, const char *dev, const char *text, Error **err) { return fail(err, "this build has no user networks"); }
char *net_user_connections(Vm *vm) { return g_strdup(""); }
