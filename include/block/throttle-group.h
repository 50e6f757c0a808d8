/* SPDX-License-Identifier: MIT */
/*
 * Throttle groups: rates and bursts that the nodes of driver "throttle" share which name
 * the group (throttle-group=ID). Home thread; the groups of all threads are one set.
 */
#ifndef BLOCK_THROTTLE_GROUP_H
#define BLOCK_THROTTLE_GROUP_H

#include "block/block-common.h"
#include "block/block-options.h"
#include "qapi/error.h"

#pragma GCC visibility push(default)
G_BEGIN_DECLS

/*
 * Makes the group @id from @props, all of which it takes: bps-total, bps-read, bps-write,
 * iops-total, iops-read, iops-write, each with -max (the rate of a burst) and -max-length
 * (its seconds), and iops-size (bytes that count as one request), with the prefix "limits."
 * or "x-". 0, or -errno with @errp: -EEXIST when there is one.
 */
int throttle_group_create(const char *id, BlockOptions *props, Error **errp);
/* It lives on as long as nodes use it. -ENOENT: there is none. */
int throttle_group_delete(const char *id);

G_END_DECLS
#pragma GCC visibility pop

#endif
