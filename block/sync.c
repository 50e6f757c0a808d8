/* SPDX-License-Identifier: MIT */
/*
 * Requests to nodes for callers that are not in a coroutine: open, close, and tools that
 * ask what an image is.
 */
#include "node.h"

typedef struct NodeCall {
    CoCall call;
    BdrvChild *child;
    BlockDriverState *bs;
    int64_t offset, bytes;
    void *buf;
    BdrvRequestFlags flags;
} NodeCall;

#define NODE_CALL(c) container_of(c, NodeCall, call)

static void coroutine_fn call_pread(CoCall *c)
{
    NodeCall *n = NODE_CALL(c);

    c->ret = bdrv_co_pread(n->child, n->offset, n->bytes, n->buf, n->flags);
}

static void coroutine_fn call_pwrite(CoCall *c)
{
    NodeCall *n = NODE_CALL(c);

    c->ret = bdrv_co_pwrite(n->child, n->offset, n->bytes, n->buf, n->flags);
}

static void coroutine_fn call_flush(CoCall *c)
{
    c->ret = bdrv_co_flush(NODE_CALL(c)->bs);
}

static void coroutine_fn call_getlength(CoCall *c)
{
    c->ret = bdrv_co_getlength(NODE_CALL(c)->bs);
}

static void coroutine_fn call_allocated_size(CoCall *c)
{
    BlockDriverState *bs = NODE_CALL(c)->bs;

    c->ret = bs->drv->bdrv_co_get_allocated_file_size(bs);
}

static void coroutine_fn call_get_info(CoCall *c)
{
    NodeCall *n = NODE_CALL(c);

    c->ret = n->bs->drv->bdrv_co_get_info(n->bs, n->buf);
}

int bdrv_pread(BdrvChild *child, int64_t offset, int64_t bytes, void *buf,
               BdrvRequestFlags flags)
{
    NodeCall n = { .call.fn = call_pread,
                   .child = child,
                   .offset = offset,
                   .bytes = bytes,
                   .buf = buf,
                   .flags = flags };

    return co_call(&n.call);
}

int bdrv_pwrite(BdrvChild *child, int64_t offset, int64_t bytes, const void *buf,
                BdrvRequestFlags flags)
{
    NodeCall n = { .call.fn = call_pwrite,
                   .child = child,
                   .offset = offset,
                   .bytes = bytes,
                   .buf = (void *)buf,
                   .flags = flags };

    return co_call(&n.call);
}

int bdrv_flush(BlockDriverState *bs)
{
    NodeCall n = { .call.fn = call_flush, .bs = bs };

    return co_call(&n.call);
}

int64_t bdrv_getlength(BlockDriverState *bs)
{
    NodeCall n = { .call.fn = call_getlength, .bs = bs };

    if (!bs->bl.has_variable_length) {
        return qatomic_read(&bs->core->length);
    }
    return co_call(&n.call);
}

int64_t bdrv_get_allocated_file_size(BlockDriverState *bs)
{
    NodeCall n = { .call.fn = call_allocated_size, .bs = bs };

    if (bs->drv->bdrv_co_get_allocated_file_size) {
        return co_call(&n.call);
    }
    return bs->file ? bdrv_get_allocated_file_size(bs->file->bs) : -ENOTSUP;
}

int bdrv_get_info(BlockDriverState *bs, BlockDriverInfo *bdi)
{
    NodeCall n = { .call.fn = call_get_info, .bs = bs, .buf = bdi };
    BdrvChild *filtered = bdrv_filter_child(bs);

    memset(bdi, 0, sizeof(*bdi));
    if (bs->drv->bdrv_co_get_info) {
        return co_call(&n.call);
    }
    return filtered ? bdrv_get_info(filtered->bs, bdi) : -ENOTSUP;
}

/* --- block status --- */

typedef struct StatusCall {
    CoCall call;
    BlockDriverState *bs, *base;
    bool include_base;
    int64_t offset, bytes;
    int64_t *pnum, *map;
    BlockDriverState **file;
} StatusCall;

#define STATUS_CALL(c) container_of(c, StatusCall, call)

static void coroutine_fn call_status(CoCall *c)
{
    StatusCall *n = STATUS_CALL(c);

    c->ret = bdrv_co_block_status(n->bs, n->offset, n->bytes, n->pnum, n->map, n->file);
}

static void coroutine_fn call_status_above(CoCall *c)
{
    StatusCall *n = STATUS_CALL(c);

    c->ret = bdrv_co_block_status_above(n->bs, n->base, n->offset, n->bytes, n->pnum, n->map,
                                        n->file);
}

static void coroutine_fn call_is_allocated(CoCall *c)
{
    StatusCall *n = STATUS_CALL(c);

    c->ret = bdrv_co_is_allocated(n->bs, n->offset, n->bytes, n->pnum);
}

static void coroutine_fn call_is_allocated_above(CoCall *c)
{
    StatusCall *n = STATUS_CALL(c);

    c->ret = bdrv_co_is_allocated_above(n->bs, n->base, n->include_base, n->offset, n->bytes,
                                        n->pnum);
}

int bdrv_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                      int64_t *map, BlockDriverState **file)
{
    StatusCall n = { .call.fn = call_status,
                     .bs = bs,
                     .offset = offset,
                     .bytes = bytes,
                     .pnum = pnum,
                     .map = map,
                     .file = file };

    return co_call(&n.call);
}

int bdrv_block_status_above(BlockDriverState *bs, BlockDriverState *base, int64_t offset,
                            int64_t bytes, int64_t *pnum, int64_t *map,
                            BlockDriverState **file)
{
    StatusCall n = { .call.fn = call_status_above,
                     .bs = bs,
                     .base = base,
                     .offset = offset,
                     .bytes = bytes,
                     .pnum = pnum,
                     .map = map,
                     .file = file };

    return co_call(&n.call);
}

int bdrv_is_allocated(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum)
{
    StatusCall n = { .call.fn = call_is_allocated,
                     .bs = bs,
                     .offset = offset,
                     .bytes = bytes,
                     .pnum = pnum };

    return co_call(&n.call);
}

int bdrv_is_allocated_above(BlockDriverState *bs, BlockDriverState *base, bool include_base,
                            int64_t offset, int64_t bytes, int64_t *pnum)
{
    StatusCall n = { .call.fn = call_is_allocated_above,
                     .bs = bs,
                     .base = base,
                     .include_base = include_base,
                     .offset = offset,
                     .bytes = bytes,
                     .pnum = pnum };

    return co_call(&n.call);
}
