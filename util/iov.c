/* SPDX-License-Identifier: MIT */
/*
 * Scattered buffers. Nearly everything here visits the pieces of a byte range, one per
 * element: IovWalk does that, clamping the range to what there is, and the others say
 * what to do with a piece. No state, no locks.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "qemu/cutils.h"
#include "qemu/iov.h"
#include "qemu/osdep.h"

/* Where a walk over bytes [offset, offset + left) of an array is. */
typedef struct IovWalk {
    const struct iovec *iov;
    unsigned int iov_cnt;
    size_t offset; /* in iov[0] */
    size_t left;
} IovWalk;

static inline IovWalk walk_begin(const struct iovec *iov, unsigned int iov_cnt,
                                 size_t offset, size_t bytes)
{
    while (iov_cnt > 0 && offset >= iov->iov_len) {
        offset -= iov->iov_len;
        iov++;
        iov_cnt--;
    }
    return (IovWalk){ iov, iov_cnt, offset, bytes };
}

/* The next piece, never empty; false at the end of the range or of the array. */
static inline bool walk_next(IovWalk *walk, struct iovec *piece)
{
    while (walk->left > 0 && walk->iov_cnt > 0) {
        size_t len = MIN(walk->iov->iov_len - walk->offset, walk->left);

        piece->iov_base = (char *)walk->iov->iov_base + walk->offset;
        piece->iov_len = len;
        walk->left -= len;
        walk->offset = 0;
        walk->iov++;
        walk->iov_cnt--;
        if (len > 0) {
            return true;
        }
    }
    return false;
}

/* ---- arrays ---- */

size_t iov_size(const struct iovec *iov, const unsigned int iov_cnt)
{
    size_t sum = 0;

    for (unsigned int i = 0; i < iov_cnt; i++) {
        if (__builtin_add_overflow(sum, iov[i].iov_len, &sum)) {
            return SIZE_MAX;
        }
    }
    return sum;
}

size_t iov_from_buf_full(const struct iovec *iov, unsigned int iov_cnt, size_t offset,
                         const void *buf, size_t bytes)
{
    IovWalk walk = walk_begin(iov, iov_cnt, offset, bytes);
    struct iovec piece;
    size_t done = 0;

    while (walk_next(&walk, &piece)) {
        memcpy(piece.iov_base, (const char *)buf + done, piece.iov_len);
        done += piece.iov_len;
    }
    return done;
}

size_t iov_to_buf_full(const struct iovec *iov, const unsigned int iov_cnt, size_t offset,
                       void *buf, size_t bytes)
{
    IovWalk walk = walk_begin(iov, iov_cnt, offset, bytes);
    struct iovec piece;
    size_t done = 0;

    while (walk_next(&walk, &piece)) {
        memcpy((char *)buf + done, piece.iov_base, piece.iov_len);
        done += piece.iov_len;
    }
    return done;
}

size_t iov_memset(const struct iovec *iov, const unsigned int iov_cnt, size_t offset,
                  int fillc, size_t bytes)
{
    IovWalk walk = walk_begin(iov, iov_cnt, offset, bytes);
    struct iovec piece;
    size_t done = 0;

    while (walk_next(&walk, &piece)) {
        memset(piece.iov_base, fillc, piece.iov_len);
        done += piece.iov_len;
    }
    return done;
}

unsigned iov_copy(struct iovec *dst_iov, unsigned int dst_iov_cnt,
                  const struct iovec *iov, unsigned int iov_cnt, size_t offset,
                  size_t bytes)
{
    IovWalk walk = walk_begin(iov, iov_cnt, offset, bytes);
    unsigned n = 0;

    while (n < dst_iov_cnt && walk_next(&walk, &dst_iov[n])) {
        n++;
    }
    return n;
}

size_t iov_discard_front_undoable(struct iovec **iov, unsigned int *iov_cnt, size_t bytes,
                                  IOVDiscardUndo *undo)
{
    size_t done = 0;

    if (undo) {
        undo->modified_iov = NULL;
    }
    while (*iov_cnt > 0) {
        struct iovec *first = *iov;

        if (first->iov_len > bytes - done) {
            if (undo) {
                *undo = (IOVDiscardUndo){ first, *first };
            }
            first->iov_base = (char *)first->iov_base + (bytes - done);
            first->iov_len -= bytes - done;
            return bytes;
        }
        done += first->iov_len;
        (*iov)++;
        (*iov_cnt)--;
    }
    return done;
}

size_t iov_discard_front(struct iovec **iov, unsigned int *iov_cnt, size_t bytes)
{
    return iov_discard_front_undoable(iov, iov_cnt, bytes, NULL);
}

size_t iov_discard_back_undoable(struct iovec *iov, unsigned int *iov_cnt, size_t bytes,
                                 IOVDiscardUndo *undo)
{
    size_t done = 0;

    if (undo) {
        undo->modified_iov = NULL;
    }
    while (*iov_cnt > 0) {
        struct iovec *last = &iov[*iov_cnt - 1];

        if (last->iov_len > bytes - done) {
            if (undo) {
                *undo = (IOVDiscardUndo){ last, *last };
            }
            last->iov_len -= bytes - done;
            return bytes;
        }
        done += last->iov_len;
        (*iov_cnt)--;
    }
    return done;
}

size_t iov_discard_back(struct iovec *iov, unsigned int *iov_cnt, size_t bytes)
{
    return iov_discard_back_undoable(iov, iov_cnt, bytes, NULL);
}

void iov_discard_undo(IOVDiscardUndo *undo)
{
    if (undo->modified_iov) {
        *undo->modified_iov = undo->orig;
    }
}

ssize_t iov_send_recv(int sockfd, const struct iovec *iov, unsigned iov_cnt,
                      size_t offset, size_t bytes, bool do_send)
{
    /* So many elements at a time, on the stack. */
    struct iovec part[64];
    size_t done = 0;

    while (done < bytes) {
        struct msghdr msg = { .msg_iov = part };
        ssize_t n;

        msg.msg_iovlen = iov_copy(part, ARRAY_SIZE(part), iov, iov_cnt, offset + done,
                                  MIN(bytes - done, (size_t)SSIZE_MAX - done));
        if (msg.msg_iovlen == 0) {
            break;
        }
        do {
            n = do_send ? sendmsg(sockfd, &msg, MSG_NOSIGNAL) : recvmsg(sockfd, &msg, 0);
        } while (n < 0 && errno == EINTR);
        if (n < 0) {
            return done ? (ssize_t)done : -1;
        }
        if (n == 0) {
            break;
        }
        done += n;
    }
    return done;
}

void iov_hexdump(const struct iovec *iov, const unsigned int iov_cnt, FILE *fp,
                 const char *prefix, size_t limit)
{
    unsigned char line[16];
    size_t n;

    for (size_t offset = 0; offset < limit; offset += n) {
        n = iov_to_buf_full(iov, iov_cnt, offset, line,
                            MIN(sizeof(line), limit - offset));
        if (n == 0) {
            break;
        }
        fprintf(fp, "%s: %04zx:", prefix, offset);
        for (size_t i = 0; i < n; i++) {
            fprintf(fp, "%s%02x", i % 4 ? " " : "  ", line[i]);
        }
        fputc('\n', fp);
    }
}

/* ---- vectors ---- */

static QEMU_NORETURN void not_growing(void)
{
    fprintf(stderr, "blkco: this QEMUIOVector cannot grow, or not so far\n");
    abort();
}

void qemu_iovec_init(QEMUIOVector *qiov, int alloc_hint)
{
    g_assert(alloc_hint >= 0);
    qiov->iov = g_new(struct iovec, alloc_hint);
    qiov->niov = 0;
    qiov->nalloc = alloc_hint;
    qiov->size = 0;
}

void qemu_iovec_init_external(QEMUIOVector *qiov, struct iovec *iov, int niov)
{
    g_assert(niov >= 0);
    qiov->iov = iov;
    qiov->niov = niov;
    qiov->nalloc = -1;
    qiov->size = iov_size(iov, niov);
}

void qemu_iovec_add(QEMUIOVector *qiov, void *base, size_t len)
{
    size_t size = 0;

    if (qiov->nalloc < 0 || qiov->niov == INT_MAX ||
        __builtin_add_overflow(qiov->size, len, &size)) {
        not_growing();
    }
    if (qiov->niov == qiov->nalloc) {
        qiov->nalloc = qiov->nalloc < INT_MAX / 2 ? 2 * qiov->nalloc + 1 : INT_MAX;
        qiov->iov = g_renew(struct iovec, qiov->iov, qiov->nalloc);
    }
    qiov->iov[qiov->niov++] = (struct iovec){ base, len };
    qiov->size = size;
}

size_t qemu_iovec_concat_iov(QEMUIOVector *dst, struct iovec *src_iov,
                             unsigned int src_cnt, size_t soffset, size_t sbytes)
{
    IovWalk walk = walk_begin(src_iov, src_cnt, soffset, sbytes);
    struct iovec piece;
    size_t done = 0;

    g_assert(dst->nalloc >= 0);
    /* An offset at the end is fine, one behind it is a mistake of the caller's. */
    g_assert(walk.iov_cnt > 0 || walk.offset == 0);
    while (walk_next(&walk, &piece)) {
        qemu_iovec_add(dst, piece.iov_base, piece.iov_len);
        done += piece.iov_len;
    }
    return done;
}

void qemu_iovec_concat(QEMUIOVector *dst, QEMUIOVector *src, size_t soffset,
                       size_t sbytes)
{
    qemu_iovec_concat_iov(dst, src->iov, src->niov, soffset, sbytes);
}

struct iovec *qemu_iovec_slice(QEMUIOVector *qiov, size_t offset, size_t len,
                               size_t *head, size_t *tail, int *niov)
{
    struct iovec *first = qiov->iov, *last, *end = qiov->iov + qiov->niov;

    g_assert(offset <= qiov->size && len <= qiov->size - offset);
    while (first < end && offset >= first->iov_len) {
        offset -= first->iov_len;
        first++;
    }
    *head = offset;
    *tail = 0;
    /* From here on offset + len counts from the start of first; it cannot overflow. */
    for (last = first; len > 0; last++) {
        size_t here = last->iov_len - offset;

        if (here > len) {
            *tail = here - len;
            here = len;
        }
        len -= here;
        offset = 0;
    }
    *niov = (int)(last - first);
    return first;
}

int qemu_iovec_subvec_niov(QEMUIOVector *qiov, size_t offset, size_t len)
{
    size_t head, tail;
    int niov;

    qemu_iovec_slice(qiov, offset, len, &head, &tail, &niov);
    return niov;
}

int qemu_iovec_init_extended(QEMUIOVector *qiov, void *head_buf, size_t head_len,
                             QEMUIOVector *mid_qiov, size_t mid_offset, size_t mid_len,
                             void *tail_buf, size_t tail_len)
{
    size_t size, total, mid_head, mid_tail;
    int mid_niov = 0, niov;

    if (__builtin_add_overflow(head_len, mid_len, &size) ||
        __builtin_add_overflow(size, tail_len, &total)) {
        return -EINVAL;
    }
    if (mid_len) {
        qemu_iovec_slice(mid_qiov, mid_offset, mid_len, &mid_head, &mid_tail, &mid_niov);
    }
    if (mid_niov > IOV_MAX - !!head_len - !!tail_len) {
        return -EINVAL;
    }
    niov = !!head_len + mid_niov + !!tail_len;
    if (niov == 1) {
        struct iovec only = { head_len ? head_buf : tail_buf, total };

        if (mid_len) {
            iov_copy(&only, 1, mid_qiov->iov, mid_qiov->niov, mid_offset, mid_len);
        }
        qemu_iovec_init_buf(qiov, only.iov_base, only.iov_len);
        return 0;
    }
    qemu_iovec_init(qiov, niov);
    if (head_len) {
        qemu_iovec_add(qiov, head_buf, head_len);
    }
    if (mid_len) {
        qemu_iovec_concat(qiov, mid_qiov, mid_offset, mid_len);
    }
    if (tail_len) {
        qemu_iovec_add(qiov, tail_buf, tail_len);
    }
    return 0;
}

void qemu_iovec_init_slice(QEMUIOVector *qiov, QEMUIOVector *source, size_t offset,
                           size_t len)
{
    size_t head, tail;
    int niov;
    struct iovec *first = qemu_iovec_slice(source, offset, len, &head, &tail, &niov);

    if (niov == 0) {
        qemu_iovec_init_buf(qiov, NULL, 0);
    } else if (niov == 1) {
        qemu_iovec_init_buf(qiov, (char *)first->iov_base + head, len);
    } else if (head == 0 && tail == 0) {
        qemu_iovec_init_external(qiov, first, niov);
    } else {
        qemu_iovec_init(qiov, niov);
        qemu_iovec_concat(qiov, source, offset, len);
    }
}

void qemu_iovec_destroy(QEMUIOVector *qiov)
{
    if (qiov->nalloc != -1) {
        g_free(qiov->iov);
    }
    memset(qiov, 0, sizeof(*qiov));
}

void qemu_iovec_reset(QEMUIOVector *qiov)
{
    g_assert(qiov->nalloc != -1);
    qiov->niov = 0;
    qiov->size = 0;
}

size_t qemu_iovec_to_buf(QEMUIOVector *qiov, size_t offset, void *buf, size_t bytes)
{
    return iov_to_buf(qiov->iov, qiov->niov, offset, buf, bytes);
}

size_t qemu_iovec_from_buf(QEMUIOVector *qiov, size_t offset, const void *buf,
                           size_t bytes)
{
    return iov_from_buf(qiov->iov, qiov->niov, offset, buf, bytes);
}

size_t qemu_iovec_memset(QEMUIOVector *qiov, size_t offset, int fillc, size_t bytes)
{
    return iov_memset(qiov->iov, qiov->niov, offset, fillc, bytes);
}

bool qemu_iovec_is_zero(QEMUIOVector *qiov, size_t qiov_offset, size_t bytes)
{
    IovWalk walk;
    struct iovec piece;

    g_assert(qiov_offset <= qiov->size && bytes <= qiov->size - qiov_offset);
    walk = walk_begin(qiov->iov, qiov->niov, qiov_offset, bytes);
    while (walk_next(&walk, &piece)) {
        if (!buffer_is_zero(piece.iov_base, piece.iov_len)) {
            return false;
        }
    }
    return true;
}

ssize_t qemu_iovec_compare(QEMUIOVector *a, QEMUIOVector *b)
{
    size_t offset = 0;

    g_assert(a->niov == b->niov);
    for (int i = 0; i < a->niov; i++) {
        const char *p = a->iov[i].iov_base, *q = b->iov[i].iov_base;
        size_t len = a->iov[i].iov_len, same = 0;

        g_assert(b->iov[i].iov_len == len);
        if (len && memcmp(p, q, len) != 0) {
            while (p[same] == q[same]) {
                same++;
            }
            return offset + same;
        }
        offset += len;
    }
    return -1;
}

/* An element of the source of a clone, sorted by address. */
typedef struct CloneElement {
    const struct iovec *src;
    int index;
    void *dest;
} CloneElement;

static int clone_by_address(const void *a, const void *b)
{
    const char *p = ((const CloneElement *)a)->src->iov_base;
    const char *q = ((const CloneElement *)b)->src->iov_base;

    return (p > q) - (p < q);
}

static int clone_by_index(const void *a, const void *b)
{
    return ((const CloneElement *)a)->index - ((const CloneElement *)b)->index;
}

void qemu_iovec_clone(QEMUIOVector *dest, const QEMUIOVector *src, void *buf)
{
    g_autofree CloneElement *elements = g_new(CloneElement, src->niov);
    const char *src_end = NULL; /* behind the last byte placed so far */
    char *next = buf;           /* where the byte at src_end would go */

    for (int i = 0; i < src->niov; i++) {
        elements[i] = (CloneElement){ &src->iov[i], i, NULL };
    }
    qsort(elements, src->niov, sizeof(*elements), clone_by_address);
    for (int i = 0; i < src->niov; i++) {
        const char *base = elements[i].src->iov_base;
        const char *end = base + elements[i].src->iov_len;

        if (src_end && base < src_end) {
            /* Overlaps what is placed already: the same distance back from its end. */
            elements[i].dest = next - (src_end - base);
            if (end > src_end) {
                next += end - src_end;
                src_end = end;
            }
        } else {
            elements[i].dest = next;
            next += end - base;
            src_end = end;
        }
    }
    qsort(elements, src->niov, sizeof(*elements), clone_by_index);
    for (int i = 0; i < src->niov; i++) {
        qemu_iovec_add(dest, elements[i].dest, elements[i].src->iov_len);
    }
}

void qemu_iovec_discard_back(QEMUIOVector *qiov, size_t bytes)
{
    size_t size = qiov->size;
    unsigned int niov = qiov->niov;

    g_assert(bytes <= size);
    /* Of a vector over local_iov the length of the element is the size: set it last. */
    iov_discard_back(qiov->iov, &niov, bytes);
    qiov->niov = (int)niov;
    qiov->size = size - bytes;
}
