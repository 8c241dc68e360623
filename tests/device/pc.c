/* tests/device/pc.c - the pc machine as a whole: what is where, reset, its state moved to another. */
#include "hw/pci/pci.h"
#include "tests/lib/t.h"
#include <glib/gstdio.h>

/* jmp $ at the reset vector. */
static Vm *machine(void)
{
    Vm *vm = vm_new("pc");
    g_autofree char *path = g_strdup_printf("%s/t-pc.%d", g_get_tmp_dir(), (int)g_random_int_range(0, 1 << 30));
    uint8_t rom[65536] = { 0 };

    rom[0xfff0] = 0xeb;
    rom[0xfff1] = 0xfe;
    check(g_file_set_contents(path, (char *)rom, sizeof(rom), NULL));
    vm->cfg.bios = g_strdup(path);
    vm->cfg.ram_size = 64 * MiB;
    check(vm_set_accel(vm, "tcg", NULL, &abort_on_error) && vm_init_machine(vm, "pc", NULL, &abort_on_error));
    g_unlink(path);
    vm_reset(vm, CAUSE_NONE);
    return vm;
}

static void shape(Vm *unused)
{
    Vm *vm = machine();
    uint64_t v;

    as_store(vm->ports, 0xcf8, 4, 0x80000000, MEM_CPU);
    as_load(vm->ports, 0xcfc, 4, &v, MEM_CPU);
    check_eq(v, 0x12378086);
    as_store(vm->ports, 0xcf8, 4, 0x80000b00, MEM_CPU);
    as_load(vm->ports, 0xcfc, 4, &v, MEM_CPU);
    check_eq(v, 0x71138086);
    as_load(vm->mem, 0xfffffff0, 2, &v, MEM_CPU);
    check_eq(v, 0xfeeb);
    as_load(vm->mem, 0xffff0, 2, &v, MEM_CPU); /* the copy below 1 MiB */
    check_eq(v, 0xfeeb);
    as_store(vm->ports, 0xcf8, 4, 0x80000058, MEM_CPU); /* PAM0: F0000 is RAM now */
    as_store(vm->ports, 0xcfd, 1, 0x30, MEM_CPU);
    as_store(vm->mem, 0xffff0, 2, 0x1234, MEM_CPU);
    as_load(vm->mem, 0xffff0, 2, &v, MEM_CPU);
    check_eq(v, 0x1234);
    vm_reset(vm, CAUSE_NONE);
    as_load(vm->mem, 0xffff0, 2, &v, MEM_CPU);
    check_eq(v, 0xfeeb);
    vm_free(vm);
}
TEST("pc/shape", shape);

static void config(Vm *vm, unsigned off, unsigned size, uint32_t v)
{
    as_store(vm->ports, 0xcf8, 4, 0x80000b00 | (off & 0xfc), MEM_CPU);
    as_store(vm->ports, 0xcfc + (off & 3), size, v, MEM_CPU);
}

/* The PIIX4's SMBus: nobody answers a quick command at any address, which the host tells as a device error and IRQ 9 if asked to. */
static void smbus(Vm *unused)
{
    Vm *vm = machine();
    uint64_t v;

    as_load(vm->ports, 0xb100, 1, &v, MEM_CPU);
    check_eq(v, 0); /* where it is until firmware moves it */
    config(vm, 0x90, 4, 0x701);
    config(vm, 0xd2, 1, 8);
    as_load(vm->ports, 0x700, 1, &v, MEM_CPU);
    check_eq(v, 0xff); /* not enabled */
    config(vm, 0xd2, 1, 9); /* enabled, IRQ 9 */
    as_load(vm->ports, 0x700, 1, &v, MEM_CPU);
    check_eq(v, 0);
    as_store(vm->ports, 0x704, 1, 0xa0, MEM_CPU);
    as_store(vm->ports, 0x702, 1, 0x41, MEM_CPU); /* START, interrupt */
    as_load(vm->ports, 0x702, 1, &v, MEM_CPU);
    check_eq(v, 0x01); /* START reads as 0 */
    as_load(vm->ports, 0x700, 1, &v, MEM_CPU);
    check_eq(v, 4);
    as_load(vm->ports, 0xa0, 1, &v, MEM_CPU); /* the second 8259's requests: IRQ 9 */
    check_eq(v >> 1 & 1, 1);
    as_store(vm->ports, 0x700, 1, 0x1e, MEM_CPU);
    as_load(vm->ports, 0x700, 1, &v, MEM_CPU);
    check_eq(v, 0);
    vm_free(vm);
}
TEST("pc/smbus", smbus);

static void power_off(Vm *unused)
{
    Vm *vm = machine();
    int status;

    as_store(vm->ports, 0xcf8, 4, 0x80000b40, MEM_CPU);
    as_store(vm->ports, 0xcfc, 4, 0x601, MEM_CPU);
    as_store(vm->ports, 0xcf8, 4, 0x80000b80, MEM_CPU);
    as_store(vm->ports, 0xcfc, 1, 1, MEM_CPU);
    vm_start(vm, false, &abort_on_error);
    check(!vm_wait_for(vm, 5 * MS, &status));
    as_store(vm->ports, 0xcf8, 4, 0x80000b40, MEM_CPU); /* start reset it */
    as_store(vm->ports, 0xcfc, 4, 0x601, MEM_CPU);
    as_store(vm->ports, 0xcf8, 4, 0x80000b80, MEM_CPU);
    as_store(vm->ports, 0xcfc, 1, 1, MEM_CPU);
    as_store(vm->ports, 0x604, 2, 0x2000, MEM_CPU); /* S5 */
    check(vm_wait_for(vm, 10 * SEC, &status));
    check_eq(status, 0);
    vm_free(vm);
}
TEST("pc/power-off", power_off);

static void state_moves(Vm *unused)
{
    Vm *a = machine(), *b = machine();
    GByteArray *s = g_byte_array_new();
    GString *x = g_string_new(NULL), *y = g_string_new(NULL);
    Error *err = NULL;

    as_store(a->ports, 0x43, 1, 0x34, MEM_CPU);
    as_store(a->ports, 0x40, 1, 0x9c, MEM_CPU);
    as_store(a->ports, 0x40, 1, 0x2e, MEM_CPU);
    as_store(a->ports, 0xcf8, 4, 0x80000058, MEM_CPU);
    as_store(a->ports, 0xcfd, 1, 0x30, MEM_CPU);
    cpu_set_reg(a->cpus[0], "rbx", 0x1122334455667788);
    check(vm_save_state(a, s, &abort_on_error));
    /* What an engine was asked before (to forget code that is written over) it must still do; the guest's own went with its state. */
    __atomic_fetch_or(&b->cpus[0]->request, 1u << 16 | CPU_REQ_NMI, __ATOMIC_SEQ_CST);
    if (!vm_load_state(b, s->data, s->len, &err))
        t_fail(__FILE__, __LINE__, "%s", error_text(err));
    check_eq(cpu_requests(b->cpus[0]) & (1u << 16 | CPU_REQ_NMI), 1u << 16);
    vm_dump_state(a, x);
    vm_dump_state(b, y);
    check_str(x->str, y->str);
    for (guint cut = 0; cut < s->len; cut += 97)
        check(!vm_load_state(b, s->data, cut, NULL));
    g_string_truncate(y, 0);
    vm_dump_state(b, y);
    check_str(x->str, y->str); /* refused loads left no trace */
    vm_free(a);
    vm_free(b);
    g_byte_array_unref(s);
    g_string_free(x, TRUE);
    g_string_free(y, TRUE);
}
TEST("pc/state-moves", state_moves);
