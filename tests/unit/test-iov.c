/* SPDX-License-Identifier: MIT */
/*
 * Scattered buffers, most of it against the same operation on a flat copy, at random
 * shapes (g_test's seed replays them), and with offsets and sizes that make no sense.
 */
#include <limits.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "qemu/osdep.h"
#include "qemu/iov.h"

/* Up to 8 elements, some empty, in memory of their own, with random contents. */
static unsigned random_iov(struct iovec *iov, unsigned char **flat, size_t *size)
{
    unsigned n = g_test_rand_int_range(1, 9);
    size_t pos = 0;

    *size = 0;
    for (unsigned i = 0; i < n; i++) {
        iov[i].iov_len = g_test_rand_int_range(0, 4) ? g_test_rand_int_range(1, 60) : 0;
        iov[i].iov_base = g_malloc(iov[i].iov_len);
        for (size_t j = 0; j < iov[i].iov_len; j++) {
            ((unsigned char *)iov[i].iov_base)[j] = g_test_rand_int();
        }
        *size += iov[i].iov_len;
    }
    *flat = g_malloc(*size + 1);
    for (unsigned i = 0; i < n; i++) {
        if (iov[i].iov_len) {
            memcpy(*flat + pos, iov[i].iov_base, iov[i].iov_len);
        }
        pos += iov[i].iov_len;
    }
    return n;
}

static void free_iov(struct iovec *iov, unsigned n, unsigned char *flat)
{
    for (unsigned i = 0; i < n; i++) {
        g_free(iov[i].iov_base);
    }
    g_free(flat);
}

static size_t random_upto(size_t max)
{
    return g_test_rand_int_range(0, (int)max + 1);
}

static void test_copies_equal_flat_copies(void)
{
    for (int round = 0; round < 500; round++) {
        struct iovec iov[8];
        unsigned char *flat, *buf;
        size_t size, offset, bytes, n;
        unsigned cnt = random_iov(iov, &flat, &size);

        g_assert_cmpuint(iov_size(iov, cnt), ==, size);
        buf = g_malloc0(size + 10);
        offset = random_upto(size);
        bytes = random_upto(size + 5);
        n = MIN(bytes, size - offset);

        g_assert_cmpuint(iov_to_buf(iov, cnt, offset, buf, bytes), ==, n);
        g_assert_cmpmem(buf, n, flat + offset, n);

        for (size_t i = 0; i < n; i++) {
            buf[i] = flat[offset + i] = g_test_rand_int();
        }
        g_assert_cmpuint(iov_from_buf(iov, cnt, offset, buf, bytes), ==, n);
        g_assert_cmpuint(iov_to_buf(iov, cnt, 0, buf, size), ==, size);
        g_assert_cmpmem(buf, size, flat, size);

        memset(flat + offset, 0xa5, n);
        g_assert_cmpuint(iov_memset(iov, cnt, offset, 0xa5, bytes), ==, n);
        iov_to_buf(iov, cnt, 0, buf, size);
        g_assert_cmpmem(buf, size, flat, size);
        g_free(buf);
        free_iov(iov, cnt, flat);
    }
}

static void test_absurd_ranges_are_clamped(void)
{
    char a[4] = "abc", b[4] = "def", out[16] = "";
    struct iovec iov[2] = { { a, 3 }, { b, 3 } }, part[4];
    struct iovec huge[2] = { { a, SIZE_MAX - 1 }, { b, 3 } };

    g_assert_cmpuint(iov_to_buf(iov, 2, SIZE_MAX, out, SIZE_MAX), ==, 0);
    g_assert_cmpuint(iov_to_buf(iov, 2, 6, out, SIZE_MAX), ==, 0);
    g_assert_cmpuint(iov_to_buf_full(iov, 2, 4, out, SIZE_MAX), ==, 2);
    g_assert_cmpstr(out, ==, "ef");
    g_assert_cmpuint(iov_to_buf(NULL, 0, 0, out, 5), ==, 0);
    g_assert_cmpuint(iov_memset(iov, 2, 5, 'x', SIZE_MAX), ==, 1);
    g_assert_cmpuint(iov_copy(part, 4, iov, 2, 1, SIZE_MAX), ==, 2);
    g_assert_cmpuint(part[0].iov_len, ==, 2);
    g_assert_cmpuint(part[1].iov_len, ==, 3);
    g_assert_cmpuint(iov_copy(part, 1, iov, 2, 1, 5), ==, 1);
    g_assert_cmpuint(iov_copy(part, 0, iov, 2, 0, 5), ==, 0);
    g_assert_cmpuint(iov_size(huge, 2), ==, SIZE_MAX);
}

static void test_discard_and_undo(void)
{
    for (int round = 0; round < 500; round++) {
        struct iovec iov[8], saved[8], *front = iov;
        unsigned char *flat, buf[8 * 60];
        size_t size, bytes, n;
        unsigned cnt = random_iov(iov, &flat, &size), left = cnt;
        IOVDiscardUndo undo;

        memcpy(saved, iov, sizeof(iov));
        bytes = random_upto(size + 5);
        n = MIN(bytes, size);

        g_assert_cmpuint(iov_discard_front_undoable(&front, &left, bytes, &undo), ==, n);
        g_assert_cmpuint(iov_to_buf(front, left, 0, buf, sizeof(buf)), ==, size - n);
        g_assert_cmpmem(buf, size - n, flat + n, size - n);
        iov_discard_undo(&undo);
        g_assert_cmpmem(iov, cnt * sizeof(iov[0]), saved, cnt * sizeof(iov[0]));

        left = cnt;
        g_assert_cmpuint(iov_discard_back_undoable(iov, &left, bytes, &undo), ==, n);
        g_assert_cmpuint(iov_to_buf(iov, left, 0, buf, sizeof(buf)), ==, size - n);
        g_assert_cmpmem(buf, size - n, flat, size - n);
        iov_discard_undo(&undo);
        g_assert_cmpmem(iov, cnt * sizeof(iov[0]), saved, cnt * sizeof(iov[0]));

        front = iov;
        left = cnt;
        iov_discard_front(&front, &left, SIZE_MAX);
        g_assert_cmpuint(left, ==, 0);
        memcpy(iov, saved, sizeof(iov));
        left = cnt;
        iov_discard_back(iov, &left, SIZE_MAX);
        g_assert_cmpuint(left, ==, 0);
        memcpy(iov, saved, sizeof(iov));
        free_iov(iov, cnt, flat);
    }
}

static void test_discard_within_an_element(void)
{
    char a[10], b[10];
    struct iovec iov[2] = { { a, 10 }, { b, 10 } }, *front = iov;
    unsigned cnt = 2;

    g_assert_cmpuint(iov_discard_front(&front, &cnt, 13), ==, 13);
    g_assert_cmpuint(cnt, ==, 1);
    g_assert_true(front == iov + 1 && front->iov_base == b + 3);
    g_assert_cmpuint(front->iov_len, ==, 7);
    g_assert_cmpuint(iov_discard_back(front, &cnt, 2), ==, 2);
    g_assert_cmpuint(cnt, ==, 1);
    g_assert_true(front->iov_base == b + 3);
    g_assert_cmpuint(front->iov_len, ==, 5);
}

static void test_slice_of_whole_elements_borrows_them(void)
{
    char a[10];
    struct iovec iov[4] = { { a, 2 }, { a + 2, 3 }, { a + 5, 4 }, { a + 9, 1 } };
    QEMUIOVector q, slice;

    qemu_iovec_init_external(&q, iov, 4);
    qemu_iovec_init_slice(&slice, &q, 2, 7);
    g_assert_true(slice.iov == iov + 1);
    g_assert_cmpint(slice.niov, ==, 2);
    g_assert_cmpuint(slice.size, ==, 7);
    qemu_iovec_destroy(&slice);

    /* Part of an element needs a vector of its own, that part at either end. */
    qemu_iovec_init_slice(&slice, &q, 3, 6);
    g_assert_true(slice.iov != iov + 1 && slice.iov[0].iov_base == a + 3);
    qemu_iovec_destroy(&slice);
    qemu_iovec_init_slice(&slice, &q, 2, 6);
    g_assert_true(slice.iov != iov + 1 && slice.iov[0].iov_base == a + 2);
    g_assert_cmpuint(slice.iov[1].iov_len, ==, 3);
    qemu_iovec_destroy(&slice);
    g_assert_cmpuint(iov[1].iov_len, ==, 3);
}

static void test_vector_of_one_buffer(void)
{
    char buf[8] = "0123456";
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, 7), other;

    g_assert_cmpuint(qiov.size, ==, 7);
    g_assert_cmpint(qiov.niov, ==, 1);
    g_assert_true(qemu_iovec_buf(&qiov) == buf);
    qemu_iovec_init_buf(&other, buf, 3);
    g_assert_cmpuint(other.size, ==, 3);
    other.size = 2;
    g_assert_cmpuint(other.iov[0].iov_len, ==, 2);
    qemu_iovec_discard_back(&qiov, 3);
    g_assert_cmpuint(qiov.size, ==, 4);
    g_assert_cmpuint(qiov.iov[0].iov_len, ==, 4);
    qemu_iovec_destroy(&qiov);
}

static void test_add_concat_slice(void)
{
    for (int round = 0; round < 500; round++) {
        struct iovec iov[8];
        unsigned char *flat, buf[8 * 60];
        size_t size, offset, len, head, tail;
        unsigned cnt = random_iov(iov, &flat, &size);
        QEMUIOVector q, part, slice, grown;
        struct iovec *first;
        int niov;

        qemu_iovec_init_external(&q, iov, cnt);
        g_assert_cmpuint(q.size, ==, size);
        offset = random_upto(size);
        len = random_upto(size - offset);

        qemu_iovec_init(&part, 0);
        qemu_iovec_concat(&part, &q, offset, len);
        g_assert_cmpuint(part.size, ==, len);
        qemu_iovec_to_buf(&part, 0, buf, len);
        g_assert_cmpmem(buf, len, flat + offset, len);

        qemu_iovec_init_slice(&slice, &q, offset, len);
        g_assert_cmpuint(slice.size, ==, len);
        memset(buf, 0, sizeof(buf));
        g_assert_cmpuint(qemu_iovec_to_buf(&slice, 0, buf, len), ==, len);
        g_assert_cmpmem(buf, len, flat + offset, len);

        first = qemu_iovec_slice(&q, offset, len, &head, &tail, &niov);
        g_assert_cmpint(niov, ==, qemu_iovec_subvec_niov(&q, offset, len));
        if (len) {
            g_assert_cmpuint(iov_size(first, niov), ==, head + len + tail);
            g_assert_cmpuint(head, <, first[0].iov_len);
            g_assert_cmpuint(tail, <, first[niov - 1].iov_len);
        } else {
            g_assert_cmpint(niov, ==, 0);
        }

        /* Behind the end there is nothing; more than there is, is as much as there is. */
        qemu_iovec_init(&grown, 1);
        g_assert_cmpuint(qemu_iovec_concat_iov(&grown, iov, cnt, size, 10), ==, 0);
        g_assert_cmpuint(qemu_iovec_concat_iov(&grown, iov, cnt, offset, SIZE_MAX), ==,
                         size - offset);
        qemu_iovec_discard_back(&grown, size - offset);
        g_assert_cmpuint(grown.size, ==, 0);
        qemu_iovec_reset(&grown);
        qemu_iovec_add(&grown, flat, size);
        g_assert_cmpint(grown.niov, ==, 1);

        qemu_iovec_destroy(&grown);
        qemu_iovec_destroy(&slice);
        qemu_iovec_destroy(&part);
        free_iov(iov, cnt, flat);
    }
}

static void test_extended(void)
{
    char a[] = "head", b[] = "middle", c[] = "tail", out[32] = "";
    QEMUIOVector mid = QEMU_IOVEC_INIT_BUF(mid, b, 6), q;
    g_autofree struct iovec *many = g_new0(struct iovec, IOV_MAX);

    g_assert_cmpint(qemu_iovec_init_extended(&q, a, 4, &mid, 1, 4, c, 4), ==, 0);
    g_assert_cmpint(q.niov, ==, 3);
    g_assert_cmpuint(qemu_iovec_to_buf(&q, 0, out, sizeof(out)), ==, 12);
    g_assert_cmpstr(out, ==, "headiddltail");
    qemu_iovec_destroy(&q);

    g_assert_cmpint(qemu_iovec_init_extended(&q, NULL, 0, &mid, 2, 3, NULL, 0), ==, 0);
    g_assert_true(qemu_iovec_buf(&q) == b + 2);
    g_assert_cmpuint(q.size, ==, 3);
    qemu_iovec_destroy(&q);

    /* Without a middle, which then is not looked at. */
    g_assert_cmpint(qemu_iovec_init_extended(&q, a, 4, NULL, 0, 0, c, 4), ==, 0);
    g_assert_cmpint(q.niov, ==, 2);
    g_assert_cmpuint(qemu_iovec_to_buf(&q, 0, out, sizeof(out)), ==, 8);
    g_assert_cmpmem(out, 8, "headtail", 8);
    qemu_iovec_destroy(&q);
    g_assert_cmpint(qemu_iovec_init_extended(&q, a, 4, NULL, 0, 0, NULL, 0), ==, 0);
    g_assert_true(qemu_iovec_buf(&q) == a);
    g_assert_cmpuint(q.size, ==, 4);
    qemu_iovec_destroy(&q);
    g_assert_cmpint(qemu_iovec_init_extended(&q, NULL, 0, NULL, 0, 0, c, 3), ==, 0);
    g_assert_true(qemu_iovec_buf(&q) == c);
    g_assert_cmpuint(q.size, ==, 3);
    qemu_iovec_destroy(&q);

    g_assert_cmpint(qemu_iovec_init_extended(&q, a, SIZE_MAX, &mid, 0, 6, NULL, 0), ==,
                    -EINVAL);
    g_assert_cmpint(qemu_iovec_init_extended(&q, a, 4, &mid, 0, 6, c, SIZE_MAX - 9), ==,
                    -EINVAL);
    for (int i = 0; i < IOV_MAX; i++) {
        many[i] = (struct iovec){ b, 1 };
    }
    qemu_iovec_init_external(&mid, many, IOV_MAX);
    g_assert_cmpint(qemu_iovec_init_extended(&q, a, 1, &mid, 0, IOV_MAX, NULL, 0), ==,
                    -EINVAL);
    g_assert_cmpint(qemu_iovec_init_extended(&q, NULL, 0, &mid, 0, IOV_MAX, NULL, 0), ==,
                    0);
    qemu_iovec_destroy(&q);
}

static void test_zero_and_compare(void)
{
    char x[32] = { 0 }, y[32] = { 0 };
    struct iovec a[3] = { { x, 10 }, { x + 10, 0 }, { x + 10, 20 } };
    struct iovec b[3] = { { y, 10 }, { y + 10, 0 }, { y + 10, 20 } };
    QEMUIOVector p, q;

    qemu_iovec_init_external(&p, a, 3);
    qemu_iovec_init_external(&q, b, 3);
    g_assert_true(qemu_iovec_is_zero(&p, 0, 30));
    g_assert_cmpint(qemu_iovec_compare(&p, &q), ==, -1);
    x[13] = 1;
    g_assert_false(qemu_iovec_is_zero(&p, 0, 30));
    g_assert_true(qemu_iovec_is_zero(&p, 0, 13));
    g_assert_true(qemu_iovec_is_zero(&p, 14, 16));
    g_assert_true(qemu_iovec_is_zero(&p, 30, 0));
    g_assert_cmpint(qemu_iovec_compare(&p, &q), ==, 13);
    x[0] = 1;
    g_assert_cmpint(qemu_iovec_compare(&p, &q), ==, 0);
    qemu_iovec_memset(&p, 0, 0, 30);
    g_assert_cmpint(qemu_iovec_compare(&p, &q), ==, -1);
}

/* Elements that overlap in the source overlap in the clone, byte for byte. */
static void test_clone_keeps_overlaps(void)
{
    for (int round = 0; round < 300; round++) {
        unsigned char src[128], copy[2048];
        QEMUIOVector q, clone;
        int n = g_test_rand_int_range(1, 8);

        qemu_iovec_init(&q, n);
        for (int i = 0; i < n; i++) {
            size_t start = random_upto(100);

            qemu_iovec_add(&q, src + start, g_test_rand_int_range(0, 28));
        }
        qemu_iovec_init(&clone, n);
        qemu_iovec_clone(&clone, &q, copy);
        g_assert_cmpint(clone.niov, ==, n);
        g_assert_cmpuint(clone.size, ==, q.size);
        memset(src, 0, sizeof(src));
        memset(copy, 0, sizeof(copy));
        /* Write element by element; where they overlap, the last one wins in both. */
        for (int i = 0; i < n; i++) {
            memset(q.iov[i].iov_base, i + 1, q.iov[i].iov_len);
            memset(clone.iov[i].iov_base, i + 1, clone.iov[i].iov_len);
        }
        g_assert_cmpint(qemu_iovec_compare(&q, &clone), ==, -1);
        for (int i = 0; i < n; i++) {
            unsigned char *base = clone.iov[i].iov_base;

            g_assert_true(base >= copy && base + clone.iov[i].iov_len <= copy + q.size);
        }
        qemu_iovec_destroy(&q);
        qemu_iovec_destroy(&clone);
    }
}

static void test_send_and_receive(void)
{
    char out[200][4], in[1000];
    struct iovec iov[200], to[2] = { { in, 3 }, { in + 3, sizeof(in) - 3 } };
    int sv[2];

    for (int i = 0; i < 200; i++) {
        g_snprintf(out[i], sizeof(out[i]), "%03d", i);
        iov[i] = (struct iovec){ out[i], 3 };
    }
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), ==, 0);
    g_assert_cmpint(iov_recv(sv[1], to, 2, 0, 10), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
    g_assert_cmpint(iov_send(sv[0], iov, 200, 4, SIZE_MAX), ==, 596);
    g_assert_cmpint(iov_recv(sv[1], to, 2, 0, SIZE_MAX), ==, 596);
    g_assert_cmpmem(in, 5, "01002", 5);
    g_assert_cmpmem(in + 593, 3, "199", 3);
    g_assert_cmpint(iov_send(sv[0], iov, 200, 0, 0), ==, 0);
    close(sv[0]);
    g_assert_cmpint(iov_recv(sv[1], to, 2, 0, 10), ==, 0);
    close(sv[1]);
}

static int late_sender;
static volatile sig_atomic_t ticks;

/* Not at once, for the receiver to be asleep by then. */
static void tick(int sig)
{
    if (++ticks == 5) {
        g_assert_cmpint(write(late_sender, "abc", 3), ==, 3);
    }
}

static void test_signals_do_not_end_a_receive(void)
{
    static const struct itimerval every_ms = { { 0, 1000 }, { 0, 1000 } }, never;
    struct sigaction old, action = { .sa_handler = tick }; /* without SA_RESTART */
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    char in[8];
    struct iovec to = { in, sizeof(in) };
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    late_sender = sv[0];
    g_assert_cmpint(sigaction(SIGALRM, &action, &old), ==, 0);
    g_assert_cmpint(setitimer(ITIMER_REAL, &every_ms, NULL), ==, 0);
    g_assert_cmpint(iov_recv(sv[1], &to, 1, 0, 3), ==, 3);
    g_assert_cmpint(setitimer(ITIMER_REAL, &never, NULL), ==, 0);
    /* A tick that still waits to be delivered, as on Valgrind, is not to end the program. */
    g_assert_cmpint(sigaction(SIGALRM, &ignore, NULL), ==, 0);
    g_assert_cmpint(sigaction(SIGALRM, &old, NULL), ==, 0);
    g_assert_cmpmem(in, 3, "abc", 3);
    g_assert_cmpint(ticks, >=, 5);
    close(sv[0]);
    close(sv[1]);
}

static void test_end_of_stream_ends_a_receive(void)
{
    char in[8];
    struct iovec to = { in, sizeof(in) };
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    g_assert_cmpint(write(sv[0], "abc", 3), ==, 3);
    close(sv[0]);
    g_assert_cmpint(iov_recv(sv[1], &to, 1, 0, 8), ==, 3);
    g_assert_cmpmem(in, 3, "abc", 3);
    close(sv[1]);
}

static void test_hexdump(void)
{
    char a[] = "0123456789", b[] = "abcdefghij";
    struct iovec iov[2] = { { a, 10 }, { b, 10 } };
    g_autofree char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    iov_hexdump(iov, 2, f, "p", 18);
    fclose(f);
    g_assert_cmpstr(text, ==,
                    "p: 0000:  30 31 32 33  34 35 36 37  38 39 61 62  63 64 65 66\n"
                    "p: 0010:  67 68\n");
    g_clear_pointer(&text, free);
    f = open_memstream(&text, &len);
    /* Not beyond what there is. */
    iov_hexdump(iov, 1, f, "", SIZE_MAX);
    fclose(f);
    g_assert_cmpstr(text, ==, ": 0000:  30 31 32 33  34 35 36 37  38 39\n");
}

static void test_die_grow_beyond_size(void)
{
    if (g_test_subprocess()) {
        QEMUIOVector q;

        qemu_iovec_init(&q, 1);
        qemu_iovec_add(&q, NULL, SIZE_MAX);
        qemu_iovec_add(&q, NULL, 1);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*cannot grow*");
}

static void test_die_grow_what_is_borrowed(void)
{
    if (g_test_subprocess()) {
        struct iovec iov = { NULL, 0 };
        QEMUIOVector q;

        qemu_iovec_init_external(&q, &iov, 1);
        qemu_iovec_add(&q, NULL, 1);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*cannot grow*");
}

static void test_die_grow_beyond_count(void)
{
    if (g_test_subprocess()) {
        QEMUIOVector q = { .niov = INT_MAX, .nalloc = INT_MAX };

        qemu_iovec_add(&q, NULL, 1);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*cannot grow*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/iov/copies", test_copies_equal_flat_copies);
    g_test_add_func("/iov/absurd", test_absurd_ranges_are_clamped);
    g_test_add_func("/iov/discard", test_discard_and_undo);
    g_test_add_func("/iov/discard-within-element", test_discard_within_an_element);
    g_test_add_func("/iov/slice-borrows", test_slice_of_whole_elements_borrows_them);
    g_test_add_func("/iov/interrupted", test_signals_do_not_end_a_receive);
    g_test_add_func("/iov/end-of-stream", test_end_of_stream_ends_a_receive);
    g_test_add_func("/iov/die/borrowed", test_die_grow_what_is_borrowed);
    g_test_add_func("/iov/die/count", test_die_grow_beyond_count);
    g_test_add_func("/iov/one-buffer", test_vector_of_one_buffer);
    g_test_add_func("/iov/slice", test_add_concat_slice);
    g_test_add_func("/iov/extended", test_extended);
    g_test_add_func("/iov/zero-compare", test_zero_and_compare);
    g_test_add_func("/iov/clone", test_clone_keeps_overlaps);
    g_test_add_func("/iov/socket", test_send_and_receive);
    g_test_add_func("/iov/hexdump", test_hexdump);
    g_test_add_func("/iov/die/grow", test_die_grow_beyond_size);
    return g_test_run();
}
