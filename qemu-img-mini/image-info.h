/* SPDX-License-Identifier: MIT */
/*
 * What is known of an open image, for people or as JSON. Gathering reads no guest data and
 * opens nothing. Main thread.
 */
#ifndef IMG_IMAGE_INFO_H
#define IMG_IMAGE_INFO_H

#include <jansson.h>

#include "block/block-image.h"
#include "block/snapshot.h"
#include "qapi/error.h"

typedef struct ImageInfo {
    char *filename;
    char *format;
    char *child_name;     /* of the edge that leads here; NULL at the top */
    int64_t virtual_size; /* bytes */
    int64_t actual_size;  /* bytes on the host's disk, negative: not known */
    int cluster_size;     /* bytes, 0: none */
    bool has_dirty_flag;
    bool dirty;
    bool encrypted;
    char *backing_name;   /* as the image holds it; NULL: none */
    char *backing_path;   /* the file that it means; NULL: cannot be told */
    char *backing_format; /* NULL: not recorded */
    QEMUSnapshotInfo *snapshots;
    int nb_snapshots;
    json_t *specific;     /* object: what only the format knows; NULL: nothing */
    json_t *limits;       /* object; NULL: not asked for */
    GPtrArray *children;  /* of ImageInfo, in QEMU's order */
} ImageInfo;

/* @limits: those of requests as well. NULL and @errp on failure. */
ImageInfo *image_info_gather(BlockDriverState *bs, bool limits, Error **errp);
void image_info_free(ImageInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageInfo, image_info_free)

/* A new reference. */
json_t *image_info_to_json(const ImageInfo *info);
void image_info_print(const ImageInfo *info);

#endif
