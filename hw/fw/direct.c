/*
 * hw/fw/direct.c - a kernel entered without firmware: Linux bzImage (Documentation/arch/x86/boot.rst, 32-bit entry)
 * and ELF with a PVH note (the Xen project's docs/misc/pvh) or a Multiboot header (multiboot.h). At each reset: chipset and PCI are set up, tables
 * placed, kernel, initrd and command line loaded, and the registers of CPU 0 set as the protocol asks.
 * Left out: 16-bit entry.
 *
 *   low memory   0x500 GDT   0x6000 PVH start info   0x10000 boot_params   0x20000 command line   0x30000 Multiboot information
 *   top          the last 128 KiB below 4 GiB: ACPI tables; initrd below them; RSDP and SMBIOS at 0xf0000
 */
#include "core/machine.h"
#include "hw/fw/acpi-priv.h"
#include "hw/fw/multiboot.h"
#include <elf.h>

enum { GDT = 0x500, START_INFO = 0x6000, MODULES = 0x6100, MEMMAP = 0x6200, ZERO_PAGE = 0x10000, CMDLINE = 0x20000, CMDLINE_MAX = 0x10000 };
enum { RSDP_AT = 0xf0000, SMBIOS_AT = 0xf0100, ACPI_ROOM = 128 * 1024, XEN_PHYS32_ENTRY = 18 };

typedef struct Direct {
    FwPlatform p;
    GBytes *kernel, *initrd;
    bool elf;
    Multiboot mb;    /* version 0: it is none */
    uint64_t entry, initrd_at, kernel_end;
    VmListener listener;
} Direct;

static const uint8_t *kernel(const Direct *d, size_t *n) { return g_bytes_get_data(d->kernel, n); }

static void put(const Direct *d, uint64_t at, const void *p, size_t n) { as_write_rom(d->p.vm->mem, at, p, n); }

/* ---- looking at the file, once ---- */
static bool is_bzimage(const uint8_t *k, size_t n) { return n > 0x268 && !memcmp(k + 0x202, "HdrS", 4) && le16_load(k + 0x206) >= 0x202; }

/* The entry point named by a note, in an ELF of either class; 0: none. All offsets are the file's. */
static uint64_t note_entry(const uint8_t *p, size_t n)
{
    size_t at = 0;

    while (in_range(at, 12, n)) {
        uint32_t name = le32_load(p + at), desc = le32_load(p + at + 4), type = le32_load(p + at + 8);
        uint64_t data = at + 12 + align_up(name, 4);

        if (!in_range(data, desc, n))
            return 0;
        if (type == XEN_PHYS32_ENTRY && name == 4 && !memcmp(p + at + 12, "Xen", 4) && desc >= 4)
            return le_load(p + data, desc >= 8 ? 8 : 4);
        at = data + align_up(desc, 4);
    }
    return 0;
}

typedef struct Segment {
    uint32_t type;
    uint64_t off, paddr, filesz, memsz;
} Segment;

static unsigned segments(const uint8_t *k, size_t n)
{
    bool wide = k[EI_CLASS] == ELFCLASS64;

    return n < 64 ? 0 : le16_load(k + (wide ? 56 : 44));
}

static bool segment(const uint8_t *k, size_t n, unsigned i, Segment *s)
{
    bool wide = k[EI_CLASS] == ELFCLASS64;
    uint64_t at = (wide ? le64_load(k + 32) : le32_load(k + 28)) + (uint64_t)i * (wide ? 56 : 32);
    const uint8_t *h = k + at;

    if (!in_range(at, wide ? 56 : 32, n))
        return false;
    if (wide)
        *s = (Segment){ le32_load(h), le64_load(h + 8), le64_load(h + 24), le64_load(h + 32), le64_load(h + 40) };
    else
        *s = (Segment){ le32_load(h), le32_load(h + 4), le32_load(h + 12), le32_load(h + 16), le32_load(h + 20) };
    return in_range(s->off, s->filesz, n) && s->filesz <= s->memsz;
}

/* Entered at the ELF header's entry point unless the Multiboot header has another. */
static bool examine_multiboot(Direct *d, const char *name, Error **err)
{
    size_t n;
    const uint8_t *k = kernel(d, &n);
    Error *why = NULL;

    if (!mb_find(&d->mb, k, n, &why))
        return fail_because(err, why, "-kernel %s", name);
    if (!d->mb.version) {
        fail(err, "-kernel %s: the ELF file has neither a PVH entry note nor a Multiboot header", name);
        return error_hint(err, "use a bzImage, or build the kernel with CONFIG_PVH");
    }
    d->entry = d->mb.entry ? d->mb.entry : k[EI_CLASS] == ELFCLASS64 ? le64_load(k + 24) : le32_load(k + 24);
    return d->entry < 4 * GiB || fail(err, "-kernel %s: its entry point is above 4 GiB", name);
}

static bool examine_elf(Direct *d, const char *name, Error **err)
{
    size_t n;
    const uint8_t *k = kernel(d, &n);
    Segment s;

    d->elf = true;
    for (unsigned i = 0; i < segments(k, n); i++) {
        if (!segment(k, n, i, &s))
            return fail(err, "-kernel %s: the ELF headers are damaged", name);
        if (s.type == PT_NOTE && !d->entry)
            d->entry = note_entry(k + s.off, s.filesz);
        if (s.type != PT_LOAD)
            continue;
        if (!in_range(s.paddr, s.memsz, d->p.below_4g - ACPI_ROOM))
            return fail(err, "-kernel %s: it does not fit into the memory of this machine", name);
        d->kernel_end = MAX(d->kernel_end, s.paddr + s.memsz);
    }
    return d->entry || examine_multiboot(d, name, err);
}

static bool examine(Direct *d, const char *name, Error **err)
{
    size_t n;
    const uint8_t *k = kernel(d, &n);

    if (n > 64 && !memcmp(k, ELFMAG, SELFMAG))
        return examine_elf(d, name, err);
    if (!is_bzimage(k, n) || !(k[0x211] & 1)) {
        fail(err, "-kernel %s: neither a bzImage nor an ELF file with a PVH note", name);
        return error_hint(err, "-bios with a boot loader starts other kernels");
    }
    d->entry = le32_load(k + 0x214);
    d->kernel_end = 0x100000 + (le16_load(k + 0x206) >= 0x20a ? le32_load(k + 0x260) : 4 * n);
    if (le16_load(k + 0x206) >= 0x20a && le64_load(k + 0x258) > 0x100000)
        d->kernel_end += le64_load(k + 0x258) - 0x100000; /* it may move itself there first */
    return true;
}

/* As high as the kernel takes it. */
static bool place_initrd(Direct *d, Error **err)
{
    size_t n, len;
    const uint8_t *k = kernel(d, &n);
    uint64_t top = d->p.below_4g - ACPI_ROOM;

    if (!d->initrd)
        return true;
    len = g_bytes_get_size(d->initrd);
    if (!d->elf)
        top = MIN(top, (uint64_t)(le16_load(k + 0x206) >= 0x203 ? le32_load(k + 0x22c) : 0x37ffffff) + 1);
    if (len > top || (d->initrd_at = align_down(top - len, 4096)) < d->kernel_end) {
        fail(err, "-initrd: kernel and initrd do not fit into %" PRIu64 " MiB", d->p.below_4g / MiB);
        return error_hint(err, "give the machine more memory with -m");
    }
    return true;
}

/* ---- at reset ---- */
static void load_tables(const Direct *d)
{
    const FwPlatform *p = &d->p;
    FwLinker *l = fw_acpi_build(p);
    GByteArray *t = g_byte_array_new(), *a = g_byte_array_new();
    uint64_t at = p->below_4g - ACPI_ROOM;

    if (l->tables->len <= ACPI_ROOM && fw_linker_apply(l, at, RSDP_AT)) {
        put(d, at, l->tables->data, l->tables->len);
        put(d, RSDP_AT, l->rsdp->data, l->rsdp->len);
    }
    fw_smbios_build(p, t, a);
    if (t->len < 0x8000) {
        uint8_t sum = 0;

        le32_store(a->data + 24, SMBIOS_AT + 32);
        a->data[21] = a->data[4] = 0;
        for (unsigned i = 16; i < 31; i++)
            sum = (uint8_t)(sum + a->data[i]);
        a->data[21] = (uint8_t)-sum;
        sum = 0;
        for (unsigned i = 0; i < 31; i++)
            sum = (uint8_t)(sum + a->data[i]);
        a->data[4] = (uint8_t)-sum;
        put(d, SMBIOS_AT, a->data, a->len);
        put(d, SMBIOS_AT + 32, t->data, t->len);
    }
    fw_linker_free(l);
    g_byte_array_unref(t);
    g_byte_array_unref(a);
}

/* What a BIOS leaves at 0x400, as far as kernels look: memory size, EBDA, serial ports. */
static void load_bda(const Direct *d)
{
    uint8_t b[0x100] = { 0 };

    for (unsigned i = 0; i < 4; i++)
        le16_store(b + 2 * i, d->p.com[i]);
    le16_store(b + 8, d->p.lpt);
    le16_store(b + 0x0e, 0x9fc0);
    le16_store(b + 0x13, 639);
    put(d, 0x400, b, sizeof(b));
    put(d, 0x9fc00, (const uint8_t[]){ 1 }, 1);
}

static const char *command_line(const Direct *d) { return d->p.vm->cfg.append ? d->p.vm->cfg.append : ""; }

static void load_bzimage(const Direct *d)
{
    size_t n, setup;
    const uint8_t *k = kernel(d, &n);
    uint8_t z[4096] = { 0 };
    FwE820 map[8];
    unsigned rows = fw_e820(&d->p, d->p.below_4g - ACPI_ROOM, map), header_end = 0x202 + k[0x201];

    setup = (k[0x1f1] ? k[0x1f1] + 1u : 5u) * 512;
    memcpy(z + 0x1f1, k + 0x1f1, MIN(MAX(header_end, 0x1f2), 0x290) - 0x1f1);
    z[0x210] = 0xff; /* a loader without a number */
    z[0x211] |= 0x01;
    le32_store(z + 0x228, CMDLINE);
    if (d->initrd) {
        le32_store(z + 0x218, (uint32_t)d->initrd_at);
        le32_store(z + 0x21c, (uint32_t)g_bytes_get_size(d->initrd));
    }
    le64_store(z + 0x070, RSDP_AT);
    le32_store(z + 0x1e0, (uint32_t)MIN((d->p.below_4g - MiB) / KiB, UINT32_MAX));
    z[0x1e8] = (uint8_t)rows;
    for (unsigned i = 0; i < rows; i++) {
        le64_store(z + 0x2d0 + 20 * i, map[i].addr);
        le64_store(z + 0x2d8 + 20 * i, map[i].len);
        le32_store(z + 0x2e0 + 20 * i, map[i].type);
    }
    put(d, ZERO_PAGE, z, sizeof(z));
    if (setup < n)
        put(d, 0x100000, k + setup, n - setup);
}

static void load_segments(const Direct *d)
{
    size_t n;
    const uint8_t *k = kernel(d, &n);
    Segment seg;

    for (unsigned i = 0; i < segments(k, n); i++)
        if (segment(k, n, i, &seg) && seg.type == PT_LOAD)
            put(d, seg.paddr, k + seg.off, seg.filesz);
}

/* What a Multiboot kernel is told, at start-up (does it fit?) and at each reset. */
static GByteArray *multiboot_info(const Direct *d)
{
    FwE820 map[8];
    unsigned rows = fw_e820(&d->p, d->p.below_4g - ACPI_ROOM, map);
    uint8_t rsdp[36];

    as_read(d->p.vm->mem, RSDP_AT, rsdp, sizeof(rsdp), (MemAttrs){ .peek = true });
    return mb_info(&d->mb, d->p.vm->cfg.kernel, command_line(d), map, rows, rsdp);
}

static void load_multiboot(const Direct *d)
{
    GByteArray *b = multiboot_info(d);

    load_segments(d);
    for (guint i = 0; i < d->mb.modules->len; i++) {
        const MbModule *m = &g_array_index(d->mb.modules, MbModule, i);

        put(d, m->at, g_bytes_get_data(m->data, NULL), g_bytes_get_size(m->data));
    }
    put(d, MB_INFO, b->data, b->len);
    g_byte_array_unref(b);
}

static void load_elf(const Direct *d)
{
    FwE820 map[8];
    unsigned rows = fw_e820(&d->p, d->p.below_4g - ACPI_ROOM, map);
    uint8_t s[56] = { 0 }, m[32] = { 0 }, e[24] = { 0 };

    load_segments(d);
    le32_store(s, 0x336ec578);
    le32_store(s + 4, 1);
    if (d->initrd) {
        le32_store(s + 12, 1);
        le64_store(s + 16, MODULES);
        le64_store(m, d->initrd_at);
        le64_store(m + 8, g_bytes_get_size(d->initrd));
        put(d, MODULES, m, sizeof(m));
    }
    le64_store(s + 24, CMDLINE);
    le64_store(s + 32, RSDP_AT);
    le64_store(s + 40, MEMMAP);
    le32_store(s + 48, rows);
    put(d, START_INFO, s, sizeof(s));
    for (unsigned i = 0; i < rows; i++) {
        le64_store(e, map[i].addr);
        le64_store(e + 8, map[i].len);
        le32_store(e + 16, map[i].type);
        put(d, MEMMAP + 24 * i, e, sizeof(e));
    }
}

/* Flat segments: code at 0x10, data at 0x18, a task at 0x20. */
static void load_gdt(const Direct *d)
{
    static const uint64_t gdt[] = { 0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00008b0000000067 };

    put(d, GDT, gdt, sizeof(gdt));
}

static void set(Cpu *c, const char *reg, uint64_t v)
{
    if (!cpu_set_reg(c, reg, v))
        warn_report("-kernel: this CPU has no register '%s'", reg);
}

static void set_segment(Cpu *c, const char *seg, uint16_t sel, uint32_t limit, uint32_t attr)
{
    const struct {
        const char *part;
        uint64_t v;
    } v[] = { { "", sel }, { ".base", 0 }, { ".limit", limit }, { ".attr", attr } };

    for (size_t i = 0; i < G_N_ELEMENTS(v); i++) {
        g_autofree char *name = g_strconcat(seg, v[i].part, NULL);

        set(c, name, v[i].v);
    }
}

/* Write-back by default; uncached: the VGA window by fixed range 2, the PCI hole by variable range 0. */
static void set_memory_types(const Direct *d, Cpu *c)
{
    enum { UC = 0, WB = 6, ENABLE = 0x800, ENABLE_FIXED = 0x400 };
    uint64_t hole = 1ull << (63 - __builtin_clzll(4 * GiB - MAX(d->p.below_4g, 2 * GiB))); /* as much as one range can have */

    for (unsigned i = 0; i <= 10; i++) {
        g_autofree char *name = g_strdup_printf("mtrr_fix%u", i);

        set(c, name, i == 2 ? UC : 0x0101010101010101ull * WB);
    }
    set(c, "mtrr_base0", (4 * GiB - hole) | UC);
    set(c, "mtrr_mask0", (~(hole - 1) & 0xfffffff000ull) | ENABLE);
    set(c, "mtrr_def", ENABLE | ENABLE_FIXED | WB);
}

static void set_cpu(const Direct *d, Cpu *c)
{
    static const char *const data[] = { "ds", "es", "fs", "gs", "ss" };

    set(c, "pc", d->entry);
    set(c, "rax", d->mb.version ? mb_magic(&d->mb) : 0);
    set(c, "rsi", d->elf ? 0 : ZERO_PAGE);
    set(c, "rbx", d->mb.version ? MB_INFO : d->elf ? START_INFO : 0);
    set(c, "rbp", 0);
    set(c, "rdi", 0);
    set(c, "rsp", ZERO_PAGE - 16);
    set(c, "eflags", 2);
    set(c, "cr0", 0x11); /* protected mode, no paging, caches on */
    set(c, "cr4", 0);
    set(c, "gdtr.base", GDT);
    set(c, "gdtr.limit", 5 * 8 - 1);
    set_segment(c, "cs", 0x10, UINT32_MAX, 0xc09b);
    for (size_t i = 0; i < G_N_ELEMENTS(data); i++)
        set_segment(c, data[i], 0x18, UINT32_MAX, 0xc093);
    set_segment(c, "tr", 0x20, 0x67, 0x008b);
}

static void at_reset(void *self)
{
    Direct *d = self;
    const char *cmd = command_line(d);
    gsize n;

    fw_pci_setup(&d->p);
    load_bda(d);
    load_tables(d);
    load_gdt(d);
    put(d, CMDLINE, cmd, strlen(cmd) + 1);
    if (d->mb.version)
        load_multiboot(d);
    else if (d->elf)
        load_elf(d);
    else
        load_bzimage(d);
    if (d->initrd) {
        const void *p = g_bytes_get_data(d->initrd, &n);

        put(d, d->initrd_at, p, n);
    }
    if (d->p.vm->ncpus)
        set_cpu(d, d->p.vm->cpus[0]);
    for (unsigned i = 0; i < d->p.vm->ncpus; i++) /* all processors must agree */
        set_memory_types(d, d->p.vm->cpus[i]);
}

static void direct_free(void *p)
{
    Direct *d = p;

    vm_unlisten(d->p.vm, &d->listener);
    g_clear_pointer(&d->kernel, g_bytes_unref);
    g_clear_pointer(&d->initrd, g_bytes_unref);
    mb_clear(&d->mb);
    g_free(d);
}

static bool read_file(const char *option, const char *path, GBytes **out, Error **err)
{
    g_autoptr(GError) why = NULL;
    char *p;
    gsize n;

    if (!g_file_get_contents(path, &p, &n, &why))
        return fail(err, "%s: %s", option, why->message);
    *out = g_bytes_new_take(p, n);
    return true;
}

static bool place_modules(Direct *d, Error **err)
{
    GByteArray *b = mb_modules(&d->mb, d->p.vm->cfg.initrd, d->kernel_end, d->p.below_4g - ACPI_ROOM, err) ? multiboot_info(d) : NULL;
    bool fits = b && b->len <= MB_ROOM;

    if (b && !fits)
        fail(err, "-initrd, -append: the texts have more than %d KiB together", MB_ROOM / 1024);
    if (b)
        g_byte_array_unref(b);
    return fits;
}

bool fw_direct_install(const FwPlatform *p, Error **err)
{
    const VmConfig *c = &p->vm->cfg;
    Direct *d;

    if (!c->kernel || p->firmware)
        return true;
    if (strlen(c->append ? c->append : "") >= CMDLINE_MAX)
        return fail(err, "-append: the command line has more than %d characters", CMDLINE_MAX - 1);
    d = g_new0(Direct, 1);
    d->p = *p;
    d->listener = (VmListener){ .reset = at_reset, .self = d };
    own(p->vm->machine, d, direct_free);
    vm_listen(p->vm, &d->listener);
    if (!read_file("-kernel", c->kernel, &d->kernel, err) || !examine(d, c->kernel, err))
        return false;
    if (d->mb.version)
        return place_modules(d, err);
    return (!c->initrd || read_file("-initrd", c->initrd, &d->initrd, err)) && place_initrd(d, err);
}
