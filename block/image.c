/* SPDX-License-Identifier: MIT */
/* Images as files: creating them, the words of qemu-img for modes, and what a node is. */
#include "node.h"
#include "block/io-engine.h"

/* --- creating --- */

typedef struct CreateCall {
    CoCall call;
    BlockDriver *drv;
    const char *filename;
    BlockOptions *opts;
    Error **errp;
} CreateCall;

static void coroutine_fn call_create(CoCall *c)
{
    CreateCall *cc = container_of(c, CreateCall, call);

    c->ret = cc->drv->bdrv_co_create_opts(cc->drv, cc->filename, cc->opts, cc->errp);
}

static int check_create_leftover(const BlockOptions *opts, Error **errp)
{
    const char *key = blk_options_key(opts, 0);

    if (key) {
        error_setg(errp, "Invalid parameter '%s'", key);
        return -EINVAL;
    }
    return 0;
}

static bool option_known(const BlockCreateOption *table, const char *key)
{
    for (; table && table->name; table++) {
        if (!strcmp(table->name, key)) {
            return true;
        }
    }
    return false;
}

/* Before anything is touched: a mistyped option must not leave a file behind. */
static int check_create_options(BlockDriver *drv, const char *filename,
                                const BlockOptions *opts, Error **errp)
{
    BlockDriver *file_drv = bdrv_find_protocol(filename, true, errp);
    const BlockCreateOption *protocol;

    if (!file_drv) {
        return -ENOENT;
    }
    if (!file_drv->bdrv_co_create_opts) {
        error_setg(errp, "Driver '%s' does not support image creation",
                   file_drv->format_name);
        return -ENOTSUP;
    }
    protocol = bdrv_create_options(file_drv);
    for (size_t i = 0; i < blk_options_count(opts); i++) {
        const char *key = blk_options_key(opts, i);

        if (!option_known(drv->create_opts, key) && !option_known(protocol, key)) {
            error_setg(errp, "Invalid parameter '%s'", key);
            return -EINVAL;
        }
    }
    return 0;
}

int bdrv_create(BlockDriver *drv, const char *filename, BlockOptions *opts, Error **errp)
{
    ERRP_GUARD();
    g_autoptr(BlockOptions) owned = opts ? opts : blk_options_new();
    CreateCall cc = { .call.fn = call_create,
                      .drv = drv,
                      .filename = filename,
                      .opts = owned,
                      .errp = errp };
    int ret;

    if (!drv->bdrv_co_create_opts) {
        error_setg(errp, "Driver '%s' does not support image creation", drv->format_name);
        return -ENOTSUP;
    }
    ret = check_create_options(drv, filename, owned, errp);
    if (ret < 0) {
        return ret;
    }
    ret = co_call(&cc.call);
    if (ret < 0 && !*errp) {
        error_setg_errno(errp, -ret, "Could not create image");
    }
    return ret < 0 ? ret : check_create_leftover(owned, errp);
}

const BlockCreateOption *bdrv_create_options(const BlockDriver *drv)
{
    return drv->bdrv_co_create_opts ? drv->create_opts : NULL;
}

bool bdrv_driver_can_compress(const BlockDriver *drv)
{
    return drv->bdrv_co_pwritev_compressed_part;
}

const BlockCreateOption *bdrv_protocol_create_options(const char *filename, Error **errp)
{
    BlockDriver *drv = bdrv_find_protocol(filename, true, errp);

    if (drv && !drv->bdrv_co_create_opts) {
        error_setg(errp, "Protocol driver '%s' does not support image creation",
                   drv->format_name);
        return NULL;
    }
    return drv ? bdrv_create_options(drv) : NULL;
}

/* --- words --- */

int bdrv_parse_cache_mode(const char *mode, int *flags, bool *writethrough)
{
    static const struct {
        const char *name;
        int flags;
        bool writethrough;
    } modes[] = {
        { "none", BDRV_O_NOCACHE, false },      { "off", BDRV_O_NOCACHE, false },
        { "directsync", BDRV_O_NOCACHE, true }, { "writeback", 0, false },
        { "unsafe", BDRV_O_NO_FLUSH, false },   { "writethrough", 0, true },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (!strcmp(mode, modes[i].name)) {
            *flags = (*flags & ~BDRV_O_CACHE_MASK) | modes[i].flags;
            *writethrough = modes[i].writethrough;
            return 0;
        }
    }
    return -1;
}

int bdrv_parse_aio(const char *mode, int *flags)
{
    int engine = 0;

    if (!io_engine_find(mode)) {
        return -1;
    }
    if (!strcmp(mode, "native")) {
        engine = BDRV_O_NATIVE_AIO;
    } else if (!strcmp(mode, "io_uring")) {
        engine = BDRV_O_IO_URING;
    }
    *flags = (*flags & ~(BDRV_O_NATIVE_AIO | BDRV_O_IO_URING)) | engine;
    return 0;
}

int bdrv_parse_discard_flags(const char *mode, int *flags)
{
    if (!strcmp(mode, "unmap") || !strcmp(mode, "on")) {
        *flags |= BDRV_O_UNMAP;
    } else if (!strcmp(mode, "ignore") || !strcmp(mode, "off")) {
        *flags &= ~BDRV_O_UNMAP;
    } else {
        return -1;
    }
    return 0;
}

/* --- what a node is --- */

const char *bdrv_driver_name(const BlockDriver *drv)
{
    return drv->format_name;
}

const char *bdrv_get_format_name(BlockDriverState *bs)
{
    return bs->drv->format_name;
}

BlockOptions *bdrv_get_specific_info(BlockDriverState *bs, Error **errp)
{
    return bs->drv->bdrv_get_specific_info ? bs->drv->bdrv_get_specific_info(bs, errp) : NULL;
}

static void set_unless_0(BlockOptions *opts, const char *key, int64_t value)
{
    if (value) {
        blk_options_set_number(opts, key, value);
    }
}

BlockOptions *bdrv_get_limits(BlockDriverState *bs)
{
    const BlockLimits *bl = &bs->bl;
    BlockOptions *opts = blk_options_new();

    blk_options_set_number(opts, "request-alignment", bl->request_alignment);
    set_unless_0(opts, "max-discard", bl->max_pdiscard);
    set_unless_0(opts, "discard-alignment", bl->pdiscard_alignment);
    set_unless_0(opts, "max-write-zeroes", bl->max_pwrite_zeroes);
    set_unless_0(opts, "write-zeroes-alignment", bl->pwrite_zeroes_alignment);
    set_unless_0(opts, "opt-transfer", bl->opt_transfer);
    set_unless_0(opts, "max-transfer", bl->max_transfer);
    set_unless_0(opts, "max-iov", bl->max_iov);
    blk_options_set_number(opts, "min-mem-alignment", bl->min_mem_alignment);
    blk_options_set_number(opts, "opt-mem-alignment", bl->opt_mem_alignment);
    return opts;
}

bool bdrv_path_has_protocol(const char *path)
{
    return path_has_protocol(path);
}

const char *bdrv_get_protocol_name(BlockDriverState *bs)
{
    return bs->drv->protocol_name;
}

bool bdrv_is_read_only(BlockDriverState *bs)
{
    return bs->read_only;
}

bool bdrv_is_encrypted(BlockDriverState *bs)
{
    return false; /* no driver has encryption yet */
}

bool bdrv_is_filter(BlockDriverState *bs)
{
    return bs->drv->is_filter;
}

int bdrv_has_zero_init(BlockDriverState *bs)
{
    if (bs->backing) {
        return 0;
    }
    if (bs->drv->bdrv_has_zero_init) {
        return bs->drv->bdrv_has_zero_init(bs);
    }
    return bs->file ? bdrv_has_zero_init(bs->file->bs) : 0;
}

BlockDriverState *bdrv_primary_bs(BlockDriverState *bs)
{
    return bs->file ? bs->file->bs : NULL;
}

BlockDriverState *bdrv_backing_bs(BlockDriverState *bs)
{
    return bs->backing ? bs->backing->bs : NULL;
}

void bdrv_iterate_children(BlockDriverState *bs,
                           void (*it)(void *opaque, const char *name,
                                      BlockDriverState *child),
                           void *opaque)
{
    for (guint i = 0; i < bs->core->children->len; i++) {
        const BdrvChild *child = bdrv_child_at(bs->core->children, i);

        it(opaque, child->name, child->bs);
    }
}
