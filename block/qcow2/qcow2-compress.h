/* SPDX-License-Identifier: MIT */
/*
 * Compressed clusters: deflate by libdeflate, zstd by libzstd, each if it was built in. The
 * functions wait for nothing but the processor, and may run in any thread.
 */
#ifndef BLOCK_QCOW2_COMPRESS_H
#define BLOCK_QCOW2_COMPRESS_H

#include "qemu/osdep.h"

#include "qcow2-format.h"

/* Is this compression type (QCOW2_COMPRESSION_*) built in? */
bool qcow2_compression_available(unsigned type);
const char *qcow2_compression_name(unsigned type);

/*
 * Unpacks exactly @out_size bytes from the front of @in; what follows the stream is not
 * looked at. 0, or -EIO for a damaged or shorter stream, -ENOMEM, -ENOTSUP.
 */
int qcow2_decompress(unsigned type, void *out, size_t out_size, const void *in, size_t in_size);

/*
 * Packs @in, which nobody may change meanwhile. @level: 1 to the type's maximum, more is smaller and
 * slower; 0: the best there is for little time. The size, 0 when it would take more than @out_size
 * bytes, or -errno.
 */
ssize_t qcow2_compress(unsigned type, int level, void *out, size_t out_size, const void *in,
                       size_t in_size);
unsigned qcow2_compression_max_level(unsigned type);

#endif
