/*
 * tests/contract/main.c - the contract over all device classes of this build.
 *   t-contract             all, and the planted bugs
 *   t-contract PATTERN     classes that match
 *   t-contract -s SEED ..  another run
 */
#include "tests/contract/contract.h"
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t seed = 1;

typedef struct Job {
    const DevEntry *e;
    unsigned check;
} Job;

static void one_check(Vm *vm, const void *arg)
{
    const Job *j = arg;
    Rng r = { seed * 1000 + j->check };

    if (contract_checks[j->check].fn(vm, j->e, &r))
        t_fail(j->e->cls->obj.name, (int)seed, "%s", contract_checks[j->check].name);
}

typedef struct Search {
    const char *name;
    const DevEntry *e;
} Search;

static void match(const DevEntry *e, void *arg)
{
    Search *s = arg;

    if (!strcmp(e->cls->obj.name, s->name))
        s->e = e;
}

bool contract_passes(const char *driver, unsigned check, bool quiet)
{
    Search s = { driver, NULL };
    g_autofree char *name = g_strdup_printf("%s: %s", driver, contract_checks[check].name);
    Job j;

    dev_entry_foreach(match, &s);
    if (!s.e)
        return false;
    j = (Job){ s.e, check };
    return t_run(name, one_check, &j, quiet);
}

enum { SKIPPED = 77 };

/* Can it be made here at all? */
static void can_plug(Vm *vm, const void *arg)
{
    const DevEntry *e = arg;
    Error *err = NULL;

    if (contract_plug(vm, e->cls, &err))
        return;
    printf("skip %s: %s\n", e->cls->obj.name, error_text(err));
    fflush(stdout);
    _exit(SKIPPED);
}

typedef struct All {
    const char *pattern;
    unsigned bad, skipped;
} All;

static void each(const DevEntry *e, void *arg)
{
    All *a = arg;
    const char *name = e->cls->obj.name;
    int status;

    if (contract_is_planted(e->cls) || !g_pattern_match_simple(a->pattern, name))
        return;
    status = t_status(can_plug, e, false);
    if (status) {
        bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED;

        a->skipped += skipped;
        a->bad += !skipped;
        if (!skipped)
            printf("FAIL %s cannot be made\n", name);
        return;
    }
    for (unsigned i = 0; i < CHECKS; i++)
        a->bad += !contract_passes(name, i, false);
}

int t_main(int argc, char **argv)
{
    All a = { "*", 0, 0 };

    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "-s") && i + 1 < argc)
            parse_u64(argv[++i], &seed, &abort_on_error);
        else
            a.pattern = argv[i];
    dev_entry_foreach(each, &a);
    if (!strcmp(a.pattern, "*"))
        a.bad += contract_planted();
    printf("%u broken, %u skipped\n", a.bad, a.skipped);
    return a.bad ? 1 : 0;
}
