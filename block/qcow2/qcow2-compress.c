/* SPDX-License-Identifier: MIT */
/*
 * The compressors' working memory is kept for each thread: making it costs more than a
 * small cluster does.
 *
 * Images are written for readers with a window of 4 KiB (QEMU inflates so). libdeflate has
 * no parameter for the window; what it writes within a cluster may refer further back, and
 * QEMU's one-call inflate into a buffer that holds the whole cluster reads that all the same.
 */
#include "qcow2-compress.h"

#include "qemu/osdep.h"
#include "qemu/thread-pool.h"

#ifdef CONFIG_LIBDEFLATE
#include <libdeflate.h>
#endif
#ifdef CONFIG_LIBZSTD
#include <zstd.h>
#endif

/* How much longer than its cluster a stream may be that is still read: up to this many clusters. */
#define MAX_OVERLONG 8

bool qcow2_compression_available(unsigned type)
{
    switch (type) {
#ifdef CONFIG_LIBDEFLATE
    case QCOW2_COMPRESSION_DEFLATE: return true;
#endif
#ifdef CONFIG_LIBZSTD
    case QCOW2_COMPRESSION_ZSTD: return true;
#endif
    default: return false;
    }
}

const char *qcow2_compression_name(unsigned type)
{
    return type == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib";
}

#ifdef CONFIG_LIBDEFLATE
static void free_deflater(gpointer p)
{
    libdeflate_free_compressor(p);
}

static void free_inflater(gpointer p)
{
    libdeflate_free_decompressor(p);
}

static GPrivate deflater = G_PRIVATE_INIT(free_deflater);
static GPrivate inflater = G_PRIVATE_INIT(free_inflater);

static struct libdeflate_decompressor *get_inflater(void)
{
    struct libdeflate_decompressor *d = g_private_get(&inflater);

    if (!d) {
        d = libdeflate_alloc_decompressor();
        g_private_set(&inflater, d);
    }
    return d;
}

/* The stream holds more than a cluster; only its beginning counts. */
static int inflate_overlong(struct libdeflate_decompressor *d, void *out, size_t out_size,
                            const void *in, size_t in_size)
{
    for (size_t factor = 2; factor <= MAX_OVERLONG; factor *= 2) {
        g_autofree void *buf = g_try_malloc(out_size * factor);
        size_t got = 0;
        enum libdeflate_result result;

        if (!buf) {
            return -ENOMEM;
        }
        result = libdeflate_deflate_decompress(d, in, in_size, buf, out_size * factor, &got);
        if (result == LIBDEFLATE_SUCCESS) {
            memcpy(out, buf, out_size);
            return got >= out_size ? 0 : -EIO;
        }
        if (result != LIBDEFLATE_INSUFFICIENT_SPACE) {
            break;
        }
    }
    return -EIO;
}

static int inflate(void *out, size_t out_size, const void *in, size_t in_size)
{
    struct libdeflate_decompressor *d = get_inflater();

    if (!d) {
        return -ENOMEM;
    }
    switch (libdeflate_deflate_decompress(d, in, in_size, out, out_size, NULL)) {
    case LIBDEFLATE_SUCCESS: return 0;
    case LIBDEFLATE_INSUFFICIENT_SPACE: return inflate_overlong(d, out, out_size, in, in_size);
    default: return -EIO;
    }
}

static ssize_t deflate(void *out, size_t out_size, const void *in, size_t in_size)
{
    struct libdeflate_compressor *c = g_private_get(&deflater);

    if (!c) {
        c = libdeflate_alloc_compressor(6);
        if (!c) {
            return -ENOMEM;
        }
        g_private_set(&deflater, c);
    }
    return libdeflate_deflate_compress(c, in, in_size, out, out_size);
}
#endif

#ifdef CONFIG_LIBZSTD
static void free_dctx(gpointer p)
{
    ZSTD_freeDCtx(p);
}

static void free_cctx(gpointer p)
{
    ZSTD_freeCCtx(p);
}

static GPrivate zstd_dctx = G_PRIVATE_INIT(free_dctx);
static GPrivate zstd_cctx = G_PRIVATE_INIT(free_cctx);

static int unzstd(void *out, size_t out_size, const void *in, size_t in_size)
{
    ZSTD_DCtx *d = g_private_get(&zstd_dctx);
    ZSTD_outBuffer to = { out, out_size, 0 };
    ZSTD_inBuffer from = { in, in_size, 0 };
    size_t left = 1;

    if (!d) {
        d = ZSTD_createDCtx();
        if (!d) {
            return -ENOMEM;
        }
        g_private_set(&zstd_dctx, d);
    }
    ZSTD_DCtx_reset(d, ZSTD_reset_session_only);
    /* One frame or several; each call must get further. */
    while (to.pos < out_size || left != 0) {
        size_t to_before = to.pos, from_before = from.pos;

        left = ZSTD_decompressStream(d, &to, &from);
        if (ZSTD_isError(left) || (to.pos == to_before && from.pos == from_before)) {
            return -EIO;
        }
    }
    return 0;
}

static ssize_t zstd(void *out, size_t out_size, const void *in, size_t in_size)
{
    ZSTD_CCtx *c = g_private_get(&zstd_cctx);
    size_t size;

    if (!c) {
        c = ZSTD_createCCtx();
        if (!c) {
            return -ENOMEM;
        }
        g_private_set(&zstd_cctx, c);
    }
    size = ZSTD_compressCCtx(c, out, out_size, in, in_size, ZSTD_CLEVEL_DEFAULT);
    if (ZSTD_isError(size)) {
        /* This version has no stable number for "does not fit", but no other cause either. */
        return 0;
    }
    return size;
}
#endif

int qcow2_decompress(unsigned type, void *out, size_t out_size, const void *in, size_t in_size)
{
    switch (type) {
#ifdef CONFIG_LIBDEFLATE
    case QCOW2_COMPRESSION_DEFLATE: return inflate(out, out_size, in, in_size);
#endif
#ifdef CONFIG_LIBZSTD
    case QCOW2_COMPRESSION_ZSTD: return unzstd(out, out_size, in, in_size);
#endif
    default: return -ENOTSUP;
    }
}

ssize_t qcow2_compress(unsigned type, void *out, size_t out_size, const void *in,
                       size_t in_size)
{
    switch (type) {
#ifdef CONFIG_LIBDEFLATE
    case QCOW2_COMPRESSION_DEFLATE: return deflate(out, out_size, in, in_size);
#endif
#ifdef CONFIG_LIBZSTD
    case QCOW2_COMPRESSION_ZSTD: return zstd(out, out_size, in, in_size);
#endif
    default: return -ENOTSUP;
    }
}

/* --- in the thread pool --- */

typedef struct CompressJob {
    unsigned type;
    void *out;
    size_t out_size;
    const void *in;
    size_t in_size;
} CompressJob;

static int run_decompress(void *opaque)
{
    CompressJob *j = opaque;

    return qcow2_decompress(j->type, j->out, j->out_size, j->in, j->in_size);
}

static int run_compress(void *opaque)
{
    CompressJob *j = opaque;

    return qcow2_compress(j->type, j->out, j->out_size, j->in, j->in_size);
}

int coroutine_fn qcow2_co_decompress(unsigned type, void *out, size_t out_size, const void *in,
                                     size_t in_size)
{
    CompressJob job = { type, out, out_size, in, in_size };

    return thread_pool_submit_co(run_decompress, &job);
}

ssize_t coroutine_fn qcow2_co_compress(unsigned type, void *out, size_t out_size,
                                       const void *in, size_t in_size)
{
    CompressJob job = { type, out, out_size, in, in_size };

    return thread_pool_submit_co(run_compress, &job);
}
