/* SPDX-License-Identifier: MIT */
/*
 * What users of images (block-backend.h), authors of drivers (block-driver.h)
 * and authors of I/O engines (io-engine.h) all need: sizes, flags, modes.
 *
 * Values are QEMU's, so that numbers in traces and in foreign code mean the same.
 */
#ifndef BLOCK_BLOCK_COMMON_H
#define BLOCK_BLOCK_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <limits.h>
#include <glib.h>

#define BDRV_SECTOR_BITS 9
#define BDRV_SECTOR_SIZE (1ULL << BDRV_SECTOR_BITS)

/* The largest request in bytes: it fits an int, and is a whole number of sectors. */
#define BDRV_REQUEST_MAX_SECTORS (INT_MAX >> BDRV_SECTOR_BITS)
#define BDRV_REQUEST_MAX_BYTES   ((int64_t)BDRV_REQUEST_MAX_SECTORS << BDRV_SECTOR_BITS)

/* The largest alignment a node may ask for, and the largest image that can be aligned to it. */
#define BDRV_MAX_ALIGNMENT (1LL << 30)
#define BDRV_MAX_LENGTH    (INT64_MAX & ~(BDRV_MAX_ALIGNMENT - 1))

typedef struct BlockBackend BlockBackend;
typedef struct BlockDriver BlockDriver;
typedef struct BlockDriverState BlockDriverState;
typedef struct BdrvChild BdrvChild;
typedef struct BlockOptions BlockOptions;

/* Flags of one request. They are combined, and 0 is none: an enum of C++ would take neither. */
typedef int BdrvRequestFlags;
enum {
    BDRV_REQ_COPY_ON_READ     = 0x1,
    BDRV_REQ_ZERO_WRITE       = 0x2,
    /* pwrite_zeroes: the area may be deallocated as long as it then reads as zeroes. */
    BDRV_REQ_MAY_UNMAP        = 0x4,
    /* The data is on stable storage when the request completes. */
    BDRV_REQ_FUA              = 0x10,
    BDRV_REQ_WRITE_COMPRESSED = 0x20,
    /* The write does not change what a reader sees. */
    BDRV_REQ_WRITE_UNCHANGED  = 0x40,
    BDRV_REQ_SERIALISING      = 0x80,
    /* pwrite_zeroes: -ENOTSUP rather than writing buffers of zeroes. */
    BDRV_REQ_NO_FALLBACK      = 0x100,
    BDRV_REQ_PREFETCH         = 0x200,
    /* With SERIALISING: -EBUSY rather than wait for an overlapping request. */
    BDRV_REQ_NO_WAIT          = 0x400,
    BDRV_REQ_MASK             = 0x7ff,
};

/* Flags of an open. */
#define BDRV_O_NO_SHARE     0x0001 /* nobody else may write to the image meanwhile */
#define BDRV_O_RDWR         0x0002
#define BDRV_O_RESIZE       0x0004 /* the user wants to grow or shrink the image */
#define BDRV_O_SNAPSHOT     0x0008 /* for reading; writes go to a temporary image above it */
#define BDRV_O_NOCACHE      0x0020 /* O_DIRECT: past the host's page cache */
#define BDRV_O_NATIVE_AIO   0x0080 /* Linux AIO; needs BDRV_O_NOCACHE */
#define BDRV_O_NO_BACKING   0x0100 /* do not open the backing file */
#define BDRV_O_NO_FLUSH     0x0200 /* flushes do nothing (cache=unsafe) */
#define BDRV_O_COPY_ON_READ 0x0400 /* what is read from below is written to the image */
#define BDRV_O_CHECK        0x1000 /* open for a check only: tolerate what check reports */
#define BDRV_O_UNMAP        0x4000 /* discards free space instead of being ignored */
#define BDRV_O_PROTOCOL     0x8000 /* do not probe: the filename goes to a protocol driver */
#define BDRV_O_NO_IO        0x10000 /* metadata only; no guest data will be read */
#define BDRV_O_AUTO_RDONLY  0x20000 /* fall back to read-only when read-write fails */
#define BDRV_O_IO_URING     0x40000 /* io_uring, where it is built in and permitted */
#define BDRV_O_NO_EXTERNAL  0x1000000 /* no file that only an image names: backing, data */
#define BDRV_O_CACHE_MASK   (BDRV_O_NOCACHE | BDRV_O_NO_FLUSH)

/* Names of options that every node understands. */
#define BDRV_OPT_CACHE_DIRECT   "cache.direct"
#define BDRV_OPT_CACHE_NO_FLUSH "cache.no-flush"
#define BDRV_OPT_READ_ONLY      "read-only"
#define BDRV_OPT_DISCARD        "discard"
#define BDRV_OPT_FORCE_SHARE    "force-share"
#define BDRV_OPT_DETECT_ZEROES  "detect-zeroes" /* off, on, unmap */

/*
 * Block status bits: what bdrv_co_block_status() says of a range.
 * DATA: reads come from storage; ZERO: reads as zeroes; OFFSET_VALID: the data
 * stands in @file at @map; RAW (drivers to the core only): ask @file at @map;
 * ALLOCATED: this layer, not a backing file, defines the contents;
 * EOF: the range ends at the end of the file; COMPRESSED: stored compressed.
 */
#define BDRV_BLOCK_DATA         0x01
#define BDRV_BLOCK_ZERO         0x02
#define BDRV_BLOCK_OFFSET_VALID 0x04
#define BDRV_BLOCK_RAW          0x08
#define BDRV_BLOCK_ALLOCATED    0x10
#define BDRV_BLOCK_EOF          0x20
#define BDRV_BLOCK_RECURSE      0x40
#define BDRV_BLOCK_COMPRESSED   0x80

/* Permissions of a user on a node; bit numbers are those of the image lock (lock byte 100 + bit). */
enum {
    BLK_PERM_CONSISTENT_READ = 0x01,
    BLK_PERM_WRITE           = 0x02,
    BLK_PERM_WRITE_UNCHANGED = 0x04,
    BLK_PERM_RESIZE          = 0x08,
    BLK_PERM_ALL             = 0x0f,
};

typedef enum PreallocMode {
    PREALLOC_MODE_OFF,
    PREALLOC_MODE_METADATA,
    PREALLOC_MODE_FALLOC,
    PREALLOC_MODE_FULL,
} PreallocMode;

/* What a driver tells of its image. */
typedef struct BlockDriverInfo {
    int cluster_size;         /* bytes; 0: no clusters */
    int64_t vm_state_offset;  /* bytes; where saved machine state begins */
    bool is_dirty;            /* was not closed properly */
    bool needs_compressed_writes;
    bool can_write_zeroes_with_unmap;
} BlockDriverInfo;

/* @done of @total bytes or pieces of work are done. Called often, in the thread of the call. */
typedef void BlockProgress(void *opaque, uint64_t done, uint64_t total);

/* How large the file of a new image will be, in bytes. */
typedef struct BlockMeasureInfo {
    uint64_t required;        /* when it holds what the source has now */
    uint64_t fully_allocated; /* when all of it has been written to */
    bool has_bitmaps;         /* the next one means something */
    uint64_t bitmaps;         /* more, for the persistent bitmaps of the source */
} BlockMeasureInfo;

/*
 * One creation option of a format, for `-o help`, for defaults and for checks.
 * The table of a driver ends with a NULL name.
 */
typedef enum {
    BLOCK_OPT_STRING,
    BLOCK_OPT_BOOL,
    BLOCK_OPT_NUMBER,
    BLOCK_OPT_SIZE,
} BlockOptionType;

typedef struct BlockCreateOption {
    const char *name;
    BlockOptionType type;
    const char *help;
    const char *def_value; /* NULL: none */
} BlockCreateOption;

/* --- checks, see bdrv_check() in block-image.h --- */

typedef enum BdrvCheckMode {
    BDRV_FIX_LEAKS = 1,
    BDRV_FIX_ERRORS = 2,
} BdrvCheckMode;

typedef struct BlockFragInfo {
    uint64_t allocated_clusters;
    uint64_t total_clusters; /* of the virtual disk */
    uint64_t fragmented_clusters;
    uint64_t compressed_clusters;
} BlockFragInfo;

/* A leak wastes space, a corruption endangers data; a check error: it could not be told. */
typedef struct BdrvCheckResult {
    int corruptions, leaks, check_errors; /* left */
    int corruptions_fixed, leaks_fixed;
    int64_t image_end_offset; /* bytes: behind the last cluster in use; 0: not known */
    BlockFragInfo bfi;
} BdrvCheckResult;

#endif
