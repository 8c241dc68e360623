/*
 * monitor/hmp.c - the human monitor: a table of commands, line by line on a character device.
 * Input is bounded at LINE_MAX_ bytes a line; longer lines are dropped with a message.
 */
#include "core/version.h"
#include "monitor/priv.h"
#include "ui/front.h"
#include <stdio.h>

enum { LINE_MAX_ = 4096 };

typedef struct Cmd {
    const char *name, *args, *help;
    void (*fn)(Vm *vm, char **argv, GString *out);
} Cmd;

static void c_help(Vm *vm, char **argv, GString *out);

static void c_stop(Vm *vm, char **argv, GString *out) { vm_request(vm, VM_STOP, CAUSE_NONE); }
static void c_cont(Vm *vm, char **argv, GString *out) { vm_cont(vm); }
static void c_reset(Vm *vm, char **argv, GString *out) { vm_request(vm, VM_RESET, CAUSE_HOST_QMP_SYSTEM_RESET); }
static void c_powerdown(Vm *vm, char **argv, GString *out) { vm_request(vm, VM_POWERDOWN, CAUSE_NONE); }
static void c_quit(Vm *vm, char **argv, GString *out) { vm_request(vm, VM_SHUTDOWN, CAUSE_HOST_QMP_QUIT); }

static void i_status(Vm *vm, GString *out)
{
    g_string_append_printf(out, "VM status: %s%s%s%s\n", vm_running(vm) ? "running" : "paused", vm_running(vm) ? "" : " (",
                           vm_running(vm) ? "" : api_RunState.names[vm->state], vm_running(vm) ? "" : ")");
}

static void i_version(Vm *vm, GString *out) { g_string_append_printf(out, QEMU_VERSION "Menura %s\n", MENURA_VERSION); }

static void i_registers(Vm *vm, GString *out)
{
    bool was = vm_running(vm);

    vm_stop(vm, vm->state == RUN_RUNNING ? RUN_PAUSED : vm->state);
    for (unsigned i = 0; i < vm->ncpus; i++) {
        g_string_append_printf(out, "CPU#%u\n", i);
        cpu_sync(vm->cpus[i], RG_ALL);
        vm->cpus[i]->target->print_regs(vm->cpus[i], out);
    }
    if (was)
        vm_cont(vm);
}

static void i_mtree(Vm *vm, GString *out)
{
    as_print(vm->mem, out, true);
    as_print(vm->ports, out, true);
}

static void i_qtree(Vm *vm, GString *out) { dev_print_tree(vm, out); }

static void i_jit(Vm *vm, GString *out)
{
    if (vm->accel->stats)
        vm->accel->stats(vm, out);
}

static const struct {
    const char *name, *help;
    void (*fn)(Vm *vm, GString *out);
} infos[] = {
    { "status", "is it running", i_status }, { "version", "of this program", i_version },
    { "registers", "of all CPUs", i_registers }, { "mtree", "what lies at which address", i_mtree },
    { "qtree", "devices and buses", i_qtree }, { "jit", "counters of the accelerator", i_jit },
};

static void c_info(Vm *vm, char **argv, GString *out)
{
    for (size_t i = 0; i < G_N_ELEMENTS(infos); i++)
        if (argv[1] && !strcmp(argv[1], infos[i].name)) {
            infos[i].fn(vm, out);
            return;
        }
    for (size_t i = 0; i < G_N_ELEMENTS(infos); i++)
        g_string_append_printf(out, "info %s -- %s\n", infos[i].name, infos[i].help);
}

static void c_screendump(Vm *vm, char **argv, GString *out)
{
    UiConsole *c = ui_console(vm, 0);
    Error *err = NULL;

    if (!argv[1])
        g_string_append(out, "screendump: which file?\n");
    else if (!c)
        g_string_append(out, "screendump: this machine has no screen\n");
    else if (!ui_screendump(c, argv[1], NULL, &err)) {
        g_string_append_printf(out, "Error: %s\n", error_text(err));
        error_free(err);
    }
}

/* "ctrl-alt-f1": all down in order, all up in reverse. */
static void c_sendkey(Vm *vm, char **argv, GString *out)
{
    g_auto(GStrv) keys = g_strsplit(argv[1] ? argv[1] : "", "-", 16);
    UiEvent ev[32];
    unsigned n = 0, k = g_strv_length(keys);

    for (unsigned i = 0; i < k && i < 16; i++) {
        int code = ui_key_by_qcode(keys[i]);

        if (code < 0) {
            g_string_append_printf(out, "sendkey: there is no key '%s'\n", keys[i]);
            return;
        }
        ev[n++] = (UiEvent){ .kind = UI_KEY, .key = (uint16_t)code, .down = true };
    }
    for (unsigned i = n; i-- > 0;)
        ev[n + (n - 1 - i)] = (UiEvent){ .kind = UI_KEY, .key = ev[i].key, .down = false };
    ui_input_send(vm, ev, 2 * n);
}

static void c_x(Vm *vm, char **argv, GString *out)
{
    uint64_t at = 0, v;
    bool phys = !strcmp(argv[0], "xp");
    const char *text = argv[1] && argv[1][0] == '/' ? argv[2] : argv[1];
    unsigned n = argv[1] && argv[1][0] == '/' ? (unsigned)g_ascii_strtoull(argv[1] + 1, NULL, 10) : 1;

    if (!text || !parse_u64(text, &at, NULL)) {
        g_string_append(out, "x[p] [/N] ADDRESS\n");
        return;
    }
    for (unsigned i = 0; i < CLAMP(n, 1, 1024); i++, at += 4) {
        uint8_t b[4] = { 0 };

        if (phys ? as_read(vm->mem, at, b, 4, (MemAttrs){ .peek = true }) != MEM_OK : !vm->ncpus || !cpu_read_va(vm->cpus[0], at, b, 4)) {
            g_string_append_printf(out, "Cannot access memory at %#" PRIx64 "\n", at);
            return;
        }
        v = le32_load(b);
        g_string_append_printf(out, "%s%016" PRIx64 ": 0x%08" PRIx64 "\n", "", at, v);
    }
}

static const Cmd cmds[] = {
    { "help", "", "this list", c_help },
    { "info", "[what]", "show something", c_info },
    { "stop", "", "stop the CPUs", c_stop },
    { "cont", "", "let them go on", c_cont },
    { "c", "", "the same", c_cont },
    { "system_reset", "", "the reset button", c_reset },
    { "system_powerdown", "", "the power button", c_powerdown },
    { "quit", "", "end the VM", c_quit },
    { "q", "", "the same", c_quit },
    { "screendump", "FILE", "the screen as PNG or PPM", c_screendump },
    { "sendkey", "KEYS", "press keys, as in ctrl-alt-delete", c_sendkey },
    { "x", "[/N] ADDR", "words of virtual memory", c_x },
    { "xp", "[/N] ADDR", "words of physical memory", c_x },
};

static void c_help(Vm *vm, char **argv, GString *out)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cmds); i++)
        g_string_append_printf(out, "%s %s -- %s\n", cmds[i].name, cmds[i].args, cmds[i].help);
}

char *monitor_hmp(Vm *vm, const char *line)
{
    GString *out = g_string_new(NULL);
    g_auto(GStrv) raw = g_strsplit_set(line, " \t\r\n", 32);
    char *argv[33] = { NULL };
    unsigned n = 0;

    for (char **p = raw; *p; p++)
        if (**p)
            argv[n++] = *p;
    for (size_t i = 0; n && i < G_N_ELEMENTS(cmds); i++)
        if (!strcmp(argv[0], cmds[i].name)) {
            cmds[i].fn(vm, argv, out);
            n = 0;
        }
    if (n)
        g_string_append_printf(out, "unknown command: '%s'\n", argv[0]);
    return g_string_free(out, FALSE);
}

/* ---- on a character device ---- */
static void prompt(Monitor *m) { mon__send(m, "(qemu) ", 7); }

static void run_line(Monitor *m, GString *line)
{
    char *answer = monitor_hmp(m->vm, line->str);

    for (char *p = answer; *p;) { /* terminals want carriage returns */
        size_t n = strcspn(p, "\n");

        mon__send(m, p, n);
        p += n;
        if (*p) {
            mon__send(m, "\r\n", 2);
            p++;
        }
    }
    g_free(answer);
    g_string_truncate(line, 0);
    prompt(m);
}

void hmp__take(Monitor *m, const uint8_t *p, size_t n)
{
    GString *line = m->line;

    for (size_t i = 0; i < n; i++) {
        char c = (char)p[i];

        if (c == '\r' || c == '\n') {
            mon__send(m, "\r\n", 2);
            run_line(m, line);
        } else if ((c == 8 || c == 127) && line->len) {
            g_string_truncate(line, line->len - 1);
            mon__send(m, "\b \b", 3);
        } else if ((uint8_t)c >= ' ' && line->len < LINE_MAX_) {
            g_string_append_c(line, c);
            mon__send(m, &c, 1);
        }
    }
}

void hmp__event(Monitor *m, ChrEvent e)
{
    static const char hello[] = "QEMU " QEMU_VERSION " monitor - type 'help' for more information\r\n";

    if (e != CHR_OPENED)
        return;
    g_string_truncate(m->line, 0);
    mon__send(m, hello, sizeof(hello) - 1);
    prompt(m);
}

void hmp__init(Monitor *m) { m->line = g_string_new(NULL); }
void hmp__fini(Monitor *m) { g_string_free(m->line, TRUE); }
