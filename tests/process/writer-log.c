/* SPDX-License-Identifier: MIT */
/*
 * What a disk may hold after a writer's death (writer.h): of each sector what was last written and
 * flushed, or anything that was tried since.
 */
#include "writer.h"

#include "qemu/cutils.h"

/* Time before which everything that had ended is durable. */
static uint32_t durable_time(const WriterLog *log)
{
    uint32_t time = 0;

    if (log->through || log->closed) {
        return UINT32_MAX;
    }
    for (uint32_t i = 0; i < log->n; i++) {
        const WriterEvent *e = &log->events[i];

        if (e->kind == WRITER_FLUSH && e->end && e->begin > time) {
            time = e->begin;
        }
    }
    return time;
}

static bool covers(const WriterEvent *e, uint32_t sector)
{
    return e->kind != WRITER_FLUSH && sector >= e->first && sector - e->first < e->count;
}

/* The last event after which the sector's contents before do not count, or -1: zeroes. */
static int last_durable(const WriterLog *log, uint32_t sector, uint32_t time)
{
    for (int i = (int)log->n - 1; i >= 0; i--) {
        const WriterEvent *e = &log->events[i];

        /* A discard may have done nothing. */
        if (covers(e, sector) && e->kind != WRITER_DISCARD && e->end && e->end <= time) {
            return i;
        }
    }
    return -1;
}

static bool is_written_by(const uint8_t *data, uint32_t event, uint32_t sector)
{
    uint64_t words[WRITER_SECTOR / 8];

    writer_fill_sector(words, event, sector);
    return !memcmp(data, words, WRITER_SECTOR);
}

static bool may_hold(const WriterLog *log, uint32_t sector, uint32_t time, const uint8_t *data)
{
    int first = last_durable(log, sector, time);
    bool zero = buffer_is_zero(data, WRITER_SECTOR);

    if (first < 0 && zero) {
        return true;
    }
    for (uint32_t i = MAX(first, 0); i < log->n; i++) {
        const WriterEvent *e = &log->events[i];

        if (!covers(e, sector)) {
            continue;
        }
        if (e->kind == WRITER_ZERO || e->kind == WRITER_DISCARD ? zero
                                                                : is_written_by(data, i, sector)) {
            return true;
        }
    }
    return false;
}

char *writer_log_judge(const WriterLog *log, const uint8_t *disk)
{
    uint32_t time = durable_time(log);

    for (uint32_t sector = 0; sector < WRITER_SECTORS; sector++) {
        const uint8_t *data = disk + (size_t)sector * WRITER_SECTOR;

        if (!may_hold(log, sector, time, data)) {
            uint64_t word;

            memcpy(&word, data, sizeof(word));
            return g_strdup_printf("sector %u begins with 0x%016" PRIx64 " (a write has its number "
                                   "+ 1, and the sector); write %d of %u is the last durable one",
                                   sector, word, last_durable(log, sector, time), log->n);
        }
    }
    return NULL;
}
