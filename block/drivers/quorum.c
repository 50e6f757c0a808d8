/* SPDX-License-Identifier: MIT */
/*
 * quorum: the same image several times. Writes go to all children; a read asks all of them
 * and takes what at least vote-threshold of them say. With rewrite-corrupted the others are
 * then set right; with blkverify (of two children) a difference ends the program; with
 * read-pattern=fifo the first child that can answers.
 *
 * Children are asked one after the other.
 */
#include "qemu/osdep.h"
#include "block/block-driver.h"

#define MAX_CHILDREN 64

typedef struct QuorumState {
    BdrvChild *children[MAX_CHILDREN];
    unsigned nb_children;
    uint64_t threshold;
    bool blkverify, rewrite_corrupted, fifo;
} QuorumState;

/* --- open --- */

static int take_pattern(QuorumState *s, BlockOptions *options, Error **errp)
{
    g_autofree char *pattern = blk_options_take(options, "read-pattern");

    if (pattern && strcmp(pattern, "fifo") && strcmp(pattern, "quorum")) {
        error_setg(errp, "Please set read-pattern as fifo or quorum");
        return -EINVAL;
    }
    s->fifo = !g_strcmp0(pattern, "fifo");
    return 0;
}

/* How many "children.N" there are, counted from 0 without a gap; -EINVAL. */
static int count_children(const BlockOptions *options, Error **errp)
{
    uint64_t seen = 0;
    unsigned n = 0;

    for (size_t i = 0; i < blk_options_count(options); i++) {
        const char *key = blk_options_key(options, i);
        char *end;
        uint64_t index;

        if (!g_str_has_prefix(key, "children.")) {
            continue;
        }
        key += strlen("children.");
        index = g_ascii_strtoull(key, &end, 10);
        if (!g_ascii_isdigit(*key) || (*end && *end != '.') || index >= MAX_CHILDREN) {
            error_setg(errp, "Option children is not a valid array");
            return -EINVAL;
        }
        seen |= UINT64_C(1) << index;
    }
    while (n < MAX_CHILDREN && (seen >> n & 1)) {
        n++;
    }
    if (n < MAX_CHILDREN && seen >> n) {
        error_setg(errp, "Option children is not a valid array");
        return -EINVAL;
    }
    if (n == 0) {
        error_setg(errp, "Number of provided children must be 1 or more");
        return -EINVAL;
    }
    return n;
}

static int take_votes(QuorumState *s, unsigned nb_children, BlockOptions *options,
                      Error **errp)
{
    if (blk_options_take_number(options, "vote-threshold", &s->threshold, errp) < 0) {
        return -EINVAL;
    }
    if (s->threshold < 1 || s->threshold > INT_MAX) {
        error_setg(errp, "Parameter 'vote-threshold' expects a value >= 1");
        return -EINVAL;
    }
    if (s->threshold > nb_children) {
        error_setg(errp, "threshold may not exceed children count");
        return -EINVAL;
    }
    return take_pattern(s, options, errp);
}

static int take_checks(QuorumState *s, unsigned nb_children, BlockOptions *options,
                       Error **errp)
{
    if (blk_options_take_bool(options, "blkverify", &s->blkverify, errp) < 0 ||
        blk_options_take_bool(options, "rewrite-corrupted", &s->rewrite_corrupted, errp) < 0) {
        return -EINVAL;
    }
    if (s->fifo) {
        s->blkverify = s->rewrite_corrupted = false; /* nobody votes */
    }
    if (s->blkverify && (nb_children != 2 || s->threshold != 2)) {
        error_setg(errp, "blkverify=on can only be set if there are exactly two files and "
                         "vote-threshold is 2");
        return -EINVAL;
    }
    if (s->blkverify && s->rewrite_corrupted) {
        error_setg(errp, "rewrite-corrupted=on cannot be used with blkverify=on");
        return -EINVAL;
    }
    return 0;
}

static int quorum_open(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    QuorumState *s = bs->opaque;
    int n = count_children(options, errp);

    if (n < 0 || take_votes(s, n, options, errp) < 0 || take_checks(s, n, options, errp) < 0) {
        return -EINVAL;
    }
    for (int i = 0; i < n; i++) {
        g_autofree char *key = g_strdup_printf("children.%d", i);

        s->children[i] =
            bdrv_open_child_role(NULL, options, key, bs, BDRV_CHILD_DATA, false, errp);
        if (!s->children[i]) {
            return -EINVAL;
        }
        s->nb_children++;
    }
    bs->supported_write_flags = BDRV_REQ_WRITE_UNCHANGED;
    bs->supported_zero_flags = BDRV_REQ_WRITE_UNCHANGED | BDRV_REQ_MAY_UNMAP;
    return 0;
}

/* Nobody else may write to one of them. */
static void quorum_child_perm(BlockDriverState *bs, const BdrvChild *child, uint64_t perm,
                              uint64_t shared, uint64_t *nperm, uint64_t *nshared)
{
    QuorumState *s = bs->opaque;

    *nperm = perm | (s->rewrite_corrupted ? BLK_PERM_WRITE : 0);
    *nshared = shared & (BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED);
}

static void quorum_refresh_limits(BlockDriverState *bs, Error **errp)
{
    QuorumState *s = bs->opaque;

    /* So that all are asked for the same blocks. */
    for (unsigned i = 0; i < s->nb_children; i++) {
        bs->bl.request_alignment =
            MAX(bs->bl.request_alignment, s->children[i]->bs->bl.request_alignment);
    }
}

/* --- votes --- */

/* What most say of results that are -errno: 0 if at least the threshold succeeded. */
static int vote_on_errors(const QuorumState *s, const int *rets)
{
    unsigned good = 0, most = 0;
    int winner = -EIO;

    for (unsigned i = 0; i < s->nb_children; i++) {
        unsigned votes = 0;

        good += rets[i] >= 0;
        for (unsigned k = 0; k < s->nb_children && rets[i] < 0; k++) {
            votes += rets[k] == rets[i];
        }
        if (votes > most) {
            most = votes;
            winner = rets[i];
        }
    }
    return good >= s->threshold ? 0 : winner;
}

/* The child with whom most agree, and how many those are. */
static unsigned vote_on_data(const QuorumState *s, uint8_t *const *bufs, const int *rets,
                             int64_t bytes, unsigned *votes)
{
    unsigned winner = 0;

    *votes = 0;
    for (unsigned i = 0; i < s->nb_children && *votes * 2 <= s->nb_children; i++) {
        unsigned n = 0;

        for (unsigned k = 0; k < s->nb_children && rets[i] >= 0; k++) {
            n += rets[k] >= 0 && !memcmp(bufs[i], bufs[k], bytes);
        }
        if (n > *votes) {
            *votes = n;
            winner = i;
        }
    }
    return winner;
}

static void verify_two(const uint8_t *a, const uint8_t *b, int64_t offset, int64_t bytes)
{
    int64_t i = 0;

    if (!memcmp(a, b, bytes)) {
        return;
    }
    while (a[i] == b[i]) {
        i++;
    }
    fprintf(stderr,
            "quorum: offset=%" PRId64 " bytes=%" PRId64 " contents mismatch at offset %" PRId64
            "\n", offset, bytes, offset + i);
    /* Not exit(): other threads may be at work. */
    fflush(NULL);
    _exit(1);
}

static void coroutine_fn rewrite(const QuorumState *s, uint8_t *const *bufs, const int *rets,
                                 unsigned winner, int64_t offset, int64_t bytes)
{
    for (unsigned i = 0; i < s->nb_children; i++) {
        if (rets[i] >= 0 && memcmp(bufs[i], bufs[winner], bytes)) {
            /* The vote is what counts; a child that cannot be written votes again. */
            bdrv_co_pwrite(s->children[i], offset, bytes, bufs[winner], 0);
        }
    }
}

/* All have been read. The result of the request; on success @winner has the data. */
static int coroutine_fn decide(const QuorumState *s, uint8_t *const *bufs, const int *rets,
                               int64_t offset, int64_t bytes, unsigned *winner)
{
    int ret = vote_on_errors(s, rets);
    unsigned votes;

    if (ret < 0) {
        return ret;
    }
    if (s->blkverify) {
        verify_two(bufs[0], bufs[1], offset, bytes);
    }
    *winner = vote_on_data(s, bufs, rets, bytes, &votes);
    if (votes < s->threshold) {
        return -EIO;
    }
    if (s->rewrite_corrupted && votes < s->nb_children) {
        rewrite(s, bufs, rets, *winner, offset, bytes);
    }
    return 0;
}

static int coroutine_fn read_by_vote(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                     QEMUIOVector *qiov, size_t qiov_offset)
{
    QuorumState *s = bs->opaque;
    uint8_t *bufs[MAX_CHILDREN] = { NULL };
    int rets[MAX_CHILDREN] = { 0 };
    unsigned winner = 0;
    int ret = 0;

    for (unsigned i = 0; i < s->nb_children && ret == 0; i++) {
        bufs[i] = qemu_try_blockalign(s->children[i]->bs, bytes);
        if (bufs[i]) {
            rets[i] = bdrv_co_pread(s->children[i], offset, bytes, bufs[i], 0);
        } else {
            ret = -ENOMEM;
        }
    }
    if (ret == 0) {
        ret = decide(s, bufs, rets, offset, bytes, &winner);
    }
    if (ret == 0) {
        qemu_iovec_from_buf(qiov, qiov_offset, bufs[winner], bytes);
    }
    for (unsigned i = 0; i < s->nb_children; i++) {
        qemu_vfree(bufs[i]);
    }
    return ret;
}

/* --- requests --- */

static int coroutine_fn quorum_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                              int64_t bytes, QEMUIOVector *qiov,
                                              size_t qiov_offset, BdrvRequestFlags flags)
{
    QuorumState *s = bs->opaque;
    int ret = -EIO;

    if (!s->fifo) {
        return read_by_vote(bs, offset, bytes, qiov, qiov_offset);
    }
    for (unsigned i = 0; i < s->nb_children && ret < 0; i++) {
        ret = bdrv_co_preadv_part(s->children[i], offset, bytes, qiov, qiov_offset, 0);
    }
    return ret;
}

static int coroutine_fn quorum_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                               int64_t bytes, QEMUIOVector *qiov,
                                               size_t qiov_offset, BdrvRequestFlags flags)
{
    QuorumState *s = bs->opaque;
    int rets[MAX_CHILDREN] = { 0 };

    for (unsigned i = 0; i < s->nb_children; i++) {
        rets[i] = bdrv_co_pwritev_part(s->children[i], offset, bytes, qiov, qiov_offset, flags);
    }
    return vote_on_errors(s, rets);
}

static int coroutine_fn quorum_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                                int64_t bytes, BdrvRequestFlags flags)
{
    QuorumState *s = bs->opaque;
    int rets[MAX_CHILDREN] = { 0 };

    for (unsigned i = 0; i < s->nb_children; i++) {
        rets[i] = bdrv_co_pwrite_zeroes(s->children[i], offset, bytes, flags);
    }
    return vote_on_errors(s, rets);
}

/* -EIO unless all are of the same length. */
static int64_t coroutine_fn quorum_co_getlength(BlockDriverState *bs)
{
    QuorumState *s = bs->opaque;
    int64_t length = bdrv_co_getlength(s->children[0]->bs);

    for (unsigned i = 1; i < s->nb_children && length >= 0; i++) {
        int64_t other = bdrv_co_getlength(s->children[i]->bs);

        if (other != length) {
            return other < 0 ? other : -EIO;
        }
    }
    return length;
}

/* Zeroes where all have zeroes; data otherwise. */
static int coroutine_fn quorum_co_block_status(BlockDriverState *bs, bool want_zero,
                                               int64_t offset, int64_t bytes, int64_t *pnum,
                                               int64_t *map, BlockDriverState **file)
{
    QuorumState *s = bs->opaque;
    int64_t zeroes = bytes, data = 0;

    for (unsigned i = 0; i < s->nb_children; i++) {
        int64_t n;
        int ret = bdrv_co_block_status_above(s->children[i]->bs, NULL, offset, bytes, &n, NULL,
                                             NULL);

        if (ret < 0 || n == 0) {
            *pnum = bytes;
            return BDRV_BLOCK_DATA;
        }
        if (ret & BDRV_BLOCK_ZERO) {
            zeroes = MIN(zeroes, n);
        } else {
            data = MAX(data, n);
        }
    }
    *pnum = data ? data : zeroes;
    return data ? BDRV_BLOCK_DATA : BDRV_BLOCK_ZERO;
}

static const char *const quorum_strong_options[] = { "vote-threshold", "blkverify",
                                                     "rewrite-corrupted", "read-pattern",
                                                     NULL };

BlockDriver bdrv_quorum = {
    .format_name = "quorum",
    .instance_size = sizeof(QuorumState),
    .no_dirname = true,
    .bdrv_open = quorum_open,
    .bdrv_child_perm = quorum_child_perm,
    .bdrv_refresh_limits = quorum_refresh_limits,
    .bdrv_co_getlength = quorum_co_getlength,
    .bdrv_co_preadv_part = quorum_co_preadv_part,
    .bdrv_co_pwritev_part = quorum_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = quorum_co_pwrite_zeroes,
    .bdrv_co_block_status = quorum_co_block_status,
    .strong_runtime_opts = quorum_strong_options,
};
