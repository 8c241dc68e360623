/*
 * hw/nvme/identify.c - Identify. Source: NVM Express 1.4 section 5.15.
 */
#include "hw/nvme/nvme.h"

enum { CNS_NS, CNS_CTRL, CNS_ACTIVE, CNS_DESCRIPTORS };
enum { SIZE = 4096 };

static void text(uint8_t *at, unsigned len, const char *s)
{
    memset(at, ' ', len);
    memcpy(at, s, MIN(strlen(s), len));
}

/* clang-format off */
static uint16_t controller(Nvme *n, NvmeCmd *c, uint8_t *o)
{
    le16_store(o, 0x1b36);             /* VID */
    le16_store(o + 2, 0x1af4);         /* SSVID */
    text(o + 4, 20, n->serial);        /* SN */
    text(o + 24, 40, "Menura NVMe Controller"); /* MN */
    text(o + 64, 8, "1.0");            /* FR */
    o[72] = 6;                         /* RAB */
    memcpy(o + 73, "\x00\x54\x52", 3); /* IEEE, least byte first */
    o[77] = n->mdts;                   /* MDTS */
    le32_store(o + 80, 0x00010400);    /* VER */
    le32_store(o + 92, 1 << 8);        /* OAES: namespace attribute notices */
    o[111] = 1;                        /* CNTRLTYPE: I/O */
    o[258] = 3;                        /* ACL */
    o[259] = NVME_AER_MAX - 1;         /* AERL */
    o[260] = 1 << 1 | 1;               /* FRMW: one slot, read only */
    o[261] = 1 << 2 | 1 << 1;          /* LPA: extended data, command effects */
    o[262] = NVME_ERRORS - 1;          /* ELPE */
    le16_store(o + 266, 0x157);        /* WCTEMP */
    le16_store(o + 268, 0x175);        /* CCTEMP */
    o[512] = 6 << 4 | 6;               /* SQES */
    o[513] = 4 << 4 | 4;               /* CQES */
    le32_store(o + 516, NVME_NS_MAX);  /* NN */
    le16_store(o + 520, 1 | 1 << 2 | 1 << 3 | 1 << 6); /* ONCS: compare, dataset management, write zeroes, timestamp */
    o[525] = 3 << 1 | 1;               /* VWC: there is one, flush takes all namespaces */
    g_snprintf((char *)o + 768, 256, "nqn.2014-08.org.nvmexpress:menura:%s", n->serial); /* SUBNQN */
    le16_store(o + 2048, 2500);        /* PSD 0: 25 W */
    return NVME_OK;
}
/* clang-format on */

/* Bytes as a number of logical blocks of which 0 means 1. */
static uint16_t blocks0(const NvmeNs *ns, uint32_t bytes) { return (uint16_t)MIN(MAX(bytes >> ns->shift, 1) - 1, UINT16_MAX); }

/* Section 8.25. */
static void optimal(const NvmeNs *ns, uint8_t *o)
{
    const DiskConf *c = ns->conf;

    o[24] |= 1 << 4;                                                /* NSFEAT.OPTPERF: */
    le16_store(o + 64, blocks0(ns, MAX(c->physical, c->min_io))); /* NPWG */
    le16_store(o + 66, blocks0(ns, c->physical));                   /* NPWA */
    le16_store(o + 68, blocks0(ns, c->granularity));                /* NPDG */
    le16_store(o + 70, blocks0(ns, c->granularity));                /* NPDA */
    le16_store(o + 72, blocks0(ns, c->opt_io));                     /* NOWS */
}

/* What is allowed but not there is all zeroes. */
static uint16_t namespace(Nvme *n, NvmeCmd *c, uint8_t *o)
{
    const NvmeNs *ns;

    if (!c->nsid || c->nsid > NVME_NS_MAX)
        return INVALID_NAMESPACE | NVME_DNR;
    ns = n->ns[c->nsid];
    if (!ns)
        return NVME_OK;
    le64_store(o, nvme_blocks(ns));      /* NSZE */
    le64_store(o + 8, nvme_blocks(ns));  /* NCAP */
    le64_store(o + 16, nvme_blocks(ns)); /* NUSE */
    optimal(ns, o);
    o[33] = 1 << 3;                      /* DLFEAT: write zeroes may deallocate */
    o[99] = disk_readonly(ns->disk);     /* NSATTR: write protected */
    memcpy(o + 104, ns->uuid, 16);       /* NGUID */
    o[130] = ns->shift;                  /* LBAF0.LBADS */
    return NVME_OK;
}

static uint16_t active(Nvme *n, NvmeCmd *c, uint8_t *o)
{
    unsigned k = 0;

    if (c->nsid >= 0xfffffffe)
        return INVALID_NAMESPACE | NVME_DNR;
    for (unsigned i = 1; i <= NVME_NS_MAX; i++)
        if (n->ns[i] && i > c->nsid)
            le32_store(o + 4 * k++, i);
    return NVME_OK;
}

/* Types 2 (NGUID) and 3 (UUID). */
static uint16_t descriptors(Nvme *n, NvmeCmd *c, uint8_t *o)
{
    if (!c->nsid || c->nsid > NVME_NS_MAX || !n->ns[c->nsid])
        return INVALID_NAMESPACE | NVME_DNR;
    for (unsigned type = 2; type <= 3; type++, o += 20) {
        o[0] = (uint8_t)type;
        o[1] = 16;
        memcpy(o + 4, n->ns[c->nsid]->uuid, 16);
    }
    return NVME_OK;
}

uint16_t nvme_identify(Nvme *n, NvmeCmd *c)
{
    uint8_t out[SIZE] = { 0 };
    uint16_t status;

    switch (c->dw10 & 0xff) {
    case CNS_NS: status = namespace(n, c, out); break;
    case CNS_CTRL: status = controller(n, c, out); break;
    case CNS_ACTIVE: status = active(n, c, out); break;
    case CNS_DESCRIPTORS: status = descriptors(n, c, out); break;
    default: status = INVALID_FIELD | NVME_DNR; break;
    }
    return status ? status : nvme_to_guest(n, c, out, sizeof(out));
}
