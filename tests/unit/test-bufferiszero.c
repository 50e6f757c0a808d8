/* SPDX-License-Identifier: MIT */
/* Every alignment, length and place of a byte that is not zero. */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "../../util/buffer-is-zero.h"

#define ALIGNMENTS 64
#define MAX_LENGTH 1100

/* Between bytes that are not zero, so that a look beyond the ends shows. */
static unsigned char area[ALIGNMENTS + MAX_LENGTH + 64];

static void prepare(size_t offset, size_t len)
{
    memset(area, 0xff, sizeof(area));
    memset(area + offset, 0, len);
}

static void every_length_at_every_alignment_is_zero(void)
{
    size_t offset, len;

    for (offset = 0; offset < ALIGNMENTS; offset++) {
        for (len = 0; len <= MAX_LENGTH; len++) {
            prepare(offset, len);
            g_assert_true(buffer_is_zero(area + offset, len));
        }
    }
}

/* All places for short ones; for long ones those near the ends and a sample between. */
static size_t next_place(size_t place, size_t len)
{
    if (len > 300 && place >= 140 && place + 147 < len) {
        return place + 7;
    }
    return place + 1;
}

static void one_bit_anywhere_is_seen(void)
{
    size_t offset, len, place;

    for (offset = 0; offset < ALIGNMENTS; offset += 3) {
        for (len = 1; len <= MAX_LENGTH; len += len < 280 ? 1 : 61) {
            prepare(offset, len);
            for (place = 0; place < len; place = next_place(place, len)) {
                area[offset + place] = (unsigned char)(1u << (place % 8));
                g_assert_false(buffer_is_zero(area + offset, len));
                area[offset + place] = 0;
            }
        }
    }
}

static void every_variant_agrees(void)
{
    const BufferIsZeroVariant *v;
    size_t offset, len, place;

    for (v = buffer_is_zero_variants; v->name; v++) {
        if (!v->usable()) {
            g_test_message("%s: not on this machine", v->name);
            continue;
        }
        g_test_message("%s", v->name);
        for (offset = 0; offset < 34; offset++) {
            for (len = 256; len <= MAX_LENGTH; len += 37) {
                prepare(offset, len);
                g_assert_true(v->check(area + offset, len));
                for (place = 0; place < len; place++) {
                    area[offset + place] = 0x80;
                    g_assert_false(v->check(area + offset, len));
                    area[offset + place] = 0;
                }
            }
        }
    }
}

static void a_large_buffer_is_searched_to_its_end(void)
{
    size_t len = 4 << 20;
    char *buf = g_malloc0(len);

    g_assert_true(buffer_is_zero(buf, len));
    buf[len - 9] = 1;
    g_assert_false(buffer_is_zero(buf, len));
    buf[len - 9] = 0;
    buf[len / 2 + 777] = 1;
    g_assert_false(buffer_is_zero(buf, len));
    g_free(buf);
}

/* Not a test of anything unless asked for: -m perf prints the speed of each variant. */
static void speed(void)
{
    static const size_t lengths[] = { 256, 512, 4096, 65536, 2 << 20 };
    const BufferIsZeroVariant *v;
    char *buf = g_malloc0(2 << 20);
    size_t i;

    for (v = buffer_is_zero_variants; v->name; v++) {
        for (i = 0; v->usable() && i < ARRAY_SIZE(lengths); i++) {
            size_t rounds = (size_t)(2048 << 20) / lengths[i], n;
            gint64 start = g_get_monotonic_time();

            for (n = 0; n < rounds; n++) {
                g_assert_true(v->check(buf, lengths[i]));
            }
            g_test_message("%s, %zu bytes: %.1f GB/s", v->name, lengths[i],
                           (double)(rounds * lengths[i]) / 1e3 /
                               (double)(g_get_monotonic_time() - start));
        }
    }
    g_free(buf);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/buffer_is_zero/every length at every alignment is zero",
                    every_length_at_every_alignment_is_zero);
    g_test_add_func("/buffer_is_zero/one bit anywhere is seen", one_bit_anywhere_is_seen);
    g_test_add_func("/buffer_is_zero/every variant agrees", every_variant_agrees);
    g_test_add_func("/buffer_is_zero/a large buffer is searched to its end",
                    a_large_buffer_is_searched_to_its_end);
    if (g_test_perf()) {
        g_test_add_func("/buffer_is_zero/speed", speed);
    }
    return g_test_run();
}
