/* SPDX-License-Identifier: MIT */
/*
 * Reads a snapshot table in pieces: it may have 65536 entries, each of several fields, and neither
 * it nor an entry has a length that is known beforehand.
 */
#ifndef BLOCK_QCOW2_SNAPSHOT_READER_H
#define BLOCK_QCOW2_SNAPSHOT_READER_H

#include "qcow2-state.h"

#define QCOW2_SNAPSHOT_PIECE 16384 /* bytes of the table that are read at once */

/* Its user's alone. */
typedef struct Qcow2SnapshotReader {
    BlockDriverState *bs;
    uint64_t length;      /* of the file */
    uint64_t at;          /* in the file: where the piece begins */
    size_t filled;        /* of the piece: all of it or nothing */
    uint64_t singly_from; /* in the file, up to singly_to: no piece can be read here */
    uint64_t singly_to;
    uint8_t piece[QCOW2_SNAPSHOT_PIECE];
} Qcow2SnapshotReader;

/* To be freed with g_free(). @length: of the file, in bytes. */
Qcow2SnapshotReader *qcow2_snapshot_reader_new(BlockDriverState *bs, uint64_t length);

/*
 * @bytes at @offset in the file. What lies behind its end is zeroes. Cheap where it goes on from the
 * last one. 0 or -errno; -EIO: beyond what a file may have. Blocks unless in a coroutine.
 */
int qcow2_snapshot_reader_get(Qcow2SnapshotReader *r, uint64_t offset, void *buf, size_t bytes);

#endif
