/* SPDX-License-Identifier: MIT */
/* Compressed clusters that are garbage, cut off, too long, or come in several frames. */
#include "qemu/osdep.h"
#include <zlib.h>
#include "../../block/qcow2/qcow2-compress.h"

#define CLUSTER 65536U

static void decompression_of_garbage(void)
{
    g_autofree uint8_t *in = g_malloc(CLUSTER), *out = g_malloc(CLUSTER), *back = g_malloc(CLUSTER);

    for (unsigned type = QCOW2_COMPRESSION_DEFLATE; type <= QCOW2_COMPRESSION_ZSTD; type++) {
        ssize_t n;

        g_assert_true(qcow2_compression_available(type));
        memset(in, 0xee, CLUSTER);
        g_assert_cmpint(qcow2_decompress(type, back, CLUSTER, in, CLUSTER), ==, -EIO);
        for (unsigned i = 0; i < CLUSTER; i++) {
            in[i] = i >> 4;
        }
        n = qcow2_compress(type, 0, out, CLUSTER, in, CLUSTER);
        g_assert_cmpint(n, >, 0);
        g_assert_cmpint(qcow2_decompress(type, back, CLUSTER, out, n), ==, 0);
        g_assert_cmpmem(back, CLUSTER, in, CLUSTER);
        g_assert_cmpint(qcow2_decompress(type, back, CLUSTER, out, n / 2), ==, -EIO);
        /* Half a cluster is too little. */
        n = qcow2_compress(type, 0, out, CLUSTER, in, CLUSTER / 2);
        g_assert_cmpint(qcow2_decompress(type, back, CLUSTER, out, n), ==, -EIO);
    }
    g_assert_false(qcow2_compression_available(77));
    g_assert_cmpint(qcow2_decompress(77, back, CLUSTER, in, CLUSTER), ==, -ENOTSUP);
    g_assert_cmpint(qcow2_compress(77, 0, back, CLUSTER, in, CLUSTER), ==, -ENOTSUP);
}

/* A cluster may come in several frames, and with some that are to be skipped; but whole. */
static void zstd_streams_of_several_frames(void)
{
    static const uint8_t skipped[] = { 0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3 };
    g_autofree uint8_t *in = g_malloc(CLUSTER), *out = g_malloc(3 * CLUSTER);
    g_autofree uint8_t *back = g_malloc(CLUSTER);
    ssize_t half, other;
    uint8_t *p;

    for (unsigned i = 0; i < CLUSTER; i++) {
        in[i] = i >> 6;
    }
    half = qcow2_compress(QCOW2_COMPRESSION_ZSTD, 0, out, CLUSTER, in, CLUSTER / 2);
    g_assert_cmpint(half, >, 0);
    memcpy(out + half, skipped, sizeof(skipped));
    p = out + half + sizeof(skipped);
    other = qcow2_compress(QCOW2_COMPRESSION_ZSTD, 0, p, CLUSTER, in + CLUSTER / 2, CLUSTER / 2);
    g_assert_cmpint(other, >, 0);
    other += sizeof(skipped);
    g_assert_cmpint(qcow2_decompress(QCOW2_COMPRESSION_ZSTD, back, CLUSTER, out, half + other), ==,
                    0);
    g_assert_cmpmem(back, CLUSTER, in, CLUSTER);
    g_assert_cmpint(qcow2_decompress(QCOW2_COMPRESSION_ZSTD, back, CLUSTER, out, half + other - 1),
                    ==, -EIO);
    /* The second frame does not end where the cluster does. */
    other = qcow2_compress(QCOW2_COMPRESSION_ZSTD, 0, out + half, CLUSTER, in, CLUSTER);
    g_assert_cmpint(qcow2_decompress(QCOW2_COMPRESSION_ZSTD, back, CLUSTER, out, half + other), ==,
                    -EIO);
    memset(out + half, 0xee, CLUSTER);
    g_assert_cmpint(qcow2_decompress(QCOW2_COMPRESSION_ZSTD, back, CLUSTER, out, half + other), ==,
                    -EIO);
}

/* Streams of more than a cluster give its beginning; zlib would stop there by itself. */
static void overlong_streams(void)
{
    g_autofree uint8_t *in = g_malloc(64 * CLUSTER), *out = g_malloc(2 * CLUSTER);
    g_autofree uint8_t *back = g_malloc(CLUSTER);

    for (unsigned i = 0; i < 64 * CLUSTER; i++) {
        in[i] = i >> 12;
    }
    for (unsigned factor = 2; factor <= 64; factor *= 2) {
        z_stream z = { .next_in = in, .avail_in = factor * CLUSTER, .next_out = out,
                       .avail_out = 2 * CLUSTER };
        int ret;

        g_assert_cmpint(deflateInit2(&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), ==, Z_OK);
        g_assert_cmpint(deflate(&z, Z_FINISH), ==, Z_STREAM_END);
        ret = qcow2_decompress(QCOW2_COMPRESSION_DEFLATE, back, CLUSTER, out, z.total_out);
        g_assert_true(ret == 0 || (ret == -EIO && factor > 2));
        if (ret == 0) {
            g_assert_cmpmem(back, CLUSTER, in, CLUSTER);
        }
        /* The end of the stream is broken: it shows only behind the cluster. */
        memset(out + z.total_out - 8, 0xff, 8);
        ret = qcow2_decompress(QCOW2_COMPRESSION_DEFLATE, back, CLUSTER, out, z.total_out - 4);
        g_assert_true(ret == 0 || ret == -EIO);
        deflateEnd(&z);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qcow2/damaged-tables/compressed/garbage", decompression_of_garbage);
    g_test_add_func("/qcow2/damaged-tables/compressed/several-frames",
                    zstd_streams_of_several_frames);
    g_test_add_func("/qcow2/damaged-tables/compressed/overlong", overlong_streams);
    return g_test_run();
}
