/* app/app.h - the command line on its way to a VM. Main thread only. */
#ifndef APP_APP_H
#define APP_APP_H
#include "core/machine.h"
#include "core/vm.h"
#include <sys/types.h>

enum { STATUS_OK, STATUS_USAGE = 1 };
enum { SANDBOX_ON = 1, SANDBOX_OBSOLETE = 2, SANDBOX_ELEVATE = 4, SANDBOX_SPAWN = 8, SANDBOX_RESOURCE = 16 };
typedef struct App {
    Vm *vm;
    Opts *machine;          /* "type" and properties, merged */
    GPtrArray *accels;      /* of char * */
    GPtrArray *drives;      /* of char *[2] {option, value} */
    GPtrArray *later;       /* of Later: -device, -chardev, -object, -blockdev in their order (later.c) */
    GPtrArray *serials, *parallels, *monitors, *mons, *gdbs; /* of char * */
    GPtrArray *nets;        /* of char *[2] {option, value} */
    GPtrArray *cards;       /* app/net.c's, or NULL */
    unsigned net_ids;
    char *display, *debugcon, *pidfile, *incoming, *loadvm, *snapdir, *qtest, *qtest_log, *mem_path;
    bool serial_shared;     /* the terminal is both serial port and monitor */
    bool paused, nographic, snapshot, nodefaults, friendly /* menura run */;
    bool daemonize, has_pidfile, mem_prealloc;
    bool async_teardown, changes_user;
    char *chroot, *user;    /* user NULL: only numbers were given */
    uid_t uid;
    gid_t gid;
    unsigned sandbox;       /* SANDBOX_ groups that are denied */
    char *ctl;              /* menura run: where menura ctl finds it; or NULL */
    bool help_shown;        /* -X help: nothing more is wanted */
} App;
/* Parse argv[1..]; *status and false: end now (help, or an error already said). */
bool app_parse(App *a, int argc, char **argv, int *status);
int app_run(App *a); /* builds and runs the VM; the exit status */
void app_free(App *a);
App *app_new(void);
void app_help(GString *out);
void app_describe_options(VmConfig *c); /* for the monitor */
bool app_make_monitors(App *a, Error **err); /* after the serial ports' chardevs, before the machine */
/* menura ctl: the client's side, its exit status; and the socket for a machine of this process: a path to listen on, or NULL
 * where the user has no runtime folder. Caller frees. */
int app_ctl(int argc, char **argv);
void app_ctl_help(GString *out);
char *app_ctl_socket(const char *image);
/* menura run --test: what is expected of the guest, and where the verdict goes. Texts are argv's. */
typedef struct TestPlan {
    bool on;
    const char *image, *expect, *json, *junit;
    double timeout; /* seconds */
} TestPlan;
enum { STATUS_PANIC = 64, STATUS_TRIPLE_FAULT = 66, STATUS_HANG = 68, STATUS_BUG = 70, STATUS_FAIL = 72, STATUS_TIMEOUT = 74 };
typedef struct Test Test;
Test *app_test_new(App *a, const TestPlan *plan, Error **err); /* before app_parse; plan lives as long */
int app_test_verdict(Test *t, int status);  /* after app_run, whose status it takes; writes the reports, frees */
/* Turn `menura run IMAGE [options]` into argv of a system emulator; NULL + err. Lines of explanation to `say`. */
char **app_run_command(int argc, char **argv, GString *say, bool *explain, TestPlan *test, Error **err);
typedef struct UiDisplay UiDisplay;
bool app_build(App *a, const UiDisplay **display, Error **err);
bool app_start_accel(App *a, Error **err);
bool app_make_objects(App *a, Error **err);
bool app_make_filters(App *a, Error **err); /* the objects that sit on a network back end */
/* fn for every -OPTION that was kept for later, in order; it may take from the Opts. Errors name the option. */
bool app_each(App *a, const char *option, bool (*fn)(App *a, Opts *o, Error **err), Error **err);
bool app_iso_whole(const char *path, Error **err); /* false: its own header says that it should be longer */
bool app_sandbox(unsigned groups, Error **err); /* last of all: for all threads, for good */
bool app_run_with(App *a, Error **err); /* -run-with, -runas: when everything is open, before app_sandbox */
void app_later_free(gpointer p);
bool app_make_drives(App *a, const MachineClass *mc, Error **err);
bool app_place_drives(App *a, const MachineClass *mc, Error **err); /* after the machine took its own */
/* -accel was not given: which, and the line that says why. */
const char *app_choose_accel(GString *why);
/* app/net.c: with the machine there and -device to come */
bool app_make_nets(App *a, Error **err);
bool app_make_cards(App *a, Error **err);
const char *app_net_default(const MachineClass *mc);
#endif
