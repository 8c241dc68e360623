/*
 * accel/tcg/perf.c - tells profilers what generated code is: -perfmap writes /tmp/perf-PID.map, which `perf report` reads;
 * -jitdump writes ./jit-PID.dump, which `perf inject --jit` joins with a recording made by `perf record -k 1`: code that was
 * replaced is then told apart by time, and `perf annotate` has its bytes. Both are of the process, as perf sees it.
 */
#include "accel/tcg/tcg.h"
#include "accel/tcg/perf.h"
#include "util/error.h"
#include <errno.h>
#include <elf.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static GMutex lock;
static FILE *map, *dump;
static uint64_t dumped;

bool tcg_perf_wanted;

bool perf_map_start(Error **err)
{
    g_autofree char *path = g_strdup_printf("/tmp/perf-%d.map", (int)getpid());

    map = fopen(path, "we");
    if (!map)
        return fail(err, "-perfmap: cannot write '%s': %s", path, g_strerror(errno));
    setvbuf(map, NULL, _IOLBF, 0); /* it is read after the process was killed, too */
    return tcg_perf_wanted = true;
}

/* Times are CLOCK_MONOTONIC's, as host_now() is and as perf record -k 1 takes them. */
typedef struct DumpHead { /* tools/perf/Documentation/jitdump-specification.txt */
    uint32_t magic, version, size, elf_machine, pad, pid;
    uint64_t time, flags;
} DumpHead;
typedef struct DumpLoad {
    uint32_t id, size;
    uint64_t time;
    uint32_t pid, tid;
    uint64_t vma, at, code_size, index;
} DumpLoad;
enum { DUMP_MAGIC = 0x4a695444, JIT_CODE_LOAD = 0 };

bool perf_dump_start(Error **err)
{
    g_autofree char *path = g_strdup_printf("jit-%d.dump", (int)getpid());
    DumpHead h = { DUMP_MAGIC, 1, sizeof(h), EM_X86_64, 0, (uint32_t)getpid(), (uint64_t)host_now(), 0 };

    dump = fopen(path, "w+e");
    if (!dump || fwrite(&h, sizeof(h), 1, dump) != 1 || fflush(dump) ||
        /* perf finds the file by this mapping in the recording */
        mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_EXEC, MAP_PRIVATE, fileno(dump), 0) == MAP_FAILED)
        return fail(err, "-jitdump: cannot write '%s': %s", path, g_strerror(errno));
    return tcg_perf_wanted = true;
}

static void write_load(const uint8_t *at, uint32_t bytes, const char *name)
{
    DumpLoad r = { .id = JIT_CODE_LOAD, .size = (uint32_t)(sizeof(r) + strlen(name) + 1 + bytes), .time = (uint64_t)host_now(), .pid = (uint32_t)getpid(),
                   .tid = (uint32_t)gettid(), .vma = (uintptr_t)at, .at = (uintptr_t)at, .code_size = bytes, .index = dumped++ };

    fwrite(&r, sizeof(r), 1, dump);
    fwrite(name, strlen(name) + 1, 1, dump);
    fwrite(at, bytes, 1, dump);
    fflush(dump);
}

static void tell(const Block *b, const uint8_t *at, uint32_t bytes, const char *what)
{
    g_autofree char *name = g_strdup_printf("guest-%s%#" PRIx64 "-%u%s", b->rel ? "page+" : "", b->pc, b->ninsns, what);

    if (map)
        fprintf(map, "%" PRIxPTR " %x %s\n", (uintptr_t)at, bytes, name);
    if (dump)
        write_load(at, bytes, name);
}

void tcg_perf_block(const Block *b)
{
    g_mutex_lock(&lock);
    tell(b, b->host, b->host_size, "");
    if (b->cold_size)
        tell(b, b->cold, b->cold_size, "-tails");
    g_mutex_unlock(&lock);
}
