/* SPDX-License-Identifier: MIT */
/* What only the format of an image knows of it, as JSON and for people. Main thread. */
#ifndef TOOLS_SPECIFIC_INFO_H
#define TOOLS_SPECIFIC_INFO_H

#include <jansson.h>

#include "block/block-image.h"
#include "qapi/error.h"

/* @opts, which is consumed, as an object; NULL for NULL. */
json_t *options_to_json(BlockOptions *opts);

/* A new reference; NULL: nothing, or an error with @errp. */
json_t *specific_info_gather(BlockDriverState *bs, Error **errp);
/* A line for each member, "-" in names as a blank, with @indent blanks before it. */
void specific_info_print(const json_t *value, int indent);

#endif
