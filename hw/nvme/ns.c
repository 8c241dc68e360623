/*
 * hw/nvme/ns.c - namespaces: a disk behind a controller, and the bus for more than one. Source: NVM Express 1.4 section 6.1.
 */
#include "hw/nvme/nvme.h"

typedef struct NvmeNsDev {
    Dev dev;
    Disk *disk;
    DiskConf conf;
    uint8_t uuid[16]; /* zero: not given */
    NvmeNs ns;
    uint32_t nsid;
    int32_t bootindex;
} NvmeNsDev;
#define NSDEV(d) ((NvmeNsDev *)(void *)(d))

static void resized(void *o)
{
    NvmeNs *ns = o;
    Nvme *n = ns->ctrl;

    WITH_DEV(&n->pci.dev) {
        n->changed[(ns->nsid - 1) / 8] |= (uint8_t)(1u << (ns->nsid - 1) % 8);
        nvme_event(n, EVENT_NAMESPACE);
        nvme_tell(n);
    }
}
static const DiskOps disk_ops = { .resized = resized };
static void detach(void *disk) { disk_detach(disk); }

/* The same for the same disk at each start: SHA-1 of serial number and nsid, marked as RFC 4122 version 5. */
static void name_uuid(const Nvme *n, uint32_t nsid, uint8_t *uuid)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA1);
    g_autofree char *text = g_strdup_printf("menura nvme %s %u", n->serial, nsid);
    uint8_t digest[20];
    gsize len = sizeof(digest);

    g_checksum_update(sum, (const guchar *)text, -1);
    g_checksum_get_digest(sum, digest, &len);
    memcpy(uuid, digest, 16);
    uuid[6] = (uint8_t)((uuid[6] & 15) | 0x50);
    uuid[8] = (uint8_t)((uuid[8] & 63) | 0x80);
}

/* ns->disk is set; `owner` gives it back when it goes. */
bool nvme_ns_open(NvmeNs *ns, Dev *owner, DiskConf *conf, Nvme *ctrl, uint32_t nsid, Error **err)
{
    if (!disk_present(ns->disk))
        return fail(err, "drive '%s' has no medium, which a namespace needs", disk_id(ns->disk));
    if (!disk_sizes(conf, NVME_PAGE, err))
        return false;
    if (nsid < 1 || nsid > NVME_NS_MAX)
        return fail(err, "nsid=%u: must be 1 to %d", nsid, NVME_NS_MAX);
    if (ctrl->ns[nsid])
        return fail(err, "nsid=%u: this controller has such a namespace already", nsid);
    if (!disk_attach(ns->disk, &(DiskUser){ owner, &disk_ops, ns, conf, !disk_readonly(ns->disk) }, err))
        return false;
    own(&owner->obj, ns->disk, detach);
    ns->ctrl = ctrl;
    ns->nsid = nsid;
    ns->conf = conf;
    ns->shift = (uint8_t)__builtin_ctz(conf->logical);
    name_uuid(ctrl, nsid, ns->uuid);
    ctrl->ns[nsid] = ns;
    return true;
}

/* ---- the device ---- */
static bool init(Obj *o, Error **err)
{
    if (!NSDEV(o)->disk) {
        fail(err, "nvme-ns needs drive=");
        return error_hint(err, "add -drive if=none,id=ID,file=.. and drive=ID");
    }
    return true;
}

static bool bus_plug(Bus *b, Dev *d, Error **err)
{
    Nvme *n = NVME(b->controller);
    NvmeNsDev *s = NSDEV(d);
    uint32_t nsid = s->nsid;

    for (uint32_t i = 1; !nsid && i <= NVME_NS_MAX; i++)
        if (!n->ns[i])
            nsid = i;
    s->nsid = nsid;
    s->ns.disk = s->disk;
    if (!nvme_ns_open(&s->ns, d, &s->conf, n, nsid, err))
        return false;
    if (memcmp(s->uuid, (uint8_t[16]){ 0 }, 16))
        memcpy(s->ns.uuid, s->uuid, 16);
    return true;
}

static void bus_unplug(Bus *b, Dev *d)
{
    Nvme *n = NVME(b->controller);
    NvmeNs *ns = &NSDEV(d)->ns;

    if (n->ns[ns->nsid] == ns) {
        if (n->flying)
            disk_cancel_all(ns->disk);
        n->ns[ns->nsid] = NULL;
    }
}

static char *bus_address(const Bus *b, const Dev *d) { return g_strdup_printf("nsid %u", ((const NvmeNsDev *)(const void *)d)->ns.nsid); }

static const BusClass bus_class = {
    .obj = { .name = "nvme-bus", .desc = "namespaces of an NVMe controller", .size = sizeof(Bus) },
    .type = "nvme-bus", .plug = bus_plug, .unplug = bus_unplug, .address = bus_address,
};

/* Its name is the controller's id, as bus= of nvme-ns expects. */
Bus *nvme_bus_new(Nvme *n)
{
    return bus_new(&bus_class, &n->pci.dev, n->pci.dev.id ? n->pci.dev.id : "nvme-bus.0");
}

/* clang-format off */
static const Prop props[] = {
    PROP_LINK(NvmeNsDev, disk, "drive", "drive", "the disk behind it"),
    PROP_BOOTINDEX(NvmeNsDev),
    PROPS_DISK(NvmeNsDev, conf),
    PROPS_DISK_SIZES(NvmeNsDev, conf),
    PROP(NvmeNsDev, nsid, "nsid", 0, "namespace identifier; 0: the first that is free"),
    { .name = "uuid", PROP_(NvmeNsDev, uuid), .kind = P_UUID, .doc = "what the guest knows it by; made of serial number and nsid when not given" },
};
static const Field fields[] = { TRANSIENT(NvmeNsDev, ns, "wiring", .keep = true), TRANSIENT(NvmeNsDev, conf, "properties", .keep = true) };
static const DevClass nvme_ns = {
    .obj = { .name = "nvme-ns", .desc = "NVMe namespace", .size = sizeof(NvmeNsDev), .props = TABLE(props), .init = init },
    .bus = "nvme-bus", .state = TABLE(fields), .category = "Storage devices",
};
/* clang-format on */
DEVICE(NvmeNsDev, nvme_ns);
