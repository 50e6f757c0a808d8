/* SPDX-License-Identifier: MIT */
/* Power supplies, their disks, and the names under which options find those. */
#include "block/block-image.h"

#include "block/drivers/sim-internal.h"

/* References to all supplies, and what is in the table: names of all disks. */
static QemuMutex names_lock = { .lock = PTHREAD_MUTEX_INITIALIZER, .initialized = true };
static GHashTable *names; /* name -> SimDisk */
static uint64_t names_made;

uint64_t sim_random_below(SimPower *power, uint64_t n)
{
    uint64_t random = aio_sim_next_random(&power->random);

    return (uint64_t)(((unsigned __int128)random * n) >> 64);
}

/* --- supplies --- */

static void disk_free(gpointer data)
{
    SimDisk *disk = data;

    sim_bytes_clear(&disk->live);
    sim_bytes_clear(&disk->initial);
    g_array_free(disk->points, TRUE);
    g_free(disk->name);
    g_free(disk);
}

static void event_unref(gpointer data)
{
    sim_event_unref(data);
}

SimPower *sim_power_new(uint64_t seed)
{
    SimPower *power = g_new0(SimPower, 1);

    power->refs = 1;
    qemu_mutex_init(&power->lock);
    power->disks = g_ptr_array_new_with_free_func(disk_free);
    power->random = seed;
    power->on = true;
    power->keep_log = true;
    power->log = g_ptr_array_new_with_free_func(event_unref);
    power->faults = g_array_new(FALSE, FALSE, sizeof(SimFaultState));
    return power;
}

static void power_free(SimPower *power)
{
    sim_log_restart(power); /* the points */
    g_ptr_array_free(power->log, TRUE);
    g_ptr_array_free(power->disks, TRUE);
    g_array_free(power->faults, TRUE);
    if (power->trace) {
        g_string_free(power->trace, TRUE);
    }
    qemu_mutex_destroy(&power->lock);
    g_free(power);
}

SimPower *sim_power_ref(SimPower *power)
{
    qemu_mutex_lock(&names_lock);
    power->refs++;
    qemu_mutex_unlock(&names_lock);
    return power;
}

void sim_power_unref(SimPower *power)
{
    bool last;

    if (!power) {
        return;
    }
    qemu_mutex_lock(&names_lock);
    last = --power->refs == 0;
    for (guint i = 0; last && i < power->disks->len; i++) {
        g_hash_table_remove(names, ((SimDisk *)g_ptr_array_index(power->disks, i))->name);
    }
    qemu_mutex_unlock(&names_lock);
    if (last) {
        power_free(power);
    }
}

void sim_power_cut_locked(SimPower *power)
{
    if (power->on) {
        power->on = false;
        power->era++;
        sim_trace_note(power, "power cut");
    }
}

void sim_power_cut(SimPower *power)
{
    qemu_mutex_lock(&power->lock);
    sim_power_cut_locked(power);
    qemu_mutex_unlock(&power->lock);
}

void sim_power_cut_at_request(SimPower *power, uint64_t number)
{
    qemu_mutex_lock(&power->lock);
    power->cut_at_change = number ? power->changes + number : 0;
    qemu_mutex_unlock(&power->lock);
}

void sim_power_cut_at_ns(SimPower *power, int64_t virtual_ns)
{
    qemu_mutex_lock(&power->lock);
    power->cut_at_ns = virtual_ns;
    qemu_mutex_unlock(&power->lock);
}

bool sim_power_is_on(SimPower *power)
{
    bool on;

    qemu_mutex_lock(&power->lock);
    on = power->on;
    qemu_mutex_unlock(&power->lock);
    return on;
}

uint64_t sim_power_now(SimPower *power)
{
    uint64_t now;

    qemu_mutex_lock(&power->lock);
    now = power->now;
    qemu_mutex_unlock(&power->lock);
    return now;
}

uint64_t sim_power_tick(SimPower *power)
{
    uint64_t now;

    qemu_mutex_lock(&power->lock);
    now = ++power->now;
    qemu_mutex_unlock(&power->lock);
    return now;
}

void sim_power_set_log(SimPower *power, bool keep)
{
    qemu_mutex_lock(&power->lock);
    power->keep_log = keep;
    qemu_mutex_unlock(&power->lock);
}

void sim_power_set_hook(SimPower *power, SimHook *hook, void *opaque)
{
    qemu_mutex_lock(&power->lock);
    power->hook = hook;
    power->hook_opaque = opaque;
    qemu_mutex_unlock(&power->lock);
}

/* --- disks --- */

/* Under both locks. @name is taken over. */
static SimDisk *add_disk(SimPower *power, char *name)
{
    SimDisk *disk = g_new0(SimDisk, 1);

    disk->power = power;
    disk->name = name;
    disk->index = power->disks->len;
    disk->config = (SimDiskConfig){ .sector_size = BDRV_SECTOR_SIZE, .alignment = 1 };
    disk->points = g_array_new(FALSE, FALSE, sizeof(SimPoint));
    disk->first_failed = UINT64_MAX;
    g_ptr_array_add(power->disks, disk);
    if (!names) {
        names = g_hash_table_new(g_str_hash, g_str_equal);
    }
    g_hash_table_insert(names, disk->name, disk);
    return disk;
}

/* Under the names' lock. */
static char *make_name(void)
{
    char *name = NULL;

    do {
        g_free(name);
        name = g_strdup_printf("disk-%" PRIu64, names_made++);
    } while (names && g_hash_table_contains(names, name));
    return name;
}

SimDisk *sim_disk_new(SimPower *power, const char *name, int64_t size, Error **errp)
{
    SimDisk *disk = NULL;

    if (size < 0 || size > BDRV_MAX_LENGTH) {
        error_setg(errp, "The size of a simulated disk is out of range");
        return NULL;
    }
    qemu_mutex_lock(&names_lock);
    qemu_mutex_lock(&power->lock);
    if (name && names && g_hash_table_contains(names, name)) {
        error_setg(errp, "There is a simulated disk '%s' already", name);
    } else {
        disk = add_disk(power, name ? g_strdup(name) : make_name());
        sim_bytes_set_length(&disk->live, size);
        sim_bytes_set_length(&disk->initial, size);
    }
    qemu_mutex_unlock(&power->lock);
    qemu_mutex_unlock(&names_lock);
    return disk;
}

void sim_power_add_disks(SimPower *power, unsigned n)
{
    qemu_mutex_lock(&names_lock);
    qemu_mutex_lock(&power->lock);
    while (power->disks->len < n) {
        add_disk(power, make_name());
    }
    qemu_mutex_unlock(&power->lock);
    qemu_mutex_unlock(&names_lock);
}

SimDisk *sim_disk_find(const char *name)
{
    SimDisk *disk;

    qemu_mutex_lock(&names_lock);
    disk = names ? g_hash_table_lookup(names, name) : NULL;
    qemu_mutex_unlock(&names_lock);
    return disk;
}

SimDisk *sim_disk_get(const char *name, Error **errp)
{
    SimDisk *disk;

    qemu_mutex_lock(&names_lock);
    disk = names ? g_hash_table_lookup(names, name) : NULL;
    if (disk) {
        disk->power->refs++;
    } else {
        error_setg(errp, "There is no simulated disk '%s'", name);
    }
    qemu_mutex_unlock(&names_lock);
    return disk;
}

const char *sim_disk_name(const SimDisk *disk)
{
    return disk->name;
}

SimPower *sim_disk_power(const SimDisk *disk)
{
    return disk->power;
}

unsigned sim_power_n_disks(SimPower *power)
{
    unsigned n;

    qemu_mutex_lock(&power->lock);
    n = power->disks->len;
    qemu_mutex_unlock(&power->lock);
    return n;
}

SimDisk *sim_power_disk(SimPower *power, unsigned i)
{
    SimDisk *disk;

    qemu_mutex_lock(&power->lock);
    g_assert(i < power->disks->len);
    disk = g_ptr_array_index(power->disks, i);
    qemu_mutex_unlock(&power->lock);
    return disk;
}

void sim_disk_set_sector_size(SimDisk *disk, uint32_t bytes)
{
    g_assert(is_power_of_2(bytes) && bytes >= 512 && bytes <= 65536);
    qemu_mutex_lock(&disk->power->lock);
    disk->config.sector_size = bytes;
    qemu_mutex_unlock(&disk->power->lock);
}

void sim_disk_set_alignment(SimDisk *disk, uint32_t bytes)
{
    g_assert(is_power_of_2(bytes) && bytes <= 65536);
    qemu_mutex_lock(&disk->power->lock);
    disk->config.alignment = bytes;
    qemu_mutex_unlock(&disk->power->lock);
}

void sim_disk_set_fixed(SimDisk *disk, bool fixed)
{
    qemu_mutex_lock(&disk->power->lock);
    disk->config.fixed = fixed;
    qemu_mutex_unlock(&disk->power->lock);
}

void sim_disk_set_discard(SimDisk *disk, SimDiscard discard)
{
    qemu_mutex_lock(&disk->power->lock);
    disk->config.discard = discard;
    qemu_mutex_unlock(&disk->power->lock);
}

void sim_disk_set_latency(SimDisk *disk, int64_t min_ns, int64_t max_ns)
{
    g_assert(min_ns >= 0 && min_ns <= max_ns && max_ns < INT64_MAX);
    qemu_mutex_lock(&disk->power->lock);
    disk->pace = SIM_PACE_RANGE;
    disk->min_ns = min_ns;
    disk->max_ns = max_ns;
    qemu_mutex_unlock(&disk->power->lock);
}

void sim_disk_set_slow_range(SimDisk *disk, int64_t offset, int64_t bytes, int64_t ns)
{
    g_assert(offset >= 0 && bytes >= 0 && offset <= INT64_MAX - bytes && ns >= 0);
    qemu_mutex_lock(&disk->power->lock);
    disk->slow_offset = offset;
    disk->slow_bytes = bytes;
    disk->slow_ns = ns;
    qemu_mutex_unlock(&disk->power->lock);
}

void sim_disk_set_instant(SimDisk *disk)
{
    qemu_mutex_lock(&disk->power->lock);
    disk->pace = SIM_PACE_INSTANT;
    qemu_mutex_unlock(&disk->power->lock);
}

/* --- contents --- */

int64_t sim_disk_length(SimDisk *disk)
{
    int64_t length;

    qemu_mutex_lock(&disk->power->lock);
    length = disk->live.length;
    qemu_mutex_unlock(&disk->power->lock);
    return length;
}

void sim_disk_peek(SimDisk *disk, int64_t offset, void *buf, size_t bytes)
{
    qemu_mutex_lock(&disk->power->lock);
    sim_bytes_read(&disk->live, offset, buf, bytes);
    qemu_mutex_unlock(&disk->power->lock);
}

void sim_disk_poke(SimDisk *disk, int64_t offset, const void *buf, size_t bytes)
{
    qemu_mutex_lock(&disk->power->lock);
    sim_bytes_write(&disk->live, offset, buf, bytes);
    sim_bytes_write(&disk->initial, offset, buf, bytes);
    for (guint i = 0; i < disk->points->len; i++) {
        sim_bytes_write(&g_array_index(disk->points, SimPoint, i).bytes, offset, buf, bytes);
    }
    qemu_mutex_unlock(&disk->power->lock);
}

uint64_t sim_disk_hash(SimDisk *disk)
{
    uint64_t hash;

    qemu_mutex_lock(&disk->power->lock);
    hash = sim_bytes_hash(&disk->live);
    qemu_mutex_unlock(&disk->power->lock);
    return hash;
}

int64_t sim_disk_allocated(SimDisk *disk)
{
    int64_t bytes;

    qemu_mutex_lock(&disk->power->lock);
    bytes = sim_bytes_count(&disk->live);
    qemu_mutex_unlock(&disk->power->lock);
    return bytes;
}

/* --- creating and opening images on them --- */

int sim_disk_create(SimDisk *disk, const char *format, const char *options, Error **errp)
{
    BlockDriver *drv = bdrv_find_format(format ? format : "raw");
    g_autofree char *name = g_strconcat("sim:", disk->name, NULL);
    BlockOptions *o;

    if (!drv) {
        error_setg(errp, "Unknown format '%s'", format);
        return -EINVAL;
    }
    o = blk_options_new();
    if (options && !blk_options_parse(o, options, NULL, errp)) {
        blk_options_free(o);
        return -EINVAL;
    }
    return bdrv_create(drv, name, o, errp);
}

BlockBackend *sim_disk_open(SimDisk *disk, const char *options, int flags, Error **errp)
{
    BlockOptions *o = blk_options_new();
    const char *prefix = options ? "file." : "";
    g_autofree char *driver_key = g_strconcat(prefix, "driver", NULL);
    g_autofree char *disk_key = g_strconcat(prefix, "disk", NULL);

    if (options && !blk_options_parse(o, options, NULL, errp)) {
        blk_options_free(o);
        return NULL;
    }
    if (!blk_options_get(o, driver_key)) {
        blk_options_set(o, driver_key, "sim");
        blk_options_set_default(o, disk_key, disk->name);
    }
    return blk_new_open(NULL, NULL, o, flags, errp);
}
