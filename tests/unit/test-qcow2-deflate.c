/* SPDX-License-Identifier: MIT */
/*
 * Deflated clusters, read back as QEMU reads them: by zlib, raw, with a window of 4 KiB and in
 * one call. What libdeflate writes refers further back than that, which is well as long as the
 * whole cluster goes into one buffer; here that is tried on 4,000 clusters.
 *
 * The seed is printed by GTest (R02S...) and replays the run with --seed.
 */
#include "qemu/osdep.h"

#include <zlib.h>

#include "../../block/qcow2/qcow2-compress.h"

enum { CLUSTERS = 4000, MAX_CLUSTER = 65536 };

/* Text-like data with repeats from near and from as far back as the cluster goes. */
static void fill(uint8_t *buf, size_t size)
{
    static const char words[] = "the quick brown fox jumps over the lazy dog, again and again; ";
    size_t at = 0;

    while (at < size) {
        size_t n = MIN((size_t)g_test_rand_int_range(1, 400), size - at);

        switch (g_test_rand_int_range(0, 4)) {
        case 0:
            for (size_t i = 0; i < n; i++) {
                buf[at + i] = g_test_rand_int();
            }
            break;
        case 1:
            memset(buf + at, g_test_rand_int(), n);
            break;
        case 2:
            for (size_t i = 0; i < n; i++) {
                buf[at + i] = words[(at + i) % (sizeof(words) - 1)];
            }
            break;
        default:
            if (at) {
                size_t from = g_test_rand_int_range(0, at);

                n = MIN(n, at - from);
                memcpy(buf + at, buf + from, n);
            }
            break;
        }
        at += n;
    }
}

/* True when zlib gives the whole cluster back. */
static bool zlib_reads(const uint8_t *in, size_t in_size, const uint8_t *want, size_t size)
{
    g_autofree uint8_t *out = g_malloc(size);
    z_stream z = { .next_in = (uint8_t *)in, .avail_in = in_size, .next_out = out,
                   .avail_out = size };
    int ret;

    g_assert_cmpint(inflateInit2(&z, -12), ==, Z_OK);
    ret = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && z.avail_out == 0 &&
           !memcmp(out, want, size);
}

static void test_window(void)
{
    g_autofree uint8_t *in = g_malloc(MAX_CLUSTER);
    g_autofree uint8_t *out = g_malloc(MAX_CLUSTER);
    g_autofree uint8_t *back = g_malloc(MAX_CLUSTER);
    unsigned compressed = 0;

    if (!qcow2_compression_available(QCOW2_COMPRESSION_DEFLATE)) {
        g_test_skip("built without libdeflate");
        return;
    }
    for (unsigned i = 0; i < CLUSTERS; i++) {
        /* 64 KiB is what images have; the smaller ones keep the test short. */
        size_t size = i % 8 == 0 ? MAX_CLUSTER : (size_t)512 << g_test_rand_int_range(0, 7);
        ssize_t n;

        fill(in, size);
        n = qcow2_compress(QCOW2_COMPRESSION_DEFLATE, i % 10, out, size - 1, in, size);
        g_assert_cmpint(n, >=, 0);
        if (n == 0) {
            continue;
        }
        compressed++;
        g_assert_true(zlib_reads(out, n, in, size));
        /* A reader hands over whole sectors. */
        memset(out + n, 0xee, MIN(511, MAX_CLUSTER - n));
        g_assert_true(zlib_reads(out, MIN(n + 511, MAX_CLUSTER), in, size));
        g_assert_cmpint(qcow2_decompress(QCOW2_COMPRESSION_DEFLATE, back, size, out, n), ==, 0);
        g_assert_true(!memcmp(back, in, size));
    }
    g_assert_cmpuint(compressed, >, CLUSTERS / 2);
}

/* The other way round: what zlib writes with that window is read here. */
static void test_from_zlib(void)
{
    g_autofree uint8_t *in = g_malloc(MAX_CLUSTER);
    g_autofree uint8_t *out = g_malloc(2 * MAX_CLUSTER);
    g_autofree uint8_t *back = g_malloc(MAX_CLUSTER);

    if (!qcow2_compression_available(QCOW2_COMPRESSION_DEFLATE)) {
        g_test_skip("built without libdeflate");
        return;
    }
    for (unsigned i = 0; i < 50; i++) {
        z_stream z = { .next_in = in, .avail_in = MAX_CLUSTER, .next_out = out,
                       .avail_out = 2 * MAX_CLUSTER };

        fill(in, MAX_CLUSTER);
        g_assert_cmpint(deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9,
                                     Z_DEFAULT_STRATEGY), ==, Z_OK);
        g_assert_cmpint(deflate(&z, Z_FINISH), ==, Z_STREAM_END);
        g_assert_cmpint(qcow2_decompress(QCOW2_COMPRESSION_DEFLATE, back, MAX_CLUSTER, out,
                                         z.total_out), ==, 0);
        g_assert_true(!memcmp(back, in, MAX_CLUSTER));
        deflateEnd(&z);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qcow2/deflate/window-of-qemu", test_window);
    g_test_add_func("/qcow2/deflate/from-zlib", test_from_zlib);
    return g_test_run();
}
