/*
 * tests/unit/argv.c - t-argv FILE: a command line per line, quoted as in a shell, without the program's name. A line that
 * begins with `!` says what the line before is refused with; all others must be taken. Nothing is built: options are
 * parsed, and the drivers of devices must exist.
 */
#include "app/app.h"
#include "core/dev.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool known_driver(App *a, Opts *o, Error **err)
{
    const char *driver = opts_peek(o, "driver");

    return (driver && dev_class_find(driver)) || fail(err, "no device '%s'", driver ? driver : "(missing)");
}

/* What app_parse says goes to stderr: caught in a file. */
static char *said(FILE *f)
{
    static char text[4096];
    size_t n;

    fflush(stderr);
    rewind(f);
    n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = 0;
    return g_strdup(g_strchomp(text));
}

/* NULL: taken. The caller frees. */
static char *refusal(const char *line)
{
    g_auto(GStrv) v = NULL;
    g_autofree char *full = g_strconcat("menura-system-x86_64 ", line, NULL);
    int argc, status = 0, old = dup(2);
    FILE *f = tmpfile();
    App *a = app_new();
    Error *err = NULL;
    char *why = NULL;

    if (!f || old < 0 || !g_shell_parse_argv(full, &argc, &v, NULL))
        exit(99);
    error_style("menura-system-x86_64", false, NULL); /* what -msg of the line before changed */
    fflush(stderr);
    dup2(fileno(f), 2);
    if (!app_parse(a, argc, v, &status))
        why = status ? said(f) : NULL;
    else if (!app_each(a, "device", known_driver, &err))
        why = g_strdup(error_text(err));
    dup2(old, 2);
    close(old);
    fclose(f);
    error_free(err);
    app_free(a);
    return why;
}

/* Into a folder of the test's own, gone when it ends. */
static char folder[] = "/tmp/menura-argv.XXXXXX";

static void clean_up(void)
{
    const char *name;
    GDir *d = g_dir_open(folder, 0, NULL);

    while (d && (name = g_dir_read_name(d)))
        unlink(name);
    if (d)
        g_dir_close(d);
    rmdir(folder);
}

static void check_folder(void)
{
    if (!g_mkdtemp(folder) || chdir(folder))
        exit(2);
    atexit(clean_up);
}

int main(int argc, char **argv)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned n = 0, wrong = 0;

    if (argc != 2 || !g_file_get_contents(argv[1], &text, NULL, NULL))
        return 2;
    check_folder(); /* some options make files */
    lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        const char *want = l[1] && l[1][0] == '!' ? l[1] + 2 : NULL;
        g_autofree char *why = NULL;

        if (!**l || **l == '#' || **l == '!')
            continue;
        why = refusal(*l);
        n++;
        if (want ? why && strstr(why, want) && !strchr(why, '\n') : !why)
            continue;
        wrong++;
        printf("%s\n  %s\n", *l, why ? why : "taken");
    }
    printf("%u lines, %u not as wanted\n", n, wrong);
    return wrong != 0;
}
