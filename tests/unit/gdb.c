/*
 * tests/unit/gdb.c - the GDB stub on the software CPU: a ROM of ours goes from real to protected mode and then
 * counts for ever. First as a client of our own, then with the real gdb where it is installed.
 */
#include "gdb/gdb.h"
#include "core/machine.h"
#include "tests/lib/t.h"
#include <glib/gstdio.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* clang-format off */
static const uint8_t code[] = {
    0xb8, 0x34, 0x12,                               /* f0000 mov ax, 0x1234 */
    0x31, 0xdb,                                     /* f0003 xor bx, bx */
    0x8e, 0xdb,                                     /* f0005 mov ds, bx */
    0x43,                                           /* f0007 inc bx */
    0x89, 0x1e, 0x00, 0x05,                         /* f0008 mov [0x500], bx */
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x40, 0x00,       /* f000c lgdt cs:[0x40] */
    0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, /* f0013 cr0 |= 1 */
    0x66, 0xea, 0x60, 0x00, 0x0f, 0x00, 0x08, 0x00, /* f001b ljmpl 8:0xf0060 */
    [0x40] = 0x17, 0x00, 0x48, 0x00, 0x0f, 0x00,
    [0x50] = 0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00,
    [0x60] = 0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8,    /* f0060 mov ax, 16; mov ds, ax */
    0xbc, 0x00, 0x80, 0x00, 0x00,                   /* f0066 mov esp, 0x8000 */
    0xff, 0x05, 0x00, 0x06, 0x00, 0x00,             /* f006b inc dword [0x600] */
    0xe8, 0x02, 0x00, 0x00, 0x00,                   /* f0071 call f0078 */
    0xeb, 0xf3,                                     /* f0076 jmp f006b */
    0x40, 0xc3,                                     /* f0078 inc eax; ret */
};
static const uint8_t reset_vector[] = { 0xea, 0x00, 0x00, 0x00, 0xf0 };
/* clang-format on */

static bool machine_init(Vm *vm, Error **err)
{
    RamBlock *ram = ram_new(vm->machine, "ram", 0xf0000, err);
    Region *rom = region_rom(vm->machine, "rom", 65536, err);

    memcpy(rom->ram->host, code, sizeof(code));
    memcpy((uint8_t *)rom->ram->host + 0xfff0, reset_vector, sizeof(reset_vector));
    region_map(vm->sysmem, 0, region_ram(vm->machine, "ram", ram), 0);
    region_map(vm->sysmem, 0xf0000, rom, 0);
    region_map(vm->sysmem, 0xffff0000, region_alias(vm->machine, "rom-high", rom, 0, 65536), 0);
    for (unsigned i = 0; i < vm->cfg.cpus; i++)
        if (!cpu_new(vm, NULL, i, err))
            return false;
    return true;
}

static const MachineClass gdb_machine = { .name = "gdb-test", .desc = "a ROM that counts",
                                          .props = { .name = "gdb-machine", .size = sizeof(Obj) }, .init = machine_init };
MACHINE(gdb_machine);

typedef struct Bench {
    Vm *vm;
    Gdb *gdb;
    char *dir, *path;
    int fd;
    GString *reply;
    char asked[64];
} Bench;

static char *hello(Vm *vm, const char *line) { return g_strdup_printf("you said %s\n", line); }

static void bench_open(Bench *b)
{
    g_autofree char *device = NULL;

    b->vm = vm_new("gdb");
    b->dir = g_dir_make_tmp("menura-gdb.XXXXXX", NULL);
    b->path = g_build_filename(b->dir, "s", NULL);
    b->reply = g_string_new(NULL);
    b->vm->cfg.cpus = 2;
    device = g_strdup_printf("unix:%s", b->path);
    check(vm_set_accel(b->vm, "tcg", NULL, &abort_on_error) && vm_init_machine(b->vm, "gdb-test", NULL, &abort_on_error));
    b->gdb = gdb_open(b->vm, device, &abort_on_error);
    gdb_set_monitor(b->gdb, hello);
    check(vm_start(b->vm, true, &abort_on_error));
}

static void bench_close(Bench *b)
{
    close(b->fd);
    vm_stop(b->vm, RUN_PAUSED);
    vm_free(b->vm);
    g_rmdir(b->dir);
    g_free(b->dir);
    g_free(b->path);
    g_string_free(b->reply, TRUE);
}

static void connect_to(Bench *b)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };

    b->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_strlcpy(un.sun_path, b->path, sizeof(un.sun_path));
    check(!connect(b->fd, (struct sockaddr *)&un, sizeof(un)));
}

static void say(Bench *b, const char *body)
{
    uint8_t sum = 0;
    g_autofree char *packet = NULL;

    for (const char *p = body; *p; p++)
        sum = (uint8_t)(sum + (uint8_t)*p);
    packet = g_strdup_printf("$%s#%02x", body, sum);
    g_strlcpy(b->asked, body, sizeof(b->asked));
    check(write(b->fd, packet, strlen(packet)) > 0);
}

/* The body of the next packet. */
static const char *hear(Bench *b)
{
    bool in = false;

    g_string_truncate(b->reply, 0);
    for (;;) {
        struct pollfd pf = { b->fd, POLLIN, 0 };
        char ch;

        if (poll(&pf, 1, 5000) <= 0 || read(b->fd, &ch, 1) != 1)
            t_fail(__FILE__, __LINE__, "no answer to %s (so far: %s)", b->asked, b->reply->str);
        if (ch == '#' && in) {
            check(read(b->fd, &ch, 1) == 1 && read(b->fd, &ch, 1) == 1 && write(b->fd, "+", 1) == 1);
            return b->reply->str;
        }
        if (in)
            g_string_append_c(b->reply, ch);
        in |= ch == '$';
    }
}

static const char *ask(Bench *b, const char *body)
{
    say(b, body);
    return hear(b);
}

static uint64_t reg(Bench *b, unsigned n)
{
    g_autofree char *q = g_strdup_printf("p%x", n);
    const char *r = ask(b, q);
    uint64_t v = 0;

    for (size_t i = strlen(r) / 2; i-- > 0;)
        v = v << 8 | (uint64_t)(g_ascii_xdigit_value(r[2 * i]) << 4 | g_ascii_xdigit_value(r[2 * i + 1]));
    return v;
}

enum { RAX = 0, RBX = 1, RIP = 16, CS = 18, CR0 = 60 };

static void expect_stop(Bench *b, const char *after, const char *reason)
{
    const char *r = ask(b, after);

    if (!g_str_has_prefix(r, "T05thread:") || !strstr(r, reason))
        t_fail(__FILE__, __LINE__, "%s: stopped with %s, not %s", after, r, reason);
}

static void stub(Vm *unused)
{
    Bench b;

    bench_open(&b);
    connect_to(&b);
    check(strstr(ask(&b, "qSupported:swbreak+;hwbreak+"), "qXfer:features:read+"));
    check_str(ask(&b, "qfThreadInfo"), "m1,2");
    check_str(ask(&b, "qsThreadInfo"), "l");
    check_str(ask(&b, "?"), "S05");
    check_eq(reg(&b, RIP), 0xfffffff0);
    check_str(ask(&b, "m500,4"), "00000000");
    check_str(ask(&b, "Z0,f0008,1"), "OK");
    expect_stop(&b, "c", "thread:1;swbreak:;");
    check_eq(reg(&b, RIP), 0xf0008);
    check_eq(reg(&b, RBX), 1);
    check_eq(reg(&b, RAX) & 0xffff, 0x1234);
    check_str(ask(&b, "z0,f0008,1"), "OK");
    expect_stop(&b, "s", "T05");
    check_eq(reg(&b, RIP), 0xf000c);
    check_str(ask(&b, "m500,2"), "0100");
    for (int i = 0; i < 5; i++)
        expect_stop(&b, "vCont;s:1;c", "T05");
    check_eq(reg(&b, RIP), 0xf0060); /* stepped into protected mode */
    check_eq(reg(&b, CR0) & 1, 1);
    check_eq(reg(&b, CS), 8);
    check_str(ask(&b, "Z1,f0078,1"), "OK");
    expect_stop(&b, "c", "hwbreak:;");
    check_eq(reg(&b, RIP), 0xf0078);
    check_str(ask(&b, "m600,4"), "01000000");
    check_str(ask(&b, "z1,f0078,1"), "OK");
    check_str(ask(&b, "Z2,600,4"), "OK");
    expect_stop(&b, "c", "watch:600;");
    check_str(ask(&b, "m600,4"), "02000000");
    check_eq(reg(&b, RIP), 0xf0071); /* after the instruction that wrote */
    check_str(ask(&b, "z2,600,4"), "OK");
    check_str(ask(&b, "Z4,7ffc,4"), "OK"); /* the return address: call writes, ret reads */
    expect_stop(&b, "c", "awatch:7ffc;");
    check_eq(reg(&b, RIP), 0xf0078);
    expect_stop(&b, "c", "awatch:7ffc;");
    check_eq(reg(&b, RIP), 0xf0076);
    check_str(ask(&b, "z4,7ffc,4"), "OK");
    check_str(ask(&b, "M600,4:ffff0000"), "OK");
    check_str(ask(&b, "P0=8877665544332211"), "OK");
    check_eq(reg(&b, RAX), 0x1122334455667788ull);
    expect_stop(&b, "s", "T05");
    expect_stop(&b, "s", "T05");
    check_str(ask(&b, "m600,4"), "00000100");
    say(&b, "c");
    g_usleep(20000);
    check_eq(write(b.fd, "\003", 1), 1);
    check(g_str_has_prefix(hear(&b), "T02"));
    check(strcmp(ask(&b, "m600,4"), "00000100"));
    check_str(ask(&b, "qRcmd,6869"), "796f7520736169642068690a");
    check_str(ask(&b, "D"), "OK");
    for (unsigned i = 0; i < 2000 && !vm_running(b.vm); i++) /* it answers first, then lets go */
        g_usleep(1000);
    check(vm_running(b.vm));
    bench_close(&b);
}
TEST("gdb/stub", stub);

/* Whatever bytes come, the stub answers the next good question. */
static void garbage(Vm *unused)
{
    static const char *const odd[] = { "m", "mzz", "m0,", "M0,4:0", "X0,ffffffff:", "Z9,0,0", "Z0", "G00", "P", "Pff=00", "H", "Hgzz",
                                       "vCont", "vCont;", "vCont;x", "vCont;s:zz", "qXfer:features:read:target.xml:fffff,10",
                                       "qRcmd,z", "T99", "Qbogus", "qThreadExtraInfo,-1", "m0,ffffffffffffffff", "~", "p" };
    Rng rng = { 7 };
    Bench b;

    bench_open(&b);
    connect_to(&b);
    for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
        ask(&b, odd[i]);
        check_str(ask(&b, "qsThreadInfo"), "l");
        if (b.vm->state == RUN_RUNNING)
            t_fail(__FILE__, __LINE__, "%s let the machine go", odd[i]);
    }
    for (int i = 0; i < 100000; i++) {
        char ch = (char)(rng_next(&rng) | 0x80); /* no '$', no 0x03 */

        check_eq(write(b.fd, &ch, 1), 1);
    }
    check_eq(write(b.fd, "$m0,4#00$", 9), 9); /* a wrong sum: '-', then an unfinished one */
    for (int i = 0; i < 40000; i++)
        check_eq(write(b.fd, "x", 1), 1);
    check_eq(write(b.fd, "#00", 3), 3);
    g_usleep(50000);
    check_str(ask(&b, "qsThreadInfo"), "l");
    bench_close(&b);
}
TEST("gdb/garbage", garbage);

static const char *const script = "set pagination off\nset confirm off\ntarget remote %s\n"
                                  "printf \"start %%lx\\n\", $pc\nbreak *0xf0008\ncontinue\nprintf \"real %%lx %%x\\n\", $pc, $bx\n"
                                  "stepi\nprintf \"step %%lx %%d\\n\", $pc, *(short*)0x500\nhbreak *0xf0078\ncontinue\n"
                                  "printf \"prot %%lx %%x %%d\\n\", $pc, $cs, ($cr0 & 1)\nx/2i $pc\ndelete\nwatch *(int*)0x600\n"
                                  "continue\nprintf \"watch %%lx %%d\\n\", $pc, *(int*)0x600\ninfo threads\nmonitor hi\n"
                                  "p $xmm0.uint128\np $eflags\ndelete\ndetach\n";

static void real_gdb(Vm *unused)
{
    g_autofree char *program = g_find_program_in_path("gdb"), *out = NULL, *text = NULL, *file = NULL;
    const char *argv[] = { "gdb", "-nx", "-batch", "-x", NULL, NULL };
    static const char *const want[] = { "start fffffff0\n", "real f0008 1\n", "step f000c 1\n", "prot f0078 8 1\n", "ret",
                                        "watch f0071 2\n", "CPU#1" };
    Bench b;

    if (!program)
        return;
    bench_open(&b);
    file = g_build_filename(b.dir, "script", NULL);
    text = g_strdup_printf(script, b.path);
    check(g_file_set_contents(file, text, -1, NULL));
    argv[4] = file;
    check(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &out, NULL, NULL, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(want); i++)
        if (!strstr(out, want[i]))
            t_fail(__FILE__, __LINE__, "gdb did not say '%s':\n%s", want[i], out);
    g_unlink(file);
    b.fd = -1;
    bench_close(&b);
}
TEST("gdb/real", real_gdb);
