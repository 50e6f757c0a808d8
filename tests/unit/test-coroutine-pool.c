/* SPDX-License-Identifier: MIT */
/*
 * The pool of ended coroutines: which one is used again, by whom, how many are kept, what a thread
 * that exits and a child of fork leave; and stacks of a size of one's own. Runs once for each
 * backend.
 */
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coroutine-entries.h"
#include "../../util/coroutine-pool.h"

/*
 * One thread creates, the other enters and ends: a bounded number of stacks must do.
 * (No GAsyncQueue, because ThreadSanitizer does not see what GLib's locks order.)
 */
enum { HAND_OVER_TOTAL = 50000, HAND_OVER_DEPTH = 100 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    Coroutine *ring[HAND_OVER_DEPTH];
    unsigned int put, taken;
} hand_over = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

static gpointer end_all(gpointer opaque)
{
    while (hand_over.taken < HAND_OVER_TOTAL) {
        Coroutine *co;

        pthread_mutex_lock(&hand_over.lock);
        while (hand_over.taken == hand_over.put) {
            pthread_cond_wait(&hand_over.cond, &hand_over.lock);
        }
        co = hand_over.ring[hand_over.taken++ % HAND_OVER_DEPTH];
        pthread_cond_signal(&hand_over.cond);
        pthread_mutex_unlock(&hand_over.lock);
        qemu_coroutine_enter(co);
    }
    return NULL;
}

static void coroutine_fn count_up(void *opaque)
{
    (*(unsigned int *)opaque)++;
}

static void ended_elsewhere_is_used_again(void)
{
    CoroutineStackStats before, after;
    unsigned int ended = 0;
    GThread *thread;

    coroutine_stack_get_stats(&before);
    thread = g_thread_new("ender", end_all, NULL);
    for (int i = 0; i < HAND_OVER_TOTAL; i++) {
        Coroutine *co = qemu_coroutine_create(count_up, &ended);

        pthread_mutex_lock(&hand_over.lock);
        while (hand_over.put - hand_over.taken == HAND_OVER_DEPTH) {
            pthread_cond_wait(&hand_over.cond, &hand_over.lock);
        }
        hand_over.ring[hand_over.put++ % HAND_OVER_DEPTH] = co;
        pthread_cond_signal(&hand_over.cond);
        pthread_mutex_unlock(&hand_over.lock);
    }
    g_thread_join(thread);
    g_assert_cmpuint(ended, ==, HAND_OVER_TOTAL);
    coroutine_stack_get_stats(&after);
    g_assert_cmpuint(after.used, <=, before.used + HAND_OVER_DEPTH + 8 * 64);
}

/* --- pool --- */

static void last_ended_is_next_created(void)
{
    bool done;
    Coroutine *co = qemu_coroutine_create(set_true, &done), *again;

    qemu_coroutine_enter(co);
    again = qemu_coroutine_create(set_true, &done);
    g_assert_true(co == again);
    qemu_coroutine_enter(again);
}

static void enter_many(unsigned int n)
{
    Coroutine **all = g_new(Coroutine *, n);

    for (unsigned int i = 0; i < n; i++) {
        all[i] = qemu_coroutine_create(just_yield, NULL);
        qemu_coroutine_enter(all[i]);
    }
    for (unsigned int i = 0; i < n; i++) {
        qemu_coroutine_enter(all[i]);
    }
    g_free(all);
}

static void pool_is_bounded_and_trimmed(void)
{
    CoroutinePoolStats pool;
    CoroutineStackStats stacks;

    enter_many(MANY(20000));
    coroutine_pool_get_stats(&pool);
    g_assert_cmpuint(pool.local, <=, 2 * COROUTINE_POOL_BATCH);
    g_assert_cmpuint(pool.shared, >, 0);
    g_assert_cmpuint(pool.shared, <=, pool.shared_max);
    for (int i = 0; i < 400 && pool.shared; i++) {
        g_usleep(50 * 1000);
        coroutine_pool_get_stats(&pool);
    }
    g_assert_cmpuint(pool.shared, ==, 0);
    coroutine_stack_get_stats(&stacks);
    g_assert_cmpuint(stacks.used, <=, 2 * COROUTINE_POOL_BATCH + 64);
}

static void pool_size_is_adjustable(void)
{
    CoroutinePoolStats pool;
    unsigned int usual;

    coroutine_pool_get_stats(&pool);
    usual = pool.shared_max;
    qemu_coroutine_dec_pool_size(usual);
    enter_many(1000);
    coroutine_pool_get_stats(&pool);
    g_assert_cmpuint(pool.shared, ==, 0);
    qemu_coroutine_inc_pool_size(256);
    enter_many(1000);
    coroutine_pool_get_stats(&pool);
    g_assert_cmpuint(pool.shared, ==, 256);
    qemu_coroutine_inc_pool_size(usual - 256);
}

static void pool_shrinks_by_whole_batches(void)
{
    CoroutinePoolStats pool;
    unsigned int usual;

    coroutine_pool_get_stats(&pool);
    usual = pool.shared_max;
    qemu_coroutine_dec_pool_size(UINT_MAX);
    coroutine_pool_get_stats(&pool);
    g_assert_cmpuint(pool.shared_max, ==, 0);
    g_assert_cmpuint(pool.shared, ==, 0);
    qemu_coroutine_inc_pool_size(4 * COROUTINE_POOL_BATCH);
    enter_many(10 * COROUTINE_POOL_BATCH);
    /* The last one of a batch takes the others with it; then there is room for a few less. */
    qemu_coroutine_dec_pool_size(1);
    coroutine_pool_get_stats(&pool);
    g_assert_cmpuint(pool.shared_max, ==, 4 * COROUTINE_POOL_BATCH - 1);
    g_assert_cmpuint(pool.shared, <=, 3 * COROUTINE_POOL_BATCH);
    qemu_coroutine_dec_pool_size(1);
    coroutine_pool_get_stats(&pool);
    g_assert_cmpuint(pool.shared_max, ==, 4 * COROUTINE_POOL_BATCH - 2);
    enter_many(10 * COROUTINE_POOL_BATCH);
    qemu_coroutine_inc_pool_size(usual - pool.shared_max);
}

static gpointer run_one_of_its_own_size(gpointer opaque)
{
    CoroutineAttr attr = { .stack_size = 65536 };
    bool done = false;

    qemu_coroutine_enter(qemu_coroutine_create_attr(set_true, &done, &attr));
    return GINT_TO_POINTER(done);
}

static void thread_exit_frees_stacks_of_their_own_size(void)
{
    CoroutineStackStats before, after;

    coroutine_stack_get_stats(&before);
    for (int i = 0; i < 20; i++) {
        g_assert_true(g_thread_join(g_thread_new("sized", run_one_of_its_own_size, NULL)));
    }
    coroutine_stack_get_stats(&after);
    g_assert_cmpuint(after.used, <=, before.used);
}

static gpointer run_a_few(gpointer opaque)
{
    enter_many(10);
    return NULL;
}

static void thread_exit_returns_its_pool(void)
{
    CoroutineStackStats before, after;

    for (int i = 0; i < 100; i++) {
        g_thread_join(g_thread_new("short", run_a_few, NULL));
        if (i == 10) {
            coroutine_stack_get_stats(&before);
        }
    }
    coroutine_stack_get_stats(&after);
    g_assert_cmpuint(after.used, <=, before.used);
}

/* The child has neither the reaper thread nor anybody's held lock. */
static void child_of_fork_uses_coroutines(void)
{
#ifdef CO_TSAN
    g_test_skip("ThreadSanitizer allows no threads in a child of a program with threads");
#else
    int status;
    pid_t pid;

    enter_many(1000);
    pid = fork();
    if (pid == 0) {
        CoroutinePoolStats pool;

        enter_many(2000);
        for (int i = 0; i < 400; i++) {
            coroutine_pool_get_stats(&pool);
            if (!pool.shared) {
                _exit(0);
            }
            g_usleep(50 * 1000);
        }
        _exit(1);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
#endif
}

/* --- attributes --- */

static void coroutine_fn use_much_stack(void *opaque)
{
    size_t size = *(size_t *)opaque;
    volatile char *p = g_newa(char, size);

    memset((char *)p, 1, size);
    qemu_coroutine_yield();
    g_assert_cmpint(p[0] + p[size - 1], ==, 2);
}

static void stack_size_of_ones_own(void)
{
    static const size_t sizes[] = { 16384, 65536, 262144, 4 << 20, 64 << 20 };

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
            size_t used = sizes[i] / 2;
            CoroutineAttr attr = { .stack_size = sizes[i], .name = "big" };
            Coroutine *co = qemu_coroutine_create_attr(use_much_stack, &used, &attr);

            g_assert_nonnull(co);
            qemu_coroutine_enter(co);
            g_assert_cmpuint(qemu_coroutine_stack_used(co), >=, used);
            qemu_coroutine_enter(co);
        }
    }
}

static Coroutine *create_sized(size_t size)
{
    CoroutineAttr attr = { .stack_size = size };
    Coroutine *co = qemu_coroutine_create_attr(just_yield, NULL, &attr);

    g_assert_nonnull(co);
    qemu_coroutine_enter(co);
    return co;
}

/*
 * The last one that ended serves the next one, if its stack is not much too large. No size here
 * is the usual one of any build: sanitizers have it at 1 MiB.
 */
static void stack_of_the_same_size_is_used_again(void)
{
    CoroutineStackStats before, now;
    Coroutine *co = create_sized(4 << 20), *other;

    qemu_coroutine_enter(co);
    coroutine_stack_get_stats(&before);
    other = create_sized(4 << 20);
    g_assert_true(other == co);
    qemu_coroutine_enter(other);
    other = create_sized(65536);
    g_assert_true(other != co);
    coroutine_stack_get_stats(&now);
    g_assert_cmpuint(now.used, <=, before.used);
    qemu_coroutine_enter(other);

    /* Of two that end one behind the other, one stays. */
    co = create_sized(4 << 20);
    other = create_sized(4 << 20);
    qemu_coroutine_enter(co);
    qemu_coroutine_enter(other);
    coroutine_stack_get_stats(&now);
    g_assert_cmpuint(now.used, <=, before.used);
}

static void too_large_a_stack_is_an_error(void)
{
    CoroutineAttr attr = { .stack_size = (size_t)1 << 50 };

    g_assert_null(qemu_coroutine_create_attr(just_yield, NULL, &attr));
    g_assert_cmpint(errno, ==, ENOMEM);
    attr.stack_size = SIZE_MAX;
    g_assert_null(qemu_coroutine_create_attr(just_yield, NULL, &attr));
    g_assert_cmpint(errno, ==, EINVAL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/coroutine/pool/ended-elsewhere", ended_elsewhere_is_used_again);
    g_test_add_func("/coroutine/pool/last-ended-is-next", last_ended_is_next_created);
    g_test_add_func("/coroutine/pool/adjustable", pool_size_is_adjustable);
    g_test_add_func("/coroutine/pool/shrinks", pool_shrinks_by_whole_batches);
    g_test_add_func("/coroutine/pool/thread-exit-sized",
                    thread_exit_frees_stacks_of_their_own_size);
    g_test_add_func("/coroutine/attr/stack-used-again", stack_of_the_same_size_is_used_again);
    g_test_add_func("/coroutine/pool/thread-exit", thread_exit_returns_its_pool);
    g_test_add_func("/coroutine/pool/fork", child_of_fork_uses_coroutines);
    g_test_add_func("/coroutine/pool/bounded-and-trimmed", pool_is_bounded_and_trimmed);
    g_test_add_func("/coroutine/attr/stack-size", stack_size_of_ones_own);
    g_test_add_func("/coroutine/attr/too-large", too_large_a_stack_is_an_error);
    return g_test_run();
}
