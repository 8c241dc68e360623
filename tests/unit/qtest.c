/* tests/unit/qtest.c - the qtest protocol in this process: answers, wires, time, and random requests. */
#include "monitor/qtest.h"
#include "tests/lib/t.h"
#include <glib/gstdio.h>
#include <stdlib.h>
#include <unistd.h>

static Vm *machine(void)
{
    Vm *vm = vm_new("pc");
    g_autofree char *path = g_strdup_printf("%s/t-qtest.%d", g_get_tmp_dir(), (int)getpid());
    uint8_t rom[65536] = { 0 };

    check(g_file_set_contents(path, (char *)rom, sizeof(rom), NULL));
    vm->cfg.bios = g_strdup(path);
    vm->cfg.ram_size = 2 * MiB;
    check(vm_set_accel(vm, "qtest", NULL, &abort_on_error) && vm_init_machine(vm, "pc", NULL, &abort_on_error));
    g_unlink(path);
    check(vm_start(vm, true, &abort_on_error));
    return vm;
}

static void hear(void *arg, const char *line, size_t n)
{
    check(n && line[n - 1] == '\n' && !memchr(line, '\n', n - 1));
    g_string_append_len(arg, line, (gssize)n);
}

static char *ask(Vm *vm, Qtest *q, GString *heard, const char *line)
{
    g_string_truncate(heard, 0);
    WITH_LOCK(&vm->lock)
        qtest_line(q, line, strlen(line));
    return heard->str;
}

static void session(Vm *unused)
{
    static const char *const table[][2] = {
        { "outb 0x70 0x42", "OK\n" },
        { "outb 0x71 7", "OK\n" },
        { "inb 0x71", "OK 0x0007\n" },
        { "writel 0x1000 0x12345678", "OK\n" },
        { "read 0x1000 4", "OK 0x78563412\n" },
        { "  read\t0x1000   2 \r", "OK 0x7856\n" },
        { "irq_intercept_in ioapic", "OK\n" },
        { "irq_intercept_in ioapic", "OK\n" },
        { "irq_intercept_out fw_cfg", "FAIL Unknown device\n" },
        { "set_irq_in ioapic irq 5 1", "IRQ raise 5\nOK\n" },
        { "set_irq_in ioapic irq 5 1", "OK\n" },
        { "set_irq_in ioapic irq 5 0", "IRQ lower 5\nOK\n" },
        { "set_irq_in ioapic irq 24 1", "FAIL the device has no such wire\n" },
        { "clock_step 5", "OK 5\n" },
        { "clock_set 3", "OK 5\n" },
        { "clock_set 9", "OK 9\n" },
        { "module_load a b", "FAIL Unknown command 'module_load'\n" },
    };
    Vm *vm = machine();
    GString *heard = g_string_new(NULL);
    Qtest *q = qtest_new(vm, hear, heard);

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
        check_str(ask(vm, q, heard, table[i][0]), table[i][1]);
    vm_free(vm);
    g_string_free(heard, TRUE);
}
TEST("qtest/session", session);

static void out_wires(Vm *unused)
{
    Vm *vm = machine();
    GString *heard = g_string_new(NULL);
    Qtest *q = qtest_new(vm, hear, heard);

    /* RTC: alarms of any time, interrupt within a second; its one output */
    check_str(ask(vm, q, heard, "irq_intercept_out mc146818rtc"), "OK\n");
    ask(vm, q, heard, "outb 0x70 0x0b");
    ask(vm, q, heard, "outb 0x71 0x12");
    check(g_str_has_prefix(ask(vm, q, heard, "clock_step 1100000000"), "IRQ raise 0\nOK "));
    ask(vm, q, heard, "outb 0x70 0x0c");
    check(g_str_has_prefix(ask(vm, q, heard, "inb 0x71"), "IRQ lower 0\nOK "));
    check_str(ask(vm, q, heard, "irq_intercept_in ioapic"), "FAIL IRQ intercept already enabled\n");
    vm_free(vm);
    g_string_free(heard, TRUE);
}
TEST("qtest/out-wires", out_wires);

/* One answer to every line, whatever it is. MENURA_FUZZ: rounds. */
static void fuzz(Vm *unused)
{
    static const char *const words[] = { "inb", "inw", "inl", "outb", "outw", "outl", "readb", "readq", "writeb", "writel", "read", "write",
        "b64read", "b64write", "memset", "clock_step", "clock_set", "irq_intercept_in", "irq_intercept_out", "set_irq_in", "endianness", "ioapic",
        "irq", "0x", "-1", "0xzz", "aGVsbG8=", "====", "\t", "\x7f", "\xc3\xa4", "/machine", "unnamed-gpio-in" };
    Vm *vm = machine();
    GString *heard = g_string_new(NULL), *line = g_string_new(NULL);
    Qtest *q = qtest_new(vm, hear, heard);
    const char *more = g_getenv("MENURA_FUZZ");
    long rounds = more ? strtol(more, NULL, 10) : 4000;
    Rng r = { more ? (uint64_t)g_get_real_time() : 11 };
    unsigned fine = 0;

    if (more)
        printf("seed %" PRIu64 "\n", r.s), alarm(0);
    for (long i = 0; i < rounds; i++) {
        const char *last;

        g_string_assign(line, words[rng_next(&r) % (rng_next(&r) % 4 ? 21 : G_N_ELEMENTS(words))]);
        for (uint64_t n = rng_next(&r) % 5; n; n--) {
            uint64_t kind = rng_next(&r) % 8, v = rng_value(&r);

            if (kind == 0)
                g_string_append_printf(line, " %s", words[v % G_N_ELEMENTS(words)]);
            else
                g_string_append_printf(line, kind < 5 ? " %" PRIu64 : " 0x%" PRIx64, kind % 2 ? v % 70000 : v);
        }
        ask(vm, q, heard, line->str);
        last = heard->len > 1 ? g_strrstr_len(heard->str, (gssize)heard->len - 1, "\n") : NULL;
        last = last ? last + 1 : heard->str;
        check(g_str_has_prefix(last, "OK") || g_str_has_prefix(last, "FAIL ") || g_str_has_prefix(last, "ERR "));
        fine += last[0] == 'O';
    }
    check(fine > 0);
    printf("%u of %ld were requests\n", fine, rounds);
    vm_free(vm);
    g_string_free(heard, TRUE);
    g_string_free(line, TRUE);
}
TEST("qtest/fuzz", fuzz);
