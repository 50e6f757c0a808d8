/* SPDX-License-Identifier: MIT */
/*
 * Streams of compressed clusters: [type, cluster bits, what] and the stream. Anything can be
 * unpacked without harm; what has been packed unpacks to the same.
 */
#include "fuzz.h"

#include "../../block/qcow2/qcow2-compress.h"

static uint8_t out[1 << 16], packed[1 << 16];

static void pack_and_unpack(unsigned type, const uint8_t *data, size_t size)
{
    ssize_t n = qcow2_compress(type, 0, packed, sizeof(packed), data, size);

    if (n <= 0) {
        return;
    }
    if (qcow2_decompress(type, out, size, packed, n) || memcmp(out, data, size)) {
        fuzz_fail("what was packed does not unpack to the same");
    }
    /* As in an image, where the length of a stream is known in sectors. */
    if ((size_t)n + 64 <= sizeof(packed)) {
        memset(packed + n, 0xa5, 64);
        if (qcow2_decompress(type, out, size, packed, n + 64) || memcmp(out, data, size)) {
            fuzz_fail("what follows a stream changes it");
        }
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    unsigned type, bits;

    if (size < 4) {
        return;
    }
    type = data[0] & 1 ? QCOW2_COMPRESSION_ZSTD : QCOW2_COMPRESSION_DEFLATE;
    bits = 9 + data[1] % 8;
    if (data[2] & 1) {
        pack_and_unpack(type, data + 3, size - 3);
        return;
    }
    memset(out, 0, sizeof(out));
    qcow2_decompress(type, out, 1U << bits, data + 3, size - 3);
    if (bits < 16 && out[1U << bits]) {
        fuzz_fail("unpacking writes behind the cluster");
    }
}
