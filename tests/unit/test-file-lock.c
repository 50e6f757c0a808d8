/* SPDX-License-Identifier: MIT */
/*
 * Image locks between two openings of one file: OFD locks belong to the opening, so one
 * process can play both sides. What QEMU's tools make of it is tested in tests/interop.
 */
#include "qemu/osdep.h"

#include "block/block-common.h"

#include "../../block/file-lock.h"

#define READ  BLK_PERM_CONSISTENT_READ
#define WRITE BLK_PERM_WRITE
#define ALL   BLK_PERM_ALL

typedef struct Fixture {
    int fd[2];
    FileLock lock[2];
} Fixture;

static void setup(Fixture *f, gconstpointer data)
{
    char name[] = "file-lock-test-XXXXXX";

    f->fd[0] = mkstemp(name);
    f->fd[1] = open(name, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(f->fd[0], >=, 0);
    g_assert_cmpint(f->fd[1], >=, 0);
    unlink(name);
}

static void teardown(Fixture *f, gconstpointer data)
{
    close(f->fd[0]);
    close(f->fd[1]);
}

static int take(Fixture *f, int who, uint64_t perm, uint64_t shared, Error **errp)
{
    return file_lock_acquire(&f->lock[who], f->fd[who], perm, shared, "a.img", errp);
}

static void take_ok(Fixture *f, int who, uint64_t perm, uint64_t shared)
{
    g_assert_cmpint(take(f, who, perm, shared, &error_abort), ==, 0);
}

static void take_refused(Fixture *f, int who, uint64_t perm, uint64_t shared,
                         const char *message)
{
    const FileLock before = f->lock[who];
    Error *err = NULL;

    g_assert_cmpint(take(f, who, perm, shared, &err), ==, -EAGAIN);
    g_assert_cmpstr(error_get_pretty(err), ==, message);
    g_assert_cmpstr(error_get_hint(err), ==, "Is another process using the image [a.img]?\n");
    error_free(err);
    g_assert_cmphex(f->lock[who].perm, ==, before.perm);
    g_assert_cmphex(f->lock[who].unshared, ==, before.unshared);
}

/* Whether the other side sees a lock on this byte. */
static bool byte_locked(Fixture *f, int who, off_t byte)
{
    struct flock fl = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1,
    };

    g_assert_cmpint(fcntl(f->fd[!who], F_OFD_GETLK, &fl), ==, 0);
    return fl.l_type != F_UNLCK;
}

static void test_bytes(Fixture *f, gconstpointer data)
{
    take_ok(f, 0, WRITE | BLK_PERM_RESIZE, ALL & ~BLK_PERM_RESIZE);
    for (int byte = 90; byte < 220; byte++) {
        g_assert_cmpint(byte_locked(f, 0, byte), ==, byte == 101 || byte == 103 || byte == 203);
    }
    file_lock_reduce(&f->lock[0], f->fd[0], WRITE, ALL);
    g_assert_true(byte_locked(f, 0, 101));
    g_assert_false(byte_locked(f, 0, 103));
    g_assert_false(byte_locked(f, 0, 203));
}

static void test_readers_coexist(Fixture *f, gconstpointer data)
{
    take_ok(f, 0, READ, ALL & ~WRITE);
    take_ok(f, 1, READ, ALL & ~WRITE);
}

static void test_exclusive_writer_refuses_writer(Fixture *f, gconstpointer data)
{
    take_ok(f, 0, READ | WRITE, ALL & ~WRITE);
    take_refused(f, 1, READ | WRITE, ALL, "Failed to get \"write\" lock");
    take_ok(f, 1, READ, ALL);
}

static void test_writer_refuses_who_wants_no_writers(Fixture *f, gconstpointer data)
{
    take_ok(f, 0, READ | WRITE, ALL);
    take_refused(f, 1, READ, ALL & ~WRITE, "Failed to get shared \"write\" lock");
}

static void test_other_names(Fixture *f, gconstpointer data)
{
    take_ok(f, 0, 0, 0);
    take_refused(f, 1, READ, ALL, "Failed to get \"consistent read\" lock");
    take_refused(f, 1, BLK_PERM_RESIZE, ALL, "Failed to get \"resize\" lock");
    take_refused(f, 1, BLK_PERM_WRITE_UNCHANGED, ALL, "Failed to get \"write unchanged\" lock");
}

static void test_refusal_leaves_nothing_locked(Fixture *f, gconstpointer data)
{
    take_ok(f, 0, READ, ALL & ~WRITE);
    take_refused(f, 1, READ | WRITE, 0, "Failed to get \"write\" lock");
    for (int byte = 90; byte < 220; byte++) {
        g_assert_false(byte_locked(f, 1, byte));
    }
}

static void test_released_when_closed(Fixture *f, gconstpointer data)
{
    take_ok(f, 0, READ | WRITE, 0);
    take_refused(f, 1, READ, ALL, "Failed to get \"consistent read\" lock");
    close(f->fd[0]);
    take_ok(f, 1, READ, ALL);
    f->fd[0] = dup(f->fd[1]);
}

/* What is held already is not asked for again. */
static void test_own_locks_do_not_conflict(Fixture *f, gconstpointer data)
{
    take_ok(f, 0, READ | WRITE, 0);
    take_ok(f, 0, READ | WRITE | BLK_PERM_RESIZE, 0);
}

int main(int argc, char **argv)
{
    char name[] = "file-lock-test-XXXXXX";
    int fd;

    g_test_init(&argc, &argv, NULL);
    fd = mkstemp(name);
    unlink(name);
    if (!file_lock_supported(fd)) {
        g_print("1..0 # SKIP no OFD locks in this directory\n");
        return 0;
    }
    close(fd);

#define TEST(name, fn) g_test_add("/file-lock/" name, Fixture, NULL, setup, fn, teardown)
    TEST("bytes", test_bytes);
    TEST("readers-coexist", test_readers_coexist);
    TEST("exclusive-writer-refuses-writer", test_exclusive_writer_refuses_writer);
    TEST("writer-refuses-who-wants-no-writers", test_writer_refuses_who_wants_no_writers);
    TEST("other-names", test_other_names);
    TEST("refusal-leaves-nothing-locked", test_refusal_leaves_nothing_locked);
    TEST("released-when-closed", test_released_when_closed);
    TEST("own-locks-do-not-conflict", test_own_locks_do_not_conflict);
#undef TEST
    return g_test_run();
}
