/* SPDX-License-Identifier: MIT */
/*
 * A piece may reach beyond the table, to where the disk has a bad sector that is none of the table's.
 * So where a piece cannot be read, only what is asked for is, until its end: the bad sector is touched
 * once for nothing, and an error is told only of bytes that are needed.
 */
#include "qcow2-snapshot-reader.h"

Qcow2SnapshotReader *qcow2_snapshot_reader_new(BlockDriverState *bs, uint64_t length)
{
    Qcow2SnapshotReader *r = g_new(Qcow2SnapshotReader, 1);

    r->bs = bs;
    r->length = length;
    r->at = r->filled = 0;
    r->singly_from = r->singly_to = 0;
    return r;
}

static int read_file(Qcow2SnapshotReader *r, uint64_t offset, void *buf, size_t bytes)
{
    size_t there = offset < r->length ? MIN(bytes, r->length - offset) : 0;
    int ret = there ? bdrv_pread(r->bs->file, offset, there, buf, 0) : 0;

    memset((uint8_t *)buf + there, 0, bytes - there);
    return ret;
}

static bool in_piece(const Qcow2SnapshotReader *r, uint64_t offset, size_t bytes)
{
    return offset >= r->at && offset - r->at <= r->filled && bytes <= r->filled - (offset - r->at);
}

static void load_piece(Qcow2SnapshotReader *r, uint64_t offset)
{
    r->at = offset;
    r->filled = 0;
    if (offset >= r->singly_from && offset < r->singly_to) {
        return;
    }
    if (read_file(r, offset, r->piece, sizeof(r->piece)) == 0) {
        r->filled = sizeof(r->piece);
    } else {
        r->singly_from = offset;
        r->singly_to = offset + sizeof(r->piece);
    }
}

int qcow2_snapshot_reader_get(Qcow2SnapshotReader *r, uint64_t offset, void *buf, size_t bytes)
{
    if (offset > (uint64_t)BDRV_MAX_LENGTH - MAX(bytes, sizeof(r->piece))) {
        return -EIO;
    }
    if (!in_piece(r, offset, bytes)) {
        if (bytes <= sizeof(r->piece)) {
            load_piece(r, offset);
        }
        if (!in_piece(r, offset, bytes)) {
            return read_file(r, offset, buf, bytes);
        }
    }
    memcpy(buf, r->piece + (offset - r->at), bytes);
    return 0;
}
