/* SPDX-License-Identifier: MIT */
/*
 * Scattered buffers: functions on plain struct iovec arrays (iov_*), and QEMUIOVector,
 * an array that grows and knows its size in bytes (qemu_iovec_*).
 *
 * Offsets and sizes are bytes from the start of the data. Where the range reaches beyond
 * the end, copies move what there is and return how much that was. The sum of lengths in
 * an array must fit size_t (iov_size says SIZE_MAX when it does not; a vector refuses to
 * grow beyond that, and aborts).
 *
 * Nothing here locks or blocks, except iov_send_recv. Buffers stay the caller's.
 */
#ifndef QEMU_IOV_H
#define QEMU_IOV_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "qemu/compiler.h"
#include "qemu/typedefs.h"

/*
 * nalloc is the capacity of a growing array, -1 when the array is somebody else's or
 * local_iov. size lies over local_iov.iov_len: a vector of one buffer needs no array.
 */
struct QEMUIOVector {
    struct iovec *iov;
    int niov;
    union {
        struct {
            int nalloc;
            struct iovec local_iov;
        };
        struct {
            void *before_size_[2];
            size_t size;
        };
    };
};

QEMU_BUILD_BUG_ON(offsetof(QEMUIOVector, size) !=
                  offsetof(QEMUIOVector, local_iov) + offsetof(struct iovec, iov_len));

/* Initialisers: an empty vector cannot be made so, one buffer can. */
#define QEMU_IOVEC_INIT_BUF(self, buf, len)                                              \
    {                                                                                    \
        .iov = &(self).local_iov, .niov = 1, .nalloc = -1,                               \
        .local_iov = { .iov_base = (void *)(buf), .iov_len = (len) },                    \
    }

/* What iov_discard_undo needs to put an array back as it was. */
typedef struct {
    struct iovec *modified_iov;
    struct iovec orig;
} IOVDiscardUndo;

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* ---- arrays ---- */

/* The sum of all lengths, SIZE_MAX when it does not fit. */
size_t iov_size(const struct iovec *iov, const unsigned int iov_cnt);

/* Copy in, copy out, fill, from an offset on; how many bytes that were. */
size_t iov_from_buf_full(const struct iovec *iov, unsigned int iov_cnt, size_t offset,
                         const void *buf, size_t bytes);
size_t iov_to_buf_full(const struct iovec *iov, const unsigned int iov_cnt, size_t offset,
                       void *buf, size_t bytes);
size_t iov_memset(const struct iovec *iov, const unsigned int iov_cnt, size_t offset,
                  int fillc, size_t bytes);

/*
 * Describe a part of one array in another of dst_iov_cnt elements: how many were used.
 * What did not fit is left out. No data moves.
 */
unsigned iov_copy(struct iovec *dst_iov, unsigned int dst_iov_cnt,
                  const struct iovec *iov, unsigned int iov_cnt, size_t offset,
                  size_t bytes);

/*
 * Drop bytes at the front (moves *iov on) or back (lowers *iov_cnt); the element that is
 * cut is changed in place. How many bytes were dropped. undo keeps the changed element.
 */
size_t iov_discard_front(struct iovec **iov, unsigned int *iov_cnt, size_t bytes);
size_t iov_discard_back(struct iovec *iov, unsigned int *iov_cnt, size_t bytes);
size_t iov_discard_front_undoable(struct iovec **iov, unsigned int *iov_cnt, size_t bytes,
                                  IOVDiscardUndo *undo);
size_t iov_discard_back_undoable(struct iovec *iov, unsigned int *iov_cnt, size_t bytes,
                                 IOVDiscardUndo *undo);
/* Restores the element; the caller restores iov and iov_cnt themselves. */
void iov_discard_undo(IOVDiscardUndo *undo);

/*
 * Send or receive a part of the array. The number of bytes, which may be fewer (end of
 * stream, EAGAIN); -1 and errno when there was not one.
 */
ssize_t iov_send_recv(int sockfd, const struct iovec *iov, unsigned iov_cnt,
                      size_t offset, size_t bytes, bool do_send);
#define iov_recv(sockfd, iov, iov_cnt, offset, bytes)                                    \
    iov_send_recv(sockfd, iov, iov_cnt, offset, bytes, false)
#define iov_send(sockfd, iov, iov_cnt, offset, bytes)                                    \
    iov_send_recv(sockfd, iov, iov_cnt, offset, bytes, true)

/* Print up to limit bytes, 16 to a line, each with prefix and offset. */
void iov_hexdump(const struct iovec *iov, const unsigned int iov_cnt, FILE *fp,
                 const char *prefix, size_t limit);

/* ---- vectors ---- */

/* An empty vector that can grow, with room for alloc_hint elements at first. */
void qemu_iovec_init(QEMUIOVector *qiov, int alloc_hint);
/* A vector over the caller's array, which has to outlive it. It cannot grow. */
void qemu_iovec_init_external(QEMUIOVector *qiov, struct iovec *iov, int niov);
/* A vector over a part of source, which has to lie within it; shares its array. */
void qemu_iovec_init_slice(QEMUIOVector *qiov, QEMUIOVector *source, size_t offset,
                           size_t len);
/*
 * head, then a part of mid_qiov, then tail: what the alignment of a request needs. 0, or
 * -EINVAL when that is too large or has more than IOV_MAX elements. Free with destroy.
 */
int qemu_iovec_init_extended(QEMUIOVector *qiov, void *head_buf, size_t head_len,
                             QEMUIOVector *mid_qiov, size_t mid_offset, size_t mid_len,
                             void *tail_buf, size_t tail_len);
/*
 * The elements that hold bytes [offset, offset + len) of qiov (which has to have them):
 * the first one's address; head and tail bytes of them lie outside; niov is their number.
 */
struct iovec *qemu_iovec_slice(QEMUIOVector *qiov, size_t offset, size_t len,
                               size_t *head, size_t *tail, int *niov);
/* How many elements that are. */
int qemu_iovec_subvec_niov(QEMUIOVector *qiov, size_t offset, size_t len);

/* Append a buffer (also an empty one) to a vector made by qemu_iovec_init. */
void qemu_iovec_add(QEMUIOVector *qiov, void *base, size_t len);
/*
 * Append the buffers that make up a part of src; src must have soffset bytes. As many
 * as there are, up to sbytes; the second returns how many.
 */
void qemu_iovec_concat(QEMUIOVector *dst, QEMUIOVector *src, size_t soffset,
                       size_t sbytes);
size_t qemu_iovec_concat_iov(QEMUIOVector *dst, struct iovec *src_iov,
                             unsigned int src_cnt, size_t soffset, size_t sbytes);
/* Frees the array (not the buffers) of a growing vector; harmless for the others. */
void qemu_iovec_destroy(QEMUIOVector *qiov);
/* Empty again, keeping the array. */
void qemu_iovec_reset(QEMUIOVector *qiov);

size_t qemu_iovec_to_buf(QEMUIOVector *qiov, size_t offset, void *buf, size_t bytes);
size_t qemu_iovec_from_buf(QEMUIOVector *qiov, size_t offset, const void *buf,
                           size_t bytes);
size_t qemu_iovec_memset(QEMUIOVector *qiov, size_t offset, int fillc, size_t bytes);
/* Whether these bytes, which have to be there, are all zero. */
bool qemu_iovec_is_zero(QEMUIOVector *qiov, size_t qiov_offset, size_t bytes);
/* Two vectors of the same shape: the first byte that differs, or -1. */
ssize_t qemu_iovec_compare(QEMUIOVector *a, QEMUIOVector *b);
/*
 * Append to dest elements laid out in buf (src->size bytes) as src's are in memory, so
 * that overlaps stay overlaps. No data moves.
 */
void qemu_iovec_clone(QEMUIOVector *dest, const QEMUIOVector *src, void *buf);
/* Drop bytes at the end; there have to be so many. */
void qemu_iovec_discard_back(QEMUIOVector *qiov, size_t bytes);

#pragma GCC visibility pop

/* The two copies; those within the first element, the usual case, are inlined. */
static inline size_t iov_from_buf(const struct iovec *iov, unsigned int iov_cnt,
                                  size_t offset, const void *buf, size_t bytes)
{
    if (__builtin_constant_p(bytes) && iov_cnt && offset <= iov[0].iov_len &&
        bytes <= iov[0].iov_len - offset) {
        memcpy((char *)iov[0].iov_base + offset, buf, bytes);
        return bytes;
    }
    return iov_from_buf_full(iov, iov_cnt, offset, buf, bytes);
}

static inline size_t iov_to_buf(const struct iovec *iov, const unsigned int iov_cnt,
                                size_t offset, void *buf, size_t bytes)
{
    if (__builtin_constant_p(bytes) && iov_cnt && offset <= iov[0].iov_len &&
        bytes <= iov[0].iov_len - offset) {
        memcpy(buf, (char *)iov[0].iov_base + offset, bytes);
        return bytes;
    }
    return iov_to_buf_full(iov, iov_cnt, offset, buf, bytes);
}

/* A vector of one buffer, without an array. It points into itself: do not copy it. */
static inline void qemu_iovec_init_buf(QEMUIOVector *qiov, void *buf, size_t len)
{
    qiov->iov = &qiov->local_iov;
    qiov->niov = 1;
    qiov->nalloc = -1;
    qiov->local_iov.iov_base = buf;
    qiov->local_iov.iov_len = len;
}

/* The buffer of such a vector. */
static inline void *qemu_iovec_buf(QEMUIOVector *qiov)
{
    g_assert(qiov->nalloc == -1 && qiov->iov == &qiov->local_iov);
    return qiov->local_iov.iov_base;
}

G_END_DECLS

#endif
