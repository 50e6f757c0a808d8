/* SPDX-License-Identifier: MIT */
/*
 * Internal snapshots: states of an image that are kept within the image itself. Where a node
 * has none of its own, they are those of the node below it that holds its data. Home thread, not
 * in a coroutine, unless said otherwise.
 *
 * Creating, applying and deleting drain the node: requests wait meanwhile, and see the result.
 */
#ifndef BLOCK_SNAPSHOT_H
#define BLOCK_SNAPSHOT_H

#include "block/block-common.h"
#include "qapi/error.h"

#pragma GCC visibility push(default)
G_BEGIN_DECLS

#define SNAPSHOT_OPT_BASE "snapshot."
#define SNAPSHOT_OPT_ID   "snapshot.id"
#define SNAPSHOT_OPT_NAME "snapshot.name"

typedef struct QEMUSnapshotInfo {
    char id_str[128]; /* unique snapshot id, a number as a rule */
    char name[256];   /* chosen by the user; need not be unique */
    uint64_t vm_state_size; /* bytes of machine state, 0: only the disk */
    uint32_t date_sec;      /* UTC date of the snapshot */
    uint32_t date_nsec;
    uint64_t vm_clock_nsec; /* machine's clock relative to its start */
    uint64_t icount;        /* instructions that the machine has run; UINT64_MAX: not known */
} QEMUSnapshotInfo;

/* Can snapshots be made now? Not of a read-only image, nor in formats without them. */
int bdrv_can_snapshot(BlockDriverState *bs);

/*
 * Saves the disk's contents, and the machine state that was written before, as a snapshot. The
 * image chooses the id: sn_info->id_str. 0; -ENOTSUP where there are no snapshots; -EFBIG when there
 * are too many; -EINVAL when a refcount of the image would overflow. A failure to clean up when
 * the snapshot is there already is a warning on stderr, and no error.
 */
int bdrv_snapshot_create(BlockDriverState *bs, QEMUSnapshotInfo *sn_info);

/*
 * Makes the disk what it was at a snapshot, its size included; what it is now is lost.
 * @snapshot_id is looked for among the ids, then among the names. 0 or -errno with @errp.
 */
int bdrv_snapshot_goto(BlockDriverState *bs, const char *snapshot_id, Error **errp);

/*
 * Deletes the snapshot with this id and this name (NULL: any; not both). 0; -ENOENT or another
 * -errno with @errp. Frees the space that nothing else uses.
 */
int bdrv_snapshot_delete(BlockDriverState *bs, const char *snapshot_id, const char *name,
                         Error **errp);

/* How many, in order of the image's table: *@psn_info is to be freed with g_free(). Or -errno. */
int bdrv_snapshot_list(BlockDriverState *bs, QEMUSnapshotInfo **psn_info);

/* The first with this name. 0 or -ENOENT. */
int bdrv_snapshot_find(BlockDriverState *bs, QEMUSnapshotInfo *sn_info, const char *name);

/* As bdrv_snapshot_delete() looks it up. False without @errp: not there. */
bool bdrv_snapshot_find_by_id_and_name(BlockDriverState *bs, const char *id, const char *name,
                                       QEMUSnapshotInfo *sn_info, Error **errp);

/*
 * Lets a read-only node show the contents of a snapshot, its size included, until it is closed.
 * The image is not changed. 0 or -errno with @errp.
 */
int bdrv_snapshot_load_tmp(BlockDriverState *bs, const char *snapshot_id, const char *name,
                           Error **errp);
/* The same: an id, or else a name. */
int bdrv_snapshot_load_tmp_by_id_or_name(BlockDriverState *bs, const char *id_or_name,
                                         Error **errp);
G_END_DECLS
#pragma GCC visibility pop

#endif
