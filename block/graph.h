/*
 * block/graph.h - the graph of nodes as the monitor and jobs see it: finding nodes by name, putting one in another's place,
 * and what several users of one node claim. VM loop, VM lock.
 */
#ifndef BLOCK_GRAPH_H
#define BLOCK_GRAPH_H
#include "block/node.h"
#include "core/vm.h"

typedef struct Disk Disk;
/* Any node that a drive, an export or another node holds; NULL: none of that name. */
Node *graph_find(Vm *vm, const char *node_name);
/* By a drive's id or a node's name, as commands' "device"; NULL + err. */
Node *graph_lookup(Vm *vm, const char *device, Error **err);
Disk *graph_disk_of(Vm *vm, const Node *n); /* the drive, of a device if there is one, whose root it is; NULL */
bool graph_is_below(const Node *top, const Node *n); /* among the backing files of top */
/* Every user of `from` but `to` itself uses `to` from now on: devices, exports, nodes above. In between of
 * node_quiesce(from) and node_release(from). */
bool graph_replace(Vm *vm, Node *from, Node *to, Error **err);
/* Roots of which graph_find knows nothing else (exports). */
void graph_foreach_root(Vm *vm, void (*fn)(Node **root, void *arg), void *arg);

/* ---- claims: what a user other than the one of node_permissions wants, and lets others do ---- */
typedef struct NodeClaim {
    Node *n; /* NULL: not made */
    unsigned want, share;
    const char *who; /* "block device 'x'", for the text of a conflict; borrowed */
    bool moves; /* graph_replace takes it along: it is a root's */
    bool same;  /* what it writes is what the nodes above show already (a commit): they need not allow it */
} NodeClaim;
bool node_claim(NodeClaim *c, Node *n, unsigned want, unsigned share, Error **err);
void node_unclaim(NodeClaim *c);
void node__move_claims(Node *from, Node *to);
/* What a node above lets others do with its backing file. */
unsigned node__backing_share(unsigned share);
#endif
