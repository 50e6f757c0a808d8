/* SPDX-License-Identifier: MIT */
/*
 * qcow2 as it lies on the disk: structures, bits and limits, and nothing else. All
 * integers are big endian; structures are packed, without padding of the compiler.
 */
#ifndef BLOCK_QCOW2_FORMAT_H
#define BLOCK_QCOW2_FORMAT_H

#include <stdint.h>
#include <string.h>
#include <glib.h>

#include "qemu/compiler.h"

#define QCOW2_MAGIC 0x514649fbU /* "QFI" 0xfb */

typedef struct QEMU_PACKED Qcow2DiskHeader {
    uint32_t magic;
    uint32_t version;
    uint64_t backing_file_offset;
    uint32_t backing_file_size;
    uint32_t cluster_bits;
    uint64_t size; /* bytes of the virtual disk */
    uint32_t crypt_method;
    uint32_t l1_size; /* entries */
    uint64_t l1_table_offset;
    uint64_t refcount_table_offset;
    uint32_t refcount_table_clusters;
    uint32_t nb_snapshots;
    uint64_t snapshots_offset;
    /* version 3 only from here on */
    uint64_t incompatible_features;
    uint64_t compatible_features;
    uint64_t autoclear_features;
    uint32_t refcount_order; /* log2 of the width in bits */
    uint32_t header_length;
    /* each further field exists when header_length lies behind its offset */
    uint8_t compression_type;
    uint8_t padding[7];
} Qcow2DiskHeader;

QEMU_BUILD_BUG_ON(offsetof(Qcow2DiskHeader, incompatible_features) != 72);
QEMU_BUILD_BUG_ON(sizeof(Qcow2DiskHeader) != 112);

#define QCOW2_HEADER_V2_LENGTH 72U
#define QCOW2_HEADER_V3_MIN    104U

typedef struct QEMU_PACKED Qcow2DiskExtension {
    uint32_t type;
    uint32_t length; /* of the data behind, without the padding to 8 bytes */
} Qcow2DiskExtension;

#define QCOW2_EXT_END            0x00000000U
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acaU
#define QCOW2_EXT_DATA_FILE      0x44415441U
#define QCOW2_EXT_CRYPTO_HEADER  0x0537be77U
#define QCOW2_EXT_FEATURE_NAMES  0x6803f857U
#define QCOW2_EXT_BITMAPS        0x23852875U

typedef struct QEMU_PACKED Qcow2DiskFeatureName {
    uint8_t word; /* 0 incompatible, 1 compatible, 2 autoclear */
    uint8_t bit;
    char name[46]; /* zero padded, no NUL when full */
} Qcow2DiskFeatureName;

typedef struct QEMU_PACKED Qcow2DiskBitmapsExt {
    uint32_t nb_bitmaps;
    uint32_t reserved;
    uint64_t directory_size; /* bytes */
    uint64_t directory_offset;
} Qcow2DiskBitmapsExt;

typedef struct QEMU_PACKED Qcow2DiskBitmapDirEntry {
    uint64_t table_offset;
    uint32_t table_size; /* entries */
    uint32_t flags;
    uint8_t type;
    uint8_t granularity_bits;
    uint16_t name_size;
    uint32_t extra_data_size;
    /* extra data, name, padding to 8 bytes */
} Qcow2DiskBitmapDirEntry;

#define QCOW2_BITMAP_IN_USE 0x1U
#define QCOW2_BITMAP_AUTO   0x2U
#define QCOW2_BITMAP_EXTRA_COMPATIBLE 0x4U /* unknown extra data may be ignored */

#define QCOW2_BITMAP_TYPE_DIRTY 1U

/* An entry of a bitmap's table without an offset: all zeroes, or all ones. */
#define QCOW2_BITMAP_ENTRY_ONES     UINT64_C(1)
#define QCOW2_BITMAP_ENTRY_RESERVED UINT64_C(0xff000000000001fe)

typedef struct QEMU_PACKED Qcow2DiskSnapshot {
    uint64_t l1_table_offset;
    uint32_t l1_size;
    uint16_t id_str_size;
    uint16_t name_size;
    uint32_t date_sec;
    uint32_t date_nsec;
    uint64_t vm_clock_nsec;
    uint32_t vm_state_size;
    uint32_t extra_data_size;
    /* extra data, id, name, padding to 8 bytes */
} Qcow2DiskSnapshot;

typedef struct QEMU_PACKED Qcow2DiskSnapshotExtra {
    uint64_t vm_state_size;
    uint64_t disk_size;
    uint64_t icount;
} Qcow2DiskSnapshotExtra;

QEMU_BUILD_BUG_ON(sizeof(Qcow2DiskFeatureName) != 48);
QEMU_BUILD_BUG_ON(sizeof(Qcow2DiskBitmapsExt) != 24);
QEMU_BUILD_BUG_ON(sizeof(Qcow2DiskBitmapDirEntry) != 24);
QEMU_BUILD_BUG_ON(sizeof(Qcow2DiskSnapshot) != 40);

/* --- feature bits --- */

#define QCOW2_INCOMPAT_DIRTY       (UINT64_C(1) << 0)
#define QCOW2_INCOMPAT_CORRUPT     (UINT64_C(1) << 1)
#define QCOW2_INCOMPAT_DATA_FILE   (UINT64_C(1) << 2)
#define QCOW2_INCOMPAT_COMPRESSION (UINT64_C(1) << 3)
#define QCOW2_INCOMPAT_EXTL2       (UINT64_C(1) << 4)
#define QCOW2_INCOMPAT_KNOWN       UINT64_C(0x1f)

#define QCOW2_COMPAT_LAZY_REFCOUNTS (UINT64_C(1) << 0)

#define QCOW2_AUTOCLEAR_BITMAPS  (UINT64_C(1) << 0)
#define QCOW2_AUTOCLEAR_DATA_RAW (UINT64_C(1) << 1)

enum { QCOW2_COMPRESSION_DEFLATE = 0, QCOW2_COMPRESSION_ZSTD = 1 };

/* --- table entries --- */

#define QCOW2_OFLAG_COPIED     (UINT64_C(1) << 63) /* refcount is 1: write in place */
#define QCOW2_OFLAG_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_OFLAG_ZERO       (UINT64_C(1) << 0) /* not with extended entries */

#define QCOW2_L1_OFFSET_MASK       UINT64_C(0x00fffffffffffe00)
#define QCOW2_L2_OFFSET_MASK       UINT64_C(0x00fffffffffffe00)
#define QCOW2_BITMAP_OFFSET_MASK   UINT64_C(0x00fffffffffffe00)
#define QCOW2_REFTABLE_OFFSET_MASK UINT64_C(0xfffffffffffffe00)

/* Extended entries: the second word has an allocated bit and a zero bit per subcluster. */
#define QCOW2_SUBCLUSTERS          32U
#define QCOW2_BITMAP_ALLOC(mask)   ((uint64_t)(uint32_t)(mask))
#define QCOW2_BITMAP_ZERO(mask)    ((uint64_t)(uint32_t)(mask) << 32)
#define QCOW2_BITMAP_ALL_ALLOC     UINT64_C(0x00000000ffffffff)
#define QCOW2_BITMAP_ALL_ZEROES    UINT64_C(0xffffffff00000000)

/* --- bounds: the format's where it has one, else QEMU's --- */

#define QCOW2_MIN_CLUSTER_BITS       9U
#define QCOW2_MAX_CLUSTER_BITS       21U
#define QCOW2_MIN_CLUSTER_BITS_EXTL2 14U
#define QCOW2_MAX_BACKING_NAME       1023U
#define QCOW2_MAX_BACKING_FORMAT     15U
#define QCOW2_MAX_L1_BYTES           (32U << 20)
#define QCOW2_MAX_REFTABLE_BYTES     (8U << 20)
#define QCOW2_MAX_SNAPSHOTS          65536U
#define QCOW2_MAX_SNAPSHOT_EXTRA     1024U
#define QCOW2_MAX_SNAPSHOT_TABLE     (64U << 20) /* bytes of the whole table */
#define QCOW2_MAX_BITMAPS            65535U
#define QCOW2_MAX_BITMAP_DIRECTORY   (64U << 20) /* bytes */
#define QCOW2_MAX_BITMAP_NAME        1023U
#define QCOW2_MAX_HOST_OFFSET        (UINT64_C(1) << 56)

/* --- big endian in memory, aligned or not --- */

static inline uint16_t qcow2_be16(const void *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return GUINT16_FROM_BE(v);
}

static inline uint32_t qcow2_be32(const void *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return GUINT32_FROM_BE(v);
}

static inline uint64_t qcow2_be64(const void *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return GUINT64_FROM_BE(v);
}

static inline void qcow2_put_be16(void *p, uint16_t v)
{
    v = GUINT16_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}

static inline void qcow2_put_be32(void *p, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}

static inline void qcow2_put_be64(void *p, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}

#endif
