/* SPDX-License-Identifier: MIT */
/*
 * The graph: nodes, edges between them, reference counts, limits, permissions.
 *
 * An edge (BdrvChild) says what its parent does with the child (perm) and what it lets
 * other parents do (shared_perm). What the parents of a node need together goes to its
 * driver (image locks) and, translated, to its children. A change is first checked for
 * the whole subgraph and then committed, or taken back as a whole (PermChange).
 *
 * Everything here belongs to the home thread of the nodes' context.
 */
#include "node.h"

BlockDriverState *bdrv_new_node(AioContext *ctx)
{
    BlockDriverState *bs = g_new0(BlockDriverState, 1);
    BlockNodeCore *core = g_new0(BlockNodeCore, 1);

    bs->core = core;
    bs->filename = g_strdup("");
    bs->exact_filename = g_strdup("");
    core->ctx = ctx;
    aio_context_ref(ctx);
    core->refcnt = 1;
    core->parents = g_ptr_array_new();
    core->children = g_ptr_array_new();
    wait_list_init(&core->flush_waiters);
    QTAILQ_INIT(&core->reqs);
    qemu_mutex_init(&core->dirty_lock);
    QLIST_INIT(&core->dirty_bitmaps);
    return bs;
}

/* Errors of the last writes belong to whoever flushed; there is nobody left to tell. */
static void close_driver(BlockDriverState *bs)
{
    if (bs->drv) {
        bdrv_drained_begin(bs);
        bdrv_flush(bs);
        if (bs->drv->bdrv_close) {
            bs->drv->bdrv_close(bs);
        }
        bdrv_drained_end(bs);
        bs->drv = NULL;
    }
}

static void node_free(BlockDriverState *bs)
{
    BlockNodeCore *core = bs->core;

    bdrv_drop_node_name(bs);
    close_driver(bs);
    g_assert(core->parents->len == 0 && QTAILQ_EMPTY(&core->reqs) &&
             core->in_flight == 0);
    while (core->children->len) {
        bdrv_unref_child(bs, bdrv_child_at(core->children, core->children->len - 1));
    }
    g_ptr_array_free(core->parents, true);
    g_ptr_array_free(core->children, true);
    blk_options_free(core->options);
    g_free(core->node_name); /* closing may have messages about it */
    bdrv_release_all_dirty_bitmaps(bs);
    qemu_mutex_destroy(&core->dirty_lock);
    g_free(core->auto_backing_file);
    g_free(core->display_name);
    aio_context_unref(core->ctx);
    g_free(core);
    g_free(bs->opaque);
    g_free(bs->filename);
    g_free(bs->exact_filename);
    g_free(bs->backing_file);
    g_free(bs->backing_format);
    g_free(bs);
}

void bdrv_ref(BlockDriverState *bs)
{
    qatomic_inc(&bs->core->refcnt);
}

void bdrv_unref(BlockDriverState *bs)
{
    if (bs && qatomic_fetch_dec(&bs->core->refcnt) == 1) {
        node_free(bs);
    }
}

bool bdrv_is_writable(const BlockDriverState *bs)
{
    return !bs->read_only;
}

void bdrv_set_node_context(BlockDriverState *bs, AioContext *ctx)
{
    BlockNodeCore *core = bs->core;

    if (core->ctx == ctx) {
        return;
    }
    if (bs->drv && bs->drv->bdrv_detach_aio_context) {
        bs->drv->bdrv_detach_aio_context(bs);
    }
    aio_context_ref(ctx);
    aio_context_unref(core->ctx);
    core->ctx = ctx;
    for (guint i = 0; i < core->children->len; i++) {
        bdrv_set_node_context(bdrv_child_at(core->children, i)->bs, ctx);
    }
    if (bs->drv && bs->drv->bdrv_attach_aio_context) {
        bs->drv->bdrv_attach_aio_context(bs, ctx);
    }
}

/* --- permissions --- */

static void cumulated_perms(BlockDriverState *bs, uint64_t *perm, uint64_t *shared)
{
    *perm = 0;
    *shared = BLK_PERM_ALL;
    for (guint i = 0; i < bs->core->parents->len; i++) {
        const BdrvChild *edge = bdrv_child_at(bs->core->parents, i);

        *perm |= edge->perm;
        *shared &= edge->shared_perm;
    }
}

static const char *perm_name(uint64_t perm)
{
    switch (perm & -perm) { /* one is enough to know what is wrong */
    case BLK_PERM_CONSISTENT_READ:
        return "consistent read";
    case BLK_PERM_WRITE:
        return "write";
    case BLK_PERM_WRITE_UNCHANGED:
        return "write unchanged";
    default:
        return "resize";
    }
}

static int check_parents_agree(BlockDriverState *bs, Error **errp)
{
    GPtrArray *parents = bs->core->parents;

    for (guint i = 0; i < parents->len; i++) {
        for (guint j = 0; j < parents->len; j++) {
            uint64_t refused =
                bdrv_child_at(parents, i)->perm & ~bdrv_child_at(parents, j)->shared_perm;

            if (i != j && refused) {
                error_setg(errp, "Image '%s' is in use: another user does not share '%s'",
                           bs->filename, perm_name(refused));
                return -EBUSY;
            }
        }
    }
    return 0;
}

/* A filter does to its child what is done to it. */
static void perms_of_filter(uint64_t perm, uint64_t shared, uint64_t *nperm,
                            uint64_t *nshared)
{
    *nperm = perm;
    *nshared = shared;
}

/* A backing file is only read, and may be written as long as nobody sees a change. */
static void perms_of_backing(uint64_t perm, uint64_t shared, uint64_t *nperm,
                             uint64_t *nshared)
{
    *nperm = perm & BLK_PERM_CONSISTENT_READ;
    *nshared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED;
    if (shared & BLK_PERM_WRITE) {
        *nshared |= BLK_PERM_WRITE | BLK_PERM_RESIZE;
    }
}

/* A format reads and writes its metadata whatever its own users do, and trusts it. */
static void perms_of_format(BlockDriverState *bs, uint64_t perm, uint64_t shared,
                            uint64_t *nperm, uint64_t *nshared)
{
    *nperm = perm | BLK_PERM_CONSISTENT_READ;
    if (bdrv_is_writable(bs)) {
        *nperm |= BLK_PERM_WRITE | BLK_PERM_RESIZE;
    }
    *nshared = (shared & ~(uint64_t)(BLK_PERM_WRITE | BLK_PERM_RESIZE)) |
               BLK_PERM_WRITE_UNCHANGED;
}

static void child_perms(BlockDriverState *bs, const BdrvChild *child, uint64_t perm,
                        uint64_t shared, uint64_t *nperm, uint64_t *nshared)
{
    if (bs->drv->bdrv_child_perm) {
        bs->drv->bdrv_child_perm(bs, child, perm, shared, nperm, nshared);
    } else if (bs->drv->is_filter) {
        perms_of_filter(perm, shared, nperm, nshared);
    } else if (child == bs->backing || !strcmp(child->name, "backing")) {
        perms_of_backing(perm, shared, nperm, nshared);
    } else {
        perms_of_format(bs, perm, shared, nperm, nshared);
    }
    if (bs->force_share) {
        *nshared = BLK_PERM_ALL;
    }
}

/* One step of a change that may have to be taken back: an edge, or a driver that agreed.
 */
typedef struct PermStep {
    BdrvChild *edge;
    uint64_t perm, shared; /* as they were */
    BlockDriverState *bs;  /* when edge is NULL */
} PermStep;

static int check_perms(BlockDriverState *bs, GArray *steps, Error **errp);

static int check_child_perms(BlockDriverState *bs, BdrvChild *child, uint64_t perm,
                             uint64_t shared, GArray *steps, Error **errp)
{
    PermStep step = { .edge = child, .perm = child->perm, .shared = child->shared_perm };
    uint64_t nperm, nshared;

    child_perms(bs, child, perm, shared, &nperm, &nshared);
    g_array_append_val(steps, step);
    child->perm = nperm;
    child->shared_perm = nshared;
    return check_perms(child->bs, steps, errp);
}

static int check_perms(BlockDriverState *bs, GArray *steps, Error **errp)
{
    uint64_t perm, shared;
    int ret = check_parents_agree(bs, errp);

    if (ret < 0 || !bs->drv) {
        return ret;
    }
    cumulated_perms(bs, &perm, &shared);
    if ((perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) && bs->read_only) {
        error_setg(errp, "Block node is read-only");
        return -EPERM;
    }
    /* Writes to the last block cover all of it, and the image would grow. */
    if ((perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) &&
        !(perm & BLK_PERM_RESIZE) &&
        ((uint64_t)bs->core->length & bs->core->align_mask)) {
        error_setg(errp, "Cannot get 'write' permission without 'resize': Image size is "
                         "not a multiple of request alignment");
        return -EPERM;
    }
    if (bs->drv->bdrv_check_perm) {
        PermStep step = { .bs = bs };

        ret = bs->drv->bdrv_check_perm(bs, perm, shared, errp);
        if (ret < 0) {
            return ret;
        }
        g_array_append_val(steps, step);
    }
    for (guint i = 0; i < bs->core->children->len; i++) {
        ret = check_child_perms(bs, bdrv_child_at(bs->core->children, i), perm, shared,
                                steps, errp);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static void commit_step(const PermStep *step)
{
    uint64_t perm, shared;

    if (!step->edge && step->bs->drv->bdrv_set_perm) {
        cumulated_perms(step->bs, &perm, &shared);
        step->bs->drv->bdrv_set_perm(step->bs, perm, shared);
    }
}

static void abort_step(const PermStep *step)
{
    if (step->edge) {
        step->edge->perm = step->perm;
        step->edge->shared_perm = step->shared;
    } else if (step->bs->drv->bdrv_abort_perm_update) {
        step->bs->drv->bdrv_abort_perm_update(step->bs);
    }
}

int bdrv_refresh_perms(BlockDriverState *bs, Error **errp)
{
    g_autoptr(GArray) steps = g_array_new(false, false, sizeof(PermStep));
    int ret = check_perms(bs, steps, errp);

    if (ret < 0) {
        for (guint i = steps->len; i-- > 0;) {
            abort_step(&g_array_index(steps, PermStep, i));
        }
        return ret;
    }
    for (guint i = 0; i < steps->len; i++) {
        commit_step(&g_array_index(steps, PermStep, i));
    }
    return 0;
}

/* --- edges --- */

static void quiesce_parent_of(BdrvChild *edge)
{
    if (edge->parent) {
        bdrv_quiesce(edge->parent);
    } else {
        blk_quiesce(blk_of_root(edge));
    }
}

static void unquiesce_parent_of(BdrvChild *edge)
{
    if (edge->parent) {
        bdrv_unquiesce(edge->parent);
    } else {
        blk_unquiesce(blk_of_root(edge));
    }
}

/*
 * A drained node keeps its parents from sending requests, also those that it gets or
 * loses.
 */
static void link_edge(BdrvChild *edge, BlockDriverState *bs)
{
    edge->bs = bs;
    g_ptr_array_add(bs->core->parents, edge);
    if (bs->core->quiesce) {
        quiesce_parent_of(edge);
    }
}

static void unlink_edge(BdrvChild *edge)
{
    BlockDriverState *bs = edge->bs;

    if (bs->core->quiesce) {
        unquiesce_parent_of(edge);
    }
    g_ptr_array_remove(bs->core->parents, edge);
    edge->bs = NULL;
}

static void set_known_child(BlockDriverState *parent, BdrvChild *child)
{
    if (!strcmp(child->name, "file") && !parent->file) {
        parent->file = child;
    } else if (!strcmp(child->name, "backing") && !parent->backing) {
        parent->backing = child;
    }
}

static void forget_known_child(BlockDriverState *parent, const BdrvChild *child)
{
    if (parent->file == child) {
        parent->file = NULL;
    } else if (parent->backing == child) {
        parent->backing = NULL;
    }
}

BdrvChild *bdrv_attach_child(BlockDriverState *parent, BlockDriverState *child_bs,
                             const char *name, Error **errp)
{
    BdrvChild *child = g_new0(BdrvChild, 1);
    uint64_t perm, shared;

    child->name = g_strdup(name);
    child->parent = parent;
    g_ptr_array_add(parent->core->children, child);
    link_edge(child, child_bs);
    set_known_child(parent, child);

    cumulated_perms(parent, &perm, &shared);
    child_perms(parent, child, perm, shared, &child->perm, &child->shared_perm);
    if (bdrv_refresh_perms(child_bs, errp) < 0) {
        child->perm = 0;
        child->shared_perm = BLK_PERM_ALL;
        bdrv_unref_child(parent, child);
        return NULL;
    }
    return child;
}

void bdrv_unref_child(BlockDriverState *parent, BdrvChild *child)
{
    BlockDriverState *bs;

    if (!child) {
        return;
    }
    bs = child->bs;
    forget_known_child(parent, child);
    unlink_edge(child);
    g_ptr_array_remove(parent->core->children, child);
    g_free((char *)child->name);
    g_free(child);
    bdrv_refresh_perms(bs, NULL); /* fewer parents ask for less: nothing to refuse */
    bdrv_unref(bs);
}

int bdrv_attach_root(BdrvChild *child, BlockDriverState *bs, uint64_t perm,
                     uint64_t shared_perm, Error **errp)
{
    int ret;

    child->name = "root";
    child->perm = perm;
    child->shared_perm = shared_perm;
    bdrv_ref(bs);
    link_edge(child, bs);
    ret = bdrv_refresh_perms(bs, errp);
    if (ret < 0) {
        bdrv_detach_root(child);
    }
    return ret;
}

void bdrv_detach_root(BdrvChild *child)
{
    BlockDriverState *bs = child->bs;

    unlink_edge(child);
    bdrv_refresh_perms(bs, NULL);
    bdrv_unref(bs);
}

/* --- limits and length --- */

static void merge_child_limits(BlockLimits *bl, const BlockLimits *child)
{
    bl->opt_transfer = MAX(bl->opt_transfer, child->opt_transfer);
    bl->max_transfer = MIN_NON_ZERO(bl->max_transfer, child->max_transfer);
    bl->min_mem_alignment = MAX(bl->min_mem_alignment, child->min_mem_alignment);
    bl->opt_mem_alignment = MAX(bl->opt_mem_alignment, child->opt_mem_alignment);
    bl->max_iov = MIN_NON_ZERO(bl->max_iov, child->max_iov);
}

static int check_limits(BlockDriverState *bs, Error **errp)
{
    const BlockLimits *bl = &bs->bl;
    uint32_t align = bl->request_alignment;

    if (!align || (align & (align - 1)) || align > BDRV_MAX_ALIGNMENT) {
        error_setg(errp,
                   "Driver '%s' needs an alignment of %u bytes, which is not usable",
                   bs->drv->format_name, align);
        return -EINVAL;
    }
    g_assert(bl->max_iov >= 1 && bl->min_mem_alignment >= 1);
    g_assert(bl->max_transfer >= 0 && bl->max_transfer % align == 0);
    return 0;
}

/* What lets most requests pass with one look: see request_is_simple(). */
static void set_fast_path(BlockDriverState *bs)
{
    BlockNodeCore *core = bs->core;
    int64_t largest =
        ROUND_DOWN(BDRV_REQUEST_MAX_BYTES, (int64_t)bs->bl.request_alignment);
    /* These are looked after on the long way. */
    bool simple = bs->drv->bdrv_co_preadv_part && !bs->debug_events &&
                  !core->copy_on_read && !core->detect_zeroes;

    core->align_mask = bs->bl.request_alignment - 1;
    core->max_simple =
        simple ? MIN_NON_ZERO(bs->bl.max_transfer, largest) : 0;
}

int bdrv_refresh_limits(BlockDriverState *bs, Error **errp)
{
    ERRP_GUARD();
    BlockLimits *bl = &bs->bl;

    memset(bl, 0, sizeof(*bl));
    bl->request_alignment = 1;
    bl->min_mem_alignment = 1;
    bl->opt_mem_alignment = 1;
    for (guint i = 0; i < bs->core->children->len; i++) {
        merge_child_limits(bl, &bdrv_child_at(bs->core->children, i)->bs->bl);
    }
    if (bs->core->children->len == 0) {
        bl->opt_mem_alignment = qemu_real_host_page_size();
    }
    if (!bl->max_iov) {
        bl->max_iov = IOV_MAX;
    }
    bl->has_variable_length = bs->drv->has_variable_length;
    if (bs->drv->bdrv_refresh_limits) {
        bs->drv->bdrv_refresh_limits(bs, errp);
        if (*errp) {
            return -EINVAL;
        }
    }
    /* A child's limit need not be a multiple of this node's alignment. */
    if (bl->max_transfer && bl->request_alignment) {
        bl->max_transfer =
            MAX(ROUND_DOWN(bl->max_transfer, (int64_t)bl->request_alignment),
                (int64_t)bl->request_alignment);
    }
    bl->opt_mem_alignment = MAX(bl->opt_mem_alignment, bl->min_mem_alignment);
    if (check_limits(bs, errp) < 0) {
        return -EINVAL;
    }
    set_fast_path(bs);
    return 0;
}

int64_t coroutine_fn bdrv_co_refresh_length(BlockDriverState *bs)
{
    int64_t length = driver_getlength(bs);

    if (length < 0) {
        return length;
    }
    if (length > BDRV_MAX_LENGTH) {
        return -EFBIG;
    }
    length = ROUND_UP(length, (int64_t)BDRV_SECTOR_SIZE);
    qatomic_set(&bs->core->length, length);
    return length;
}

typedef struct LengthCall {
    CoCall call;
    BlockDriverState *bs;
} LengthCall;

static void coroutine_fn refresh_length_entry(CoCall *call)
{
    call->ret = bdrv_co_refresh_length(container_of(call, LengthCall, call)->bs);
}

int64_t bdrv_refresh_length(BlockDriverState *bs)
{
    LengthCall c = { .call.fn = refresh_length_entry, .bs = bs };

    return co_call(&c.call);
}

/* --- memory --- */

void *qemu_try_blockalign(BlockDriverState *bs, size_t size)
{
    size_t align =
        bs ? MAX(bs->bl.opt_mem_alignment, sizeof(void *)) : qemu_real_host_page_size();

    /* Whole blocks, so that the last one can be transferred with O_DIRECT. */
    if (size > SIZE_MAX - align) {
        return NULL;
    }
    return qemu_try_memalign(align, ROUND_UP(size, align));
}

void *qemu_blockalign(BlockDriverState *bs, size_t size)
{
    void *buf = qemu_try_blockalign(bs, size);

    if (!buf) {
        g_error("out of memory: %zu bytes for a request", size);
    }
    return buf;
}
