/*
 * app/sandbox.c - -sandbox on: system calls that an emulator has no use for answer EPERM, for all threads, for good.
 * See seccomp(2). What is denied always administers the host; the groups are those that QEMU's option names.
 */
#include "app/app.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define HOST_ARCH AUDIT_ARCH_X86_64
#else
#define HOST_ARCH 0 /* nobody has tried it there */
#endif
enum { X32 = 0x40000000 };
#define S(n, group) { SYS_##n, group }
static const struct {
    uint16_t nr;
    uint8_t group;
} denied[] = {
    S(reboot, SANDBOX_ON), S(swapon, SANDBOX_ON), S(swapoff, SANDBOX_ON), S(mount, SANDBOX_ON), S(umount2, SANDBOX_ON),
    S(pivot_root, SANDBOX_ON), S(chroot, SANDBOX_ON), S(kexec_load, SANDBOX_ON), S(init_module, SANDBOX_ON),
    S(finit_module, SANDBOX_ON), S(delete_module, SANDBOX_ON), S(acct, SANDBOX_ON), S(settimeofday, SANDBOX_ON),
    S(clock_settime, SANDBOX_ON), S(adjtimex, SANDBOX_ON), S(clock_adjtime, SANDBOX_ON), S(sethostname, SANDBOX_ON),
    S(setdomainname, SANDBOX_ON), S(quotactl, SANDBOX_ON), S(bpf, SANDBOX_ON), S(perf_event_open, SANDBOX_ON),
    S(ptrace, SANDBOX_ON), S(process_vm_readv, SANDBOX_ON), S(process_vm_writev, SANDBOX_ON), S(syslog, SANDBOX_ON),
    S(vhangup, SANDBOX_ON), S(setns, SANDBOX_ON), S(unshare, SANDBOX_ON), S(add_key, SANDBOX_ON), S(keyctl, SANDBOX_ON),
#ifdef SYS_uselib
    S(uselib, SANDBOX_OBSOLETE), S(ustat, SANDBOX_OBSOLETE), S(sysfs, SANDBOX_OBSOLETE), S(iopl, SANDBOX_OBSOLETE),
    S(ioperm, SANDBOX_OBSOLETE), S(modify_ldt, SANDBOX_OBSOLETE), S(fork, SANDBOX_SPAWN), S(vfork, SANDBOX_SPAWN),
#endif
    S(personality, SANDBOX_OBSOLETE), S(nfsservctl, SANDBOX_OBSOLETE),
    S(setuid, SANDBOX_ELEVATE), S(setgid, SANDBOX_ELEVATE), S(setreuid, SANDBOX_ELEVATE), S(setregid, SANDBOX_ELEVATE),
    S(setresuid, SANDBOX_ELEVATE), S(setresgid, SANDBOX_ELEVATE), S(setfsuid, SANDBOX_ELEVATE), S(setfsgid, SANDBOX_ELEVATE),
    S(setgroups, SANDBOX_ELEVATE), S(setpgid, SANDBOX_ELEVATE), S(setsid, SANDBOX_ELEVATE), S(capset, SANDBOX_ELEVATE),
    S(execve, SANDBOX_SPAWN), S(execveat, SANDBOX_SPAWN),
    S(setpriority, SANDBOX_RESOURCE), S(sched_setparam, SANDBOX_RESOURCE), S(sched_setscheduler, SANDBOX_RESOURCE),
    S(sched_setaffinity, SANDBOX_RESOURCE), S(sched_setattr, SANDBOX_RESOURCE), S(ioprio_set, SANDBOX_RESOURCE),
    S(migrate_pages, SANDBOX_RESOURCE), S(setrlimit, SANDBOX_RESOURCE),
};

bool app_sandbox(unsigned groups, Error **err)
{
    struct sock_filter f[2 * G_N_ELEMENTS(denied) + 8];
    struct sock_fprog prog = { .filter = f };
    unsigned n = 0;

    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, HOST_ARCH, 1, 0);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS); /* another ABI has other numbers */
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32, 0, 1); /* the same calls by other numbers */
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    for (size_t i = 0; i < G_N_ELEMENTS(denied); i++)
        if (denied[i].group & groups) {
            f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denied[i].nr, 0, 1);
            f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
        }
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    prog.len = (unsigned short)n;
    if (!groups)
        return true;
    if (!HOST_ARCH)
        return fail(err, "-sandbox on: not on this kind of host");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog))
        return fail_errno(err, "-sandbox on: the kernel takes no filter of system calls");
    return true;
}
