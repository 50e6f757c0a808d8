/* SPDX-License-Identifier: MIT */
/* The argument of an option -l: which snapshot of a source to read. */
#ifndef IMG_SNAPSHOT_PARAM_H
#define IMG_SNAPSHOT_PARAM_H

#include "block/block-common.h"
#include "qapi/error.h"

/* Is @arg "snapshot.id=ID,snapshot.name=NAME" with either or both, or a plain id or name? A message if not. */
bool snapshot_param_check(const char *arg);

/* Lets the read-only node @bs show that snapshot. 0 or -errno with @errp. */
int snapshot_param_load(BlockDriverState *bs, const char *arg, Error **errp);

#endif
