/* tests/unit/migrate.c - a machine's state to a file and back; streams that are wrong in every way change nothing. */
#include "migrate/migrate.h"
#include "migrate/stream.h"
#include "tests/lib/t.h"
#include <glib/gstdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

static char *temp(const char *what) { return g_strdup_printf("%s/t-migrate-%s.%d", g_get_tmp_dir(), what, (int)getpid()); }

/* A pc with `jmp $` at the reset vector. */
static Vm *machine(uint64_t ram)
{
    Vm *vm = vm_new("pc");
    g_autofree char *path = temp("rom");
    uint8_t rom[65536] = { 0 };

    rom[0xfff0] = 0xeb;
    rom[0xfff1] = 0xfe;
    check(g_file_set_contents(path, (char *)rom, sizeof(rom), NULL));
    vm->cfg.bios = g_strdup(path);
    vm->cfg.ram_size = ram;
    check(vm_set_accel(vm, "tcg", NULL, &abort_on_error) && vm_init_machine(vm, "pc", NULL, &abort_on_error));
    g_unlink(path);
    return vm;
}

static void scribble(Vm *vm)
{
    for (uint64_t i = 0; i < 2 * MiB; i += 64 * KiB + 8)
        as_store(vm->mem, i, 8, i * 0x9e3779b97f4a7c15 + 1, MEM_CPU);
    as_store(vm->ports, 0x70, 1, 0x44, MEM_CPU);
    as_store(vm->ports, 0x71, 1, 0x77, MEM_CPU);
    as_store(vm->ports, 0x21, 1, 0xa5, MEM_CPU);
}

typedef struct Log {
    VmListener l;
    GString *s;
} Log;
static void on_event(void *self, const char *name, const char *json)
{
    g_string_append_printf(((Log *)self)->s, "%s%s%s\n", name, json ? " " : "", json ? json : "");
}

static MigrateInfo wait_for_end(Vm *vm)
{
    MigrateInfo n = { 0 };

    for (int i = 0; i < 4000; i++) {
        migrate_query(vm, &n);
        if (n.status == MIGRATE_COMPLETED || n.status == MIGRATE_FAILED || n.status == MIGRATE_CANCELLED)
            break;
        g_usleep(5000);
    }
    return n;
}

static uint64_t sum_ram(Vm *vm)
{
    static uint8_t page[4096];
    uint64_t sum = 0;

    for (uint64_t at = 0; at < vm->cfg.ram_size; at += sizeof(page)) {
        as_read(vm->mem, at, page, sizeof(page), MEM_CPU);
        sum = sum * 31 + crc32(0, page, sizeof(page));
    }
    return sum;
}

static char *dump(Vm *vm)
{
    GString *s = g_string_new(NULL);

    vm_dump_state(vm, s);
    g_string_append_printf(s, "ram %" PRIx64 "\n", sum_ram(vm));
    return g_string_free(s, FALSE);
}

/* Takes both. */
static void same(char *now, char *before)
{
    size_t line = 0, n = strlen(before);

    if (strcmp(now, before)) {
        for (size_t i = 0; i < n && now[i] == before[i]; i++)
            line = before[i] == '\n' ? i + 1 : line;
        t_fail(__FILE__, __LINE__, "it differs: %.60s", now + line);
    }
    g_free(now);
    g_free(before);
}

static void save(Vm *vm, const char *path)
{
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    MigrateInfo n;

    check(migrate_start(vm, uri, &abort_on_error));
    n = wait_for_end(vm);
    check(!n.error_desc);
    check_eq(n.status, MIGRATE_COMPLETED);
    check_eq(n.ram_remaining, 0);
    check_eq((n.normal + n.duplicate) * 4096, n.ram_total);
    check(n.normal >= 2 * MiB / (64 * KiB + 8) && n.ram_transferred > n.normal * 4096);
}

static void there_and_back(Vm *unused)
{
    Vm *a = machine(4 * MiB), *b = machine(4 * MiB);
    g_autofree char *path = temp("state"), *uri = g_strconcat("file:", path, NULL);
    char *before;
    Log log = { .s = g_string_new(NULL) };
    Error *e = NULL;

    log.l = (VmListener){ .event = on_event, .self = &log };
    vm_start(a, false, &abort_on_error);
    scribble(a);
    vm_listen(a, &log.l);
    migrate_send_events(a, true);
    save(a, path);
    check_str(log.s->str, "MIGRATION {\"status\": \"setup\"}\nMIGRATION_PASS {\"pass\": 1}\nMIGRATION {\"status\": \"active\"}\nSTOP\n"
                          "MIGRATION {\"status\": \"device\"}\nMIGRATION {\"status\": \"completed\"}\n");
    check_eq(a->state, RUN_POSTMIGRATE);
    check(!migrate_start(a, uri, &e));
    error_free(g_steal_pointer(&e));
    before = dump(a);

    vm_start(b, true, &abort_on_error);
    as_store(b->mem, 3 * MiB, 8, 1, MEM_CPU); /* zero in the stream */
    check(!migrate_incoming(b, uri, false, &e)); /* it does not wait for one */
    error_free(g_steal_pointer(&e));
    migrate_await(b, false);
    check_eq(b->state, RUN_INMIGRATE);
    check(migrate_incoming(b, uri, false, &abort_on_error));
    check_eq(wait_for_end(b).status, MIGRATE_COMPLETED);
    check_eq(b->state, RUN_PAUSED); /* it ran, but autostart is off */
    same(dump(b), before);
    vm_cont(b);
    check_eq(b->state, RUN_RUNNING);
    vm_cont(a); /* the source may go on, too */
    check_eq(a->state, RUN_RUNNING);
    vm_unlisten(a, &log.l);
    g_string_free(log.s, TRUE);
    migrate_shutdown(a);
    migrate_shutdown(b);
    vm_free(a);
    vm_free(b);
    g_unlink(path);
}
TEST("migrate/there-and-back", there_and_back);

static void goes_on_when_it_fails(Vm *unused)
{
    Vm *a = machine(4 * MiB);
    Error *e = NULL;
    MigrateInfo n;
    g_autofree char *uri = NULL;
    int pipes[2];

    vm_start(a, false, &abort_on_error);
    check(!migrate_start(a, "file:/nonexistent/x", &e));
    error_free(g_steal_pointer(&e));
    check(!migrate_start(a, "carrier-pigeon:x", &e));
    check_str(error_text(e), "unknown migration protocol: carrier-pigeon:x");
    error_free(g_steal_pointer(&e));
    check_eq(a->state, RUN_RUNNING);
    scribble(a);
    check(migrate_start(a, "file:/dev/full", &abort_on_error));
    n = wait_for_end(a);
    check_eq(n.status, MIGRATE_FAILED);
    check(strstr(n.error_desc, "No space left"));
    g_free(n.error_desc);
    check_eq(a->state, RUN_RUNNING);
    vm_stop(a, RUN_PAUSED);
    check(!pipe(pipes));
    uri = g_strdup_printf("fd:%d", pipes[0]);
    check(!migrate_start(a, uri, &e));
    check(strstr(error_text(e), "not open for writing"));
    error_free(g_steal_pointer(&e));
    g_free(uri);
    uri = g_strdup_printf("fd:%d", pipes[1]); /* nobody reads */
    check(migrate_start(a, uri, &abort_on_error));
    for (n.status = MIGRATE_NONE; n.status != MIGRATE_DEVICE; migrate_query(a, &n))
        g_usleep(1000);
    check_eq(a->state, RUN_FINISH_MIGRATE);
    vm_cont(a); /* not now */
    check_eq(a->state, RUN_FINISH_MIGRATE);
    migrate_cancel(a);
    check_eq(wait_for_end(a).status, MIGRATE_CANCELLED);
    check_eq(a->state, RUN_PAUSED);
    migrate_shutdown(a);
    vm_free(a);
}
TEST("migrate/goes-on-when-it-fails", goes_on_when_it_fails);

/* ---- wrong streams: the reader's own entry points, so that a thousand of them take seconds ---- */
static bool load(Vm *vm, const char *path, GString *why)
{
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    Error *e = NULL;
    Stream *s = stream_open(uri, false, &abort_on_error);
    Incoming *in;
    bool ok;

    lock_take(&vm->lock);
    in = incoming_new(vm);
    ok = incoming_read(in, s);
    if (!ok)
        e = g_steal_pointer(&s->err);
    ok = ok && incoming_commit(in, vm, &e);
    lock_drop(&vm->lock);
    check(ok == !e);
    g_string_assign(why, e ? error_text(e) : "");
    check(!strchr(why->str, '\n'));
    error_free(e);
    incoming_free(in);
    stream_free(s);
    return ok;
}

typedef struct Fixture {
    Vm *vm;
    char *path, *good;
    gsize n;
    char *state;
} Fixture;

static Fixture fixture(void)
{
    Fixture f = { machine(4 * MiB), temp("wrong") };

    vm_start(f.vm, true, &abort_on_error);
    scribble(f.vm);
    save(f.vm, f.path);
    check(g_file_get_contents(f.path, &f.good, &f.n, NULL));
    as_store(f.vm->mem, 0x5000, 8, 42, MEM_CPU); /* now it differs from the file */
    as_store(f.vm->ports, 0x21, 1, 0x5a, MEM_CPU);
    f.state = dump(f.vm);
    return f;
}

static void fixture_free(Fixture *f)
{
    g_unlink(f->path);
    migrate_shutdown(f->vm);
    vm_free(f->vm);
    g_free(f->path);
    g_free(f->good);
    g_free(f->state);
}

static void refuses(Fixture *f, const char *data, gsize n, const char *text)
{
    GString *why = g_string_new(NULL);

    check(g_file_set_contents(f->path, data, (gssize)n, NULL));
    check(!load(f->vm, f->path, why));
    if (text && !strstr(why->str, text))
        t_fail(__FILE__, __LINE__, "said '%s', not '%s'", why->str, text);
    same(dump(f->vm), g_strdup(f->state));
    g_string_free(why, TRUE);
}

static void wrong_streams(Vm *unused)
{
    Fixture f = fixture();
    g_autofree char *bad = g_memdup2(f.good, f.n);
    Rng r = { 7 };
    Vm *other = machine(8 * MiB);
    GString *why = g_string_new(NULL);

    refuses(&f, "", 0, "cut off");
    refuses(&f, "root:x:0:0:root:/root:/bin/sh\n", 30, "not a saved state");
    bad[8] = 9;
    refuses(&f, bad, f.n, "version 9");
    for (int i = 0; i < 20; i++)
        refuses(&f, f.good, i < 8 ? (gsize)i * 3 : rng_next(&r) % f.n, "cut off");
    for (int i = 0; i < 30; i++) {
        memcpy(bad, f.good, f.n);
        bad[rng_next(&r) % f.n] ^= (char)(1 << rng_next(&r) % 8);
        refuses(&f, bad, f.n, NULL);
    }
    check(g_file_set_contents(f.path, f.good, (gssize)f.n, NULL));
    check(!load(other, f.path, why));
    check(strstr(why->str, "pc.ram") && strstr(why->str, "4194304"));
    check(load(f.vm, f.path, why)); /* and the good one still goes */
    g_string_free(why, TRUE);
    vm_free(other);
    fixture_free(&f);
}
TEST("migrate/wrong-streams", wrong_streams);

/* Behind a right checksum: bytes changed where lengths, names, devices and CPUs are. MENURA_FUZZ: rounds. */
static void fuzz(Vm *unused)
{
    Fixture f = fixture();
    g_autofree char *bad = g_malloc(f.n);
    const char *more = g_getenv("MENURA_FUZZ");
    int rounds = more ? (int)strtol(more, NULL, 10) : 60, refused = 0;
    Rng r = { more ? (uint64_t)g_get_real_time() : 3 };
    GString *why = g_string_new(NULL);
    gsize devices = 60 * KiB;

    if (more)
        printf("seed %" PRIu64 "\n", r.s), alarm(0);
    for (int i = 0; i < rounds; i++) {
        g_autofree char *before = dump(f.vm);

        memcpy(bad, f.good, f.n);
        for (uint64_t k = 1 + rng_next(&r) % 4; k; k--) {
            gsize at = rng_next(&r) % MIN(devices, f.n - 12);
            unsigned size = 1 << rng_next(&r) % 4;

            le_store(bad + at, size, rng_next(&r) % 3 ? rng_value(&r) : rng_next(&r));
        }
        le32_store(bad + f.n - 4, (uint32_t)crc32_z(0, (uint8_t *)bad, f.n - 4));
        check(g_file_set_contents(f.path, bad, (gssize)f.n, NULL));
        if (!load(f.vm, f.path, why)) {
            refused++;
            same(dump(f.vm), g_steal_pointer(&before));
        }
        vm_reset(f.vm, CAUSE_NONE); /* from whatever state that was */
    }
    check(refused > 0 && refused < rounds);
    printf("%d of %d refused\n", refused, rounds);
    g_string_free(why, TRUE);
    fixture_free(&f);
}
TEST("migrate/fuzz", fuzz);
