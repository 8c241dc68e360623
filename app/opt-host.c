/*
 * app/opt-host.c - options about where and as whom this process runs, options from a file, and options that belong to
 * parts this build does not have: those say which part, and what to do instead.
 */
#include "app/opt.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- another user, another root ---- */
/* NAME or UID:GID; initgroups() of the first only. */
static bool user_of(App *a, const char *v, Error **err)
{
    const struct passwd *p = getpwnam(v);
    const char *colon = strchr(v, ':');
    g_autofree char *first = colon ? g_strndup(v, (gsize)(colon - v)) : NULL;
    uint64_t uid, gid;

    g_clear_pointer(&a->user, g_free);
    if (p) {
        a->user = g_strdup(v);
        a->uid = p->pw_uid;
        a->gid = p->pw_gid;
    } else if (first && parse_u64(first, &uid, NULL) && parse_u64(colon + 1, &gid, NULL) && uid < UINT32_MAX && gid < UINT32_MAX) {
        a->uid = (uid_t)uid;
        a->gid = (gid_t)gid;
    } else {
        return fail(err, "there is no user '%s' (write NAME, or UID:GID in numbers)", v);
    }
    return a->changes_user = true;
}

bool o_runas(App *a, const Option *o, const char *v, Error **err) { return user_of(a, v, err); }

bool o_run_with(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, NULL, err);
    const char *root, *user;

    if (!p || !opts_get_bool(p, "async-teardown", a->async_teardown, &a->async_teardown, err))
        return false;
    root = opts_get(p, "chroot");
    user = opts_get(p, "user");
    if (root && !g_file_test(root, G_FILE_TEST_IS_DIR))
        return fail(err, "chroot=%s: there is no such folder", root);
    if (root)
        opt__set(&a->chroot, root);
    return (!user || user_of(a, user, err)) && opts_all_used(p, "-run-with", err);
}

/* Holds our memory, nothing else, until we are gone: freeing it then keeps nobody waiting. */
static int hold_memory(void *arg)
{
    sigset_t all;

    prctl(PR_SET_NAME, "teardown", 0, 0, 0);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    syscall(SYS_close_range, 0u, ~0u, 0u);
    if (getppid() != *(pid_t *)arg)
        return 0;
    for (;;)
        pause();
}

static bool start_teardown(Error **err)
{
    static char stack[16 * 1024]; /* of the process, as its helper is */
    static pid_t parent;

    parent = getpid();
    return clone(hold_memory, stack + sizeof(stack), CLONE_VM, &parent) > 0 || fail_errno(err, "-run-with async-teardown=on: no helper process");
}

static bool change_user(const App *a, Error **err)
{
    if ((a->user ? initgroups(a->user, a->gid) : setgroups(1, &a->gid)) || setgid(a->gid) || setuid(a->uid))
        return fail_errno(err, "cannot become user %s (%u:%u)", a->user ? a->user : "", a->uid, a->gid);
    return !a->uid || setuid(0) || fail(err, "the rights of root came back: not going on");
}

/* The helper last: the signal of our death reaches it only while it is of the same user. */
bool app_run_with(App *a, Error **err)
{
    if (a->chroot && (chroot(a->chroot) || chdir("/")))
        return fail_errno(err, "-run-with chroot=%s: not possible", a->chroot);
    return (!a->changes_user || change_user(a, err)) && (!a->async_teardown || start_teardown(err));
}

/* ---- what is typed ---- */
bool o_echr(App *a, const Option *o, const char *v, Error **err)
{
    uint64_t n;

    if (!parse_u64(v, &n, err))
        return false;
    if (n < 1 || n > 255)
        return fail(err, "want the number of a character, 1 to 255 (1 is Ctrl-A)");
    a->vm->cfg.escape_char = (uint8_t)n;
    return true;
}

/* Every front end here sends positions of keys, which mean the same in each layout: only the name is looked at. */
bool o_keyboard(App *a, const Option *o, const char *v, Error **err)
{
    g_autofree char *folder = vm_find_firmware(a->vm, "keymaps", NULL), *file = folder ? g_build_filename(folder, v, NULL) : NULL;
    bool found = file && !strchr(v, '/') && g_file_test(file, G_FILE_TEST_IS_REGULAR);

    return found || !strcmp(v, "en-us") || fail(err, "there is no such keyboard layout (no file keymaps/%s where firmware is looked for)", v);
}

/* ---- sound: there is a driver for silence ---- */
bool o_audio(App *a, const Option *o, const char *v, Error **err)
{
    g_autoptr(Opts) p = opts_parse_any(v, "driver", err);
    const char *driver = p ? opts_get(p, "driver") : NULL;

    if (!p)
        return false;
    if (g_strcmp0(driver, "none") || opts_peek(p, "model")) {
        fail(err, "this build has neither sound cards nor drivers for them");
        return error_hint(err, "-audio none says the same as leaving it away");
    }
    return opts_all_used(p, "-audio", err);
}

/* ---- parts that are not there ---- */
bool o_absent(App *a, const Option *o, const char *v, Error **err)
{
    if (o->none && !g_strcmp0(v, "none"))
        return true;
    fail(err, "this build has no %s", o->part);
    return error_hint(err, "%s", o->instead);
}

/* ---- options from a file: [group "id"], then key = "value" ---- */
static bool end_group(App *a, const char *group, GString *text, unsigned line, Error **err)
{
    Error *why = NULL;

    if (!group || opt__take(a, group, text->str, &why)) {
        g_string_truncate(text, 0);
        return true;
    }
    return fail_because(err, why, "line %u: [%s]", line, group);
}

static void add_value(GString *text, const char *key, const char *value)
{
    g_string_append_printf(text, "%s%s=", text->len ? "," : "", key);
    for (const char *c = value; *c; c++)
        g_string_append(text, *c == ',' ? ",," : (char[]){ *c, 0 });
}

/* "text" without its quotes, or NULL. */
static char *unquoted(const char *s)
{
    size_t n = strlen(s);

    return n >= 2 && s[0] == '"' && s[n - 1] == '"' ? g_strndup(s + 1, n - 2) : NULL;
}

/* [GROUP] or [GROUP "ID"] */
static bool read_head(char *s, char **group, GString *text)
{
    size_t n = strlen(s), name = strcspn(s + 1, " ]");
    g_autofree char *id = NULL;

    if (s[n - 1] != ']' || !name)
        return false;
    s[n - 1] = 0;
    opt__set(group, s + 1);
    if (!s[1 + name])
        return true;
    (*group)[name] = 0;
    id = unquoted(g_strstrip(s + 2 + name));
    if (id)
        add_value(text, "id", id);
    return id;
}

/* One line: a group's head (to *group), a value of it (to text), a comment or nothing. *at: the group's line. */
static bool read_line(App *a, char *s, unsigned n, char **group, GString *text, unsigned *at, Error **err)
{
    char *eq = strchr(s, '=');
    g_autofree char *value = eq ? unquoted(g_strstrip(eq + 1)) : NULL;

    if (!*s || *s == '#')
        return true;
    if (*s == '[') {
        if (!end_group(a, *group, text, *at, err))
            return false;
        *at = n;
        return read_head(s, group, text) || fail(err, "line %u: not of the form [GROUP] or [GROUP \"ID\"]", n);
    }
    if (!value || !*group)
        return fail(err, value ? "line %u: a value before the first group" : "line %u: not of the form KEY = \"VALUE\"", n);
    *eq = 0;
    add_value(text, g_strstrip(s), value);
    return true;
}

bool o_readconfig(App *a, const Option *o, const char *v, Error **err)
{
    g_autofree char *whole = NULL, *group = NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GError) why = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned at = 0;

    if (!g_file_get_contents(v, &whole, NULL, &why))
        return fail(err, "%s", why->message);
    lines = g_strsplit(whole, "\n", -1);
    for (unsigned i = 0; lines[i]; i++)
        if (!read_line(a, g_strstrip(lines[i]), i + 1, &group, text, &at, err))
            return false;
    return end_group(a, group, text, at, err);
}
