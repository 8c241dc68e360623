/*
 * hw/scsi/inquiry.c - what a unit says of itself: INQUIRY with vital product data, mode pages. Source: SPC-4 sections 6.6, 7.5,
 * 7.8; SBC-3 sections 6.4, 6.6.
 */
#include "hw/scsi/scsi.h"

enum { PAGE_CACHING = 0x08, PAGE_CONTROL = 0x0a, PAGE_EXCEPTIONS = 0x1c, PAGE_ALL = 0x3f, WCE = 4 };

static void text(uint8_t *at, unsigned len, const char *s)
{
    memset(at, ' ', len);
    memcpy(at, s, MIN(strlen(s), len));
}

static const char *serial(const ScsiDev *d) { return d->serial ? d->serial : disk_serial(d->disk); }

/* ---- vital product data: each fills what follows the header and returns its length ---- */
static unsigned vpd_pages(const ScsiDev *d, uint8_t *o);

static unsigned vpd_serial(const ScsiDev *d, uint8_t *o)
{
    size_t n = MIN(strlen(serial(d)), 36);

    memcpy(o, serial(d), n);
    return (unsigned)n;
}

/* Designators: the drive's name as text, and NAA when there is a wwn. */
static unsigned vpd_identification(const ScsiDev *d, uint8_t *o)
{
    const char *name = *serial(d) ? serial(d) : d->dev.id ? d->dev.id : disk_id(d->disk);
    unsigned n = (unsigned)MIN(strlen(name), 200);

    o[0] = 2; /* ASCII, of the unit, vendor specific */
    o[3] = (uint8_t)n;
    memcpy(o + 4, name, n);
    n += 4;
    if (d->wwn) {
        o[n] = 1;
        o[n + 1] = 3;
        o[n + 3] = 8;
        be64_store(o + n + 4, d->wwn);
        n += 12;
    }
    return n;
}

static unsigned vpd_limits(const ScsiDev *d, uint8_t *o)
{
    const DiskConf *c = &d->conf;

    be16_store(o + 2, (uint16_t)(c->min_io / d->block)); /* optimal transfer length granularity */
    be32_store(o + 4, 0xffff * 512 / d->block);          /* maximum transfer length: what an adapter maps */
    be32_store(o + 8, c->opt_io / d->block);             /* optimal transfer length */
    if (c->granularity) {
        be32_store(o + 16, 0x3fffff); /* maximum unmap LBA count */
        be32_store(o + 20, 255);      /* maximum unmap block descriptor count */
        be32_store(o + 24, c->granularity / d->block); /* optimal unmap granularity */
    }
    be64_store(o + 32, 0x3fffff); /* maximum write same length */
    return 60;
}

static unsigned vpd_characteristics(const ScsiDev *d, uint8_t *o)
{
    be16_store(o, 1); /* not rotating */
    return 60;
}

static unsigned vpd_provisioning(const ScsiDev *d, uint8_t *o)
{
    if (d->conf.granularity) {
        o[1] = 1 << 7 | 1 << 6 | 1 << 5; /* UNMAP, WRITE SAME (16) and (10) with UNMAP */
        o[2] = 2;                        /* thin */
    }
    return 4;
}

static const struct {
    uint8_t code;
    bool disks; /* only they have it */
    unsigned (*fn)(const ScsiDev *d, uint8_t *o);
} vpd[] = {
    { 0x00, false, vpd_pages }, { 0x80, false, vpd_serial }, { 0x83, false, vpd_identification }, { 0xb0, true, vpd_limits },
    { 0xb1, true, vpd_characteristics }, { 0xb2, true, vpd_provisioning },
};

static bool has_page(const ScsiDev *d, unsigned i) { return (vpd[i].code != 0x80 || *serial(d)) && !(vpd[i].disks && d->kind->type); }

static unsigned vpd_pages(const ScsiDev *d, uint8_t *o)
{
    unsigned n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(vpd); i++)
        if (has_page(d, i))
            o[n++] = vpd[i].code;
    return n;
}

bool scsi_inquiry(ScsiReq *q)
{
    const ScsiDev *d = q->dev;
    uint8_t b[256] = { d->kind->type, d->removable ? 0x80 : 0, 5 /* SPC-3 */, 0x12 /* HISUP, format 2 */, 31, 0, 0, 2 /* CMDQUE */ };

    if (q->cdb[1] & 1) {
        for (unsigned i = 0; i < G_N_ELEMENTS(vpd); i++)
            if (vpd[i].code == q->cdb[2] && has_page(d, i)) {
                memset(b, 0, sizeof(b));
                b[0] = d->kind->type;
                b[1] = q->cdb[2];
                b[3] = (uint8_t)vpd[i].fn(d, b + 4);
                return scsi_reply(q, b, 4u + b[3], be16_load(q->cdb + 3));
            }
        return scsi_sense(q, ILLEGAL_REQUEST, INVALID_FIELD);
    }
    if (q->cdb[2])
        return scsi_sense(q, ILLEGAL_REQUEST, INVALID_FIELD);
    text(b + 8, 8, d->vendor);
    text(b + 16, 16, d->product ? d->product : d->kind->product);
    text(b + 32, 4, d->ver);
    return scsi_reply(q, b, 36, be16_load(q->cdb + 3));
}

/* ---- mode pages ---- */
static unsigned mode_page(const ScsiDev *d, unsigned page, bool mask, uint8_t *o)
{
    static const uint8_t length[] = { [PAGE_CACHING] = 0x12, [PAGE_CONTROL] = 10, [PAGE_EXCEPTIONS] = 10 };

    o[0] = (uint8_t)page;
    o[1] = length[page];
    if (page == PAGE_CACHING)
        o[2] = mask || d->write_cache ? WCE : 0;
    if (page == PAGE_CONTROL && !mask)
        o[3] = 0x10; /* unrestricted reordering */
    return 2u + length[page];
}

bool scsi_mode_sense(ScsiReq *q)
{
    static const uint8_t pages[] = { PAGE_CACHING, PAGE_CONTROL, PAGE_EXCEPTIONS };
    const ScsiDev *d = q->dev;
    bool ten = q->cdb[0] == 0x5a, known = false;
    unsigned page = q->cdb[2] & 0x3f, control = q->cdb[2] >> 6, header = ten ? 8 : 4, n = header;
    uint8_t b[256] = { 0 };

    if (control == 3)
        return scsi_sense(q, ILLEGAL_REQUEST, 0x3900); /* saving parameters is not supported */
    if (!(q->cdb[1] & 8)) { /* DBD */
        uint64_t blocks = scsi_blocks(d);

        be32_store(b + n, (uint32_t)MIN(blocks, 0xffffff)); /* the density code, 0, lies above */
        be32_store(b + n + 4, d->block);
        n += 8;
    }
    b[ten ? 7 : 3] = (uint8_t)(n - header);
    for (unsigned i = 0; i < sizeof(pages); i++)
        if (page == pages[i] || page == PAGE_ALL) {
            n += mode_page(d, pages[i], control == 1, b + n);
            known = true;
        }
    if (!known && page)
        return scsi_sense(q, ILLEGAL_REQUEST, INVALID_FIELD);
    b[ten ? 3 : 2] = (uint8_t)((disk_readonly(d->disk) ? 0x80 : 0) | 0x10 /* DPOFUA */);
    if (ten)
        be16_store(b, (uint16_t)(n - 2));
    else
        b[0] = (uint8_t)(n - 1);
    return scsi_reply(q, b, n, ten ? be16_load(q->cdb + 7) : q->cdb[4]);
}

bool scsi_mode_select(ScsiReq *q)
{
    q->len = q->cdb[0] == 0x55 ? be16_load(q->cdb + 7) : q->cdb[4];
    if (!(q->cdb[1] & 0x10) && q->len)
        return scsi_sense(q, ILLEGAL_REQUEST, INVALID_FIELD);
    q->dir = q->len ? SCSI_OUT : SCSI_NONE;
    q->buf = g_malloc(MAX(q->len, 1));
    return true;
}

/* Only the write cache can be set; other values must be what they are. */
void scsi_mode_set(ScsiReq *q)
{
    bool ten = q->cdb[0] == 0x55, wce = q->dev->write_cache;
    uint64_t at = ten ? 8 : 4;
    uint8_t now[32];

    if (q->len && q->len < at) {
        scsi_sense(q, ILLEGAL_REQUEST, LIST_LENGTH);
    } else if (q->len) {
        at += ten ? be16_load(q->buf + 6) : q->buf[3];
        while (q->status == SCSI_GOOD && at < q->len) {
            unsigned page = q->buf[at] & 0x3f;

            if (q->len - at < 2 || (page != PAGE_CACHING && page != PAGE_CONTROL && page != PAGE_EXCEPTIONS) ||
                q->len - at < mode_page(q->dev, page, false, memset(now, 0, sizeof(now))) || q->buf[at + 1] != now[1]) {
                scsi_sense(q, ILLEGAL_REQUEST, BAD_PARAMETERS);
                break;
            }
            if (page == PAGE_CACHING)
                wce = q->buf[at + 2] & WCE;
            at += 2u + now[1];
        }
    }
    if (q->status == SCSI_GOOD)
        q->dev->write_cache = wce;
    q->done(q);
}
