/*
 * tests/device/direct.c - direct boot: PCI set up over a pretended bus, a PVH ELF and a bzImage of a few instructions
 * run on the software CPU and find what their protocol promises.
 */
#include "core/machine.h"
#include "hw/fw/multiboot.h"
#include "hw/fw/fw.h"
#include "tests/lib/t.h"
#include <elf.h>
#include <glib/gstdio.h>

/* ---- a PCI tree: 0:1.0 bridge with 1:2.0 behind it, 0:3.0 an endpoint ---- */
typedef struct Fn {
    uint32_t bdf; /* bus as written into the bridge: follows it */
    bool bridge;
    uint32_t bar_size[6]; /* low bits: flags */
    uint8_t pin, c[256];
} Fn;
static Fn fns[3];
static PciBus root;

static Fn *find(uint32_t bdf)
{
    for (int i = 0; i < 3; i++)
        if ((fns[i].bdf & 0xff) == (bdf & 0xff) && (i == 1 ? fns[0].c[0x19] == bdf >> 8 && bdf >> 8 : bdf < 256))
            return &fns[i];
    return NULL;
}

static uint32_t fake_read(PciBus *b, uint32_t bdf, unsigned reg, unsigned size)
{
    Fn *f = find(bdf);

    return f && reg + size <= 256 ? (uint32_t)le_load(f->c + reg, size) : (uint32_t)bytes_mask(size);
}

static void fake_write(PciBus *b, uint32_t bdf, unsigned reg, uint32_t val, unsigned size)
{
    Fn *f = find(bdf);

    if (!f || reg + size > 256)
        return;
    if (reg >= 0x10 && reg < (f->bridge ? 0x18u : 0x28u)) {
        uint32_t s = f->bar_size[(reg - 0x10) / 4], flags = s & 15;

        val = s ? (val & ~(s - flags - 1) & ~15u) | flags : 0;
    }
    le_store(f->c + reg, size, val);
}

static void make_tree(void)
{
    fns[0] = (Fn){ .bdf = 1 << 3, .bridge = true };
    fns[1] = (Fn){ .bdf = 2 << 3, .bar_size = { 0x10000, 0x1000008, 0x41 }, .pin = 1 };
    fns[2] = (Fn){ .bdf = 3 << 3, .bar_size = { 0x1000, 0x81 }, .pin = 2 };
    for (int i = 0; i < 3; i++) {
        le16_store(fns[i].c, 0x1234);
        fns[i].c[0x0e] = fns[i].bridge;
        fns[i].c[0x3d] = fns[i].pin;
    }
}

static FwPlatform platform(Vm *vm)
{
    make_tree();
    return (FwPlatform){ .vm = vm, .root = &root, .pci_read = fake_read, .pci_write = fake_write, .below_4g = 16 * MiB,
                         .pm_base = 0x600, .hole = 0xc0000000, .hole_end = 0xfec00000, .com = { 0x3f8 }, .isa_devfn = 0x70 };
}

static void pci(Vm *vm)
{
    FwPlatform p = platform(vm);
    uint32_t mem, pref, bar;

    fw_pci_setup(&p);
    check(fns[0].c[0x18] == 0 && fns[0].c[0x19] == 1 && fns[0].c[0x1a] == 1);
    mem = (uint32_t)le16_load(fns[0].c + 0x20) << 16;
    bar = le32_load(fns[1].c + 0x10);
    check(bar >= mem && bar < mem + MiB && !(bar & 0xffff));
    pref = (uint32_t)le16_load(fns[0].c + 0x24) << 16;
    bar = le32_load(fns[1].c + 0x14) & ~15u;
    check(bar == pref && !(bar & 0xffffff));
    bar = le32_load(fns[1].c + 0x18);
    check((bar & 1) && (bar & 0xf000) == (uint32_t)(fns[0].c[0x1c] & 0xf0) << 8);
    check((le32_load(fns[2].c + 0x14) & ~3u) != (bar & ~3u));
    check((fns[0].c[4] & 7) == 7 && (fns[1].c[4] & 3) == 3 && (fns[2].c[4] & 3) == 3);
    check(fns[1].c[0x3c] >= 10 && fns[2].c[0x3c] >= 10);
}
TEST("direct/pci", pci);

/* ---- code that runs ---- */
static GString *said;

static MemResult hear(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    g_string_append_c(said, (char)val);
    return MEM_OK;
}
static const RegionOps ear = { .write = hear };

static size_t heard(Vm *vm)
{
    size_t n = 0;

    WITH_LOCK(&vm->lock)
        n = said->len;
    return n;
}

static bool machine_init(Vm *vm, Error **err)
{
    FwPlatform p = platform(vm);
    RamBlock *ram = ram_new(vm->machine, "ram", 16 * MiB, err);

    if (!ram)
        return false;
    region_map(vm->sysmem, 0, region_ram(vm->machine, "ram", ram), 0);
    region_map(vm->sysports, 0x402, region_io(vm->machine, "ear", 1, &ear, vm), 0);
    if (!cpu_new(vm, NULL, 0, err))
        return false;
    p.fw_cfg = fw_cfg_new(vm, err);
    return p.fw_cfg && fw_platform_install(&p, err) && fw_direct_install(&p, err);
}
static const MachineClass bare = { .name = "bare", .max_cpus = 1, .props = { .name = "bare-machine", .size = sizeof(Obj) }, .init = machine_init };
MACHINE(bare);

static char *initrd;

static void boot(const char *kernel, size_t n, const char *want)
{
    Vm *vm = vm_new("direct");
    g_autofree char *path = g_strdup_printf("%s/t-direct.%d", g_get_tmp_dir(), (int)g_random_int_range(0, 1 << 30));
    int status;

    said = g_string_new(NULL);
    check(g_file_set_contents(path, kernel, (gssize)n, NULL));
    vm->cfg.kernel = g_strdup(path);
    vm->cfg.initrd = g_strdup(initrd);
    vm->cfg.append = g_strdup("!console");
    vm->cfg.ram_size = 16 * MiB;
    check(vm_set_accel(vm, "tcg", NULL, &abort_on_error));
    check(vm_init_machine(vm, "bare", NULL, &abort_on_error));
    check(vm_start(vm, false, &abort_on_error));
    for (int i = 0; i < 500 && heard(vm) < strlen(want); i++)
        vm_wait_for(vm, 10 * MS, &status);
    vm_stop(vm, RUN_PAUSED);
    check_str(said->str, want);
    vm_free(vm);
    g_string_free(said, TRUE);
    g_unlink(path);
}

/* Says the first letters of: what ebx (PVH) points at + 32 (RSDP), + 24 (command line). */
static const uint8_t pvh_code[] = {
    0x66, 0xba, 0x02, 0x04,                         /* mov dx, 0x402 */
    0x81, 0x3b, 0x78, 0xc5, 0x6e, 0x33, 0x75, 0x11, /* cmp dword [ebx], 0x336ec578; jne end */
    0x8b, 0x43, 0x20, 0x8a, 0x00, 0xee,             /* mov eax, [ebx+32]; mov al, [eax]; out dx, al */
    0x8b, 0x43, 0x18, 0x8a, 0x00, 0xee,             /* mov eax, [ebx+24]; mov al, [eax]; out dx, al */
    0xb0, 0x2e, 0xee, 0x90, 0x90,                   /* '.' */
    0xf4, 0xeb, 0xfd,                               /* end: hlt */
};

static void pvh(Vm *unused)
{
    uint8_t k[0x1000 + sizeof(pvh_code)] = { 0 };
    Elf32_Ehdr h = { .e_type = ET_EXEC, .e_machine = EM_386, .e_phoff = 64, .e_phnum = 2, .e_phentsize = 32 };
    Elf32_Phdr load = { PT_LOAD, 0x1000, 0x200000, 0x200000, sizeof(pvh_code), 0x1000, 5, 0x1000 };
    Elf32_Phdr note = { PT_NOTE, 0x200, 0, 0, 20, 20, 4, 4 };
    static const uint32_t body[5] = { 4, 4, 18, 0x006e6558, 0x200000 };

    memcpy(h.e_ident, ELFMAG "\1\1\1", 7);
    memcpy(k, &h, sizeof(h));
    memcpy(k + 64, &load, 32);
    memcpy(k + 96, &note, 32);
    memcpy(k + 0x200, body, 20);
    memcpy(k + 0x1000, pvh_code, sizeof(pvh_code));
    boot((char *)k, sizeof(k), "R!.");
}
TEST("direct/pvh", pvh);

/* ---- Multiboot: says what it finds by following the pointers it is given ---- */
static char *module_file(const char *content)
{
    char *path = g_strdup_printf("%s/t-module.%d", g_get_tmp_dir(), (int)g_random_int_range(0, 1 << 30));

    check(g_file_set_contents(path, content, -1, NULL));
    return path;
}

static void boot_multiboot(const uint8_t *header, size_t hn, const uint8_t *code, size_t cn, const char *want)
{
    uint8_t k[0x1100] = { 0 };
    Elf32_Ehdr h = { .e_type = ET_EXEC, .e_machine = EM_386, .e_entry = 0x200010, .e_phoff = 64, .e_phnum = 1, .e_phentsize = 32 };
    Elf32_Phdr load = { PT_LOAD, 0x1000, 0x200000, 0x200000, 0x100, 0x1000, 5, 0x1000 };
    g_autofree char *one = module_file("first"), *two = module_file("second");

    memcpy(h.e_ident, ELFMAG "\1\1\1", 7);
    memcpy(k, &h, sizeof(h));
    memcpy(k + 64, &load, 32);
    memcpy(k + 0x100, header, hn);
    memcpy(k + 0x1010, code, cn);
    initrd = g_strdup_printf("%s x,%s y z", one, two);
    boot((char *)k, sizeof(k), want);
    g_clear_pointer(&initrd, g_free);
    g_unlink(one);
    g_unlink(two);
}

static const uint8_t mb1_code[] = {
    0x66, 0xba, 0x02, 0x04,                         /* mov dx, 0x402 */
    0x3d, 0x02, 0xb0, 0xad, 0x2b, 0x75, 0x21,       /* cmp eax, 0x2badb002; jne end */
    0x8a, 0x43, 0x14, 0x04, 0x30, 0xee,             /* mov al, [ebx+20]; add al, '0'; out: number of modules */
    0x8b, 0x73, 0x18,                               /* mov esi, [ebx+24]: their rows */
    0x8b, 0x46, 0x10, 0x8a, 0x00, 0xee,             /* first byte of the second */
    0x8b, 0x06, 0x8a, 0x40, 0x04, 0xee,             /* fifth of the first: 't' */
    0x8b, 0x46, 0x18, 0x8a, 0x00, 0xee,             /* its text begins with a slash */
    0x8b, 0x43, 0x10, 0x8a, 0x00, 0xee,             /* so does the command line: the kernel's name */
    0xf4, 0xeb, 0xfd,                               /* end */
};

static void multiboot1(Vm *unused)
{
    uint32_t h[3] = { 0x1badb002, 3, -(0x1badb002u + 3) };

    boot_multiboot((const uint8_t *)h, sizeof(h), mb1_code, sizeof(mb1_code), "2st//");
}
TEST("direct/multiboot1", multiboot1);

/* Walks the tags: the low byte of each type as a letter ('@' + type), the first letter of a module. */
static const uint8_t mb2_code[] = {
    0x66, 0xba, 0x02, 0x04,                         /* mov dx, 0x402 */
    0x3d, 0x89, 0x62, 0xd7, 0x36, 0x75, 0x22,       /* cmp eax, 0x36d76289; jne end */
    0x83, 0xc3, 0x08,                               /* add ebx, 8 */
    0x8a, 0x03, 0x04, 0x40, 0xee,                   /* next: mov al, [ebx]; add al, '@'; out */
    0x3c, 0x40, 0x74, 0x16,                         /* cmp al, '@'; je end */
    0x3c, 0x43, 0x75, 0x06,                         /* cmp al, 'C'; jne skip */
    0x8b, 0x43, 0x08, 0x8a, 0x00, 0xee,             /* mov eax, [ebx+8]; mov al, [eax]; out */
    0x8b, 0x43, 0x04, 0x83, 0xc0, 0x07, 0x24, 0xf8, /* skip: mov eax, [ebx+4]; add eax, 7; and al, 0xf8 */
    0x01, 0xc3, 0xeb, 0xe1,                         /* add ebx, eax; jmp next */
    0xf4, 0xeb, 0xfd,                               /* end */
};

static void multiboot2(Vm *unused)
{
    uint32_t h[] = { 0xe85250d6, 0, 32, -(0xe85250d6u + 32), 3, 12, 0x200010, 0, 0, 8 };

    h[2] = sizeof(h);
    h[3] = -(0xe85250d6u + (uint32_t)sizeof(h));
    boot_multiboot((const uint8_t *)h, sizeof(h), mb2_code, sizeof(mb2_code), "ABCfCsDFO@");
}
TEST("direct/multiboot2", multiboot2);

static void multiboot_refused(Vm *unused)
{
    uint8_t k[128] = { 0 };
    uint32_t flags = 0x10, sum = -(0x1badb002u + 0x10);
    uint32_t h2[] = { 0xe85250d6, 0, 32, -(0xe85250d6u + 32), 9 /* EFI entry */, 12, 0, 0 };
    Multiboot m = { 0 };
    Error *err = NULL;

    le32_store(k, 0x1badb002);
    check(mb_find(&m, k, sizeof(k), &abort_on_error) && !m.version); /* no sum: no header */
    le32_store(k + 4, flags);
    le32_store(k + 8, sum);
    check(!mb_find(&m, k, sizeof(k), &err) && strstr(error_text(err), "unknown features"));
    error_free(err);
    memcpy(k, h2, sizeof(h2));
    err = NULL;
    check(!mb_find(&m, k, sizeof(k), &err) && strstr(error_text(err), "tag 9"));
    error_free(err);
    le32_store(k + 16, 6);
    le32_store(k + 20, 0); /* tags of no length end somewhere */
    check(mb_find(&m, k, sizeof(k), &abort_on_error) && m.version == 2);
}
TEST("direct/multiboot-refused", multiboot_refused);

/* esi: boot_params; + 0x228 command line, + 0x70 RSDP, + 0x1e8 number of E820 rows */
static const uint8_t linux_code[] = {
    0x66, 0xba, 0x02, 0x04,                                                 /* mov dx, 0x402 */
    0x8b, 0x46, 0x70, 0x8a, 0x00, 0xee,                                     /* RSDP */
    0x8b, 0x86, 0x28, 0x02, 0x00, 0x00, 0x8a, 0x00, 0xee,                   /* command line */
    0x8a, 0x86, 0xe8, 0x01, 0x00, 0x00, 0x04, 0x30, 0xee,                   /* '0' + rows */
    0xf4, 0xeb, 0xfd,
};

static void bzimage(Vm *unused)
{
    uint8_t k[1024 + 4096] = { 0 };

    k[0x1f1] = 1;
    le16_store(k + 0x1fe, 0xaa55);
    k[0x200] = 0xeb;
    k[0x201] = 0x66;
    memcpy(k + 0x202, "HdrS", 4);
    le16_store(k + 0x206, 0x20f);
    k[0x211] = 1;
    le32_store(k + 0x214, 0x100000);
    le32_store(k + 0x22c, 0x7fffffff);
    le64_store(k + 0x258, 0x100000);
    le32_store(k + 0x260, 0x10000);
    memcpy(k + 1024, linux_code, sizeof(linux_code));
    boot((char *)k, sizeof(k), "R!5");
}
TEST("direct/bzimage", bzimage);

static void refused(Vm *vm)
{
    FwPlatform p = platform(vm);
    Error *err = NULL;

    vm->cfg.kernel = g_strdup("/etc/passwd");
    check(!fw_direct_install(&p, &err));
    check(strstr(error_text(err), "neither"));
    error_free(err);
}
TEST("direct/refused", refused);
