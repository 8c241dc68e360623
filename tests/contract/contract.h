/*
 * tests/contract/contract.h - what every device owes, each check on its own. They print what is wrong and
 * return the number of violations; a crash, a sanitizer report or a hang is one too.
 */
#ifndef TESTS_CONTRACT_CONTRACT_H
#define TESTS_CONTRACT_CONTRACT_H
#include "tests/lib/t.h"

typedef unsigned ContractFn(Vm *vm, const DevEntry *e, Rng *r);
typedef struct ContractCheck {
    const char *name;
    ContractFn *fn;
} ContractCheck;
enum { CHECK_COVERED, CHECK_STATE, CHECK_HOSTILE, CHECK_RESET, CHECK_UNPLUG, CHECKS };
extern const ContractCheck contract_checks[CHECKS];
bool contract_is_planted(const DevClass *c);   /* a class with a bug on purpose (planted.c) */
Dev *contract_plug(Vm *vm, const DevClass *c, Error **err); /* with null back ends and buses made for it */
void contract_poke(Dev *d, Rng *r, unsigned n); /* guest accesses, wires, time */
/* In a process of its own. */
bool contract_passes(const char *driver, unsigned check, bool quiet);
unsigned contract_planted(void); /* each planted bug is caught; the number of those that are not */
#endif
