/* SPDX-License-Identifier: MIT */
/* What "sim" tells of the requests: counters, and the trace. */
#include "block/drivers/sim-internal.h"

#include <inttypes.h>

const char *sim_op_name(SimOp op)
{
    switch (op) {
    case SIM_READ:
        return "read";
    case SIM_WRITE:
        return "write";
    case SIM_ZERO:
        return "zero";
    case SIM_DISCARD:
        return "discard";
    case SIM_FLUSH:
        return "flush";
    case SIM_TRUNCATE:
        return "truncate";
    default:
        return "status";
    }
}

int64_t sim_virtual_ns(void)
{
    AioSim *sim = aio_sim_current();

    return sim ? aio_sim_now_ns(sim) : -1;
}

/* --- the trace --- */

static void begin_line(SimPower *power)
{
    int64_t ns = sim_virtual_ns();

    if (ns < 0) {
        g_string_append(power->trace, "- ");
    } else {
        g_string_append_printf(power->trace, "%" PRId64 " ", ns);
    }
}

static void end_line(SimPower *power, uint64_t hash)
{
    if (hash) {
        g_string_append_printf(power->trace, " %016" PRIx64, hash);
    }
    g_string_append_c(power->trace, '\n');
}

void sim_trace_begin(SimPower *power, const SimRequest *r, uint64_t hash)
{
    if (!power->trace) {
        return;
    }
    begin_line(power);
    g_string_append_printf(power->trace, "%" PRIu64 " disk %u %s", r->number, r->disk->index,
                           sim_op_name(r->op));
    if (r->op != SIM_FLUSH) {
        g_string_append_printf(power->trace, " %" PRId64 "+%" PRId64, r->offset, r->bytes);
    }
    if (r->flags & BDRV_REQ_FUA) {
        g_string_append(power->trace, " fua");
    }
    end_line(power, hash);
}

void sim_trace_end(SimPower *power, const SimRequest *r, int ret, uint64_t hash)
{
    if (!power->trace) {
        return;
    }
    begin_line(power);
    g_string_append_printf(power->trace, "%" PRIu64 " ends", r->number);
    if (ret < 0) {
        g_string_append_printf(power->trace, " with error %d", -ret);
    }
    end_line(power, ret < 0 ? 0 : hash);
}

void sim_trace_note(SimPower *power, const char *what)
{
    if (power->trace) {
        begin_line(power);
        g_string_append(power->trace, what);
        end_line(power, 0);
    }
}

void sim_power_set_trace(SimPower *power, bool on)
{
    qemu_mutex_lock(&power->lock);
    if (power->trace) {
        g_string_free(power->trace, TRUE);
    }
    power->trace = on ? g_string_new(NULL) : NULL;
    qemu_mutex_unlock(&power->lock);
}

char *sim_power_get_trace(SimPower *power)
{
    char *trace;

    qemu_mutex_lock(&power->lock);
    trace = g_strdup(power->trace ? power->trace->str : "");
    qemu_mutex_unlock(&power->lock);
    return trace;
}

/* --- counters --- */

void sim_count(SimDisk *disk, const SimRequest *r)
{
    SimStats *s = &disk->stats;

    s->requests++;
    s->reads += r->op == SIM_READ;
    s->writes += r->op == SIM_WRITE;
    s->zeroes += r->op == SIM_ZERO;
    s->discards += r->op == SIM_DISCARD;
    s->flushes += r->op == SIM_FLUSH;
    s->truncates += r->op == SIM_TRUNCATE;
    s->statuses += r->op == SIM_STATUS;
    s->fua += (r->flags & BDRV_REQ_FUA) != 0;
    s->read_bytes += r->op == SIM_READ ? r->bytes : 0;
    s->written_bytes += r->op == SIM_WRITE ? r->bytes : 0;
}

static void add_stats(SimStats *to, const SimStats *s)
{
    to->requests += s->requests;
    to->reads += s->reads;
    to->writes += s->writes;
    to->zeroes += s->zeroes;
    to->discards += s->discards;
    to->flushes += s->flushes;
    to->truncates += s->truncates;
    to->statuses += s->statuses;
    to->fua += s->fua;
    to->read_bytes += s->read_bytes;
    to->written_bytes += s->written_bytes;
    to->failed += s->failed;
}

void sim_disk_get_stats(SimDisk *disk, SimStats *stats)
{
    qemu_mutex_lock(&disk->power->lock);
    *stats = disk->stats;
    qemu_mutex_unlock(&disk->power->lock);
}

void sim_power_get_stats(SimPower *power, SimStats *stats)
{
    *stats = (SimStats){ 0 };
    qemu_mutex_lock(&power->lock);
    for (guint i = 0; i < power->disks->len; i++) {
        add_stats(stats, &((SimDisk *)g_ptr_array_index(power->disks, i))->stats);
    }
    qemu_mutex_unlock(&power->lock);
}
