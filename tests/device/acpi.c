/*
 * tests/device/acpi.c - our ACPI tables: checksums and pointers hold after placement, and iasl (when installed)
 * takes every table without an error or warning.
 */
#include "core/numa.h"
#include "hw/fw/fw.h"
#include "tests/lib/t.h"
#include <glib/gstdio.h>

static FwPlatform platform(Vm *vm, bool q35)
{
    return (FwPlatform){
        .vm = vm, .q35 = q35, .below_4g = 128 * MiB, .pm_base = 0x600, .ecam = q35 ? 0xb0000000 : 0,
        .hole = q35 ? 0x80000000 : 0xc0000000, .hole_end = 0xfec00000, .hole64 = 1ull << 38, .hole64_len = 1ull << 37,
        .gpe0 = q35 ? 0 : 0xafe0, .gpe0_len = q35 ? 16 : 4, .acpi_enable = 2, .acpi_disable = 3, .hpet = true,
        .irq0_override = true, .reset_cf9 = true, .i8042 = true, .rtc = true, .s3 = true, .s4 = true,
        .com = { 0x3f8, 0x2f8 }, .com_irq = { 4, 3 }, .lpt = 0x378, .isa_devfn = q35 ? 0xf8 : 0x08,
    };
}

static const uint8_t *at(const FwLinker *l, uint64_t base, uint64_t addr)
{
    check(in_range(addr - base, 8, l->tables->len));
    return l->tables->data + (addr - base);
}

static void check_sum(const uint8_t *p, uint32_t n)
{
    uint8_t sum = 0;

    for (uint32_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + p[i]);
    check_eq(sum, 0);
}

/* Disassembly, then assembly of the result, both without a complaint. */
static void ask_iasl(const uint8_t *t, const char *dir)
{
    g_autofree char *iasl = g_find_program_in_path("iasl"), *out = NULL, *err = NULL, *err2 = NULL, *out2 = NULL;
    g_autofree char *name = g_strdup_printf("%s/%.4s.dat", dir, (const char *)t);
    g_autofree char *dsl = g_strdup_printf("%s/%.4s.dsl", dir, (const char *)t);
    int status;

    if (!iasl)
        return;
    check(g_file_set_contents(name, (const char *)t, le32_load(t + 4), NULL));
    check(g_spawn_sync(dir, (char *[]){ iasl, "-d", name, NULL }, NULL, 0, NULL, NULL, &out, &err, &status, NULL));
    check_eq(status, 0);
    if (strstr(err, "Warning") || strstr(err, "rror"))
        t_fail(name, 0, "%s", err);
    check(g_spawn_sync(dir, (char *[]){ iasl, "-ve", "-p", "again", dsl, NULL }, NULL, 0, NULL, NULL, &out2, &err2, &status, NULL));
    if (status || !strstr(out2, "0 Errors") || strstr(out2, "Warning ") || strstr(out2, "Error  "))
        t_fail(dsl, 0, "%s%s", out2, err2);
}

static void check_tables(FwLinker *l, uint64_t base)
{
    g_autofree char *dir = g_dir_make_tmp("menura-acpi-XXXXXX", NULL);
    const uint8_t *xsdt = at(l, base, le64_load(l->rsdp->data + 24)), *fadt = NULL;
    char *const rm[] = { "rm", "-r", dir, NULL };

    check_sum(l->rsdp->data, 20);
    check_sum(l->rsdp->data, 36);
    check(!memcmp(xsdt, "XSDT", 4));
    check_sum(xsdt, le32_load(xsdt + 4));
    check(!memcmp(at(l, base, le32_load(l->rsdp->data + 16)), "RSDT", 4));
    for (uint32_t i = 36; i < le32_load(xsdt + 4); i += 8) {
        const uint8_t *t = at(l, base, le64_load(xsdt + i));

        check_sum(t, le32_load(t + 4));
        ask_iasl(t, dir);
        if (!memcmp(t, "FACP", 4))
            fadt = t;
    }
    check(fadt && le32_load(fadt + 4) == 244);
    check(!memcmp(at(l, base, le32_load(fadt + 36)), "FACS", 4));
    check(le32_load(fadt + 40) == le64_load(fadt + 140));
    ask_iasl(at(l, base, le32_load(fadt + 40)), dir); /* DSDT */
    check(g_spawn_sync(NULL, (char **)rm, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL));
}

static void one(Vm *vm, bool q35)
{
    FwPlatform p = platform(vm, q35);
    FwLinker *l = fw_acpi_build(&p);

    check(fw_linker_apply(l, 0x7fe0000, 0xf0000));
    check_tables(l, 0x7fe0000);
    fw_linker_free(l);
}

static void pc(Vm *vm) { one(vm, false); }
TEST("acpi/pc", pc);
static void q35_tables(Vm *vm) { one(vm, true); }
TEST("acpi/q35", q35_tables);

/* Three nodes over both holes: iasl takes SRAT and SLIT, and the ranges are where the memory is. */
static void numa(Vm *vm)
{
    static const char *const said[] = { "node,memdev=a", "node,memdev=b,cpus=0", "node", "dist,src=0,dst=1,val=15", "dist,src=0,dst=2,val=30", "dist,src=2,dst=1,val=40" };
    static const struct {
        uint64_t from, len;
        uint32_t node;
    } want[] = { { 0, 640 * KiB, 0 }, { MiB, 63 * MiB, 0 }, { 64 * MiB, 64 * MiB, 1 }, { 4 * GiB, 32 * MiB, 1 } };
    FwPlatform p = platform(vm, true);
    FwLinker *l;
    const uint8_t *t;
    unsigned n = 0;

    obj_container(&vm->root, "objects");
    for (int i = 0; i < 2; i++) {
        g_autoptr(Opts) o = opts_parse(i ? "size=96M" : "size=64M", NULL, &abort_on_error);

        check(obj_new(obj_class_find("memory-backend-ram"), obj_container(&vm->root, "objects"), i ? "b" : "a", o, &abort_on_error));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(said); i++) {
        g_autoptr(Opts) o = opts_parse(said[i], "type", &abort_on_error);

        check(numa_option(vm, o, &abort_on_error));
    }
    check(numa_complete(vm, 160 * MiB, &abort_on_error));
    l = fw_acpi_build(&p);
    check(fw_linker_apply(l, 0x7fe0000, 0xf0000));
    check_tables(l, 0x7fe0000);
    t = memmem(l->tables->data, l->tables->len, "SRAT", 4);
    check(t);
    for (uint32_t at = 48; at < le32_load(t + 4); at += t[at + 1])
        if (t[at] == 1) {
            check(n < G_N_ELEMENTS(want) && le64_load(t + at + 8) == want[n].from && le64_load(t + at + 16) == want[n].len);
            check_eq(le32_load(t + at + 2), want[n].node);
            n++;
        }
    check_eq(n, G_N_ELEMENTS(want));
    t = memmem(l->tables->data, l->tables->len, "SLIT", 4);
    check(t && !memcmp(t + 36, "\3\0\0\0\0\0\0\0\x0a\x0f\x1e\x0f\x0a\x28\x1e\x28\x0a", 17));
    fw_linker_free(l);
}
TEST("acpi/numa", numa);

static void smbios(Vm *vm)
{
    FwPlatform p = platform(vm, true);
    GByteArray *t = g_byte_array_new(), *a = g_byte_array_new();
    unsigned n = 0, at_byte = 0;

    vm->cfg.smbios = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(vm->cfg.smbios, g_strdup("type=1,serial=ds=nocloud"));
    g_ptr_array_add(vm->cfg.smbios, g_strdup("type=11,value=one,value=two"));
    fw_smbios_build(&p, t, a);
    check_sum(a->data, 31);
    check_sum(a->data + 16, 15);
    while (at_byte + 4 <= t->len) { /* walk the structures */
        unsigned len = t->data[at_byte + 1];

        n++;
        at_byte += len;
        while (at_byte + 1 < t->len && (t->data[at_byte] || t->data[at_byte + 1]))
            at_byte++;
        at_byte += 2;
    }
    check_eq(at_byte, t->len);
    check_eq(n, le16_load(a->data + 28));
    check(memmem(t->data, t->len, "ds=nocloud", 11) && memmem(t->data, t->len, "one\0two\0", 9));
    g_byte_array_unref(t);
    g_byte_array_unref(a);
}
TEST("smbios/structures", smbios);

static void fw_cfg_dma(Vm *vm)
{
    FwCfg *f = fw_cfg_new(vm, &abort_on_error);
    uint8_t d[16] = { 0 }, got[12] = { 0 };
    uint64_t v;

    check(fw_cfg_set_file(f, "etc/b", "hello", 5, &abort_on_error) && fw_cfg_set_file(f, "etc/a", "xy", 2, &abort_on_error));
    check(!fw_cfg_set_file(f, "a-name-that-has-more-than-fifty-five-characters-in-all-here", "", 0, NULL));
    as_store(vm->ports, 0x510, 2, 0, MEM_CPU);
    for (int i = 0; i < 4; i++) {
        as_load(vm->ports, 0x511, 1, &v, MEM_CPU);
        check_eq(v, "QEMU"[i]);
    }
    as_load(vm->ports, 0x514, 4, &v, MEM_CPU);
    check_eq(v, 0x554d4551); /* big-endian on a little-endian bus */
    be32_store(d, 0x20u << 16 | 8 | 2); /* select the first file that was added, read */
    be32_store(d + 4, 8);
    memcpy(d + 8, "\0\0\0\0\0\0\x20\0", 8);
    as_write(vm->mem, 0x1000, d, 16, MEM_CPU);
    as_store(vm->ports, 0x518, 4, 0x00100000, MEM_CPU); /* 0x1000 */
    as_read(vm->mem, 0x2000, got, 12, MEM_CPU);
    check(!memcmp(got, "hello\0\0\0", 8));
    as_read(vm->mem, 0x1000, d, 4, MEM_CPU);
    check_eq(be32_load(d), 0);
}
TEST("fw_cfg/dma", fw_cfg_dma);
