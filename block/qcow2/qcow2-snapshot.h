/* SPDX-License-Identifier: MIT */
/*
 * The snapshot table: reading it, looking things up in it, and writing another one. It is not
 * kept in RAM: who needs it reads it, and a change writes all of it to a new place.
 *
 * The table is read as QEMU reads it, so that what opens there opens here: what lies behind the
 * end of the file is zeroes. What an entry says of its L1 table is looked at only when that is used.
 */
#ifndef BLOCK_QCOW2_SNAPSHOT_H
#define BLOCK_QCOW2_SNAPSHOT_H

#include "block/snapshot.h"
#include "qcow2-state.h"

typedef struct Qcow2Snapshot {
    uint64_t l1_table_offset;
    uint32_t l1_size;        /* entries */
    char *id, *name;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t vm_state_size;
    uint64_t disk_size;      /* bytes at the snapshot; the image's when not recorded */
    uint64_t icount;         /* UINT64_MAX: not recorded */
    uint32_t extra_size;     /* bytes, as recorded */
    uint8_t *unknown_extra;  /* what of them is not known here: kept */
} Qcow2Snapshot;

/*
 * Reads the table. An array of Qcow2Snapshot, empty when there are none, and the
 * table's length in bytes; NULL with @errp. Blocks unless in a coroutine.
 */
GArray *qcow2_read_snapshots(BlockDriverState *bs, const Qcow2Header *h, uint64_t *bytes,
                             Error **errp);
void qcow2_free_snapshots(GArray *snapshots);

static inline Qcow2Snapshot *qcow2_snapshot_at(const GArray *snapshots, guint i)
{
    return &g_array_index(snapshots, Qcow2Snapshot, i);
}

/* The place of the first with this id and this name (NULL: any), or -1. */
int qcow2_find_snapshot(const GArray *snapshots, const char *id, const char *name);

/* Does the entry say something possible of its L1 table? False with @errp. */
bool qcow2_snapshot_l1_valid(const BDRVQcow2State *s, const Qcow2Snapshot *sn, Error **errp);
/* The -errno for one of which it is false. */
int qcow2_snapshot_l1_error(const Qcow2Snapshot *sn);

/*
 * The entries of its L1 table in host byte order, at least @entries of them: zeroes behind its
 * end. To be freed with g_free(). Blocks unless in a coroutine.
 */
int qcow2_read_snapshot_l1(BlockDriverState *bs, const Qcow2Snapshot *sn, uint64_t entries,
                           uint64_t **l1);

/*
 * Writes the list as a new table, and makes the header point to it, durably. The old table's place
 * is free afterwards. wb_lock is held, and nothing is dirty.
 */
int coroutine_fn qcow2_co_replace_snapshots(BlockDriverState *bs, const GArray *snapshots);

/* --- the driver's callbacks; the node is drained --- */

int coroutine_fn qcow2_snapshot_create(BlockDriverState *bs, QEMUSnapshotInfo *sn_info);
int coroutine_fn qcow2_snapshot_goto(BlockDriverState *bs, const char *snapshot_id,
                                     Error **errp);
int coroutine_fn qcow2_snapshot_delete(BlockDriverState *bs, const char *snapshot_id,
                                       const char *name, Error **errp);
int coroutine_fn qcow2_snapshot_list(BlockDriverState *bs, QEMUSnapshotInfo **psn_info);
int coroutine_fn qcow2_snapshot_load_tmp(BlockDriverState *bs, const char *snapshot_id,
                                         const char *name, Error **errp);

#endif
