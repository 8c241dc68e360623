/*
 * migrate/folder.c - snapshots in a folder: `index` and `blocks` have the disks (block/snapset), N.state has RAM and devices
 * of snapshot N. The state is there before the index names it, and goes after the index forgot it: what a crash leaves over
 * is swept when the folder is opened.
 */
#include "block/image.h"
#include "block/snapset/snapset.h"
#include "core/api/snapshot.h"
#include "migrate/snappriv.h"
#include "migrate/statefile.h"
#include "util/rcu.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Folder {
    Vm *vm;
    char *dir;
    int lock; /* -1: not open */
    SnapSet *set;
    GPtrArray *guarded; /* of Guarded */
} Folder;
typedef struct Guarded {
    Folder *f;
    Disk *disk;
    unsigned image;
} Guarded;

static Folder *folder_of(Vm *vm) { return vm_lookup(vm, "snapshots", ""); }
bool snap__has_folder(Vm *vm) { return folder_of(vm); }

/* ---- a disk's file ---- */
static const Node *leaf_of(const Node *n)
{
    while (n->file)
        n = n->file;
    return n;
}

static char *name_with(const Node *n, const char *id)
{
    const char *file = leaf_of(n)->filename;
    char *real = file ? realpath(file, NULL) : NULL, *name = real ? g_strdup(real) : g_strdup_printf("drive:%s", id);

    free(real);
    return name;
}

static char *name_of(const Disk *d) { return name_with(disk_node(d), disk_id(d)); }

/* Formats write to their file when they close, too: for them the time says less. The head is asked for only in a stamp of a proper end. */
static CO_FN SnapStamp stamp_of(const Disk *d, bool head)
{
    Node *n = disk_node(d);
    const Node *leaf = leaf_of(n);
    struct stat st;
    SnapStamp s = { 0 };

    if (!leaf->filename || stat(leaf->filename, &st) || !S_ISREG(st.st_mode))
        return s;
    s = (SnapStamp){ .known = true, .bytes = (uint64_t)st.st_size, .head = head ? snapset_head(n) : 0 };
    s.mtime_ns = (uint64_t)st.st_mtim.tv_sec * SEC + (uint64_t)st.st_mtim.tv_nsec;
    return s;
}

static bool takes_part(const Disk *d) { return disk_node(d) && disk_attached(d) && !disk_readonly(d); }

/* ---- guards ---- */
typedef struct Attach {
    Folder *f;
    Disk *d;
    Error **err;
    bool ok;
} Attach;

static CO_FN int before(void *o, uint64_t off, uint64_t len)
{
    Guarded *g = o;

    return snapset_before(g->f->set, g->image, off, len);
}

static void detach_body(void *arg)
{
    Guarded *g = arg;
    SnapStamp st;

    if (blk_flush(disk_node(g->disk)))
        return;
    st = stamp_of(g->disk, true);
    if (st.known && strcmp(disk_format(g->disk), "raw"))
        st.mtime_ns = (uint64_t)g_get_real_time() * US;
    snapset_detach(g->f->set, g->image, &st, !strcmp(disk_format(g->disk), "raw"));
}

static void gone(void *o)
{
    Guarded *g = o;

    blk_run(g->f->vm->loop, detach_body, g);
    g_ptr_array_remove(g->f->guarded, g);
}

/* ---- the disk goes on in another image: its snapshots are of that one from then on ---- */
static bool may_move(void *o, Node *to, Error **err)
{
    const Guarded *g = o;
    const char *node = vm_lookup(g->f->vm, "node", disk_id(g->disk)) == g->disk && to->name ? to->name : disk_id(g->disk);
    g_autofree char *name = name_with(to, node);
    int image = snapset_image(g->f->set, name);

    if (!state_name_ok(name, strlen(name)))
        return fail(err, "'%s' cannot have snapshots: its name is not text", name);
    if (image < 0 || image == (int)g->image || (!snapset_attached(g->f->set, (unsigned)image) && !snapset_needs(g->f->set, (unsigned)image)))
        return true;
    fail(err, "'%s' has snapshots of its own in '%s'", name, g->f->dir);
    return error_hint(err, "delete them (delvm), or give the disk another image");
}

typedef struct Moved {
    const Guarded *g;
    Error *err;
} Moved;

static void moved_body(void *arg)
{
    Moved *m = arg;
    const Guarded *g = m->g;
    g_autofree char *name = name_of(g->disk);
    SnapStamp st = stamp_of(g->disk, false); /* nothing of the disk moves just now */

    snapset_move(g->f->set, g->image, name, disk_node(g->disk), &st, &m->err);
}

static void moved(void *o)
{
    Moved m = { o, NULL };

    blk_run(m.g->f->vm->loop, moved_body, &m);
    if (m.err)
        warn_report("%s", error_text(m.err));
    error_free(m.err);
}

static void attach_body(void *arg)
{
    Attach *a = arg;
    g_autofree char *name = name_of(a->d);
    Guarded *g;
    SnapStamp st;
    unsigned image;

    blk_flush(disk_node(a->d));
    st = stamp_of(a->d, true);
    a->ok = snapset_attach(a->f->set, name, disk_node(a->d), &st, &image, a->err);
    if (snapset_image(a->f->set, name) < 0 || disk_guarded(a->d))
        return;
    g = g_new(Guarded, 1);
    *g = (Guarded){ .f = a->f, .disk = a->d, .image = image };
    g_ptr_array_add(a->f->guarded, g);
    disk_set_guard(a->d, &(DiskGuard){ before, gone, may_move, moved, g });
}

/* Those that have snapshots. */
static void attach_known(const char *id, void *p, void *arg)
{
    Attach *a = arg;
    Disk *d = p;
    g_autofree char *name = takes_part(d) ? name_of(d) : NULL;
    Error *e = NULL;
    int image = name ? snapset_image(a->f->set, name) : -1;

    if (image < 0 || disk_guarded(d) || disk_is_temporary(d) || !snapset_needs(a->f->set, (unsigned)image))
        return;
    a->d = d;
    a->err = &e;
    blk_run(a->f->vm->loop, attach_body, a);
    if (e)
        warn_report("%s; the snapshots in %s cannot be loaded, delete them", error_text(e), a->f->dir);
    error_free(e);
}

/* ---- the folder ---- */
static char *state_path(const Folder *f, uint32_t id, const char *suffix)
{
    return g_strdup_printf("%s/%u.state%s", f->dir, id, suffix);
}

static bool sync_dir(const Folder *f, Error **err)
{
    int fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && !fsync(fd);

    if (!ok)
        fail_errno(err, "cannot sync '%s'", f->dir);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* States that the index does not name. */
static void sweep(const Folder *f)
{
    GDir *d = g_dir_open(f->dir, 0, NULL);
    const char *file;

    while (d && (file = g_dir_read_name(d))) {
        const char *dot = strchr(file, '.');
        g_autofree char *id = dot && g_str_has_prefix(dot, ".state") ? g_strndup(file, (gsize)(dot - file)) : NULL, *path = NULL;
        uint64_t n;
        bool named = false;

        if (!id || !parse_u64(id, &n, NULL))
            continue;
        for (unsigned i = 0; i < snapset_count(f->set) && !strcmp(dot, ".state"); i++)
            named |= snapset_info(f->set, i).id == n;
        path = g_build_filename(f->dir, file, NULL);
        if (!named)
            g_unlink(path);
    }
    if (d)
        g_dir_close(d);
}

static Node *open_node(const Folder *f, const char *name, Error **err)
{
    g_autofree char *path = g_build_filename(f->dir, name, NULL);
    g_autoptr(Opts) o = opts_new();
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0) {
        fail_errno(err, "cannot open '%s'", path);
        return NULL;
    }
    close(fd);
    opts_set(o, "driver", "file");
    opts_set(o, "filename", path);
    opts_set(o, "locking", "off"); /* the folder has its own */
    return node_open(f->vm->loop, o, false, err);
}

static bool take_lock(Folder *f, Error **err)
{
    g_autofree char *path = g_build_filename(f->dir, "lock", NULL);

    f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (f->lock < 0)
        return fail_errno(err, "cannot open '%s'", path);
    if (!flock(f->lock, LOCK_EX | LOCK_NB))
        return true;
    close(f->lock);
    f->lock = -1;
    return fail(err, "the snapshots in '%s' are in use by another machine", f->dir);
}

static void close_folder(Folder *f)
{
    g_clear_pointer(&f->set, snapset_free);
    if (f->lock >= 0)
        close(f->lock);
    f->lock = -1;
}

static bool open_folder(Folder *f, Error **err)
{
    Attach a = { .f = f };
    Node *index, *blocks;

    if (f->set)
        return true;
    if (g_mkdir_with_parents(f->dir, 0700))
        return fail_errno(err, "cannot make the folder '%s'", f->dir);
    if (!take_lock(f, err))
        return false;
    index = open_node(f, "index", err);
    blocks = index ? open_node(f, "blocks", err) : NULL;
    f->set = blocks ? snapset_open(f->vm->loop, index, blocks, err) : NULL;
    node_unref(index);
    node_unref(blocks);
    if (!f->set || !sync_dir(f, err)) {
        close_folder(f);
        return false;
    }
    sweep(f);
    vm_registry_foreach(f->vm, "drive", attach_known, &a);
    return true;
}

static void folder_free(void *p)
{
    Folder *f = p;

    while (f->guarded->len) { /* each turn ends one */
        Guarded *g = f->guarded->pdata[0];

        disk_set_guard(g->disk, NULL);
        gone(g);
    }
    close_folder(f);
    g_ptr_array_free(f->guarded, TRUE);
    g_free(f->dir);
    g_free(f);
}

typedef struct Resume {
    Folder *f;
    Error **err;
    bool ok;
} Resume;

static void resume_body(void *arg)
{
    Resume *r = arg;

    r->ok = snapset_resume(r->f->set, r->err);
}

bool snapshot_folder(Vm *vm, const char *dir, Error **err)
{
    Folder *f = g_new0(Folder, 1);
    g_autofree char *index = g_build_filename(dir, "index", NULL);
    Resume r = { f, err, true };

    f->vm = vm;
    f->dir = g_strdup(dir);
    f->lock = -1;
    f->guarded = g_ptr_array_new_with_free_func(g_free);
    vm_register(vm, "snapshots", "", f);
    own(&vm->root, f, folder_free);
    if (!g_file_test(index, G_FILE_TEST_EXISTS))
        return true;
    if (!open_folder(f, err))
        return false;
    blk_run(vm->loop, resume_body, &r); /* a crash in the middle of going back */
    return r.ok;
}

/* ---- saving ---- */
typedef struct All {
    Folder *f;
    Error **err;
    bool ok;
} All;

/* It was changed by others, but the snapshots that minded are gone. */
static bool forgiven(Folder *f, const Disk *d)
{
    g_autofree char *name = name_of(d);
    int image = snapset_image(f->set, name);

    return image >= 0 && snapset_stale(f->set, (unsigned)image) && !snapset_needs(f->set, (unsigned)image);
}

static CO_FN void attach_all(const char *id, void *p, void *arg)
{
    All *c = arg;
    Attach a = { c->f, p, c->err, true };

    if (!c->ok || !takes_part(p))
        return;
    if (disk_is_temporary(p)) {
        c->ok = fail(c->err, "drive '%s' has snapshot=on: its contents end with this process and cannot be kept", disk_id(p));
        return;
    }
    if (disk_is_shared(p)) {
        c->ok = fail(c->err, "drive '%s' has share-rw=on: what others write to it would not be kept", disk_id(p));
        return;
    }
    if (!disk_guarded(p) || forgiven(c->f, p))
        attach_body(&a);
    else if (blk_flush(disk_node(p)))
        a.ok = fail(c->err, "drive '%s' cannot be flushed", disk_id(p));
    c->ok = a.ok;
}

typedef struct WriteState {
    const Image *image;
    const char *path;
    uint64_t bytes;
} WriteState;

static bool write_state(void *arg, Error **err)
{
    WriteState *w = arg;
    bool ok;

    rcu_lock();
    ok = statefile_write(w->path, w->image, &w->bytes, err);
    rcu_unlock();
    return ok;
}

static CO_FN bool put_state(Folder *f, uint32_t id, RunState before, uint64_t *bytes, Error **err)
{
    g_autofree char *temp = state_path(f, id, ".new"), *path = state_path(f, id, "");
    Image *image = image_take(f->vm, before, err);
    WriteState w = { image, temp, 0 };
    bool ok = image && snap__in_pool(f->vm, write_state, &w, err);

    image_free(image);
    if (ok && g_rename(temp, path))
        ok = fail_errno(err, "cannot make '%s'", path);
    *bytes = w.bytes;
    return ok && sync_dir(f, err);
}

static CO_FN bool forget(Folder *f, uint32_t id, Error **err)
{
    g_autofree char *path = state_path(f, id, "");

    if (!snapset_delete(f->set, id, err))
        return false;
    g_unlink(path);
    return true;
}

static CO_FN bool save(Job *j, const SnapAsk *ask, RunState before, Error **err)
{
    Vm *vm = job_vm(j);
    Folder *f = folder_of(vm);
    All all = { f, err, true };
    g_autofree unsigned *images = NULL;
    SnapInfo info = { .tag = ask->tag, .date_ns = (uint64_t)g_get_real_time() * US, .vm_clock_ns = (uint64_t)vm_now(vm) };
    uint32_t old;

    if (!open_folder(f, err))
        return false;
    old = snapset_find(f->set, ask->tag);
    if (old && !ask->replace)
        return fail(err, "Snapshot '%s' already exists in one or more devices", ask->tag);
    vm_registry_foreach(vm, "drive", attach_all, &all);
    info.id = snapset_next_id(f->set);
    if (!all.ok || !snapset_resume(f->set, err) || !put_state(f, info.id, before, &info.state_bytes, err))
        return false;
    images = g_new(unsigned, f->guarded->len + 1);
    for (guint i = 0; i < f->guarded->len; i++)
        images[i] = ((Guarded *)f->guarded->pdata[i])->image;
    if (!snapset_save(f->set, &info, images, f->guarded->len, err)) {
        g_autofree char *path = state_path(f, info.id, "");

        g_unlink(path);
        return false;
    }
    return !old || forget(f, old, err);
}

/* ---- loading ---- */
typedef struct Plan {
    uint32_t id;
    char *path;
    StateFile *file;
} Plan;

static void free_plan(void *p)
{
    Plan *v = p;

    if (v)
        statefile_free(v->file);
    if (v)
        g_free(v->path);
    g_free(v);
}

static bool read_state(void *arg, Error **err)
{
    Plan *v = arg;

    v->file = statefile_read(v->path, err);
    return v->file;
}

/* Disks of the machine that the snapshot has not would stay as they are, out of step with the rest. */
static void is_in(const char *id, void *p, void *arg)
{
    All *c = arg;

    if (c->ok && takes_part(p) && !disk_guarded(p))
        c->ok = fail(c->err, "drive '%s' is not part of the snapshot", disk_id(p));
}

static CO_FN bool check(Job *j, const SnapAsk *ask, void **plan, Error **err)
{
    Folder *f = folder_of(job_vm(j));
    All all = { f, err, true };
    Plan *v;

    if (!open_folder(f, err))
        return false;
    v = g_new0(Plan, 1);
    *plan = v;
    v->id = snapset_find(f->set, ask->tag);
    if (!v->id)
        return fail(err, "Snapshot '%s' does not exist in '%s'", ask->tag, f->dir);
    v->path = state_path(f, v->id, "");
    vm_registry_foreach(f->vm, "drive", is_in, &all);
    return all.ok && snapset_can_restore(f->set, v->id, err) && snap__in_pool(f->vm, read_state, v, err) &&
           statefile_check(v->file, f->vm, err);
}

static void is_busy(const char *id, void *disk, void *arg) { *(bool *)arg |= disk_busy(disk); }

static CO_FN bool load(Job *j, const SnapAsk *ask, void *plan, Error **err)
{
    Folder *f = folder_of(job_vm(j));
    Plan *v = plan;
    bool busy = false;

    if (!snapset_restore(f->set, v->id, err))
        return false;
    vm_registry_foreach(f->vm, "drive", is_busy, &busy);
    g_assert(!busy);
    return statefile_load(v->file, f->vm, err);
}

static CO_FN bool drop(Job *j, const SnapAsk *ask, Error **err)
{
    Folder *f = folder_of(job_vm(j));
    uint32_t id;

    if (!open_folder(f, err))
        return false;
    id = snapset_find(f->set, ask->tag);
    return !id || forget(f, id, err);
}

/* ---- telling ---- */
static bool look(Folder *f)
{
    g_autofree char *index = g_build_filename(f->dir, "index", NULL);

    return f->set || (g_file_test(index, G_FILE_TEST_EXISTS) && open_folder(f, NULL));
}

static void list(Vm *vm, GString *out)
{
    Folder *f = folder_of(vm);

    if (!look(f) || !snapset_count(f->set)) {
        g_string_append(out, "There is no snapshot available.\n");
        return;
    }
    g_string_append_printf(out, "List of snapshots in %s:\n", f->dir);
    blk_snapshot_head(out);
    for (unsigned i = 0; i < snapset_count(f->set); i++) {
        SnapInfo s = snapset_info(f->set, i);
        g_autofree char *id = g_strdup_printf("%u", s.id);

        blk_snapshot_row(out, &(BlkSnapshot){ .id = id, .name = (char *)s.tag, .vm_state_bytes = s.state_bytes, .icount = -1,
                                              .date_s = (uint32_t)(s.date_ns / SEC), .vm_clock_ns = s.vm_clock_ns });
    }
}

bool qmp_query_snapshots(Vm *vm, MachineSnapshotList *ret, Error **err)
{
    Folder *f = folder_of(vm);

    API_EMPTY(ret);
    for (unsigned i = 0; f && look(f) && i < snapset_count(f->set); i++) {
        SnapInfo s = snapset_info(f->set, i);
        MachineSnapshot *m = API_ADD(ret);

        m->id = s.id;
        m->tag = g_strdup(s.tag);
        m->has_parent = s.parent;
        m->parent = s.parent;
        m->date_sec = (int64_t)(s.date_ns / SEC);
        m->vm_clock_nsec = (int64_t)s.vm_clock_ns;
        m->vm_state_size = (int64_t)s.state_bytes;
        m->disks = s.disks;
        m->current = s.id == snapset_current(f->set);
    }
    return true;
}

const SnapPlace snap__folder = { .save = save, .check = check, .load = load, .free_plan = free_plan, .remove = drop, .list = list };
