/* SPDX-License-Identifier: MIT */
/* See the header. lazy_dirty changes under alloc_lock, or with nothing in flight. */
#include "qcow2-lazy.h"

#include "qcow2-header-io.h"
#include "qcow2-refblock.h"

int coroutine_fn qcow2_co_lazy_begin(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (likely(!s->lazy || qatomic_read(&s->lazy_dirty))) {
        return 0;
    }
    ret = qcow2_co_write_header_dirty(bs, true);
    if (ret == 0) {
        qatomic_set(&s->lazy_dirty, true);
    }
    return ret;
}

int coroutine_fn qcow2_co_lazy_table(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    if (qatomic_read(&s->lazy_dirty)) {
        qemu_co_mutex_lock(&s->alloc_lock);
        ret = qcow2_refblocks_write(bs, NULL);
        qemu_co_mutex_unlock(&s->alloc_lock);
    }
    return ret;
}

int coroutine_fn qcow2_co_lazy_end(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (!qatomic_read(&s->lazy_dirty) || s->unclean) {
        return 0;
    }
    ret = qcow2_co_write_header_dirty(bs, false);
    /* The bit may be gone even if that failed: who relies on it sets it again. */
    qatomic_set(&s->lazy_dirty, false);
    return ret;
}
