/*
 * block/remote/iscsi.c - driver "iscsi": a logical unit of an iSCSI target (libiscsi). Requests are SCSI commands that go out as they
 * come; the node's loop serves the socket, and a timer what libiscsi times out. A lost connection is made again by libiscsi,
 * which then sends what had no answer. Sources: SBC-3, SPC-4.
 */
#include "block/priv.h"
#include "block/remote/lib.h"
#include "block/sonames.h"
#include <errno.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>

#define FUNCTIONS(X) \
    X(iscsi_create_context) X(iscsi_destroy_context) X(iscsi_destroy_url) X(iscsi_full_connect_async) X(iscsi_get_error) \
    X(iscsi_get_fd) X(iscsi_inquiry_task) X(iscsi_is_logged_in) X(iscsi_logout_async) X(iscsi_modesense6_task) \
    X(iscsi_parse_full_url) X(iscsi_read16_task) X(iscsi_readcapacity16_task) X(iscsi_service) X(iscsi_set_header_digest) \
    X(iscsi_set_initiator_username_pwd) X(iscsi_set_session_type) X(iscsi_set_targetname) X(iscsi_set_timeout) \
    X(iscsi_synchronizecache16_task) X(iscsi_unmap_task) X(iscsi_which_events) X(iscsi_write16_iov_task) \
    X(iscsi_writesame16_task) X(scsi_datain_unmarshall) X(scsi_free_scsi_task) X(scsi_task_set_iov_in)
LIB_TABLE(FUNCTIONS);

enum { TICK_MS = 250, BLOCKS_MAX = 1 << 16, UNIT_ATTENTIONS = 8, BUSY_TRIES = 8, BUSY_MS = 10 };
typedef struct Iscsi {
    Node *n;
    struct iscsi_context *c;
    int lun, fd;
    GIOCondition cond;   /* what the watch waits for */
    guint watch, timer;
    uint32_t block;      /* bytes of a logical block */
    bool thin;           /* UNMAP works; */
    bool unmap_reads_zero; /* .. and what it unmapped reads as zeros (LBPRZ) */
    bool same;           /* WRITE SAME (16) works */
} Iscsi;
typedef struct Wait { /* on the stack of who waits */
    RemoteWait w;
    Iscsi *s;
    int status;
    void *data;
} Wait;

/* ---- libiscsi and the loop ---- */
static bool on_socket(void *arg, int fd, GIOCondition cond);

static void watch(Iscsi *s)
{
    int fd = lib.iscsi_get_fd(s->c), want = lib.iscsi_which_events(s->c);
    GIOCondition cond = (want & POLLIN ? G_IO_IN : 0) | (want & POLLOUT ? G_IO_OUT : 0);

    if (s->watch && fd == s->fd && cond == s->cond)
        return;
    if (s->watch)
        loop_unwatch(s->n->loop, s->watch);
    s->fd = fd;
    s->cond = cond;
    s->watch = fd >= 0 && cond ? loop_watch_fd(s->n->loop, fd, cond, on_socket, s) : 0;
}

static bool on_socket(void *arg, int fd, GIOCondition cond)
{
    Iscsi *s = arg;
    guint self = s->watch;

    lib.iscsi_service(s->c, (cond & G_IO_IN ? POLLIN : 0) | (cond & G_IO_OUT ? POLLOUT : 0) | (cond & G_IO_ERR ? POLLERR : 0) | (cond & G_IO_HUP ? POLLHUP : 0));
    watch(s);
    return s->watch == self;
}

static bool on_timer(void *arg)
{
    Iscsi *s = arg;

    lib.iscsi_service(s->c, 0); /* what took too long ends; a connection that is due is tried again */
    watch(s);
    return true;
}

static void answered(struct iscsi_context *c, int status, void *data, void *arg)
{
    Wait *w = arg;

    w->status = status;
    w->data = data;
    remote_done(&w->w);
}

/* Until the answer is there. started: libiscsi took the command. */
static CO_FN int answer(Wait *w, bool started)
{
    if (!started)
        return -ENOMEM;
    watch(w->s);
    remote_wait(&w->w);
    return w->status;
}

/* ---- commands ---- */
static bool again(const struct scsi_task *t, int status, unsigned try)
{
    if (status == SCSI_STATUS_BUSY || status == SCSI_STATUS_TASK_SET_FULL || status == SCSI_STATUS_TIMEOUT)
        return try < BUSY_TRIES;
    return status == SCSI_STATUS_CHECK_CONDITION && t->sense.key == SCSI_SENSE_UNIT_ATTENTION && try < UNIT_ATTENTIONS;
}

static int code_of(const struct scsi_task *t, int status)
{
    if (status == SCSI_STATUS_GOOD)
        return 0;
    if (status != SCSI_STATUS_CHECK_CONDITION)
        return status == SCSI_STATUS_TIMEOUT ? -ETIMEDOUT : status == SCSI_STATUS_RESERVATION_CONFLICT ? -EBUSY : -EIO;
    switch (t->sense.key) {
    case SCSI_SENSE_ILLEGAL_REQUEST: return t->sense.ascq == SCSI_SENSE_ASCQ_INVALID_OPERATION_CODE ? -ENOTSUP : -EINVAL;
    case SCSI_SENSE_DATA_PROTECTION: return t->sense.ascq >> 8 == 0x27 ? t->sense.ascq == 0x2707 ? -ENOSPC : -EACCES : -EACCES;
    default: return -EIO;
    }
}

static bool pause_ended(void *arg)
{
    remote_done(arg);
    return false;
}

static CO_FN void pause_ms(Iscsi *s, int64_t ms)
{
    RemoteWait w = { s->n->loop, co_self() };

    loop_after(s->n->loop, ms * MS, pause_ended, &w);
    remote_wait(&w);
}

typedef struct scsi_task *Start(Iscsi *s, BlkReq *r, Wait *w);

static struct scsi_task *start_read(Iscsi *s, BlkReq *r, Wait *w)
{
    struct scsi_task *t = lib.iscsi_read16_task(s->c, s->lun, r->off / s->block, (uint32_t)r->len, (int)s->block, 0, 0, 0, 0, 0, answered, w);

    if (t)
        lib.scsi_task_set_iov_in(t, (struct scsi_iovec *)r->iov, r->niov);
    return t;
}

static struct scsi_task *start_write(Iscsi *s, BlkReq *r, Wait *w)
{
    return lib.iscsi_write16_iov_task(s->c, s->lun, r->off / s->block, NULL, (uint32_t)r->len, (int)s->block, 0, 0, r->flags & BLK_FUA ? 1 : 0, 0, 0, answered, w,
                                  (struct scsi_iovec *)r->iov, r->niov);
}

static struct scsi_task *start_flush(Iscsi *s, BlkReq *r, Wait *w) { return lib.iscsi_synchronizecache16_task(s->c, s->lun, 0, 0, 0, 0, answered, w); }

static struct scsi_task *start_discard(Iscsi *s, BlkReq *r, Wait *w)
{
    struct unmap_list list = { .lba = r->off / s->block, .num = (uint32_t)(r->len / s->block) };

    return lib.iscsi_unmap_task(s->c, s->lun, 0, 0, &list, 1, answered, w);
}

static struct scsi_task *start_zero(Iscsi *s, BlkReq *r, Wait *w)
{
    static unsigned char zeroes[4096];

    return lib.iscsi_writesame16_task(s->c, s->lun, r->off / s->block, zeroes, s->block, (uint32_t)(r->len / s->block), 0,
                                  r->flags & BLK_MAY_UNMAP && s->thin && s->unmap_reads_zero, 0, 0, answered, w);
}

static CO_FN int command(Iscsi *s, BlkReq *r, Start *start)
{
    int ret = 0;
    bool more = true;

    for (unsigned try = 0; more; try++) {
        Wait w = { { s->n->loop, co_self() }, s };
        struct scsi_task *t = start(s, r, &w);
        int status = answer(&w, t);

        if (!t)
            return status;
        more = again(t, status, try);
        ret = code_of(t, status);
        lib.scsi_free_scsi_task(t);
        if (more && status != SCSI_STATUS_CHECK_CONDITION)
            pause_ms(s, BUSY_MS << try);
    }
    return ret;
}

static CO_FN int iscsi_submit_req(Node *n, BlkReq *r)
{
    static Start *const starts[] = { [BLK_READ] = start_read, [BLK_WRITE] = start_write, [BLK_FLUSH] = start_flush, [BLK_DISCARD] = start_discard, [BLK_ZERO] = start_zero };
    Iscsi *s = n->opaque;

    if (r->op == BLK_STATUS)
        return 0;
    if (r->op >= G_N_ELEMENTS(starts) || !starts[r->op] || (r->op == BLK_DISCARD && !s->thin) || (r->op == BLK_ZERO && !s->same))
        return -ENOTSUP;
    return command(s, r, starts[r->op]);
}

static void iscsi_limits(Node *n, BlkLimits *l)
{
    const Iscsi *s = n->opaque;

    l->align = s->block;
    l->max_transfer = l->max_discard = l->max_zero = (uint64_t)BLOCKS_MAX * 512;
}

/* ---- what the unit is ---- */
static CO_FN struct scsi_task *ask(Iscsi *s, struct scsi_task *(*start)(Iscsi *s, Wait *w), const char *what, Error **err)
{
    for (unsigned try = 0;; try++) {
        Wait w = { { s->n->loop, co_self() }, s };
        struct scsi_task *t = start(s, &w);
        int status = answer(&w, t);

        if (t && status == SCSI_STATUS_GOOD)
            return t;
        if (!t || !again(t, status, try)) {
            fail(err, "iSCSI: %s failed: %s", what, lib.iscsi_get_error(s->c));
            if (t)
                lib.scsi_free_scsi_task(t);
            return NULL;
        }
        lib.scsi_free_scsi_task(t);
    }
}

static struct scsi_task *ask_capacity(Iscsi *s, Wait *w) { return lib.iscsi_readcapacity16_task(s->c, s->lun, answered, w); }
static struct scsi_task *ask_inquiry(Iscsi *s, Wait *w) { return lib.iscsi_inquiry_task(s->c, s->lun, 0, 0, 64, answered, w); }
static struct scsi_task *ask_provisioning(Iscsi *s, Wait *w)
{
    return lib.iscsi_inquiry_task(s->c, s->lun, 1, SCSI_INQUIRY_PAGECODE_LOGICAL_BLOCK_PROVISIONING, 64, answered, w);
}
static struct scsi_task *ask_mode(Iscsi *s, Wait *w)
{
    return lib.iscsi_modesense6_task(s->c, s->lun, 1, SCSI_MODESENSE_PC_CURRENT, SCSI_MODEPAGE_RETURN_ALL_PAGES, 0, 255, answered, w);
}

static CO_FN bool take_capacity(Iscsi *s, Error **err)
{
    struct scsi_task *t = ask(s, ask_capacity, "READ CAPACITY (16)", err);
    const struct scsi_readcapacity16 *rc = t ? lib.scsi_datain_unmarshall(t) : NULL;

    if (rc) {
        s->block = rc->block_length;
        s->n->size = (rc->returned_lba + 1) * rc->block_length;
        s->unmap_reads_zero = rc->lbprz;
    }
    if (t && !rc)
        fail(err, "iSCSI: READ CAPACITY (16) brings nothing");
    if (t)
        lib.scsi_free_scsi_task(t);
    return rc && ((s->block >= 512 && s->block <= 4096 && is_pow2(s->block)) || fail(err, "iSCSI: logical blocks of %u bytes are not supported", s->block));
}

static CO_FN bool take_type(Iscsi *s, Error **err)
{
    struct scsi_task *t = ask(s, ask_inquiry, "INQUIRY", err);
    const struct scsi_inquiry_standard *q = t ? lib.scsi_datain_unmarshall(t) : NULL;
    bool disk = q && (q->device_type == SCSI_INQUIRY_PERIPHERAL_DEVICE_TYPE_DIRECT_ACCESS || q->device_type == SCSI_INQUIRY_PERIPHERAL_DEVICE_TYPE_MMC);

    if (q && q->device_type == SCSI_INQUIRY_PERIPHERAL_DEVICE_TYPE_MMC)
        s->n->readonly = true;
    if (t)
        lib.scsi_free_scsi_task(t);
    return disk || (t && fail(err, "iSCSI: the unit is no disk"));
}

/* Both pages are optional. */
static CO_FN bool take_abilities(Iscsi *s, Error **err)
{
    struct scsi_task *t = ask(s, ask_provisioning, "INQUIRY", NULL);
    const struct scsi_inquiry_logical_block_provisioning *p = t ? lib.scsi_datain_unmarshall(t) : NULL;
    struct scsi_mode_sense *m;
    bool locked;

    s->thin = p && p->lbpu;
    s->same = true;
    if (t)
        lib.scsi_free_scsi_task(t);
    t = ask(s, ask_mode, "MODE SENSE (6)", NULL);
    m = t ? lib.scsi_datain_unmarshall(t) : NULL;
    locked = m && m->device_specific_parameter & 0x80; /* WP */
    if (t)
        lib.scsi_free_scsi_task(t);
    if (locked && !s->n->readonly && !s->n->auto_readonly)
        return fail(err, "Cannot open a write protected LUN as read-write");
    s->n->readonly |= locked;
    return true;
}

/* ---- opening ---- */
typedef struct Where {
    char *portal, *target, *user, *password, *initiator;
    uint64_t lun, timeout;
    const char *digest;
} Where;

static void clear(Where *w)
{
    g_free(w->portal);
    g_free(w->target);
    g_free(w->user);
    remote_wipe(&w->password);
    g_free(w->initiator);
}

/* iscsi://[USER[%PASSWORD]@]HOST[:PORT]/TARGET/LUN */
static bool take_url(Where *w, struct iscsi_context *c, const char *text, Error **err)
{
    struct iscsi_url *u = lib.iscsi_parse_full_url(c, text);

    if (!u)
        return fail(err, "Failed to parse URL : %s: %s", text, lib.iscsi_get_error(c));
    w->portal = g_strdup(u->portal);
    w->target = g_strdup(u->target);
    w->lun = (uint64_t)u->lun;
    if (*u->user) {
        w->user = g_strdup(u->user);
        w->password = g_strdup(u->passwd);
    }
    lib.iscsi_destroy_url(u);
    return true;
}

static bool options(Iscsi *s, Where *w, Opts *o, Error **err)
{
    const char *url = opts_get(o, "filename"), *transport = opts_get(o, "transport");
    struct iscsi_context *parser = url ? lib.iscsi_create_context("iqn.2026-01.org.menura:parser") : NULL;
    bool ok = !url || (parser && take_url(w, parser, url, err));

    if (parser)
        lib.iscsi_destroy_context(parser);
    remote_take(&w->portal, o, "portal");
    remote_take(&w->target, o, "target");
    remote_take(&w->user, o, "user");
    remote_take(&w->initiator, o, "initiator-name");
    w->digest = opts_get(o, "header-digest");
    if (!ok || !opts_get_u64(o, "lun", w->lun, &w->lun, err) || !opts_get_u64(o, "timeout", 0, &w->timeout, err) || !remote_take_secret(&w->password, s->n->loop, o, "password-secret", err))
        return false;
    if (transport && strcmp(transport, "tcp"))
        return fail(err, "iSCSI: transport=%s: only tcp is there", transport);
    if (!w->portal || !w->target)
        return fail(err, "Need all of transport, portal and target options");
    if (w->user && !w->password)
        return fail(err, "iSCSI: user=%s needs password-secret=ID", w->user);
    if (!w->initiator)
        w->initiator = g_strdup("iqn.2008-11.org.linux-kvm"); /* whom targets that know clients of this kind expect */
    return w->lun < 16384 || fail(err, "iSCSI: lun=%" PRIu64 " is too large", w->lun);
}

static bool set_digest(Iscsi *s, const char *name, Error **err)
{
    static const struct {
        const char *name;
        enum iscsi_header_digest value;
    } kinds[] = { { "crc32c", ISCSI_HEADER_DIGEST_CRC32C },
                  { "none", ISCSI_HEADER_DIGEST_NONE },
                  { "crc32c-none", ISCSI_HEADER_DIGEST_CRC32C_NONE },
                  { "none-crc32c", ISCSI_HEADER_DIGEST_NONE_CRC32C } };

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (!strcmp(name ? name : "none-crc32c", kinds[i].name))
            return !lib.iscsi_set_header_digest(s->c, kinds[i].value) || fail(err, "iSCSI: %s", lib.iscsi_get_error(s->c));
    return fail(err, "header-digest=%s: must be crc32c, none, crc32c-none or none-crc32c", name);
}

static CO_FN bool log_in(Iscsi *s, const Where *w, Error **err)
{
    Wait wait = { { s->n->loop, co_self() }, s };

    s->c = lib.iscsi_create_context(w->initiator);
    if (!s->c)
        return fail(err, "iSCSI: Failed to create iSCSI context.");
    if (!set_digest(s, w->digest, err))
        return false;
    if (lib.iscsi_set_targetname(s->c, w->target) || lib.iscsi_set_session_type(s->c, ISCSI_SESSION_NORMAL) ||
        (w->user && lib.iscsi_set_initiator_username_pwd(s->c, w->user, w->password)))
        return fail(err, "iSCSI: %s", lib.iscsi_get_error(s->c));
    lib.iscsi_set_timeout(s->c, (int)MIN(w->timeout, 86400));
    s->timer = loop_after(s->n->loop, TICK_MS * MS, on_timer, s);
    if (answer(&wait, !lib.iscsi_full_connect_async(s->c, w->portal, (int)w->lun, answered, &wait)))
        return fail(err, "iSCSI: Failed to connect to LUN : %s", lib.iscsi_get_error(s->c));
    return true;
}

static CO_FN void end(Iscsi *s)
{
    if (s->c && lib.iscsi_is_logged_in(s->c)) {
        Wait w = { { s->n->loop, co_self() }, s };

        answer(&w, !lib.iscsi_logout_async(s->c, answered, &w));
    }
    if (s->timer)
        loop_unwatch(s->n->loop, s->timer);
    if (s->watch)
        loop_unwatch(s->n->loop, s->watch);
    if (s->c)
        lib.iscsi_destroy_context(s->c);
}

static CO_FN bool iscsi_open_node(Node *n, Opts *o, Error **err)
{
    Iscsi *s = n->opaque;
    Where w = { 0 };
    bool ok;

    if (!remote_load(LIBISCSI_SONAME, lib_names, &lib, err))
        return false;
    s->n = n;
    ok = options(s, &w, o, err) && log_in(s, &w, err);
    s->lun = (int)w.lun;
    ok = ok && take_type(s, err) && take_capacity(s, err) && take_abilities(s, err);
    if (ok)
        n->filename = g_strdup_printf("iscsi://%s/%s/%d", w.portal, w.target, s->lun);
    else
        end(s);
    clear(&w);
    return ok;
}

static CO_FN void iscsi_close_node(Node *n) { end(n->opaque); }

static const BlkDriver iscsi = { .name = "iscsi", .schemes = "iscsi", .size = sizeof(Iscsi), .protocol = true, .open = iscsi_open_node, .close = iscsi_close_node,
                                 .submit = iscsi_submit_req, .limits = iscsi_limits };
BLK_DRIVER(iscsi);
