/* tests/unit/mem.c - flat views, accesses that are split and widened, each exactly once. */
#include "tests/lib/t.h"

static unsigned reads, writes;
static uint64_t last_off, last_val;

static MemResult rd(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    reads++;
    *val = 0x8877665544332211 >> (8 * off);
    return MEM_OK;
}

static MemResult wr(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    writes++;
    last_off = off;
    last_val = val;
    return MEM_OK;
}

static const RegionOps plain = { .read = rd, .write = wr }, words = { .read = rd, .write = wr, .does = { 2, 2 } };

static void once(Vm *vm)
{
    Region *r = region_io(&vm->root, "r", 16, &plain, vm), *w = region_io(&vm->root, "w", 16, &words, vm);
    uint64_t v;
    uint8_t b[4] = { 1, 2, 3, 4 };

    region_map(vm->sysmem, 0x40000000, r, 0);
    region_map(vm->sysmem, 0x40001000, w, 0);
    check(as_load(vm->mem, 0x40000000, 4, &v, MEM_CPU) == MEM_OK);
    check_eq(v, 0x44332211);
    check_eq(reads, 1);
    check(as_write(vm->mem, 0x40000004, b, 4, MEM_CPU) == MEM_OK);
    check_eq(writes, 1);
    check(last_off == 4 && last_val == 0x04030201);
    check(as_load(vm->mem, 0x40001000, 4, &v, MEM_CPU) == MEM_OK);
    check_eq(reads, 3);
    check_eq(v, 0x44332211);
    as_store(vm->mem, 0x40001000, 4, 0xaabbccdd, MEM_CPU);
    check_eq(writes, 3);
    check(last_off == 2 && last_val == 0xaabb);
}
TEST("mem/once", once);

static void priorities(Vm *vm)
{
    RamBlock *a = ram_new(&vm->root, "a", 0x4000, &abort_on_error), *b = ram_new(&vm->root, "b", 0x1000, &abort_on_error);
    Region *ra = region_ram(&vm->root, "a", a), *rb = region_ram(&vm->root, "b", b);
    Region *alias = region_alias(&vm->root, "alias", ra, 0x1000, 0x1000);
    uint64_t v;

    region_map(vm->sysmem, 0x50000000, ra, 0);
    region_map(vm->sysmem, 0x50001000, rb, 1); /* over the middle of a */
    region_map(vm->sysmem, 0x60000000, alias, 0);
    as_store(vm->mem, 0x50001000, 4, 0xb, MEM_CPU);
    as_store(vm->mem, 0x60000000, 4, 0xa, MEM_CPU);
    check(b->host[0] == 0xb && a->host[0x1000] == 0xa);
    as_store(vm->mem, 0x50000ffe, 4, 0x44332211, MEM_CPU); /* across the seam */
    check(a->host[0xffe] == 0x11 && a->host[0xfff] == 0x22 && b->host[0] == 0x33 && b->host[1] == 0x44);
    region_set_enabled(rb, false);
    as_load(vm->mem, 0x50001000, 4, &v, MEM_CPU);
    check_eq(v, 0xa);
    region_unmap(ra);
    check(as_load(vm->mem, 0x50000000, 4, &v, MEM_CPU) == MEM_NOBODY);
    as_load(vm->mem, 0x60000000, 4, &v, MEM_CPU); /* the alias still shows it */
    check_eq(v, 0xa);
}
TEST("mem/priorities", priorities);

static void ranges(Vm *vm)
{
    RamBlock *a = ram_new(&vm->root, "range-a", 0x8000, &abort_on_error);
    Region *ra = region_ram(&vm->root, "range-a", a), *io = region_io(&vm->root, "range-io", 0x800, &plain, vm);
    RamRange r;

    region_map(vm->sysmem, 0x70000000, ra, 0);
    region_map(vm->sysmem, 0x70003800, io, 1); /* half a page of I/O */
    check(as_ram_range(vm->mem, 0x70001234, &r));
    check_eq(r.at, 0x70000000);
    check_eq(r.len, 0x3000);
    check(r.host == a->host && r.block == a && r.off == 0 && r.writable);
    check(!as_ram_range(vm->mem, 0x70003000, &r)); /* a page that is not whole */
    check(!as_ram_range(vm->mem, 0x70003900, &r));
    check(!as_ram_range(vm->mem, 0x70008000, &r));
    check(as_ram_range(vm->mem, 0x70007fff, &r));
    check_eq(r.at, 0x70004000);
    check_eq(r.len, 0x4000);
    check(r.host == a->host + 0x4000 && r.off == 0x4000);
}
TEST("mem/ranges", ranges);
