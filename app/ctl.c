/*
 * app/ctl.c - menura ctl: talks to the machines that `menura run` started, each by a QMP socket NAME.PID.sock in the user's
 * runtime folder. What a process left behind that is no more goes at the next look.
 */
#include "app/app.h"
#include "app/ctl.h"
#include "monitor/wire.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 40, ANSWER_SECONDS = 30 };

/* ---- the folder ---- */
static char *folder(void)
{
    const char *run = g_getenv("XDG_RUNTIME_DIR");
    g_autofree char *user = g_strdup_printf("/run/user/%u", (unsigned)getuid());

    if (!run || !*run)
        run = g_file_test(user, G_FILE_TEST_IS_DIR) ? user : NULL;
    return run ? g_build_filename(run, "menura", NULL) : NULL;
}

typedef struct Running {
    char *path, *name;
    int pid;
} Running;

static void running_free(gpointer p)
{
    g_free(((Running *)p)->path);
    g_free(((Running *)p)->name);
    g_free(p);
}

/* "NAME.PID.sock"; NULL: another file. */
static Running *running_of(const char *dir, const char *file)
{
    g_auto(GStrv) parts = g_strsplit(file, ".", -1);
    guint n = g_strv_length(parts);
    uint64_t pid;
    Running *r;

    if (n < 3 || strcmp(parts[n - 1], "sock") || !parse_u64(parts[n - 2], &pid, NULL) || !pid || pid > INT32_MAX)
        return NULL;
    r = g_new0(Running, 1);
    r->path = g_build_filename(dir, file, NULL);
    r->pid = (int)pid;
    r->name = g_strndup(file, strlen(file) - strlen(parts[n - 2]) - strlen(".") - strlen(".sock"));
    return r;
}

static gint by_pid(gconstpointer a, gconstpointer b) { return (*(Running *const *)a)->pid - (*(Running *const *)b)->pid; }

static GPtrArray *list_running(void)
{
    GPtrArray *all = g_ptr_array_new_with_free_func(running_free);
    g_autofree char *dir = folder();
    GDir *d = dir ? g_dir_open(dir, 0, NULL) : NULL;
    const char *file;

    while (d && (file = g_dir_read_name(d))) {
        Running *r = running_of(dir, file);

        if (r && kill(r->pid, 0) && errno == ESRCH) {
            g_autofree char *console = ctl_console_path(r->path);

            g_unlink(console);
            g_unlink(r->path);
            running_free(r);
        } else if (r) {
            g_ptr_array_add(all, r);
        }
    }
    if (d)
        g_dir_close(d);
    g_ptr_array_sort(all, by_pid);
    return all;
}

char *app_ctl_socket(const char *image)
{
    g_autofree char *dir = folder(), *base = g_path_get_basename(image), *name = g_strndup(base, NAME_MAX_BYTES), *file = NULL;

    if (!dir || g_mkdir_with_parents(dir, 0700))
        return NULL;
    g_ptr_array_free(list_running(), TRUE); /* sweeps */
    g_strcanon(name, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "-_.+", '_');
    file = g_strdup_printf("%s.%d.sock", name, getpid());
    return g_build_filename(dir, file, NULL);
}

/* ---- a conversation ---- */
static JVal *read_line(Talk *t, Error **err)
{
    char *line = NULL;
    size_t room = 0;
    g_autofree char *why = NULL;
    ssize_t n = getline(&line, &room, t->in);
    JVal *v = n > 0 ? wire_parse(line, &why) : NULL;

    free(line);
    if (!v)
        fail(err, "ctl: the machine %s", n > 0 ? "does not speak QMP" : "does not answer");
    return v;
}

JVal *ctl_ask(Talk *t, const char *command, JVal *args, Error **err)
{
    g_autoptr(JVal) o = j_set(j_object(), "execute", j_string(command));
    g_autofree char *text = NULL;

    if (args)
        j_set(o, "arguments", args);
    text = j_text(o);
    if (dprintf(t->fd, "%s\n", text) < 0) {
        fail_errno(err, "ctl: cannot send");
        return NULL;
    }
    for (;;) { /* events come between; ends with the answer or the time */
        g_autoptr(JVal) v = read_line(t, err);
        const JVal *e = v ? j_get(v, "error") : NULL;

        if (!v)
            return NULL;
        if (e) {
            fail(err, "%s", j_is(j_get(e, "desc"), J_STRING) ? j_get(e, "desc")->text : "refused");
            return NULL;
        }
        if (j_get(v, "return"))
            return j_steal(v, "return");
    }
}

/* Reads wait so long, or up to a second longer. */
static bool patience(const Talk *t, double seconds)
{
    struct timeval tv = { .tv_sec = (time_t)seconds + 1 }; /* 0 would be for ever */

    return !setsockopt(t->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

JVal *ctl_event(Talk *t, const char *name, double seconds, Error **err)
{
    int64_t end = g_get_monotonic_time() + (int64_t)(seconds * G_USEC_PER_SEC), left;

    while ((left = end - g_get_monotonic_time()) > 0) {
        g_autoptr(JVal) v = patience(t, (double)left / G_USEC_PER_SEC) ? read_line(t, err) : NULL;
        const JVal *e = v ? j_get(v, "event") : NULL;

        if (!v)
            return NULL;
        if (j_is(e, J_STRING) && !strcmp(e->text, name))
            return j_steal(v, "data");
    }
    fail(err, "ctl: the machine does not answer");
    return NULL;
}

static bool begin(Talk *t, const char *path, Error **err)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    JVal *v;

    t->path = path;
    t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(at.sun_path, path, sizeof(at.sun_path));
    if (t->fd < 0 || connect(t->fd, (struct sockaddr *)&at, sizeof(at)))
        return fail_errno(err, "ctl: cannot reach %s", path);
    patience(t, ANSWER_SECONDS);
    t->in = fdopen(dup(t->fd), "r");
    v = t->in ? read_line(t, err) : NULL;
    j_free(v);
    v = v ? ctl_ask(t, "qmp_capabilities", NULL, err) : NULL;
    j_free(v);
    return v;
}

void ctl_hang_up(Talk *t)
{
    if (t->in)
        fclose(t->in);
    if (t->fd >= 0)
        close(t->fd);
    *t = (Talk){ NULL, -1, t->path };
}

/* ---- the command ---- */
void app_ctl_help(GString *out)
{
    g_string_append(out, "  menura ctl ls | VERB [-n NAME|PID] ..\n      machines that menura run started; without -n the only one:\n");
    for (unsigned i = 0; i < ctl_verb_count; i++)
        g_string_append_printf(out, "      %-10s %-14s %s\n", ctl_verbs[i].name, ctl_verbs[i].params, ctl_verbs[i].help);
}

static const Running *choose(const GPtrArray *all, const char *which, Error **err)
{
    const Running *found = NULL;
    unsigned n = 0;

    for (guint i = 0; i < all->len; i++) {
        const Running *r = all->pdata[i];
        g_autofree char *pid = g_strdup_printf("%d", r->pid);

        if (which && strcmp(which, r->name) && strcmp(which, pid))
            continue;
        found = r;
        n++;
    }
    if (n == 1)
        return found;
    fail(err, n ? "ctl: which of the machines?" : which ? "ctl: there is no machine %s" : "ctl: no machine runs", which);
    error_hint(err, "menura ctl ls lists them; -n NAME or -n PID chooses");
    return NULL;
}

static bool run_verb(const CtlVerb *v, int argc, char **argv, Error **err)
{
    const char *which = argc > 1 && !strcmp(argv[0], "-n") ? argv[1] : NULL;
    char **args = argv + (which ? 2 : 0);
    g_autoptr(GPtrArray) all = list_running();
    const Running *r;
    Talk t = { NULL, -1, NULL };
    bool ok;

    if (g_strv_length(args) < v->least)
        return fail(err, "menura ctl %s [-n NAME|PID] %s", v->name, v->params);
    r = choose(all, which, err);
    ok = r && begin(&t, r->path, err) && v->run(&t, args, err);
    ctl_hang_up(&t);
    return ok;
}

int app_ctl(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    Error *err = NULL;

    if (!strcmp(name, "ls")) {
        g_autoptr(GPtrArray) all = list_running();

        for (guint i = 0; i < all->len; i++)
            printf("%-7d %s\n", ((Running *)all->pdata[i])->pid, ((Running *)all->pdata[i])->name);
        return STATUS_OK;
    }
    for (unsigned i = 0; i < ctl_verb_count; i++)
        if (!strcmp(ctl_verbs[i].name, name)) {
            if (run_verb(&ctl_verbs[i], argc - 2, argv + 2, &err))
                return STATUS_OK;
            error_report_free(err);
            return STATUS_USAGE;
        }
    fprintf(stderr, "menura: ctl %s: no such verb\nhint: menura --help\n", name);
    return STATUS_USAGE;
}
