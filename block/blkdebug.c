/*
 * block/blkdebug.c - driver "blkdebug": errors on purpose. Each request is an event (read_aio, write_aio, flush_to_os, ..); a rule that
 * matches the event in the present state fails it (inject-error) or changes the state (set-state). Rules come from options
 * (inject-error.0.event=..) or a file (config=) with the same names in sections.
 */
#include "block/priv.h"
#include <errno.h>

typedef struct Rule {
    bool sets;             /* set-state */
    int event;             /* of names; -1: any */
    uint64_t state;        /* 0: any */
    uint64_t new_state, error, iotypes, sector; /* sector: UINT64_MAX: any */
    bool once, spent;
} Rule;
typedef struct Debug {
    GArray *rules;
    uint64_t state;
    uint64_t align, max_transfer, max_zero, max_discard;
} Debug;
/* clang-format off */
static const struct {
    const char *event, *iotype;
} names[] = {
    [BLK_READ] = { "read_aio", "read" },           [BLK_WRITE] = { "write_aio", "write" },    [BLK_FLUSH] = { "flush_to_os", "flush" },
    [BLK_DISCARD] = { "discard", "discard" },      [BLK_ZERO] = { "write_zeroes", "write-zeroes" }, [BLK_STATUS] = { "block_status", "block-status" },
    [BLK_TRUNCATE] = { "truncate", "truncate" },
};
enum { OPS = G_N_ELEMENTS(names), RULES_MAX = 1000 };
/* Other spellings of the same moments, as the formats of QEMU have them. */
static const struct {
    const char *name;
    BlkOp op;
} aliases[] = { { "pwritev", BLK_WRITE }, { "flush_to_disk", BLK_FLUSH }, { "pwritev_zero", BLK_ZERO }, { "read", BLK_READ }, { "write", BLK_WRITE } };
/* clang-format on */

/* ---- rules ---- */
static bool event_of(const char *v, int *out, Error **err)
{
    *out = -1;
    if (!v || !strcmp(v, "none"))
        return true;
    for (int i = 0; i < OPS; i++)
        if (!strcmp(names[i].event, v))
            *out = i;
    for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++)
        if (!strcmp(aliases[i].name, v))
            *out = (int)aliases[i].op;
    if (*out >= 0)
        return true;
    fail(err, "blkdebug: there is no event '%s' here", v);
    return error_hint(err, "one of none, read_aio, write_aio, pwritev, flush_to_os, flush_to_disk, write_zeroes, discard, block_status, truncate");
}

static bool iotype_of(const char *v, uint64_t *out, Error **err)
{
    *out = 1u << BLK_READ | 1u << BLK_WRITE | 1u << BLK_ZERO | 1u << BLK_DISCARD | 1u << BLK_FLUSH;
    for (int i = 0; v && i < OPS; i++)
        if (!strcmp(names[i].iotype, v)) {
            *out = 1u << i;
            return true;
        }
    return !v || fail(err, "blkdebug: iotype=%s: not a kind of request", v);
}

static bool take_rule(Debug *s, Opts *o, bool sets, Error **err)
{
    Rule r = { .sets = sets, .error = EIO, .sector = UINT64_MAX };
    bool now;

    if (!event_of(opts_get(o, "event"), &r.event, err) || !opts_get_u64(o, "state", 0, &r.state, err))
        return false;
    if (sets ? !opts_get_u64(o, "new_state", 0, &r.new_state, err)
             : !iotype_of(opts_get(o, "iotype"), &r.iotypes, err) || !opts_get_u64(o, "errno", EIO, &r.error, err) ||
                   !opts_get_u64(o, "sector", UINT64_MAX, &r.sector, err) || !opts_get_bool(o, "once", false, &r.once, err) ||
                   !opts_get_bool(o, "immediately", false, &now, err))
        return false;
    if (r.error < 1 || r.error > 4095)
        return fail(err, "blkdebug: errno=%" PRIu64 " is none", r.error);
    g_array_append_val(s->rules, r);
    return opts_all_used(o, sets ? "set-state" : "inject-error", err);
}

/* KIND.0.x, KIND.1.x, .. */
static bool take_rules(Debug *s, Opts *o, const char *kind, Error **err)
{
    for (unsigned i = 0; i < RULES_MAX; i++) {
        g_autofree char *prefix = g_strdup_printf("%s.%u", kind, i);
        g_autoptr(Opts) sub = opts_sub(o, prefix);

        if (!sub->v->len)
            return true;
        if (!take_rule(s, sub, *kind == 's', err))
            return false;
    }
    return fail(err, "blkdebug: more than %d rules", RULES_MAX);
}

/* [inject-error] or [set-state], then lines KEY = "VALUE". */
static bool read_config(Debug *s, const char *path, Error **err)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) why = NULL;
    g_auto(GStrv) lines = NULL;
    g_autoptr(Opts) o = NULL;
    bool sets = false;

    if (!g_file_get_contents(path, &text, NULL, &why))
        return fail(err, "Could not read blkdebug config file: %s", why->message);
    lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        char *line = g_strstrip(*l), *eq = strchr(line, '=');

        if (*line == '[') {
            if (o && !take_rule(s, o, sets, err))
                return false;
            sets = !strcmp(line, "[set-state]");
            if (!sets && strcmp(line, "[inject-error]"))
                return fail(err, "'%s': no such section: %s", path, line);
            opts_free(o);
            o = opts_new();
        } else if (eq && o) {
            *eq = 0;
            g_strdelimit(eq + 1, "\"", ' ');
            opts_set(o, g_strstrip(line), g_strstrip(eq + 1));
        } else if (*line && *line != '#') {
            return fail(err, "'%s': not understood: %s", path, line);
        }
    }
    return !o || take_rule(s, o, sets, err);
}

/* ---- the driver ---- */
static CO_FN bool debug_open(Node *n, Opts *o, Error **err)
{
    Debug *s = n->opaque;
    const char *config = opts_get(o, "config");

    s->rules = g_array_new(FALSE, TRUE, sizeof(Rule));
    s->state = 1;
    n->size = n->file->size;
    if ((!config || !*config || read_config(s, config, err)) && take_rules(s, o, "inject-error", err) && take_rules(s, o, "set-state", err) &&
        opts_get_size(o, "align", 0, &s->align, err) && opts_get_size(o, "max-transfer", 0, &s->max_transfer, err) &&
        opts_get_size(o, "max-write-zero", 0, &s->max_zero, err) && opts_get_size(o, "max-discard", 0, &s->max_discard, err)) {
        if (!s->align || (is_pow2(s->align) && s->align <= MiB))
            return true;
        fail(err, "Cannot meet constraints with align %" PRIu64, s->align);
    }
    g_array_free(s->rules, TRUE);
    return false;
}

static CO_FN void debug_close(Node *n) { g_array_free(((Debug *)n->opaque)->rules, TRUE); }

static bool touches(const BlkReq *r, uint64_t sector)
{
    return sector == UINT64_MAX || (r->op != BLK_FLUSH && r->op != BLK_TRUNCATE && sector * 512 >= r->off && sector * 512 < r->off + r->len);
}

/* 0, or the error that the request has. States change after all rules have been looked at. */
static int happen(Debug *s, const BlkReq *r)
{
    uint64_t next = s->state;
    int ret = 0;

    for (guint i = 0; i < s->rules->len; i++) {
        Rule *u = &g_array_index(s->rules, Rule, i);

        if (u->spent || (u->event >= 0 && u->event != (int)r->op) || (u->state && u->state != s->state))
            continue;
        if (u->sets) {
            next = u->new_state;
        } else if (!ret && u->iotypes & 1u << r->op && touches(r, u->sector)) {
            ret = -(int)u->error;
            u->spent = u->once;
        }
    }
    s->state = next;
    return ret;
}

static CO_FN int debug_submit(Node *n, BlkReq *r)
{
    int ret = (int)r->op < OPS ? happen(n->opaque, r) : 0;

    return ret ? ret : block__forward(n, r);
}

static void debug_limits(Node *n, BlkLimits *out)
{
    const Debug *s = n->opaque;

    out->align = s->align ? (uint32_t)s->align : out->align;
    out->max_transfer = s->max_transfer ? s->max_transfer : out->max_transfer;
    out->max_zero = s->max_zero ? s->max_zero : out->max_zero;
    out->max_discard = s->max_discard ? s->max_discard : out->max_discard;
}

static const BlkDriver blkdebug = {
    .name = "blkdebug",
    .size = sizeof(Debug),
    .file_key = "image",
    .open = debug_open,
    .close = debug_close,
    .submit = debug_submit,
    .limits = debug_limits,
};
BLK_DRIVER(blkdebug);
