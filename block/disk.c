/*
 * block/disk.c - what a device sees as its disk: -drive's options, attach with permissions, facts.
 */
#include "block/drive.h"
#include "core/dev.h"
#include "block/disk-priv.h"
#include "block/priv.h"
#include <errno.h>

/* ---- options ---- */
const char *const disk_error_names[] = { [ON_ERROR_AUTO] = "auto", [ON_ERROR_REPORT] = "report", [ON_ERROR_IGNORE] = "ignore", [ON_ERROR_STOP] = "stop",
                                         [ON_ERROR_ENOSPC] = "enospc", NULL };

static bool on_error(const char *v, const char *key, bool write, OnError *out, Error **err)
{
    for (unsigned i = ON_ERROR_REPORT; v && i < ON_ERRORS; i++) {
        if (!strcmp(v, disk_error_names[i]) && (write || i != ON_ERROR_ENOSPC)) {
            *out = (OnError)i;
            return true;
        }
    }
    if (!v || !strcmp(v, "auto"))
        return true;
    fail(err, "%s=%s: not an error action", key, v);
    return error_hint(err, "one of report, ignore, stop%s", write ? ", enospc" : "");
}

typedef struct CacheMode {
    const char *name;
    bool through, direct, no_flush;
} CacheMode;
static const CacheMode cache_modes[] = {
    { "writeback", false, false, false }, { "none", false, true, false },
    { "off", false, true, false },        { "writethrough", true, false, false },
    { "directsync", true, true, false },  { "unsafe", false, false, true },
};

static bool cache(Disk *d, Opts *o, Error **err)
{
    const char *v = opts_get(o, "cache");
    const CacheMode *m = NULL;
    bool back;

    for (size_t i = 0; v && i < G_N_ELEMENTS(cache_modes); i++)
        if (!strcmp(v, cache_modes[i].name))
            m = &cache_modes[i];
    if (v && !m) {
        fail(err, "cache=%s: no such cache mode", v);
        return error_hint(err, "one of writeback, none, writethrough, directsync, unsafe");
    }
    if (!opts_get_bool(o, "cache.writeback", !(m && m->through), &back, err))
        return false;
    d->write_through = !back;
    return opts_get_bool(o, "cache.direct", m && m->direct, &d->direct, err) &&
           opts_get_bool(o, "cache.no-flush", m && m->no_flush, &d->no_flush, err);
}

static bool one_of(const char *v, const char *key, const char *const *names, Error **err)
{
    g_autofree char *list = g_strjoinv(", ", (char **)names);

    if (!v || g_strv_contains(names, v))
        return true;
    fail(err, "%s=%s: not a known value", key, v);
    return error_hint(err, "one of %s", list);
}

static bool discard_options(Disk *d, Opts *o, Error **err)
{
    static const char *const discards[] = { "ignore", "off", "unmap", "on", NULL };
    static const char *const detects[] = { "off", "on", "unmap", NULL };
    const char *v = opts_get(o, "discard"), *z = opts_get(o, "detect-zeroes");

    if (!one_of(v, "discard", discards, err) || !one_of(z, "detect-zeroes", detects, err))
        return false;
    d->unmap = v && (!strcmp(v, "unmap") || !strcmp(v, "on"));
    d->detect_zeroes = !z || !strcmp(z, "off") ? DETECT_OFF
                       : !strcmp(z, "on")      ? DETECT_ON
                                               : DETECT_UNMAP;
    if (d->detect_zeroes == DETECT_UNMAP && !d->unmap) {
        fail(err, "detect-zeroes=unmap needs discard=unmap");
        return error_hint(err, "add discard=unmap");
    }
    return true;
}

static bool read_only(Disk *d, Opts *o, Error **err)
{
    bool ro = d->cdrom;

    return opts_get_bool(o, "readonly", ro, &ro, err) &&
           opts_get_bool(o, "read-only", ro, &d->readonly, err);
}

/* Without a group's name the disk is alone in one of its own. */
static bool throttle(Disk *d, Opts *o, Error **err)
{
    const char *name = opts_get(o, "throttling.group");
    ThrottleLimits l;

    throttle_limits_init(&l);
    if (!throttle_limits_parse(&l, o, "throttling.", true, err))
        return false;
    if (throttle_limits_any(&l))
        disk__throttle(d, name ? name : d->id, &l);
    return true;
}

void disk__throttle(Disk *d, const char *group, const ThrottleLimits *l)
{
    ThrottleGroup *g = throttle_group_get(d->vm->loop, group);

    if (g != d->throttle.group)
        throttle_join(&d->throttle, g);
    throttle_group_set(g, l);
    throttle_group_put(g);
}

static bool parse(Disk *d, Opts *o, Error **err)
{
    static const char *const medias[] = { "disk", "cdrom", NULL }, *const aios[] = {
        "threads", "native", "io_uring", NULL
    };
    static const char *const placed[] = { "if",   "index",          "bus",         "unit", "id",
                                          "addr", "auto-read-only" };
    const char *media = opts_get(o, "media"), *aio = opts_get(o, "aio");
    const char *w = opts_get(o, "werror"), *r = opts_get(o, "rerror"),
               *serial = opts_get(o, "serial");

    for (size_t i = 0; i < G_N_ELEMENTS(placed); i++)
        opts_get(o, placed[i]); /* the machine's part */
    if (!one_of(media, "media", medias, err) || !one_of(aio, "aio", aios, err))
        return false;
    d->cdrom = media && !strcmp(media, "cdrom");
    d->aio = g_strdup(aio);
    d->serial = g_strdup(serial ? serial : "");
    d->werror = ON_ERROR_ENOSPC;
    d->rerror = ON_ERROR_REPORT;
    return on_error(w, "werror", true, &d->werror, err) &&
           on_error(r, "rerror", false, &d->rerror, err) && read_only(d, o, err) &&
           opts_get_bool(o, "snapshot", false, &d->snapshot, err) && opts_get_bool(o, "copy-on-read", false, &d->copy_on_read, err) && cache(d, o, err) &&
           discard_options(d, o, err) && throttle(d, o, err);
}

/* What is left is the node's: format or driver, file and file.*. */
static bool open_medium(Disk *d, Opts *o, Error **err)
{
    g_autoptr(Opts) n = opts_new();
    g_autofree char *format = opts_take(o, "format"), *file = opts_take(o, "file");
    bool any = file && *file;

    for (guint i = 0; i < o->v->len; i++) {
        Opt *x = o->v->pdata[i];

        if (x->used)
            continue;
        any |= !strcmp(x->key, "driver") || g_str_has_prefix(x->key, "file.");
        opts_set(n, x->key, x->value);
        x->used = true;
    }
    if (!any) {
        d->removable = true;
        return !n->v->len || opts_all_used(n, "-drive", err);
    }
    if (file && *file)
        opts_set(n, "filename", file);
    if (format && !opts_peek(n, "driver"))
        opts_set(n, "driver", format);
    if (d->unmap)
        opts_set(n, "discard", "unmap");
    if (d->aio && (!opts_peek(n, "driver") || blk_takes_aio(opts_peek(n, "driver"))))
        opts_set(n, "aio", d->aio);
    opts_set(n, "cache.direct", d->direct ? "on" : "off");
    opts_set(n, "cache.no-flush", d->no_flush ? "on" : "off");
    d->node = node_open(d->vm->loop, n, d->readonly || d->snapshot, err);
    if (d->node && d->snapshot) {
        Node *top = node_overlay(d->node, err);

        if (!top)
            node_unref(d->node);
        d->node = top;
    }
    return d->node;
}

static bool fill(Disk *d, Opts *o, Error **err)
{
    Error *why = NULL;

    if (parse(d, o, &why) && open_medium(d, o, &why)) {
        d->removable |= d->cdrom;
        return true;
    }
    if (err) {
        g_autofree char *hint = g_strdup(error_hint_text(why));

        fail_because(err, why, "-drive %s", d->id);
        return hint ? error_hint(err, "%s", hint) : false;
    }
    error_free(why);
    return false;
}

Disk *disk_new(Vm *vm, const char *id, Opts *drive_opts, Error **err)
{
    Disk *d = g_new0(Disk, 1);

    d->vm = vm;
    d->id = g_strdup(id);
    disk__io_init(d);
    if (!fill(d, drive_opts, err)) {
        disk_free(d);
        return NULL;
    }
    vm_register(vm, "drive", id, d);
    return d;
}

void disk_free(Disk *d)
{
    if (!d)
        return;
    disk__io_fini(d);
    throttle_leave(&d->throttle);
    disk__unguard(d);
    if (vm_lookup(d->vm, "drive", d->id) == d)
        vm_unregister(d->vm, "drive", d->id);
    node_unref(d->node);
    g_free(d->id);
    g_free(d->serial);
    g_free(d->aio);
    g_free(d);
}

/* ---- the device ---- */
bool disk__take_permissions(Disk *d, Error **err)
{
    unsigned want = PERM_CONSISTENT_READ, share = PERM_ALL & ~(PERM_WRITE | PERM_RESIZE);

    if (!d->node)
        return true;
    if (d->want_write && !disk_readonly(d))
        want |= PERM_WRITE | PERM_RESIZE;
    if (d->share_rw)
        share = PERM_ALL;
    if (!node_permissions(d->node, want, share, err))
        return false;
    return d->node->rooted = true;
}

void disk__give_permissions(Node *n)
{
    node_permissions(n, 0, PERM_ALL, NULL);
    n->rooted = false;
}

static bool block_size(const char *name, uint32_t v, Error **err)
{
    return (is_pow2(v) && v >= DISK_BLOCK_MIN && v <= DISK_BLOCK_MAX) ||
           fail(err, "%s=%u: must be a power of two from %d to %d", name, v, DISK_BLOCK_MIN, DISK_BLOCK_MAX);
}

static bool whole_blocks(const char *name, uint32_t v, const DiskConf *c, Error **err)
{
    return v % c->logical == 0 || fail(err, "%s=%u: must be a multiple of logical_block_size=%u", name, v, c->logical);
}

bool disk_sizes(DiskConf *c, uint32_t own, Error **err)
{
    if (!c->logical)
        c->logical = DISK_BLOCK_MIN;
    if (!c->physical)
        c->physical = c->logical;
    if (!block_size("logical_block_size", c->logical, err) || !block_size("physical_block_size", c->physical, err))
        return false;
    if (c->physical < c->logical)
        return fail(err, "physical_block_size=%u: must not be less than logical_block_size=%u", c->physical, c->logical);
    if (c->granularity == DISK_GRANULARITY_AUTO)
        c->granularity = MAX(own, c->logical);
    if (!whole_blocks("min_io_size", c->min_io, c, err) || !whole_blocks("opt_io_size", c->opt_io, c, err) ||
        !whole_blocks("discard_granularity", c->granularity, c, err))
        return false;
    return c->min_io / c->logical <= UINT16_MAX || /* what virtio and SCSI can tell */
           fail(err, "min_io_size=%u: must be at most %u logical blocks", c->min_io, UINT16_MAX);
}

static OnError chosen(uint8_t said, OnError own) { return said == ON_ERROR_AUTO ? own : (OnError)said; }

static void configure(Disk *d, const DiskConf *c)
{
    d->own_werror = d->werror;
    d->own_rerror = d->rerror;
    d->own_write_through = d->write_through;
    if (!c)
        return;
    d->werror = chosen(c->werror, d->werror);
    d->rerror = chosen(c->rerror, d->rerror);
    if (c->write_cache != AUTO)
        d->write_through = c->write_cache == OFF;
    d->share_rw = c->share_rw;
}

static void unconfigure(Disk *d)
{
    d->werror = d->own_werror;
    d->rerror = d->own_rerror;
    d->write_through = d->own_write_through;
    d->share_rw = false;
}

bool disk_attach(Disk *d, const DiskUser *u, Error **err)
{
    if (d->attached) {
        fail(err, "drive '%s' is in use by another device", d->id);
        return error_hint(
            err,
            "give the device a drive of its own; an if= other than none gives it to the machine");
    }
    if (u->writes && d->node && disk_readonly(d) && !d->removable) {
        fail(err, "drive '%s' is read-only, but the device writes", d->id);
        return error_hint(err,
                          "drop readonly=on, or use snapshot=on to keep what is written apart");
    }
    d->want_write = u->writes;
    configure(d, u->conf);
    if (!disk__take_permissions(d, err)) {
        unconfigure(d);
        return false;
    }
    d->ops = u->ops;
    d->dev = u->dev;
    d->user = u->o;
    return d->attached = true;
}

void disk_detach(Disk *d)
{
    const Dev *dev = d->dev;
    bool unplugged;

    if (!d->attached)
        return;
    disk_cancel_all(d);
    unplugged = d->with_device && !d->vm->ending && dev && dev->realized && dev->life != LIFE_LIVE;
    d->attached = false;
    d->ops = NULL;
    d->dev = NULL;
    d->user = NULL;
    unconfigure(d);
    if (d->node)
        disk__give_permissions(d->node);
    if (unplugged)
        drive_remove(d);
}

/* ---- facts ---- */
bool disk_in_use(const Disk *d) { return d->attached; }
bool disk_present(const Disk *d) { return d->node; }
Node *disk_node(const Disk *d) { return d->node; }
bool disk_attached(const Disk *d) { return d->attached; }
bool disk_is_temporary(const Disk *d) { return d->snapshot; }
bool disk_is_shared(const Disk *d) { return d->share_rw; }
uint64_t disk_size(const Disk *d) { return d->node ? d->node->size : 0; }
bool disk_readonly(const Disk *d)
{
    return d->node && !d->snapshot ? d->node->readonly : d->readonly;
}
const char *disk_id(const Disk *d) { return d->id; }
const char *disk_serial(const Disk *d) { return d->serial; }
bool disk_tray_open(const Disk *d) { return d->tray_open; }
bool disk_tray_locked(const Disk *d) { return d->tray_locked; }
bool disk_removable(const Disk *d) { return d->removable; }
void disk_set_removable(Disk *d) { d->removable = true; }
bool disk_is_cdrom(const Disk *d) { return d->cdrom; }
DiskStats disk_stats(const Disk *d) { return d->stats; }
const char *disk_filename(const Disk *d) { return d->node ? d->node->filename : NULL; }
const char *disk_node_name(const Disk *d) { return d->node && d->node->name ? d->node->name : ""; }

const char *disk_format(const Disk *d)
{
    if (!d->node)
        return NULL;
    return d->snapshot ? d->node->backing->drv->name : d->node->drv->name;
}

BlkLimits disk_limits(const Disk *d)
{
    if (d->node)
        return d->node->limits;
    return (BlkLimits){ .align = 1,
                        .max_iov = 1024,
                        .max_transfer = GiB,
                        .mem_align = 1 };
}

bool disk_io_error(const Disk *d, bool *nospace)
{
    if (nospace)
        *nospace = d->nospace;
    return d->failed;
}

int disk_read_now(Disk *d, uint64_t off, void *buf, size_t len)
{
    struct iovec one = { buf, len };
    BlkReq r = { .op = BLK_READ, .off = off, .len = len, .iov = &one, .niov = 1 };

    return d->node ? blk_sync(d->node, &r) : -ENOMEDIUM;
}

typedef struct Now {
    Disk *d;
    BlkReq *r;
    int ret;
} Now;

static void now_body(void *arg)
{
    Now *n = arg;

    n->ret = disk__before(n->d, n->r);
    if (!n->ret)
        n->ret = blk_submit(n->d->node, n->r);
}

int disk__now(Disk *d, BlkReq *r)
{
    Now n = { d, r, 0 };

    block__run(d->vm->loop, now_body, &n);
    return n.ret;
}

int disk_write_now(Disk *d, uint64_t off, const void *buf, size_t len)
{
    struct iovec one = { (void *)(uintptr_t)buf, len };
    BlkReq r = { .op = BLK_WRITE, .off = off, .len = len, .iov = &one, .niov = 1 };

    return d->node ? disk__now(d, &r) : -ENOMEDIUM;
}
