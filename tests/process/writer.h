/* SPDX-License-Identifier: MIT */
/*
 * What a program that writes to an image has done, in memory that it shares with those who look
 * at the image after its death. Requests for the same sector are never under way together, so
 * that for each sector there is an order.
 */
#ifndef TESTS_PROCESS_WRITER_H
#define TESTS_PROCESS_WRITER_H

#include "qemu/osdep.h"

#define WRITER_SECTORS 2051 /* of the disk */
#define WRITER_EVENTS  300
#define WRITER_SECTOR  512  /* bytes */

typedef enum WriterKind {
    WRITER_WRITE, WRITER_COMPRESSED, WRITER_ZERO, WRITER_DISCARD, WRITER_FLUSH
} WriterKind;

typedef struct WriterEvent {
    uint32_t kind, first, count; /* sectors */
    uint32_t begin, end;         /* time of the log; end 0: it has not succeeded (yet) */
} WriterEvent;

typedef struct WriterLog {
    uint32_t now;
    uint32_t n;
    uint32_t through; /* each write is durable when it has ended */
    uint32_t closed;  /* the image was closed without an error: everything is durable */
    WriterEvent events[WRITER_EVENTS];
} WriterLog;

/* What a sector holds after the write with the number @event. */
static inline void writer_fill_sector(uint64_t *words, uint32_t event, uint32_t sector)
{
    for (uint32_t i = 0; i < WRITER_SECTOR / 8; i++) {
        words[i] = (uint64_t)(event + 1) << 32 | sector << 8 | (i < 8 ? i : 0);
    }
}

/* NULL: the disk holds what it may hold. Otherwise what is wrong, to be freed. */
char *writer_log_judge(const WriterLog *log, const uint8_t *disk);

#endif
