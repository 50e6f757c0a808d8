/* SPDX-License-Identifier: MIT */
/*
 * The snapshot table, as far as an image with snapshots needs it to stay whole: which clusters its
 * structures take. Creating, applying and deleting snapshots is not here yet.
 */
#ifndef BLOCK_QCOW2_SNAPSHOT_H
#define BLOCK_QCOW2_SNAPSHOT_H

#include "qcow2-state.h"

typedef struct Qcow2Snapshot {
    uint64_t l1_table_offset;
    uint32_t l1_size;        /* entries */
    char *id, *name;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t vm_state_size;
    uint64_t disk_size;      /* of the disk at the snapshot; the image's when not recorded */
} Qcow2Snapshot;

/*
 * Reads and checks the table. An array of Qcow2Snapshot, empty when there are none, and the
 * table's length in bytes; NULL with @errp. Blocks unless in a coroutine.
 */
GArray *qcow2_read_snapshots(BlockDriverState *bs, const Qcow2Header *h, uint64_t *bytes,
                             Error **errp);
void qcow2_free_snapshots(GArray *snapshots);

#endif
