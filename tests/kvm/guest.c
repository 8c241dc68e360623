/* tests/kvm/guest.c - the machine around guest.S. */
#include "tests/kvm/guest.h"
#include "accel/kvm/kvm.h"
#include "target/x86/models.h"
#include <glib/gstdio.h>
#include <stdio.h>

extern const uint8_t guest_code[], guest_code_end[];
enum { CODE = 0x8000, KIND = 0x7ff0, TSS = 0x7600, RSP0 = 0x7400 };

static char *rom_file(void)
{
    static const uint8_t jump[] = { 0xea, CODE & 0xff, CODE >> 8, 0, 0 }; /* ljmp 0:CODE */
    g_autofree uint8_t *rom = g_malloc0(65536);
    char *path = g_strdup_printf("%s/t-kvm.%d.%u", g_get_tmp_dir(), (int)getpid(), g_random_int());

    memcpy(rom + 0xfff0, jump, sizeof(jump));
    check(g_file_set_contents(path, (char *)rom, 65536, NULL));
    return path;
}

Vm *guest_new(const char *accel, const char *cpu, unsigned cpus, GuestKind kind, Error **err)
{
    Vm *vm = vm_new("guest");
    g_autoptr(Opts) o = opts_parse(accel, "accel", err);
    g_autofree char *name = opts_take(o, "accel"), *path = rom_file();
    uint8_t k = (uint8_t)kind;
    uint32_t rsp0 = RSP0;
    bool ok;

    vm->cfg.bios = g_strdup(path);
    vm->cfg.cpu_model = g_strdup(cpu);
    vm->cfg.cpus = vm->cfg.max_cpus = cpus;
    vm->cfg.ram_size = 64 * MiB;
    vm->cfg.autopsy_stops = true; /* a triple fault is not what a test waits for */
    vm->cfg.vga = g_strdup("none");
    ok = vm_set_accel(vm, name, o, err) && vm_init_machine(vm, "pc", NULL, err);
    g_unlink(path);
    if (!ok) {
        vm_free(vm);
        return NULL;
    }
    as_write(vm->mem, CODE, guest_code, (size_t)(guest_code_end - guest_code), MEM_CPU);
    as_write(vm->mem, KIND, &k, 1, MEM_CPU);
    k = x86_cpuid_row(x86_of(vm->cpus[0]), 1, 0)->c >> 20 & 1;
    as_write(vm->mem, KIND + 1, &k, 1, MEM_CPU);
    as_write(vm->mem, TSS + 4, &rsp0, 4, MEM_CPU);
    return vm;
}

uint64_t guest_box(Vm *vm, uint64_t at)
{
    uint64_t v = 0;

    as_read(vm->mem, at, &v, 8, MEM_CPU);
    return v;
}

bool guest_wait(Vm *vm, uint64_t at, uint64_t n)
{
    for (unsigned i = 0; i < 20000; i++) {
        if (guest_box(vm, at) >= n)
            return true;
        g_usleep(1000);
    }
    return false;
}

bool kvm_here(void)
{
    Error *err = NULL;

    if (kvm_probe(&err))
        return true;
    printf("SKIP: %s\n", error_text(err));
    error_free(err);
    return false;
}
