/*
 * block/perm.c - who may do what with a node: the one user of node_permissions (a device, a node above) and further claims
 * (jobs, exports). What all together want and allow goes down to the files and their locks.
 */
#include "block/graph.h"

static const char *const names[] = { "consistent read", "write", "write unchanged", "resize" };

static const char *first_of(unsigned perms)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        if (perms & 1u << i)
            return names[i];
    return "";
}

unsigned node__backing_share(unsigned share) { return share & PERM_WRITE ? share : share & ~(unsigned)(PERM_WRITE | PERM_RESIZE); }

/* One parent per node asks; a child gets what its parent asks, a backing file is only read. */
static bool apply(Node *n, unsigned want, unsigned share, Error **err)
{
    if (n->drv->permissions && !n->drv->permissions(n, NULL, want, share, err))
        return false;
    if (!n->drv->permissions && n->file && !node_permissions(n->file, want, share, err))
        return false;
    if (!n->drv->permissions && n->backing && !node_permissions(n->backing, want & PERM_CONSISTENT_READ, node__backing_share(share), err))
        return false;
    n->perm = want;
    n->shared = share;
    return true;
}

static bool conflict(const Node *n, const char *who, unsigned perms, Error **err)
{
    return fail(err, "Conflicts with use by %s, which does not allow '%s' on %s", who, first_of(perms), n->name);
}

/* Nodes above do not mind a commit into this one. */
static bool tolerated(const Node *n, const NodeClaim *c) { return c && c->same && !n->rooted; }

/* Does a new claim (want, share; c) fit in with the others, or without c what the one of node_permissions wants now? */
static bool fits(const Node *n, const NodeClaim *mine, unsigned want, unsigned share, Error **err)
{
    if (mine && want & ~n->own_share && !tolerated(n, mine))
        return conflict(n, "a block device as 'root'", want & ~n->own_share, err);
    if (mine && n->own_want & ~share)
        return conflict(n, "a block device as 'root', whose new companion", n->own_want & ~share, err);
    for (guint i = 0; n->claims && i < n->claims->len; i++) {
        const NodeClaim *c = n->claims->pdata[i];
        unsigned refused = c->want & ~share;

        if (!mine && tolerated(n, c))
            refused = 0;
        if (c != mine && (want & ~c->share || refused))
            return conflict(n, c->who, want & ~c->share ? want & ~c->share : refused, err);
    }
    return true;
}

static bool apply_all(Node *n, Error **err)
{
    unsigned want = n->own_want, share = n->own_share;

    for (guint i = 0; n->claims && i < n->claims->len; i++) {
        const NodeClaim *c = n->claims->pdata[i];

        want |= c->want;
        share &= c->share;
    }
    return apply(n, want, share, err);
}

bool node_permissions(Node *n, unsigned want, unsigned share, Error **err)
{
    unsigned old_want = n->own_want, old_share = n->own_share;

    if (n->force_share)
        share = PERM_ALL;
    if ((want & (PERM_WRITE | PERM_RESIZE)) && n->readonly) {
        fail(err, "'%s' is read-only", n->filename ? n->filename : n->name);
        return error_hint(err, "drop readonly=on, or use snapshot=on to keep what is written apart");
    }
    if (!fits(n, NULL, want, share, err))
        return false;
    n->own_want = want;
    n->own_share = share;
    if (apply_all(n, err))
        return true;
    n->own_want = old_want;
    n->own_share = old_share;
    return false;
}

bool node_claim(NodeClaim *c, Node *n, unsigned want, unsigned share, Error **err)
{
    node_unclaim(c);
    if (n->force_share)
        share = PERM_ALL;
    if ((want & (PERM_WRITE | PERM_RESIZE)) && n->readonly)
        return fail(err, "Block node is read-only");
    if (!fits(n, c, want, share, err))
        return false;
    c->n = n;
    c->want = want;
    c->share = share;
    if (!n->claims)
        n->claims = g_ptr_array_new();
    g_ptr_array_add(n->claims, c);
    if (apply_all(n, err))
        return true;
    node_unclaim(c);
    return false;
}

void node_unclaim(NodeClaim *c)
{
    Node *n = c->n;

    if (!n)
        return;
    c->n = NULL;
    g_ptr_array_remove(n->claims, c);
    apply_all(n, NULL);
}

void node__move_claims(Node *from, Node *to)
{
    for (guint i = from->claims ? from->claims->len : 0; i-- > 0;) {
        NodeClaim *c = from->claims->pdata[i];

        if (!c->moves)
            continue;
        g_ptr_array_remove_index(from->claims, i);
        if (!to->claims)
            to->claims = g_ptr_array_new();
        c->n = to;
        g_ptr_array_add(to->claims, c);
    }
    apply_all(from, NULL);
    apply_all(to, NULL);
}
