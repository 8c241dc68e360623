/* The human monitor: editing, history and completion; arguments and expressions; help and mistakes in QEMU's words. */
#include "block/throttle.h"
#include "monitor/readline.h"
#include "tests/lib/qmp.h"
#include <unistd.h>

/* ---- readline ---- */
typedef struct Term {
    Readline *r;
    GString *screen, *lines; /* the last line on the terminal as one sees it; what was entered */
    size_t column;
} Term;

/* A terminal that knows \b, \n and plain characters. */
static void print(void *o, const char *p, size_t n)
{
    Term *t = o;

    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\b') {
            check(t->column);
            t->column--;
        } else if (p[i] == '\n') {
            g_string_truncate(t->screen, 0);
            t->column = 0;
        } else {
            if (t->column < t->screen->len)
                t->screen->str[t->column] = p[i];
            else
                g_string_append_c(t->screen, p[i]);
            t->column++;
        }
    }
}

static void line(void *o, const char *text)
{
    Term *t = o;

    g_string_append_printf(t->lines, "%s;", text);
    readline_prompt(t->r);
}

static GPtrArray *complete(void *o, const char *before, size_t *word)
{
    static const char *const words[] = { "info", "inject", "quit" };
    const char *space = strrchr(before, ' '), *typed = space ? space + 1 : before;
    GPtrArray *v = g_ptr_array_new_with_free_func(g_free);

    *word = (size_t)(typed - before);
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        if (g_str_has_prefix(words[i], typed))
            g_ptr_array_add(v, g_strdup(words[i]));
    return v;
}

static void type(const char *keys, const char *screen, size_t column, const char *lines)
{
    Term t = { .screen = g_string_new(NULL), .lines = g_string_new(NULL) };

    t.r = readline_new(&(ReadlineUser){ print, line, complete, &t }, "> ");
    readline_prompt(t.r);
    readline_feed(t.r, keys, strlen(keys));
    g_strchomp(t.screen->str);
    check_str(t.screen->str, screen);
    check_eq(t.column, column);
    check_str(t.lines->str, lines);
    readline_free(t.r);
    g_string_free(t.screen, TRUE);
    g_string_free(t.lines, TRUE);
}

static void editing(Vm *vm)
{
    type("abc", "> abc", 5, "");
    type("abc\r", ">", 2, "abc;");
    type("abc\r\nd\n", ">", 2, "abc;d;");
    type("abc\177\bx", "> ax", 4, "");
    type("\177\177", ">", 2, "");
    type("abd\033[Dc", "> abcd", 5, "");
    type("abd\002c\005e", "> abcde", 7, "");
    type("bc\001a", "> abc", 3, "");
    type("bc\033[Ha\033[F\033[Dx", "> abxc", 5, "");
    type("bc\033[1~a\033[4~d", "> abcd", 6, "");
    type("abc\001\004", "> bc", 2, "");
    type("abc\033[H\033[3~", "> bc", 2, "");
    type("abcd\033[D\033[D\013x", "> abx", 5, "");
    type("abcd\033[D\025x", "> xd", 3, "");
    type("one two  \027x", "> one x", 7, "");
    type("abc\003d", "> d", 3, "");
    type("ab\033[1;5Dc", "> acb", 4, "");
    type("ab\033Oc\033[99999999999999~d", "> abd", 5, ""); /* sequences we do not know */
}
TEST("readline/editing", editing);

static void history(Vm *vm)
{
    type("a\rb\r\033[A", "> b", 3, "a;b;");
    type("a\rb\r\033[A\033[A\033[A", "> a", 3, "a;b;");
    type("a\rb\rc\020\020\016\016", "> c", 3, "a;b;"); /* the new line is still there */
    type("a\ra\rb\r\033[A\033[A\r", ">", 2, "a;a;b;a;"); /* a repeated line is remembered once */
}
TEST("readline/history", history);

static void trailing(const char *keys, size_t column) /* the screen's trailing space is cut: see the cursor */
{
    Term t = { .screen = g_string_new(NULL), .lines = g_string_new(NULL) };

    t.r = readline_new(&(ReadlineUser){ print, line, complete, &t }, "> ");
    readline_prompt(t.r);
    readline_feed(t.r, keys, strlen(keys));
    check_eq(t.column, column);
    readline_free(t.r);
    g_string_free(t.screen, TRUE);
    g_string_free(t.lines, TRUE);
}

static void completion(Vm *vm)
{
    trailing("q\t", 7);
    trailing("in\tf\t", 7);
    trailing("i\t", 4);
    trailing("in\t\tx", 5);
}
TEST("readline/completion", completion);

static void long_lines(Vm *vm)
{
    Term t = { .screen = g_string_new(NULL), .lines = g_string_new(NULL) };

    t.r = readline_new(&(ReadlineUser){ print, line, complete, &t }, "> ");
    readline_prompt(t.r);
    for (unsigned i = 0; i < 10000; i++)
        readline_feed(t.r, "x", 1);
    readline_feed(t.r, "\r", 1);
    check_eq(t.lines->len, READLINE_MAX + 1);
    for (unsigned i = 0; i < 200; i++) {
        g_autofree char *text = g_strdup_printf("%u\r", i);

        readline_feed(t.r, text, strlen(text));
    }
    check_eq(readline_history_len(t.r), READLINE_HISTORY);
    readline_free(t.r);
    g_string_free(t.screen, TRUE);
    g_string_free(t.lines, TRUE);
}
TEST("readline/bounds", long_lines);

/* Any bytes: no crash, and the terminal's cursor never left of the line. */
static void noise(Vm *vm)
{
    static const char keys[] = "ab \001\002\004\005\006\010\011\013\014\016\020\025\027\033[O~;1234ABCDHF\177\r";
    Term t = { .screen = g_string_new(NULL), .lines = g_string_new(NULL) };
    Rng r = { 5 };

    t.r = readline_new(&(ReadlineUser){ print, line, complete, &t }, "> ");
    readline_prompt(t.r);
    for (unsigned i = 0; i < 20000; i++)
        readline_feed(t.r, &keys[rng_next(&r) % (sizeof(keys) - 1)], 1);
    readline_free(t.r);
    g_string_free(t.screen, TRUE);
    g_string_free(t.lines, TRUE);
}
TEST("readline/noise", noise);

/* ---- lines ---- */
static void says(Vm *vm, const char *text, const char *want)
{
    g_autofree char *got = monitor_hmp(vm, text);

    if (strcmp(got, want))
        t_fail(__FILE__, __LINE__, "%s says '%s', not '%s'", text, got, want);
}

static void mistakes(Vm *vm)
{
    says(vm, "", "");
    says(vm, "   # a comment", "");
    says(vm, "foo", "unknown command: 'foo'\n");
    says(vm, "foo bar", "unknown command: 'foo'\n");
    says(vm, "info foo", "unknown command: 'info foo'\n");
    says(vm, "x", "unexpected end of expression\nTry \"help x\" for more information\n");
    says(vm, "sendkey", "sendkey: string expected\nTry \"help sendkey\" for more information\n");
    says(vm, "sendkey foo", "invalid parameter: foo\n");
    says(vm, "sendkey ctrl-alt-bar", "invalid parameter: bar\n");
    says(vm, "screendump", "screendump: filename expected\nTry \"help screendump\" for more information\n");
    says(vm, "stop extra", "stop|s: extraneous characters at the end of line\nTry \"help stop\" for more information\n");
    says(vm, "help foo", "unknown command: 'foo'\n");
    says(vm, "help stop", "stop|s  -- stop emulation\n");
    says(vm, "? s", "stop|s  -- stop emulation\n");
    says(vm, "system_wakeup", "Error: Unable to wake up: guest is not in suspended state\n");
    says(vm, "cpu 3", "invalid CPU index\n");
    says(vm, "print $foo", "unknown register\nTry \"help print\" for more information\n");
    says(vm, "x/4q 0", "invalid char in format: 'q'\nTry \"help x\" for more information\n");
}
TEST("hmp/mistakes", mistakes);

static void expressions(Vm *vm)
{
    says(vm, "p/d 10+5*2", "20\n");
    says(vm, "p/d (10 + 5) * 2 - 7 / 2", "27\n");
    says(vm, "p/d -3 % 2", "-1\n");
    says(vm, "p 0xff & ~0xf | 1 ^ 0x10", "0xe1\n");
    says(vm, "p/c 'a'", "'a'\n");
    says(vm, "p/o 8", "010\n");
    says(vm, "p/u -1", "18446744073709551615\n");
    says(vm, "p/d -9223372036854775807-1", "-9223372036854775808\n");
    says(vm, "p/d (-9223372036854775807-1)/-1", "-9223372036854775808\n");
    says(vm, "p/d (-9223372036854775807-1)%-1", "0\n");
    says(vm, "p 1/0", "division by zero\nTry \"help print\" for more information\n");
    says(vm, "p (1", "')' expected\nTry \"help print\" for more information\n");
    says(vm, "p 1+", "unexpected end of expression\nTry \"help print\" for more information\n");
    says(vm, "p 'ab", "character constant not closed\nTry \"help print\" for more information\n");
}
TEST("hmp/expressions", expressions);

static void throttle(Vm *vm)
{
    const ThrottleGroup *g;

    says(vm, "drive_add 0 if=none,id=d0,driver=null-co,size=1M", "OK\n");
    says(vm, "block_set_io_throttle nodisk 0 0 0 0 0 0", "Error: Device 'nodisk' not found\n");
    says(vm, "block_set_io_throttle d0 1 2 3", "unexpected end of expression\nTry \"help block_set_io_throttle\" for more information\n");
    says(vm, "block_set_io_throttle d0 0 0 0 100 0 0", "");
    g = throttle_group_find(vm->loop, "d0");
    check(g && throttle_limits_any(throttle_group_limits(g)));
    says(vm, "block_set_io_throttle d0 0 0 0 0 0 0", "");
    check(!throttle_group_find(vm->loop, "d0"));
}
TEST("hmp/throttle", throttle);

static void deep(Vm *vm)
{
    g_autofree char *many = g_malloc0(4000);

    memset(many, '(', 3000);
    memcpy(many, "p ", 2);
    says(vm, many, "expression too deep\nTry \"help print\" for more information\n");
    memset(many + 2, '-', 2990);
    says(vm, many, "expression too deep\nTry \"help print\" for more information\n");
}
TEST("hmp/deep", deep);

/* 16 MiB of RAM at 0. */
static void memory(Vm *vm)
{
    static const uint8_t bytes[] = "Hello\x01\x80\xff, world";
    g_autofree char *path = g_strdup_printf("%s/menura-hmp-%d", g_get_tmp_dir(), getpid()), *cmd = g_strdup_printf("pmemsave 0x1000 5 \"%s\"", path);
    g_autofree char *saved = NULL;
    gsize n = 0;

    as_write(vm->mem, 0x1000, bytes, sizeof(bytes), (MemAttrs){ 0 });
    says(vm, "xp 0x1000", "0000000000001000: 0x6c6c6548\n");
    says(vm, "xp /4xb 0x1000", "0000000000001000: 0x48 0x65 0x6c 0x6c\n");
    says(vm, "xp/9xb 0x1000", "0000000000001000: 0x48 0x65 0x6c 0x6c 0x6f 0x01 0x80 0xff\n0000000000001008: 0x2c\n");
    says(vm, "xp /2dh 0x1005", "0000000000001005: -32767 11519\n");
    says(vm, "xp /1xg 0x1000", "0000000000001000: 0xff80016f6c6c6548\n");
    says(vm, "xp /8c 0x1000", "0000000000001000: 'H' 'e' 'l' 'l' 'o' '\\x01' '\\x80' '\\xff'\n");
    says(vm, "xp /2ob 0x1000", "0000000000001000: 0110 0145\n");
    says(vm, "xp /1xw 0xffffffff0000", "0000ffffffff0000: Cannot access memory\n");
    says(vm, "sum 0x1000 5", "08401\n");
    says(vm, cmd, "");
    check(g_file_get_contents(path, &saved, &n, NULL));
    check_eq(n, 5);
    check(!memcmp(saved, "Hello", 5));
    unlink(path);
}
TEST("hmp/memory", memory);

/* Every line that help lists has a help of its own, every info answers something or nothing, none crashes. */
static void everything(Vm *vm)
{
    g_autofree char *all = monitor_hmp(vm, "help"), *infos = monitor_hmp(vm, "help info");

    check(strstr(all, "\nsystem_reset  -- reset the system\n") && strstr(infos, "info status  -- show the current VM status"));
    for (unsigned i = 0; i < hmp_command_count; i++) {
        const HmpCommand *c = &hmp_commands[i];
        g_autofree char *name = g_strndup(c->names, strcspn(c->names, "|")), *ask = g_strdup_printf("help %s", name), *said = NULL;

        if (g_str_has_prefix(name, "info "))
            g_free(monitor_hmp(vm, name));
        said = monitor_hmp(vm, g_str_has_prefix(name, "info ") ? "help info" : ask);
        check(strstr(said, c->help) || !strcmp(name, "info"));
    }
}
TEST("hmp/everything", everything);

/* ---- on a socket ---- */
static void session(Vm *unused)
{
    Bench b;
    g_autofree char *path = NULL, *hello = NULL, *said = NULL, *more = NULL;
    Client *c;

    qmp_bench_open(&b, NULL);
    path = qmp_bench_monitor(&b, MONITOR_HMP);
    qmp_bench_start(&b);
    c = qmp_connect(path);
    hello = qmp_until(c, "(qemu) ");
    check_str(hello, "QEMU 10.0.2 monitor - type 'help' for more information\r\n(qemu) ");
    qmp_send(c, "info status\n");
    said = qmp_until(c, "(qemu) ");
    check_str(said, "info status\r\nVM status: paused (prelaunch)\r\n(qemu) ");
    qmp_send(c, "nonsense\r");
    more = qmp_until(c, "(qemu) ");
    check_str(more, "nonsense\r\nunknown command: 'nonsense'\r\n(qemu) ");
    qmp_disconnect(c);
    qmp_bench_close(&b);
}
TEST("hmp/session", session);
