/* SPDX-License-Identifier: MIT */
/* throttle: a filter whose requests wait until its group (block/throttle-group.c) lets them pass. */
#include "qemu/osdep.h"
#include "filter.h"
#include "../throttle.h"
#include "qemu/atomic.h"

typedef struct ThrottleState {
    ThrottleGroup *group;
    int disabled; /* atomic; drains in progress: nobody waits for a limit */
} ThrottleState;

static int throttle_open(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    ThrottleState *s = bs->opaque;
    g_autofree char *id = blk_options_take(options, "throttle-group");

    if (!id) {
        error_setg(errp, "Please specify a throttle group");
        return -EINVAL;
    }
    s->group = throttle_group_find(id);
    if (!s->group) {
        error_setg(errp, "Throttle group '%s' does not exist", id);
        return -EINVAL;
    }
    filter_take_flags(bs);
    return 0;
}

static void throttle_close(BlockDriverState *bs)
{
    ThrottleState *s = bs->opaque;

    throttle_group_unref(s->group);
}

static void throttle_drain_begin(BlockDriverState *bs)
{
    ThrottleState *s = bs->opaque;

    qatomic_inc(&s->disabled);
}

static void throttle_drain_end(BlockDriverState *bs)
{
    ThrottleState *s = bs->opaque;

    qatomic_dec(&s->disabled);
}

static void coroutine_fn wait_turn(BlockDriverState *bs, bool is_write, int64_t bytes)
{
    ThrottleState *s = bs->opaque;

    throttle_group_co_wait(s->group, &s->disabled, is_write, bytes);
}

static int coroutine_fn throttle_co_preadv_part(BlockDriverState *bs, int64_t offset,
                                                int64_t bytes, QEMUIOVector *qiov,
                                                size_t qiov_offset, BdrvRequestFlags flags)
{
    wait_turn(bs, false, bytes);
    return filter_co_preadv_part(bs, offset, bytes, qiov, qiov_offset, flags);
}

static int coroutine_fn throttle_co_pwritev_part(BlockDriverState *bs, int64_t offset,
                                                 int64_t bytes, QEMUIOVector *qiov,
                                                 size_t qiov_offset, BdrvRequestFlags flags)
{
    wait_turn(bs, true, bytes);
    return filter_co_pwritev_part(bs, offset, bytes, qiov, qiov_offset, flags);
}

static int coroutine_fn throttle_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                                  int64_t bytes, BdrvRequestFlags flags)
{
    wait_turn(bs, true, bytes);
    return filter_co_pwrite_zeroes(bs, offset, bytes, flags);
}

static int coroutine_fn throttle_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                             int64_t bytes)
{
    wait_turn(bs, true, bytes);
    return filter_co_pdiscard(bs, offset, bytes);
}

static int coroutine_fn throttle_co_pwritev_compressed_part(BlockDriverState *bs,
                                                            int64_t offset, int64_t bytes,
                                                            QEMUIOVector *qiov,
                                                            size_t qiov_offset)
{
    wait_turn(bs, true, bytes);
    return filter_co_pwritev_compressed_part(bs, offset, bytes, qiov, qiov_offset);
}

static const char *const throttle_strong_options[] = { "throttle-group", NULL };

BlockDriver bdrv_throttle = {
    .format_name = "throttle",
    .instance_size = sizeof(ThrottleState),
    .is_filter = true,
    .bdrv_open = throttle_open,
    .bdrv_close = throttle_close,
    .bdrv_refresh_limits = filter_refresh_limits,
    .bdrv_co_preadv_part = throttle_co_preadv_part,
    .bdrv_co_pwritev_part = throttle_co_pwritev_part,
    .bdrv_co_pwrite_zeroes = throttle_co_pwrite_zeroes,
    .bdrv_co_pdiscard = throttle_co_pdiscard,
    .bdrv_co_pwritev_compressed_part = throttle_co_pwritev_compressed_part,
    .bdrv_drain_begin = throttle_drain_begin,
    .bdrv_drain_end = throttle_drain_end,
    .strong_runtime_opts = throttle_strong_options,
};
