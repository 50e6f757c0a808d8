/* SPDX-License-Identifier: MIT */
/*
 * Compressed clusters: deflate by libdeflate, zstd by libzstd, each if it was built in. The
 * plain functions do not block on anything but the processor; the coroutine ones run
 * them in the thread pool.
 */
#ifndef BLOCK_QCOW2_COMPRESS_H
#define BLOCK_QCOW2_COMPRESS_H

#include "qcow2-format.h"
#include "qemu/coroutine.h"

/* Is this compression type (QCOW2_COMPRESSION_*) built in? */
bool qcow2_compression_available(unsigned type);
const char *qcow2_compression_name(unsigned type);

/*
 * Unpacks exactly @out_size bytes from the front of @in; what follows the stream is not
 * looked at. 0, or -EIO for a damaged or shorter stream, -ENOMEM, -ENOTSUP.
 */
int qcow2_decompress(unsigned type, void *out, size_t out_size, const void *in, size_t in_size);

/* Packs @in. The size, 0 when it would take more than @out_size bytes, or -errno. */
ssize_t qcow2_compress(unsigned type, void *out, size_t out_size, const void *in,
                       size_t in_size);

int coroutine_fn qcow2_co_decompress(unsigned type, void *out, size_t out_size, const void *in,
                                     size_t in_size);
ssize_t coroutine_fn qcow2_co_compress(unsigned type, void *out, size_t out_size,
                                       const void *in, size_t in_size);

#endif
