/*
 * block/snapset/snapset.h - snapshots of a machine's disks in a folder. A disk image always holds the present contents;
 * the folder keeps what snapshots need to go back, saved before it is overwritten (copy before write). Two files: `index`
 * says who has what, `blocks` has the old contents. README.md has the formats and the rules.
 *
 * All of it runs on the loop of the nodes, in coroutines unless said. Errors of the host come as -errno or Error.
 */
#ifndef BLOCK_SNAPSET_H
#define BLOCK_SNAPSET_H
#include "block/node.h"

typedef struct SnapSet SnapSet;
typedef struct SnapStamp { /* what a disk's file looked like when we last saw it */
    bool known;            /* false: it has no file of its own whose time tells anything */
    uint64_t bytes, mtime_ns;
    uint32_t head; /* checksum of the first bytes of the disk */
} SnapStamp;
typedef struct SnapInfo { /* borrowed from the set */
    uint32_t id, parent;  /* parent 0: none */
    const char *tag;
    uint64_t date_ns, vm_clock_ns, state_bytes;
    unsigned disks;
} SnapInfo;

/* Both files grow; the set takes references. An empty index is a new set. Not in a coroutine, or in one. */
SnapSet *snapset_open(Loop *loop, Node *index, Node *blocks, Error **err);
void snapset_free(SnapSet *s); /* writes what is still to be written */
unsigned snapset_count(const SnapSet *s);
SnapInfo snapset_info(const SnapSet *s, unsigned n); /* in order of creation */
uint32_t snapset_current(const SnapSet *s);          /* the snapshot that the present state comes from; 0: none */
uint32_t snapset_find(const SnapSet *s, const char *tag_or_id); /* 0: none. A tag counts before an id */
uint32_t snapset_next_id(const SnapSet *s);
uint32_t snapset_restoring(const SnapSet *s); /* the disks are on the way there: snapset_resume; 0: they are not */
uint64_t snapset_bytes(const SnapSet *s);     /* of old contents kept */

/* The image of this name (a path) takes part from now on: `disk` is what reads and writes it. False + err: it was changed
 * by something else than us since; then it is known, but no snapshot of it can be used. `now`: its file's facts. */
CO_FN bool snapset_attach(SnapSet *s, const char *name, Node *disk, const SnapStamp *now, unsigned *image, Error **err);
/* All is written to its file. exact: nothing of ours changes the file any more, so the stamp can be told to the nanosecond. */
CO_FN int snapset_detach(SnapSet *s, unsigned image, const SnapStamp *now, bool exact);
int snapset_image(const SnapSet *s, const char *name); /* -1: none of that name */
const char *snapset_image_name(const SnapSet *s, unsigned image);
bool snapset_stale(const SnapSet *s, unsigned image);
bool snapset_attached(const SnapSet *s, unsigned image);
/* Another image has its contents from now on. One that had that name before, and that no snapshot needs, is known by the old name. False + err: the
 * index could not be written; then a later commit does it. */
CO_FN bool snapset_move(SnapSet *s, unsigned image, const char *name, Node *disk, const SnapStamp *now, Error **err);
bool snapset_needs(const SnapSet *s, unsigned image); /* some snapshot has it */
CO_FN uint32_t snapset_head(Node *disk); /* for a stamp */

/* Before [off, off+len) of an attached image changes: returns when the old contents are safe. Any number at once. */
CO_FN int snapset_before(SnapSet *s, unsigned image, uint64_t off, uint64_t len);

/* The rest: nothing is in flight on the images, and they are flushed. */
CO_FN bool snapset_save(SnapSet *s, const SnapInfo *info, const unsigned *images, unsigned n, Error **err);
/* Could snapset_restore go there? Names the image that is missing or was changed. */
bool snapset_can_restore(const SnapSet *s, uint32_t id, Error **err);
/* All or nothing, but for an error of the disk in the middle: then snapset_restoring says so, and snapset_resume (or the
 * next start) goes on. */
CO_FN bool snapset_restore(SnapSet *s, uint32_t id, Error **err);
CO_FN bool snapset_resume(SnapSet *s, Error **err); /* true at once when there is nothing to do */
CO_FN bool snapset_delete(SnapSet *s, uint32_t id, Error **err);
/* For tests: every block that a snapshot names exists, and no counter is wrong. */
bool snapset_consistent(const SnapSet *s);
#endif
