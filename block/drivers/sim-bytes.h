/* SPDX-License-Identifier: MIT */
/*
 * SimBytes: contents of a simulated disk. Sparse, of any length; a copy costs nothing until
 * it differs (pages are shared), and a hash of all contents is kept up to date.
 *
 * One SimBytes has one owner at a time; those that share pages may belong to different threads.
 */
#ifndef BLOCK_DRIVERS_SIM_BYTES_H
#define BLOCK_DRIVERS_SIM_BYTES_H

#include "qemu/osdep.h"

#define SIM_PAGE_BITS 12
#define SIM_PAGE_SIZE (1 << SIM_PAGE_BITS)

typedef struct SimNode SimNode;

/* Zeroed: zero bytes long. Behind length everything is zero. */
typedef struct SimBytes {
    SimNode *root;
    unsigned levels; /* of inner nodes above the pages */
    int64_t length;
    uint64_t hash; /* of what is not zero; 0 when nothing is */
} SimBytes;

/* @to is zeroed, or cleared. */
void sim_bytes_copy(SimBytes *to, const SimBytes *from);
void sim_bytes_clear(SimBytes *b);
void sim_bytes_read(const SimBytes *b, int64_t offset, void *buf, int64_t bytes);
/* @buf NULL: zeroes. Longer if need be. */
void sim_bytes_write(SimBytes *b, int64_t offset, const void *buf, int64_t bytes);
void sim_bytes_set_length(SimBytes *b, int64_t length);
/* Is there a page at @offset? *@pnum > 0 bytes from there on, at most @bytes, are alike. */
bool sim_bytes_allocated(const SimBytes *b, int64_t offset, int64_t bytes, int64_t *pnum);
/* Bytes of all pages. */
int64_t sim_bytes_count(const SimBytes *b);
/* Of length and contents. */
uint64_t sim_bytes_hash(const SimBytes *b);
/* Of a buffer: 0 if it is all zeroes. */
uint64_t sim_hash(const void *buf, size_t bytes);
/* Of a number. */
uint64_t sim_stir(uint64_t x);

#endif
