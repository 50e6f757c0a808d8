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

#ifdef CONFIG_LIBDEFLATE
#include <libdeflate.h>
#endif
#ifdef CONFIG_LIBZSTD
#include <zstd.h>
#endif

/* How much longer than its cluster a stream may be that is still read: up to this many clusters. */
#define MAX_OVERLONG 8

/*
 * A stream names the window that it needs. One of a cluster, of 2 MiB at most, needs no more than
 * that; what a hostile one may ask for would be 128 MiB for each thread.
 */
#define MAX_ZSTD_WINDOW_BITS 22

/* libdeflate's, of 12: files are somewhat smaller than QEMU's, in a quarter of the time. */
#define DEFLATE_LEVEL     2
#define DEFLATE_MAX_LEVEL 12
/* The library goes on, with windows that are larger than any cluster. */
#define ZSTD_MAX_LEVEL    19
/* Up to here, in bytes, clusters are compressed with small tables. */
#define ZSTD_SMALL_CLUSTER (128 * 1024)

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
typedef struct Deflater {
    int level;
    struct libdeflate_compressor *compressor;
} Deflater;

static void free_deflater(gpointer p)
{
    Deflater *d = p;

    libdeflate_free_compressor(d->compressor);
    g_free(d);
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

/* The thread's compressor is for one level. NULL: no memory. */
static struct libdeflate_compressor *get_deflater(int level)
{
    Deflater *d = g_private_get(&deflater);

    if (d && d->level == level) {
        return d->compressor;
    }
    d = g_new(Deflater, 1);
    *d = (Deflater){ .level = level, .compressor = libdeflate_alloc_compressor(level) };
    if (!d->compressor) {
        g_free(d);
        return NULL;
    }
    g_private_replace(&deflater, d);
    return d->compressor;
}

static ssize_t deflate(int level, void *out, size_t out_size, const void *in, size_t in_size)
{
    struct libdeflate_compressor *c = get_deflater(level ?: DEFLATE_LEVEL);

    return c ? (ssize_t)libdeflate_deflate_compress(c, in, in_size, out, out_size) : -ENOMEM;
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

static ZSTD_DCtx *get_dctx(void)
{
    ZSTD_DCtx *d = g_private_get(&zstd_dctx);

    if (!d) {
        d = ZSTD_createDCtx();
        if (d) {
            ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, MAX_ZSTD_WINDOW_BITS);
        }
        g_private_set(&zstd_dctx, d);
    }
    return d;
}

/* Frames of versions before 0.8 are not qcow2's, and their readers heed no limit on the window. */
static bool frame_is_of_today(const void *in, size_t in_size)
{
    uint32_t magic;

    if (in_size < sizeof(magic)) {
        return false;
    }
    memcpy(&magic, in, sizeof(magic));
    magic = GUINT32_FROM_LE(magic);
    return magic == ZSTD_MAGICNUMBER ||
           (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

/* Several frames, or more than a cluster in one; each call must get further. */
static int unzstd_stream(ZSTD_DCtx *d, void *out, size_t out_size, const void *in,
                         size_t in_size)
{
    ZSTD_outBuffer to = { out, out_size, 0 };
    ZSTD_inBuffer from = { in, in_size, 0 };
    size_t left = 0;

    ZSTD_DCtx_reset(d, ZSTD_reset_session_only);
    while (to.pos < out_size || left != 0) {
        size_t to_before = to.pos, from_before = from.pos;

        if (left == 0 && !frame_is_of_today((const uint8_t *)in + from.pos, in_size - from.pos)) {
            return -EIO;
        }
        left = ZSTD_decompressStream(d, &to, &from);
        if (ZSTD_isError(left) || (to.pos == to_before && from.pos == from_before)) {
            return -EIO;
        }
    }
    return 0;
}

/* Nearly always it is one frame, which needs no buffer of the library's between. */
static int unzstd(void *out, size_t out_size, const void *in, size_t in_size)
{
    ZSTD_DCtx *d = get_dctx();
    size_t frame;

    if (!d) {
        return -ENOMEM;
    }
    if (!frame_is_of_today(in, in_size)) {
        return -EIO;
    }
    frame = ZSTD_findFrameCompressedSize(in, in_size);
    if (!ZSTD_isError(frame) && ZSTD_decompressDCtx(d, out, out_size, in, frame) == out_size) {
        return 0;
    }
    return unzstd_stream(d, out, out_size, in, in_size);
}

/*
 * Small clusters need no large tables: with these, which stay in the processor's first cache, and
 * shorter matches, the streams are a little smaller than those of QEMU (the library's level 3),
 * and made in less time.
 */
static void set_small_tables(ZSTD_CCtx *c)
{
    ZSTD_CCtx_setParameter(c, ZSTD_c_strategy, ZSTD_dfast);
    ZSTD_CCtx_setParameter(c, ZSTD_c_minMatch, 4);
    ZSTD_CCtx_setParameter(c, ZSTD_c_chainLog, 12);
    ZSTD_CCtx_setParameter(c, ZSTD_c_hashLog, 13);
}

static ssize_t zstd(int level, void *out, size_t out_size, const void *in, size_t in_size)
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
    ZSTD_CCtx_reset(c, ZSTD_reset_session_and_parameters);
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level ?: ZSTD_CLEVEL_DEFAULT);
    if (!level && in_size <= ZSTD_SMALL_CLUSTER) {
        set_small_tables(c);
    }
    size = ZSTD_compress2(c, out, out_size, in, in_size);
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

unsigned qcow2_compression_max_level(unsigned type)
{
    return type == QCOW2_COMPRESSION_ZSTD ? ZSTD_MAX_LEVEL : DEFLATE_MAX_LEVEL;
}

ssize_t qcow2_compress(unsigned type, int level, void *out, size_t out_size, const void *in,
                       size_t in_size)
{
    switch (type) {
#ifdef CONFIG_LIBDEFLATE
    case QCOW2_COMPRESSION_DEFLATE: return deflate(level, out, out_size, in, in_size);
#endif
#ifdef CONFIG_LIBZSTD
    case QCOW2_COMPRESSION_ZSTD: return zstd(level, out, out_size, in, in_size);
#endif
    default: return -ENOTSUP;
    }
}
