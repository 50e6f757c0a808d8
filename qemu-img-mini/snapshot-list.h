/* SPDX-License-Identifier: MIT */
/* Lists of internal snapshots, as `snapshot -l` and `info` show them. */
#ifndef IMG_SNAPSHOT_LIST_H
#define IMG_SNAPSHOT_LIST_H

#include <jansson.h>

#include "block/snapshot.h"

/* A table with a heading, indented by @indent; nothing when there are none. */
void snapshot_list_print(const QEMUSnapshotInfo *list, int n, int indent);
/* An array of QEMU's SnapshotInfo objects: a new reference. */
json_t *snapshot_list_to_json(const QEMUSnapshotInfo *list, int n);

#endif
