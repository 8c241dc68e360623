/*
 * tests/kvm/kernel.h - a kernel's KVM in a few hundred lines: it keeps what it is told, runs no code, and ends KVM_RUN as a script
 * says. It fails the call that a test wants to fail. One per process (the tests fork).
 */
#ifndef TESTS_KVM_KERNEL_H
#define TESTS_KVM_KERNEL_H
#include "accel/kvm/kvm.h"

typedef struct FakeExit {
    uint32_t reason;
    void (*fill)(struct kvm_run *r);
} FakeExit;
typedef struct Fake {
    int open_errno;                 /* of /dev/kvm; 0: it opens */
    unsigned long fail_call;        /* this request .. */
    int fail_errno;                 /* .. fails once with this */
    unsigned fail_skip;             /* after so many successes */
    bool fail_for_ever;
    uint32_t no_cap;                /* 1 + a capability that is missing */
    int memslots;                   /* KVM_CAP_NR_MEMSLOTS */
    const FakeExit *script;         /* of CPU 0, once; then it waits for a kick */
    unsigned nscript;
    /* what came of it */
    unsigned next;                  /* of the script; atomic */
    unsigned calls[64];             /* how often each row of calls.def was called */
    unsigned failed;                /* how often fail_call did */
    unsigned fds, maps;             /* open now: leaks */
    unsigned running;               /* CPUs in KVM_RUN; atomic */
    unsigned torn;                  /* slots that left while one was */
    uint64_t dirty_at;              /* guest page that KVM_GET_DIRTY_LOG reports */
    struct kvm_interrupt interrupt; /* the last */
    struct kvm_msi msi;
    struct kvm_run *run[8];
    unsigned nslots, nslots_smm;
} Fake;
extern Fake fake;
void fake_install(void);
unsigned fake_calls(unsigned long request); /* how often so far */
#endif
