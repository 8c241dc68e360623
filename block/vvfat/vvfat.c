/*
 * block/vvfat/vvfat.c - driver "vvfat": dir=, fat-type=, floppy=, label=, rw=; or the name fat:[rw:][floppy:][12:|16:|32:]DIR.
 * A file that changes meanwhile is read as it is then, up to the length that it had.
 */
#include "block/vvfat/vvfat.h"
#include "block/iov.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

typedef struct Vvfat {
    FatDisk d;
    int written;      /* a nameless file with what the guest wrote, where it wrote it; -1: read only */
    uint8_t *changed; /* a bit per sector that is there */
} Vvfat;

/* ---- reading ---- */
typedef struct Work {
    Vvfat *v;
    uint64_t off;
    uint8_t *buf;
    size_t len;
} Work;

static int read_file(const char *path, uint64_t at, uint8_t *buf, size_t len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), ret = fd < 0 ? -errno : 0;
    size_t done = 0;
    ssize_t got = 1;

    while (!ret && done < len && got) { /* shorter now: zeros */
        got = pread(fd, buf + done, len - done, (off_t)(at + done));
        ret = got < 0 ? -EIO : 0;
        done += got > 0 ? (size_t)got : 0;
    }
    if (fd >= 0)
        close(fd);
    return ret;
}

/* The file or directory that has the cluster; NULL: none. */
static const FatFile *owner(const FatDisk *d, uint32_t cluster)
{
    guint lo = 0, hi = d->placed->len;

    while (lo < hi) {
        guint mid = lo + (hi - lo) / 2;
        const FatFile *f = d->placed->pdata[mid];

        if (cluster >= f->first && cluster < f->first + f->clusters)
            return f;
        if (cluster < f->first)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

/* Bytes of the data area, at most to the end of what has them. */
static int read_data(const FatDisk *d, uint64_t off, uint8_t *buf, size_t *len)
{
    uint64_t bytes = (uint64_t)d->per_cluster * FAT_SECTOR, in = off - (uint64_t)d->data * FAT_SECTOR, at, size;
    const FatFile *f = owner(d, (uint32_t)(in / bytes + FAT_FIRST));

    if (!f) {
        *len = MIN(*len, bytes - in % bytes);
        return 0;
    }
    at = in - (uint64_t)(f->first - FAT_FIRST) * bytes;
    *len = MIN(*len, f->clusters * bytes - at);
    size = f->dir ? f->bytes->len : f->size;
    if (at >= size)
        return 0;
    if (!f->dir)
        return read_file(f->path, at, buf, MIN(*len, size - at));
    memcpy(buf, f->bytes->data + at, MIN(*len, size - at));
    return 0;
}

static int read_made(const FatDisk *d, uint64_t off, uint8_t *buf, size_t len)
{
    uint64_t meta = (uint64_t)d->data * FAT_SECTOR;
    int ret = 0;

    memset(buf, 0, len);
    for (size_t done = 0, n; done < len && !ret; done += n) {
        n = len - done;
        if (off + done < meta) {
            n = MIN(n, meta - off - done);
            memcpy(buf + done, d->meta + off + done, n);
        } else {
            ret = read_data(d, off + done, buf + done, &n);
        }
    }
    return ret;
}

static bool is_changed(const Vvfat *v, uint64_t s) { return v->changed && v->changed[s / 8] >> s % 8 & 1; }

static int read_work(void *arg)
{
    const Work *w = arg;
    int ret = 0;

    for (size_t done = 0, n; done < w->len && !ret; done += n) {
        uint64_t s = (w->off + done) / FAT_SECTOR;
        bool there = is_changed(w->v, s);

        for (n = FAT_SECTOR; done + n < w->len && is_changed(w->v, s + n / FAT_SECTOR) == there; n += FAT_SECTOR)
            ;
        if (!there)
            ret = read_made(&w->v->d, w->off + done, w->buf + done, n);
        else if (pread(w->v->written, w->buf + done, n, (off_t)(w->off + done)) != (ssize_t)n)
            ret = -EIO;
    }
    return ret;
}

static int write_work(void *arg)
{
    const Work *w = arg;
    ssize_t put = pwrite(w->v->written, w->buf, w->len, (off_t)w->off);

    return put == (ssize_t)w->len ? 0 : put < 0 ? -errno : -ENOSPC;
}

static CO_FN int vvfat_submit(Node *n, BlkReq *r)
{
    Vvfat *v = n->opaque;
    g_autofree uint8_t *buf = NULL;
    Work w = { v, r->off, NULL, r->len };
    int ret;

    if (r->op == BLK_FLUSH)
        return 0;
    if (r->op != BLK_READ && r->op != BLK_WRITE)
        return -ENOTSUP;
    w.buf = buf = g_try_malloc(MAX(r->len, 1));
    if (!buf)
        return -ENOMEM;
    if (r->op == BLK_READ) {
        ret = blk_in_pool(n->loop, read_work, &w);
        if (!ret)
            iov_scatter(r->iov, r->niov, 0, buf, r->len);
        return ret;
    }
    iov_gather(r->iov, r->niov, 0, buf, r->len);
    ret = blk_in_pool(n->loop, write_work, &w);
    for (uint64_t s = r->off / FAT_SECTOR; !ret && s < (r->off + r->len) / FAT_SECTOR; s++)
        v->changed[s / 8] |= (uint8_t)(1 << s % 8);
    return ret;
}

/* ---- opening ---- */
static void set_flag(Opts *o, const char *key)
{
    if (!opts_peek(o, key))
        opts_set(o, key, "on");
}

/* "fat:rw:floppy:16:DIR" */
static void take_name(Opts *o)
{
    g_autofree char *name = opts_take(o, "filename");
    const char *p = name ? name : "";

    if (!name)
        return;
    if (g_str_has_prefix(p, "fat:"))
        p += 4;
    for (;;) {
        if (g_str_has_prefix(p, "rw:")) {
            set_flag(o, "rw");
            p += 3;
        } else if (g_str_has_prefix(p, "floppy:")) {
            set_flag(o, "floppy");
            p += 7;
        } else if (g_str_has_prefix(p, "12:") || g_str_has_prefix(p, "16:") || g_str_has_prefix(p, "32:")) {
            g_autofree char *type = g_strndup(p, 2);

            opts_set(o, "fat-type", type);
            p += 3;
        } else {
            break;
        }
    }
    if (!opts_peek(o, "dir"))
        opts_set(o, "dir", p);
}

static bool set_label(FatDisk *d, const char *label, Error **err)
{
    size_t n = strlen(label);

    if (n > 11)
        return fail(err, "vvfat label cannot be longer than 11 bytes");
    memset(d->label, ' ', 11);
    memcpy(d->label, label, n);
    return true;
}

static bool open_written(Node *n, Error **err)
{
    Vvfat *v = n->opaque;
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "menura-vvfat.XXXXXX", NULL);

    v->written = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);
    if (v->written < 0)
        return fail_errno(err, "cannot make a temporary file in '%s'", g_get_tmp_dir());
    unlink(path);
    v->changed = g_malloc0(v->d.sectors / 8 + 1);
    return true;
}

static void vvfat_close(Node *n)
{
    Vvfat *v = n->opaque;

    if (v->written >= 0)
        close(v->written);
    g_free(v->changed);
    g_free(v->d.meta);
    if (v->d.placed)
        g_ptr_array_free(v->d.placed, TRUE);
    fat_tree_free(v->d.root);
}

static bool open_steps(Node *n, Opts *o, Error **err)
{
    Vvfat *v = n->opaque;
    const char *dir = opts_get(o, "dir"), *label = opts_get(o, "label");
    uint64_t type;
    bool rw;

    if (!dir || !*dir) {
        fail(err, "vvfat block driver requires a 'dir' option");
        return error_hint(err, "file=fat:DIR");
    }
    if (!opts_get_u64(o, "fat-type", 0, &type, err) || !opts_get_bool(o, "floppy", false, &v->d.floppy, err) || !opts_get_bool(o, "rw", false, &rw, err) ||
        !set_label(&v->d, label ? label : "MENURA FAT", err))
        return false;
    if (type && type != 12 && type != 16 && type != 32)
        return fail(err, "Valid FAT types are only 12, 16 and 32");
    if (rw && n->readonly)
        rw = false;
    v->d.type = (unsigned)type;
    n->filename = g_strconcat("fat:", dir, NULL);
    v->d.root = fat_scan(dir, err);
    if (!v->d.root || !fat_lay_out(&v->d, dir, err))
        return false;
    n->size = v->d.sectors * FAT_SECTOR;
    n->readonly = !rw;
    return !rw || open_written(n, err);
}

static CO_FN bool vvfat_open(Node *n, Opts *o, Error **err)
{
    Vvfat *v = n->opaque;

    v->written = -1;
    take_name(o);
    if (open_steps(n, o, err))
        return true;
    vvfat_close(n);
    return false;
}

static void vvfat_limits(Node *n, BlkLimits *out)
{
    out->align = FAT_SECTOR;
    out->max_transfer = 1 << 20;
}

static const BlkDriver vvfat = { .name = "vvfat", .schemes = "fat", .size = sizeof(Vvfat), .protocol = true, .open = vvfat_open, .close = vvfat_close,
                                 .submit = vvfat_submit, .limits = vvfat_limits };
BLK_DRIVER(vvfat);
