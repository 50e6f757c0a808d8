/* SPDX-License-Identifier: MIT */
/*
 * Block status of a file: SEEK_DATA and SEEK_HOLE in a worker thread, as they may have to
 * read the file system's metadata, unless the context's own may block.
 *
 * The last data extent found is remembered, for a copy asks again for each of its
 * buffers. Data extents only: should the area have become a hole meanwhile (by another
 * process, say), "data" is still a correct answer, it only costs a read. A remembered hole
 * would have to be forgotten at each write. Our own operations that make holes call
 * file_status_invalidate() behind the change; an extent that was looked up before
 * that carries an old generation and is not stored.
 */
#include "qemu/thread-pool.h"

#include "block/drivers/file-internal.h"

typedef struct FileExtent {
    int fd;
    int64_t start;
    int64_t end;    /* first byte of another kind, INT64_MAX: it goes on to the end */
    bool data;
} FileExtent;

void file_status_init(FileState *s)
{
    qemu_spin_init(&s->status.lock);
    s->status.generation = 0;
    s->status.start = s->status.end = 0;
}

void file_status_invalidate(FileState *s)
{
    qemu_spin_lock(&s->status.lock);
    s->status.generation++;
    s->status.start = s->status.end = 0;
    qemu_spin_unlock(&s->status.lock);
}

/* The end of the data around @offset that is still remembered, or -1; the generation anyway. */
static int64_t recall(FileState *s, int64_t offset, unsigned *generation)
{
    int64_t end = -1;

    qemu_spin_lock(&s->status.lock);
    *generation = s->status.generation;
    if (offset >= s->status.start && offset < s->status.end) {
        end = s->status.end;
    }
    qemu_spin_unlock(&s->status.lock);
    return end;
}

static void remember(FileState *s, const FileExtent *ext, unsigned generation)
{
    qemu_spin_lock(&s->status.lock);
    if (s->status.generation == generation) {
        s->status.start = ext->start;
        s->status.end = ext->end;
    }
    qemu_spin_unlock(&s->status.lock);
}

/* Worker thread. Never fails: what cannot be found out is data. */
static int find_extent(void *opaque)
{
    FileExtent *ext = opaque;
    off_t pos = lseek(ext->fd, ext->start, SEEK_DATA);

    ext->end = INT64_MAX;
    if (pos < 0) {
        /* ENXIO: no data from here to the end, or behind the end, which reads as zeroes. */
        ext->data = errno != ENXIO;
        return 0;
    }
    if (pos > ext->start) {
        ext->data = false;
        ext->end = pos;
        return 0;
    }
    ext->data = true;
    pos = lseek(ext->fd, ext->start, SEEK_HOLE);
    /* Not beyond start: the file changed between the two calls. */
    if (pos > ext->start) {
        ext->end = pos;
    }
    return 0;
}

int coroutine_fn file_co_block_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                                      int64_t bytes, int64_t *pnum, int64_t *map,
                                      BlockDriverState **file)
{
    FileState *s = bs->opaque;
    FileExtent ext = { .fd = s->fd, .start = offset };
    const int64_t align = MAX(bs->bl.request_alignment, 1u);
    unsigned generation;
    int64_t len;

    *map = offset;
    *file = bs;
    if (!want_zero) {
        *pnum = bytes;
        return BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID;
    }

    ext.end = recall(s, offset, &generation);
    ext.data = true;
    if (ext.end < 0) {
        if (aio_context_may_block(qemu_get_current_aio_context())) {
            find_extent(&ext);
        } else {
            thread_pool_submit_co(find_extent, &ext);
        }
        if (ext.data) {
            remember(s, &ext, generation);
        }
    }

    len = MIN(bytes, ext.end - offset);
    if (len < bytes && !QEMU_IS_ALIGNED(len, align)) {
        /* Data that ends within a block of the alignment makes the whole block data. */
        len = ext.data ? MIN(QEMU_ALIGN_UP(len, align), bytes) : QEMU_ALIGN_DOWN(len, align);
        if (len == 0) {
            len = MIN(align, bytes);
            ext.data = true;
        }
    }
    *pnum = len;
    return (ext.data ? BDRV_BLOCK_DATA : BDRV_BLOCK_ZERO) | BDRV_BLOCK_OFFSET_VALID;
}
