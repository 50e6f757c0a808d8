/* SPDX-License-Identifier: MIT */
/*
 * The header and its extensions, taken apart. Pure functions on a buffer: no I/O, no
 * image behind them, so that any bytes can be thrown at them.
 */
#ifndef BLOCK_QCOW2_HEADER_H
#define BLOCK_QCOW2_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <glib.h>

#include "qcow2-format.h"
#include "qapi/error.h"

/* An extension that this code does not know; kept for whoever rewrites the header. */
typedef struct Qcow2UnknownExt {
    uint32_t type;
    uint32_t length;
    uint8_t *data;
} Qcow2UnknownExt;

/*
 * Everything is checked for itself: offsets are aligned and below 2^63 with their
 * lengths, counts are within the bounds of qcow2-format.h. Nothing is known yet of
 * whether the file has these places.
 */
typedef struct Qcow2Header {
    uint32_t version;
    uint32_t cluster_bits;
    uint64_t size; /* bytes, rounded down to whole sectors */
    uint32_t l1_size;
    uint64_t l1_table_offset;
    uint64_t refcount_table_offset;
    uint32_t refcount_table_clusters;
    uint32_t refcount_order;
    uint32_t nb_snapshots;
    uint64_t snapshots_offset;
    uint64_t incompatible_features;
    uint64_t compatible_features;
    uint64_t autoclear_features;
    uint32_t header_length;
    uint32_t crypt_method;
    uint8_t compression_type;
    uint64_t backing_file_offset; /* 0: no backing file */
    uint32_t backing_file_size;

    char *backing_file;
    char *backing_format;
    char *data_file;
    bool has_bitmaps_ext;
    Qcow2DiskBitmapsExt bitmaps; /* in host byte order */
    GArray *feature_names;       /* of Qcow2DiskFeatureName */
    GArray *unknown_exts;        /* of Qcow2UnknownExt */
} Qcow2Header;

/*
 * Takes the fixed fields from @buf, @len bytes from the start of the file: at least
 * 112 unless the file is shorter. 0; -EINVAL, or -ENOTSUP for what is right but not
 * supported, with @errp, which names the field.
 */
int qcow2_header_parse_fields(Qcow2Header *h, const uint8_t *buf, size_t len, Error **errp);

/*
 * What a check can repair, so that parsing leaves it: no refcount table, or a snapshot
 * table that cannot be one. 0 or -errno with @errp.
 */
int qcow2_header_check_repairable(const Qcow2Header *h, Error **errp);

/*
 * Then the extensions and the backing file name from @buf, the first cluster (or all of
 * the file if that is shorter). Refuses unknown incompatible features, by their names.
 */
int qcow2_header_parse_extensions(Qcow2Header *h, const uint8_t *buf, size_t len,
                                  Error **errp);

void qcow2_header_clear(Qcow2Header *h);

/* Entries of the active L1 table that a disk of @size bytes needs. */
uint64_t qcow2_l1_entries_needed(uint64_t size, uint32_t cluster_bits, bool extended_l2);

/* What the image's table calls a feature bit, for messages; NULL: nothing. To be freed. */
char *qcow2_feature_name(const Qcow2Header *h, unsigned word, unsigned bit);

#endif
