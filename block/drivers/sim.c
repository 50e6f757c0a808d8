/* SPDX-License-Identifier: MIT */
/*
 * "sim", the driver: requests to simulated disks. A request is numbered and entered in the
 * log when it begins, waits for its latency, and takes effect when it ends, unless power was
 * cut meanwhile. Whether it fails is known when it begins. block/sim.h says what it is for.
 */
#include "block/drivers/sim-internal.h"
#include "qemu/timer.h"

/* How long a request takes in a simulated context, unless set. */
#define DEFAULT_MIN_NS 1000
#define DEFAULT_MAX_NS 100000

typedef struct SimNodeState {
    SimDisk *disk; /* with a reference to its supply */
} SimNodeState;

/* A request under way; on its coroutine's stack. */
typedef struct SimCall {
    SimRequest r;
    QEMUIOVector *qiov;
    size_t qiov_offset;
    bool fua;

    unsigned era;
    SimEvent *event; /* NULL: changes nothing */
    int ret;         /* what it will return, */
    SimEffect effect; /* and do if that is an error */
    SimBytes then;   /* of a flush: what it covers */
    uint64_t data_hash;
    Coroutine *co;
} SimCall;

static SimDisk *disk_of(BlockDriverState *bs)
{
    return ((SimNodeState *)bs->opaque)->disk;
}

/* --- the begin of a request; under the lock --- */

static bool grows(const SimCall *c)
{
    int64_t length = c->r.disk->live.length;

    switch (c->r.op) {
    case SIM_WRITE:
    case SIM_ZERO:
        return c->r.offset + c->r.bytes > length;
    case SIM_TRUNCATE:
        return c->r.offset > length;
    default:
        return false;
    }
}

/* Power may be planned to go off just now. */
static void check_planned_cut(SimPower *power, bool change)
{
    int64_t ns = sim_virtual_ns();

    power->changes += change;
    if ((change && power->cut_at_change && power->changes == power->cut_at_change) ||
        (power->cut_at_ns && ns >= power->cut_at_ns)) {
        power->cut_at_change = 0;
        power->cut_at_ns = 0;
        sim_power_cut_locked(power);
    }
}

/* How much of its bytes the request will move. */
static int64_t effective_bytes(const SimCall *c)
{
    const SimRequest *r = &c->r;
    uint32_t sector = r->disk->config.sector_size;
    int64_t middle;

    if (c->ret == 0 || c->effect == SIM_EFFECT_ALL || c->effect == SIM_EFFECT_LOST) {
        return r->bytes;
    }
    if (c->effect == SIM_EFFECT_NONE) {
        return 0;
    }
    middle = ROUND_UP(r->offset + r->bytes / 2, sector);
    return middle < r->offset + r->bytes ? middle - r->offset : 0;
}

/* Enters the request in the log. */
static int log_change(SimCall *c)
{
    SimRequest *r = &c->r;
    SimDisk *disk = r->disk;
    int64_t bytes = effective_bytes(c);
    uint8_t *data = NULL;

    if (r->op == SIM_WRITE) {
        data = g_try_malloc(MAX(r->bytes, 1));
        if (!data) {
            return -ENOMEM;
        }
        qemu_iovec_to_buf(c->qiov, c->qiov_offset, data, r->bytes);
        c->data_hash = disk->power->trace ? sim_hash(data, r->bytes) : 0;
    }
    c->event = sim_event_ref(sim_log_begin(disk, r->op, r->offset, bytes));
    r->time = c->event->begin;
    c->event->data = data;
    c->event->fua = c->fua;
    disk->power->log_bytes += data ? bytes : 0;
    if (r->op == SIM_DISCARD && disk->config.discard == SIM_DISCARD_GARBAGE) {
        c->event->noise = aio_sim_next_random(&disk->power->random) | 1;
    }
    if (r->op == SIM_FLUSH) {
        sim_bytes_copy(&c->then, &disk->live);
    } else if (r->op == SIM_TRUNCATE) {
        c->event->nothing = c->ret < 0 && c->effect < SIM_EFFECT_ALL;
    } else {
        c->event->nothing = !bytes || (r->op == SIM_DISCARD &&
                                       disk->config.discard == SIM_DISCARD_KEEP);
    }
    return 0;
}

/* 0: under way, to be ended by end_request(). */
static int begin_request(SimCall *c)
{
    SimRequest *r = &c->r;
    SimPower *power = r->disk->power;
    bool change = r->op & SIM_OP_CHANGE;
    int ret;

    sim_count(r->disk, r);
    check_planned_cut(power, change);
    if (!power->on) {
        r->disk->stats.failed++;
        sim_trace_begin(power, r, 0);
        sim_trace_end(power, r, -EIO, 0);
        return -EIO;
    }
    c->era = power->era;
    c->ret = sim_fault_check(power, r, grows(c), &c->effect);
    if (change) {
        ret = log_change(c);
        if (ret < 0) {
            return ret;
        }
    }
    sim_trace_begin(power, r, c->data_hash);
    return 0;
}

/* The hook comes first, without the lock. */
static int start(SimCall *c)
{
    SimRequest *r = &c->r;
    SimPower *power = r->disk->power;
    SimHook *hook;
    int ret;

    qemu_mutex_lock(&power->lock);
    r->number = ++power->requests;
    r->time = power->now;
    hook = power->hook;
    if (hook) {
        qemu_mutex_unlock(&power->lock);
        ret = hook(power->hook_opaque, r);
        if (ret < 0) {
            return ret;
        }
        qemu_mutex_lock(&power->lock);
    }
    ret = begin_request(c);
    qemu_mutex_unlock(&power->lock);
    return ret;
}

/* --- its latency --- */

static void wake(void *opaque)
{
    aio_co_wake(((SimCall *)opaque)->co);
}

/* -1: none at all, not even a turn of the loop. */
static int64_t choose_latency(const SimCall *c, bool simulated)
{
    const SimRequest *r = &c->r;
    SimDisk *disk = r->disk;
    int64_t min_ns, max_ns, ns = -1;

    qemu_mutex_lock(&disk->power->lock);
    min_ns = disk->min_ns;
    max_ns = disk->max_ns;
    if (disk->pace == SIM_PACE_DEFAULT) {
        min_ns = simulated ? DEFAULT_MIN_NS : 0;
        max_ns = simulated ? DEFAULT_MAX_NS : 0;
    }
    if (disk->pace != SIM_PACE_INSTANT) {
        ns = min_ns;
        ns += max_ns > min_ns ? (int64_t)sim_random_below(disk->power, max_ns - min_ns + 1) : 0;
        if (r->op != SIM_FLUSH && r->offset < disk->slow_offset + disk->slow_bytes &&
            r->offset + r->bytes > disk->slow_offset) {
            ns += disk->slow_ns;
        }
    }
    qemu_mutex_unlock(&disk->power->lock);
    return ns;
}

/* Gives the thread to others for as long as the request takes. */
static void coroutine_fn wait_for_disk(SimCall *c)
{
    AioSim *sim = aio_sim_current();
    int64_t ns = choose_latency(c, sim != NULL);

    if (ns < 0) {
        return;
    }
    c->co = qemu_coroutine_self();
    if (sim) {
        aio_sim_call_later(sim, ns, wake, c);
        qemu_coroutine_yield();
    } else if (ns) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, ns);
    } else {
        aio_co_schedule(qemu_get_current_aio_context(), c->co);
        qemu_coroutine_yield();
    }
}

/* --- its end; under the lock --- */

static void end_read(SimCall *c)
{
    SimRequest *r = &c->r;
    int64_t bytes = effective_bytes(c), n;
    uint8_t page[SIM_PAGE_SIZE];
    uint64_t hash = 0;

    for (int64_t at = 0; at < bytes; at += n) {
        n = MIN(bytes - at, (int64_t)sizeof(page) - ((r->offset + at) & (SIM_PAGE_SIZE - 1)));
        sim_bytes_read(&r->disk->live, r->offset + at, page, n);
        qemu_iovec_from_buf(c->qiov, c->qiov_offset + at, page, n);
        hash = r->disk->power->trace ? sim_stir(hash ^ sim_hash(page, n)) : 0;
    }
    c->data_hash = hash;
}

static void end_change(SimCall *c)
{
    sim_log_end(c->event, c->ret);
    if (c->r.op == SIM_FLUSH && c->ret < 0) {
        sim_log_flush_failed(c->event, c->effect);
    }
    if (c->r.op == SIM_FLUSH && (c->ret == 0 || c->effect == SIM_EFFECT_ALL)) {
        sim_log_flushed(c->event, &c->then);
    }
}

static int end_request(SimCall *c)
{
    SimPower *power = c->r.disk->power;

    if (c->era != power->era) {
        c->ret = -EIO; /* power was cut; what the request did, the log says */
    } else if (c->event) {
        end_change(c);
    } else if (c->r.op == SIM_READ) {
        end_read(c);
    }
    c->r.disk->stats.failed += c->ret < 0;
    sim_trace_end(power, &c->r, c->ret, c->r.op == SIM_READ ? c->data_hash : 0);
    return c->ret;
}

static int coroutine_fn perform(SimCall *c)
{
    SimPower *power = c->r.disk->power;
    int ret = start(c);

    if (ret < 0) {
        return ret;
    }
    wait_for_disk(c);
    qemu_mutex_lock(&power->lock);
    ret = end_request(c);
    qemu_mutex_unlock(&power->lock);
    if (c->event) {
        sim_event_unref(c->event);
    }
    sim_bytes_clear(&c->then);
    return ret;
}

/* --- callbacks --- */

static int coroutine_fn sim_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                   QEMUIOVector *qiov, size_t qiov_offset,
                                   BdrvRequestFlags flags)
{
    SimCall c = { .r = { .disk = disk_of(bs), .op = SIM_READ, .offset = offset, .bytes = bytes },
                  .qiov = qiov, .qiov_offset = qiov_offset };

    return perform(&c);
}

/* A device has an end. */
static bool beyond_end(SimDisk *disk, int64_t end)
{
    bool beyond;

    qemu_mutex_lock(&disk->power->lock);
    beyond = disk->config.fixed && end > disk->live.length;
    qemu_mutex_unlock(&disk->power->lock);
    return beyond;
}

static int coroutine_fn sim_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                    QEMUIOVector *qiov, size_t qiov_offset,
                                    BdrvRequestFlags flags)
{
    SimCall c = { .r = { .disk = disk_of(bs), .op = SIM_WRITE, .offset = offset, .bytes = bytes,
                         .flags = flags },
                  .qiov = qiov, .qiov_offset = qiov_offset, .fua = flags & BDRV_REQ_FUA };

    return beyond_end(c.r.disk, offset + bytes) ? -ENOSPC : perform(&c);
}

static int coroutine_fn sim_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                          BdrvRequestFlags flags)
{
    SimCall c = { .r = { .disk = disk_of(bs), .op = SIM_ZERO, .offset = offset, .bytes = bytes,
                         .flags = flags },
                  .fua = flags & BDRV_REQ_FUA };

    return beyond_end(c.r.disk, offset + bytes) ? -ENOSPC : perform(&c);
}

static int coroutine_fn sim_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    SimCall c = { .r = { .disk = disk_of(bs), .op = SIM_DISCARD, .offset = offset,
                         .bytes = bytes } };

    return perform(&c);
}

static int coroutine_fn sim_flush(BlockDriverState *bs)
{
    SimCall c = { .r = { .disk = disk_of(bs), .op = SIM_FLUSH } };

    return perform(&c);
}

static int64_t coroutine_fn sim_getlength(BlockDriverState *bs)
{
    return sim_disk_length(disk_of(bs));
}

static int64_t coroutine_fn sim_get_allocated_file_size(BlockDriverState *bs)
{
    return sim_disk_allocated(disk_of(bs));
}

static int coroutine_fn set_length(SimDisk *disk, int64_t length)
{
    SimCall c = { .r = { .disk = disk, .op = SIM_TRUNCATE, .offset = length } };

    return perform(&c);
}

static int coroutine_fn sim_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                                     PreallocMode prealloc, BdrvRequestFlags flags, Error **errp)
{
    SimDisk *disk = disk_of(bs);
    int ret;

    /* Space is there anyway. */
    if (prealloc == PREALLOC_MODE_METADATA) {
        error_setg(errp, "Simulated disks have no metadata to preallocate");
        return -ENOTSUP;
    }
    if (disk->config.fixed) {
        if (offset == sim_disk_length(disk) || (!exact && offset < sim_disk_length(disk))) {
            return 0;
        }
        error_setg(errp, "The simulated disk '%s' has a fixed length", disk->name);
        return -ENOTSUP;
    }
    ret = set_length(disk, offset);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not resize the simulated disk '%s'", disk->name);
    }
    return ret;
}

static int coroutine_fn sim_block_status(BlockDriverState *bs, bool want_zero, int64_t offset,
                                         int64_t bytes, int64_t *pnum, int64_t *map,
                                         BlockDriverState **file)
{
    SimCall c = { .r = { .disk = disk_of(bs), .op = SIM_STATUS, .offset = offset,
                         .bytes = bytes } };
    int ret = perform(&c);
    bool data;

    if (ret < 0) {
        return ret;
    }
    qemu_mutex_lock(&c.r.disk->power->lock);
    data = sim_bytes_allocated(&c.r.disk->live, offset, bytes, pnum);
    qemu_mutex_unlock(&c.r.disk->power->lock);
    *map = offset;
    *file = bs;
    return BDRV_BLOCK_OFFSET_VALID | (data ? BDRV_BLOCK_DATA : BDRV_BLOCK_ZERO);
}

static void sim_refresh_limits(BlockDriverState *bs, Error **errp)
{
    bs->bl.request_alignment = disk_of(bs)->config.alignment;
}

static int sim_has_zero_init(BlockDriverState *bs)
{
    return 1;
}

/* --- opening --- */

static void sim_parse_filename(const char *filename, BlockOptions *options, Error **errp)
{
    /* With driver=sim the name may be any. */
    const char *name = g_str_has_prefix(filename, "sim:") ? filename + strlen("sim:") : "";

    if (!*name || g_str_has_prefix(name, "//")) {
        error_setg(errp, "'%s' is not 'sim:' and the name of a simulated disk", filename);
        return;
    }
    blk_options_set(options, "disk", name);
}

/* One of @words (NULL-ended); -1 with @errp. @fallback: there is no such option. */
static int take_choice(BlockOptions *options, const char *key, const char *const *words,
                       int fallback, Error **errp)
{
    g_autofree char *text = blk_options_take(options, key);

    for (int i = 0; text && words[i]; i++) {
        if (!strcmp(text, words[i])) {
            return i;
        }
    }
    if (text) {
        error_setg(errp, "Parameter '%s' does not accept value '%s'", key, text);
    }
    return text ? -1 : fallback;
}

static int take_unit(BlockOptions *options, const char *key, uint32_t min, uint32_t *value,
                     Error **errp)
{
    uint64_t bytes = *value;

    if (blk_options_take_size(options, key, &bytes, errp) < 0) {
        return -EINVAL;
    }
    if (!is_power_of_2(bytes) || bytes < min || bytes > 65536) {
        error_setg(errp, "%s is not a power of two from %u to 65536", key, min);
        return -EINVAL;
    }
    *value = bytes;
    return 0;
}

static int take_pace(SimDisk *disk, BlockOptions *options, Error **errp)
{
    uint64_t min_ns = 0, max_ns = 0;
    int has_min = blk_options_take_number(options, "latency-min-ns", &min_ns, errp);
    int has_max = has_min < 0 ? -1 : blk_options_take_number(options, "latency-max-ns", &max_ns,
                                                             errp);
    bool instant = false;

    if (has_max < 0 || blk_options_take_bool(options, "instant", &instant, errp) < 0) {
        return -EINVAL;
    }
    max_ns = has_max ? max_ns : min_ns;
    if (min_ns > max_ns || max_ns >= INT64_MAX) {
        error_setg(errp, "latency-min-ns and latency-max-ns are no range");
        return -EINVAL;
    }
    if (instant) {
        sim_disk_set_instant(disk);
    } else if (has_min || has_max) {
        sim_disk_set_latency(disk, min_ns, max_ns);
    }
    return 0;
}

/* What only a disk of the node's own can be told. */
static int configure(SimDisk *disk, BlockOptions *options, Error **errp)
{
    static const char *const discards[] = { "zeroes", "keep", "garbage", NULL };
    SimDiskConfig *config = &disk->config;
    int discard;

    if (take_unit(options, "sector-size", 512, &config->sector_size, errp) < 0 ||
        take_unit(options, "alignment", 1, &config->alignment, errp) < 0 ||
        blk_options_take_bool(options, "fixed", &config->fixed, errp) < 0) {
        return -EINVAL;
    }
    discard = take_choice(options, "discard-mode", discards, SIM_DISCARD_ZEROES, errp);
    if (discard < 0) {
        return -EINVAL;
    }
    config->discard = discard;
    return take_pace(disk, options, errp);
}

static SimDisk *make_disk(BlockOptions *options, Error **errp)
{
    uint64_t size = 0, seed = 0;
    int has_size = blk_options_take_size(options, "size", &size, errp);
    SimPower *power;
    SimDisk *disk;

    if (has_size < 0 || blk_options_take_number(options, "seed", &seed, errp) < 0) {
        return NULL;
    }
    if (!has_size) {
        error_setg(errp, "A simulated disk needs 'disk', the name of one that there is, or 'size'");
        return NULL;
    }
    power = sim_power_new(seed);
    sim_power_set_log(power, false);
    disk = sim_disk_new(power, NULL, MIN(size, INT64_MAX), errp);
    if (!disk || configure(disk, options, errp) < 0) {
        sim_power_unref(power);
        return NULL;
    }
    return disk;
}

static int sim_open(BlockDriverState *bs, BlockOptions *options, int flags, Error **errp)
{
    SimNodeState *s = bs->opaque;
    g_autofree char *name = blk_options_take(options, "disk");
    g_autofree char *faults = blk_options_take(options, "faults");

    s->disk = name ? sim_disk_get(name, errp) : make_disk(options, errp);
    if (!s->disk) {
        return name ? -ENOENT : -EINVAL;
    }
    if (faults && !sim_power_script_faults(s->disk->power, s->disk, faults, errp)) {
        sim_power_unref(s->disk->power);
        return -EINVAL;
    }
    bs->supported_write_flags = BDRV_REQ_FUA;
    bs->supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK;
    bs->supported_truncate_flags = BDRV_REQ_ZERO_WRITE;
    return 0;
}

static void sim_close(BlockDriverState *bs)
{
    sim_power_unref(disk_of(bs)->power);
}

static char *sim_plain_filename(BlockDriverState *bs, const BlockOptions *strong)
{
    const char *name = blk_options_get(strong, "disk");

    return name ? g_strconcat("sim:", name, NULL) : NULL;
}

/* --- creating: there is a disk already, which becomes an empty one of that size --- */

static const BlockCreateOption sim_create_options[] = {
    { "size", BLOCK_OPT_SIZE, "Virtual disk size", NULL },
    { NULL },
};

static int coroutine_fn sim_co_create_opts(BlockDriver *drv, const char *filename,
                                           BlockOptions *opts, Error **errp)
{
    uint64_t size = 0;
    SimDisk *disk;
    int ret;

    if (blk_options_take_size(opts, "size", &size, errp) < 0) {
        return -EINVAL;
    }
    if (size > BDRV_MAX_LENGTH) {
        error_setg(errp, "Image size is larger than %" PRId64 " bytes", (int64_t)BDRV_MAX_LENGTH);
        return -EFBIG;
    }
    disk = sim_disk_get(filename + strlen("sim:"), errp);
    if (!disk) {
        return -ENOENT;
    }
    ret = disk->config.fixed ? 0 : set_length(disk, 0);
    if (ret == 0 && !disk->config.fixed) {
        ret = set_length(disk, size);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not resize the simulated disk '%s'", disk->name);
    }
    sim_power_unref(disk->power);
    return ret;
}

static const char *const sim_strong_options[] = { "disk", "size", "seed", "sector-size",
                                                  "alignment", "fixed", "discard-mode", NULL };

BlockDriver bdrv_sim = {
    .format_name = "sim",
    .protocol_name = "sim",
    .instance_size = sizeof(SimNodeState),
    .bdrv_parse_filename = sim_parse_filename,
    .bdrv_open = sim_open,
    .bdrv_close = sim_close,
    .bdrv_refresh_limits = sim_refresh_limits,
    .bdrv_co_create_opts = sim_co_create_opts,
    .create_opts = sim_create_options,
    .bdrv_co_preadv_part = sim_preadv,
    .bdrv_co_pwritev_part = sim_pwritev,
    .bdrv_co_pwrite_zeroes = sim_pwrite_zeroes,
    .bdrv_co_pdiscard = sim_pdiscard,
    .bdrv_co_flush_to_disk = sim_flush,
    .bdrv_co_getlength = sim_getlength,
    .bdrv_co_get_allocated_file_size = sim_get_allocated_file_size,
    .bdrv_co_truncate = sim_truncate,
    .bdrv_co_block_status = sim_block_status,
    .bdrv_has_zero_init = sim_has_zero_init,
    .bdrv_plain_filename = sim_plain_filename,
    .no_dirname = true,
    .strong_runtime_opts = sim_strong_options,
};
