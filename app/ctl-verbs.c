/* app/ctl-verbs.c - what menura ctl can ask a machine. */
#include "app/ctl.h"
#include "monitor/wire.h"
#include "util/opts.h"
#include <unistd.h>

enum { KEY_HOLD_MS = 20, KEY_GAP_US = 40000, WAIT_SECONDS = 60, GRACE_SECONDS = 30 };

static bool verb_qmp(Talk *t, char **args, Error **err)
{
    g_autofree char *why = NULL;
    JVal *a = args[0] && args[1] ? wire_parse(args[1], &why) : NULL;
    g_autoptr(JVal) r = NULL;
    g_autoptr(GString) s = g_string_new(NULL);

    if (why)
        return fail(err, "ctl qmp: %s", why);
    r = ctl_ask(t, args[0], a, err);
    if (!r)
        return false;
    j_write(r, s, true);
    puts(s->str);
    return true;
}

static bool one_line(Talk *t, const char *line, Error **err)
{
    g_autoptr(JVal) r = ctl_ask(t, "human-monitor-command", j_set(j_object(), "command-line", j_string(line)), err);

    if (r && j_is(r, J_STRING))
        fputs(r->text, stdout);
    return r;
}

/* The human monitor, line by line: of the arguments, or of standard input. */
static bool verb_attach(Talk *t, char **args, Error **err)
{
    bool ok = true, terminal = isatty(0);
    char line[4096];

    if (args[0]) {
        g_autofree char *all = g_strjoinv(" ", args);

        return one_line(t, all, err);
    }
    while (ok && (!terminal || fputs("(menura) ", stdout) >= 0) && fflush(stdout) == 0 && fgets(line, sizeof(line), stdin)) {
        g_strchomp(line);
        ok = !*line || one_line(t, line, err);
    }
    return ok;
}

static bool verb_screenshot(Talk *t, char **args, Error **err)
{
    g_autofree char *here = g_get_current_dir(), *path = g_canonicalize_filename(args[0], here);
    JVal *a = j_set(j_object(), "filename", j_string(path));
    g_autoptr(JVal) r = NULL;

    j_set(a, "format", j_string(g_str_has_suffix(path, ".ppm") ? "ppm" : "png"));
    r = ctl_ask(t, "screendump", a, err);
    return r;
}

/* Keys of the American layout. */
static bool key_of(char c, char name[16], bool *shift)
{
    static const char plain[] = "`-=[]\\;',./ \n\t", shifted[] = "~_+{}|:\"<>?", digits[] = ")!@#$%^&*(";
    static const char *const names[] = { "grave_accent", "minus", "equal", "bracket_left", "bracket_right", "backslash", "semicolon", "apostrophe",
                                         "comma", "dot", "slash", "spc", "ret", "tab" };
    const char *at;

    *shift = g_ascii_isupper(c) || (c && (strchr(shifted, c) || strchr(digits, c)));
    if (g_ascii_isalnum(c))
        g_snprintf(name, 16, "%c", g_ascii_tolower(c));
    else if (c && (at = strchr(digits, c)))
        g_snprintf(name, 16, "%d", (int)(at - digits));
    else if (c && (at = strchr(plain, c)))
        g_strlcpy(name, names[at - plain], 16);
    else if (c && (at = strchr(shifted, c)))
        g_strlcpy(name, names[at - shifted], 16);
    else
        return false;
    return true;
}

static JVal *key_value(const char *name) { return j_set(j_set(j_object(), "type", j_string("qcode")), "data", j_string(name)); }

/* One key after the other, at a pace that every keyboard driver keeps up with. */
static bool verb_type(Talk *t, char **args, Error **err)
{
    g_autofree char *all = g_strjoinv(" ", args), *text = g_strcompress(all);

    for (const char *c = text; *c; c++) {
        char name[16];
        bool shift;
        JVal *keys = j_list(), *a;
        g_autoptr(JVal) r = NULL;

        if (!key_of(*c, name, &shift)) {
            j_free(keys);
            return fail(err, "ctl type: there is no key for '%c'", *c);
        }
        if (shift)
            j_append(keys, key_value("shift"));
        j_append(keys, key_value(name));
        a = j_set(j_set(j_object(), "keys", keys), "hold-time", j_int(KEY_HOLD_MS));
        r = ctl_ask(t, "send-key", a, err);
        if (!r)
            return false;
        g_usleep(KEY_GAP_US);
    }
    return true;
}

/* ---- the screen ---- */
static bool verb_text(Talk *t, char **args, Error **err)
{
    g_autoptr(JVal) r = ctl_ask(t, "screen-text", NULL, err);
    const JVal *lines = r ? j_get(r, "lines") : NULL;

    for (size_t i = 0; lines && i < j_len(lines); i++)
        puts(j_at(lines, i)->text);
    return r;
}

/* "X,Y,WIDTH,HEIGHT" into args; all of the screen when there is none. */
static bool add_region(JVal *args, const char *text, Error **err)
{
    static const char *const names[] = { "x", "y", "width", "height" };
    g_auto(GStrv) parts = text && *text ? g_strsplit(text, ",", -1) : NULL;
    JVal *r = parts ? j_object() : NULL;
    uint64_t v;

    for (unsigned i = 0; parts && i < G_N_ELEMENTS(names); i++) {
        if (g_strv_length(parts) != G_N_ELEMENTS(names) || !parse_u64(parts[i], &v, NULL) || v > INT32_MAX) {
            j_free(r);
            return fail(err, "ctl: the region '%s' is not X,Y,WIDTH,HEIGHT", text);
        }
        j_set(r, names[i], j_int((int64_t)v));
    }
    if (r)
        j_set(args, "region", r);
    return true;
}

static bool verb_hash(Talk *t, char **args, Error **err)
{
    JVal *a = j_object();
    g_autoptr(JVal) r = NULL;

    if (!add_region(a, args[0], err)) {
        j_free(a);
        return false;
    }
    r = ctl_ask(t, "screen-hash", a, err);
    if (r)
        puts(j_get(r, "sha256")->text);
    return r;
}

/* Takes a. Seconds: text or NULL. */
static bool wait_for(Talk *t, JVal *a, const char *seconds, Error **err)
{
    double s = seconds ? g_ascii_strtod(seconds, NULL) : WAIT_SECONDS;
    g_autoptr(JVal) r = NULL, e = NULL;
    const JVal *result, *match;

    if (!(s >= 0 && s < 1e6)) {
        j_free(a);
        return fail(err, "ctl: %s is no number of seconds", seconds);
    }
    j_set(j_set(a, "id", j_string("menura-ctl")), "timeout", j_int((int64_t)(s * 1000)));
    r = ctl_ask(t, "screen-wait", a, err);
    e = r ? ctl_event(t, "SCREEN_WAIT", s + GRACE_SECONDS, err) : NULL;
    result = e ? j_get(e, "result") : NULL;
    match = e ? j_get(e, "match") : NULL;
    if (!e)
        return false;
    if (!j_is(result, J_STRING) || strcmp(result->text, "found"))
        return fail(err, "ctl: not seen on the screen: %s", j_is(result, J_STRING) ? result->text : "no answer");
    if (match)
        puts(match->text);
    return true;
}

static bool verb_wait_text(Talk *t, char **args, Error **err)
{
    return wait_for(t, j_set(j_object(), "text", j_string(args[0])), args[1], err);
}

static bool verb_wait_hash(Talk *t, char **args, Error **err)
{
    JVal *a = j_set(j_object(), "sha256", j_string(args[0]));

    if (!add_region(a, args[1], err)) {
        j_free(a);
        return false;
    }
    return wait_for(t, a, args[1] ? args[2] : NULL, err);
}

const CtlVerb ctl_verbs[] = {
    { "qmp", "COMMAND [JSON]", "a QMP command with its arguments; prints what it returns", 1, verb_qmp },
    { "attach", "[LINE]", "the human monitor: one line, or all of standard input", 0, verb_attach },
    { "screenshot", "FILE", "the screen, as PNG or PPM by the name", 1, verb_screenshot },
    { "type", "TEXT", "keys of the American layout, \\n is Enter", 1, verb_type },
    { "text", "", "what the screen says", 0, verb_text },
    { "wait-text", "REGEX [SECONDS]", "until the screen says so (60 s)", 1, verb_wait_text },
    { "hash", "[X,Y,W,H]", "SHA-256 of a part of the screen", 0, verb_hash },
    { "wait-hash", "SHA256 [X,Y,W,H [SECONDS]]", "until the screen looks so", 1, verb_wait_hash },
    { "console", "", "this terminal at the first serial port; Ctrl-] ends", 0, ctl_console },
};
const unsigned ctl_verb_count = G_N_ELEMENTS(ctl_verbs);
