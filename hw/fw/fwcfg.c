/*
 * hw/fw/fwcfg.c - the firmware configuration device, as docs/specs/fw_cfg of the QEMU project documents the
 * interface: selector 0x510, data 0x511, DMA address 0x514 (big-endian, high half first), file directory.
 * Items are written by DMA only.
 */
#include "hw/fw/fw.h"
#include <stdlib.h>

enum { CTL_ERROR = 1, CTL_READ = 2, CTL_SKIP = 4, CTL_SELECT = 8, CTL_WRITE = 16, FILES_MAX = 1024 };
enum { NAME = 56, DIR_ENTRY = 64 };

typedef struct Item {
    GBytes *data;
    uint8_t *mem; /* writable: instead of data, of its length */
    char *name; /* files */
    void (*select)(void *arg);
    void *arg;
} Item;
struct FwCfg {
    Dev dev;
    uint16_t key;
    uint32_t at;
    uint32_t dma_hi, dma_lo;
    GHashTable *items; /* key -> Item */
    uint16_t next;     /* of files */
};
#define F(d) ((FwCfg *)(d))

static void item_free(gpointer p)
{
    Item *i = p;

    g_bytes_unref(i->data);
    g_free(i->name);
    g_free(i);
}

static Item *item(const FwCfg *f, uint16_t key) { return g_hash_table_lookup(f->items, GUINT_TO_POINTER(key)); }

static void select_key(FwCfg *f, uint16_t key)
{
    Item *i;

    f->key = key & 0xbfff; /* bit 14 asked for writing once */
    f->at = 0;
    i = item(f, f->key);
    if (i && i->select)
        i->select(i->arg);
}

static const uint8_t *data_of(const FwCfg *f, size_t *len)
{
    const Item *i = item(f, f->key);

    *len = 0;
    if (!i)
        return NULL;
    *len = g_bytes_get_size(i->data);
    return i->mem ? i->mem : g_bytes_get_data(i->data, len);
}

/* ---- ports ---- */
static void selected(Dev *d, uint64_t val, unsigned lanes) { select_key(F(d), (uint16_t)val); }

static uint64_t data_byte(const Dev *d)
{
    size_t n;
    const uint8_t *p = data_of(F(d), &n);

    return F(d)->at < n ? p[F(d)->at] : 0;
}

static void advance(Dev *d, unsigned lanes)
{
    if (F(d)->at < UINT32_MAX)
        F(d)->at++;
}

/* Copies what the item has, then zeros; ends at the first address that is not there. len is at most 4 GiB. */
static bool read_item(FwCfg *f, uint64_t to, uint32_t len)
{
    static const uint8_t zeros[4096];
    size_t n;
    const uint8_t *p = data_of(f, &n);
    uint32_t have = f->at < n ? (uint32_t)MIN(n - f->at, len) : 0;

    if (have && !dma_write(&f->dev, to, p + f->at, have))
        return false;
    for (uint64_t done = have; done < len; done += sizeof(zeros))
        if (!dma_write(&f->dev, to + done, zeros, MIN(sizeof(zeros), len - done)))
            return false;
    return true;
}

static bool write_item(FwCfg *f, uint64_t from, uint32_t len)
{
    Item *i = item(f, f->key);

    if (!i || !i->mem || !in_range(f->at, len, g_bytes_get_size(i->data))) {
        guest_error(&f->dev, "%u bytes at %u of item %#x cannot be written", len, f->at, f->key);
        return false;
    }
    return dma_read(&f->dev, from, i->mem + f->at, len);
}

static uint32_t dma_command(FwCfg *f, uint32_t control, uint32_t len, uint64_t addr)
{
    if (control & CTL_SELECT)
        select_key(f, (uint16_t)(control >> 16));
    if (control & CTL_READ && !read_item(f, addr, len))
        return CTL_ERROR;
    if (!(control & CTL_READ) && control & CTL_WRITE && !write_item(f, addr, len))
        return CTL_ERROR;
    if (control & (CTL_READ | CTL_SKIP | CTL_WRITE))
        f->at = (uint32_t)MIN((uint64_t)f->at + len, UINT32_MAX);
    return 0;
}

static void dma_go(Dev *d, uint64_t old)
{
    FwCfg *f = F(d);
    uint64_t at = (uint64_t)f->dma_hi << 32 | f->dma_lo;
    uint8_t b[16];
    uint32_t result;

    f->dma_hi = f->dma_lo = 0;
    if (!dma_read(d, at, b, sizeof(b))) {
        guest_error(d, "no DMA descriptor at %#" PRIx64, at);
        return;
    }
    result = dma_command(f, be32_load(b), be32_load(b + 4), be64_load(b + 8));
    be32_store(b, result);
    dma_write(d, at, b, 4);
}

static uint64_t sig_hi(const Dev *d) { return 0x51454d55; } /* "QEMU CFG": what its drivers look for */
static uint64_t sig_lo(const Dev *d) { return 0x20434647; }

/* ---- items ---- */
static void put(FwCfg *f, uint16_t key, const void *data, size_t len, const char *name)
{
    Item *i = item(f, key);

    if (!i) {
        i = g_new0(Item, 1);
        i->name = g_strdup(name);
        g_hash_table_insert(f->items, GUINT_TO_POINTER(key), i);
    } else {
        g_bytes_unref(i->data);
    }
    i->data = g_bytes_new(data, len);
}

void fw_cfg_set(FwCfg *f, uint16_t key, const void *data, size_t len) { put(f, key, data, len, NULL); }

void fw_cfg_set_int(FwCfg *f, uint16_t key, unsigned size, uint64_t v)
{
    uint8_t b[8];

    le_store(b, size, v);
    put(f, key, b, size, NULL);
}

static uint16_t key_of(const FwCfg *f, const char *name)
{
    for (uint16_t k = FW_CFG_FILE_FIRST; k < f->next; k++)
        if (!strcmp(item(f, k)->name, name))
            return k;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const Item *const *)a)->name, (*(const Item *const *)b)->name);
}

/* The directory is sorted by name: its order does not depend on who registered first. */
static void rebuild_directory(FwCfg *f)
{
    unsigned n = f->next - FW_CFG_FILE_FIRST;
    g_autofree uint8_t *dir = g_malloc0(4 + (size_t)n * DIR_ENTRY);
    g_autofree const Item **v = g_new(const Item *, n + 1);

    for (unsigned i = 0; i < n; i++)
        v[i] = item(f, (uint16_t)(FW_CFG_FILE_FIRST + i));
    qsort(v, n, sizeof(*v), by_name);
    be32_store(dir, n);
    for (unsigned i = 0; i < n; i++) {
        uint8_t *e = dir + 4 + i * DIR_ENTRY;

        be32_store(e, (uint32_t)g_bytes_get_size(v[i]->data));
        be16_store(e + 4, key_of(f, v[i]->name));
        memcpy(e + 8, v[i]->name, strlen(v[i]->name)); /* shorter than NAME: checked when it was added */
    }
    fw_cfg_set(f, FW_CFG_FILE_DIR, dir, 4 + (size_t)n * DIR_ENTRY);
}

bool fw_cfg_set_file(FwCfg *f, const char *name, const void *data, size_t len, Error **err)
{
    uint16_t k = key_of(f, name);

    if (!*name || strlen(name) >= NAME)
        return fail(err, "fw_cfg: the file name '%s' has to have 1 to %d characters", name, NAME - 1);
    if (!k && f->next - FW_CFG_FILE_FIRST >= FILES_MAX)
        return fail(err, "fw_cfg: there are too many files");
    put(f, k ? k : f->next, data, len, name);
    if (!k)
        f->next++;
    rebuild_directory(f);
    return true;
}

bool fw_cfg_writable(FwCfg *f, const char *name, uint8_t *mem, size_t len)
{
    if (!fw_cfg_set_file(f, name, mem, len, NULL))
        return false;
    item(f, key_of(f, name))->mem = mem;
    return true;
}

GBytes *fw_cfg_file(FwCfg *f, const char *name)
{
    uint16_t k = key_of(f, name);

    return k ? item(f, k)->data : NULL;
}

void fw_cfg_on_select(FwCfg *f, const char *name, void (*fn)(void *arg), void *arg)
{
    uint16_t k = key_of(f, name);

    g_assert(k);
    item(f, k)->select = fn;
    item(f, k)->arg = arg;
}

/* ---- the device ---- */
static bool init(Obj *o, Error **err)
{
    FwCfg *f = (FwCfg *)o;

    f->items = g_hash_table_new_full(NULL, NULL, NULL, item_free);
    own(o, f->items, (void (*)(void *))g_hash_table_destroy);
    f->next = FW_CFG_FILE_FIRST;
    fw_cfg_set(f, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_set_int(f, FW_CFG_ID, 4, 3); /* traditional interface and DMA */
    rebuild_directory(f);
    return true;
}

static bool plug(Dev *d, Error **err)
{
    region_map(d->obj.vm->sysports, 0x510, dev_region(d, 0), 0);
    region_map(d->obj.vm->sysports, 0x514, dev_region(d, 1), 0);
    return true;
}

/* clang-format off */
static const Reg port_regs[] = {
    { "selector", 0, NOFIELD(2), .wo = true, .wrote = selected, .doc = "item to read" },
    { "data",     1, NOFIELD(1), .ro = true, .value = data_byte, .on_read = advance, .doc = "its next byte" },
};
static const Reg dma_regs[] = {
    { "dma_hi", 0, REG(FwCfg, dma_hi), .rw = ~0u, .value = sig_hi, .doc = "upper half of the descriptor's address" },
    { "dma_lo", 4, REG(FwCfg, dma_lo), .rw = ~0u, .value = sig_lo, .write = dma_go, .doc = "lower half: go" },
};
static const Bank banks[] = {
    { "fwcfg", 2, TABLE(port_regs), .max = 2, .quiet = true },
    { "fwcfg.dma", 8, TABLE(dma_regs), .endian = BIG },
};
static const Field state[] = {
    FIELD(FwCfg, key), FIELD(FwCfg, at),
    TRANSIENT(FwCfg, items, "configuration, set by the machine", .keep = true),
    TRANSIENT(FwCfg, next, "configuration, set by the machine", .keep = true),
};
static const DevClass fw_cfg = {
    .obj = { .name = "fw_cfg_io", .desc = "firmware configuration", .size = sizeof(FwCfg), .init = init },
    .state = TABLE(state), COUNTED(banks, banks), .plug = plug, .no_user = true,
};
DEVICE(FwCfg, fw_cfg);
/* clang-format on */

FwCfg *fw_cfg_new(Vm *vm, Error **err)
{
    Dev *d = dev_new(vm, "fw_cfg_io", NULL, NULL, NULL, NULL, err);

    if (d)
        vm_register(vm, "fw", "fw_cfg", d);
    return (FwCfg *)d;
}

FwCfg *fw_cfg_find(Vm *vm) { return vm_lookup(vm, "fw", "fw_cfg"); }
