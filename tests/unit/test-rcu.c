/* SPDX-License-Identifier: MIT */
/* RCU: nothing is freed while a reader may see it, and nothing waits longer than that. */
#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"

#define READERS 3
#define UPDATES 300

typedef struct Config {
    struct rcu_head rcu;
    int alive;
    int a, b;
} Config;

static Config *global;
static bool stop;
static int freed;

static void config_free(Config *config)
{
    /* A reader that still looks sees this, and so do the sanitizers. */
    config->alive = 0;
    qatomic_inc(&freed);
    g_free(config);
}

static void *read_configs(void *opaque)
{
    long *rounds = opaque;

    while (!qatomic_read(&stop)) {
        RCU_READ_LOCK_GUARD();
        Config *config = qatomic_rcu_read(&global);

        WITH_RCU_READ_LOCK_GUARD() {
            g_assert_cmpint(config->alive, ==, 1);
            g_assert_cmpint(config->a + config->b, ==, 0);
        }
        qatomic_set(rounds, *rounds + 1);
    }
    return NULL;
}

static Config *config_new(int i)
{
    Config *config = g_new0(Config, 1);

    config->alive = 1;
    config->a = i;
    config->b = -i;
    return config;
}

static void readers_never_see_freed_memory(void)
{
    QemuThread threads[READERS];
    long rounds[READERS * 16] = { 0 };
    Config *old;
    int i;

    global = config_new(0);
    for (i = 0; i < READERS; i++) {
        qemu_thread_create(&threads[i], "reader", read_configs, &rounds[i * 16],
                           QEMU_THREAD_JOINABLE);
    }
    for (i = 1; i <= UPDATES; i++) {
        old = global;
        qatomic_rcu_set(&global, config_new(i));
        if (i % 8 == 0) {
            synchronize_rcu();
            config_free(old);
        } else {
            call_rcu(old, config_free, rcu);
        }
    }
    drain_call_rcu();
    g_assert_cmpint(qatomic_read(&freed), ==, UPDATES);
    /* On a busy machine a reader may not have run yet. */
    for (i = 0; i < READERS; i++) {
        while (!qatomic_read(&rounds[i * 16])) {
            g_thread_yield();
        }
    }
    qatomic_set(&stop, true);
    for (i = 0; i < READERS; i++) {
        qemu_thread_join(&threads[i]);
    }
    g_free_rcu(global, rcu);
    drain_call_rcu();
}

static QemuEvent reading, leave;
static int left_first;

static void *read_until_told(void *opaque)
{
    rcu_read_lock();
    rcu_read_lock();
    rcu_read_unlock();
    qemu_event_set(&reading);
    qemu_event_wait(&leave);
    qatomic_set(&left_first, 1);
    rcu_read_unlock();
    return NULL;
}

static void *tell_to_leave(void *opaque)
{
    g_usleep(20000);
    qemu_event_set(&leave);
    return NULL;
}

static void a_grace_period_waits_for_a_section_that_runs(void)
{
    QemuThread reader, teller;

    qemu_event_init(&reading, false);
    qemu_event_init(&leave, false);
    qemu_thread_create(&reader, "reader", read_until_told, NULL, QEMU_THREAD_JOINABLE);
    qemu_event_wait(&reading);
    qemu_thread_create(&teller, "teller", tell_to_leave, NULL, QEMU_THREAD_JOINABLE);
    synchronize_rcu();
    g_assert_cmpint(qatomic_read(&left_first), ==, 1);
    qemu_thread_join(&reader);
    qemu_thread_join(&teller);

    /* And not for threads that have gone or do not read. */
    synchronize_rcu();
    rcu_register_thread();
    rcu_register_thread();
    synchronize_rcu();
    rcu_unregister_thread();
    rcu_read_lock();
    rcu_read_unlock();
    synchronize_rcu();
}

static GString *order;

typedef struct Letter {
    struct rcu_head rcu;
    char letter;
} Letter;

static void append_letter(Letter *l)
{
    g_string_append_c(order, l->letter);
    g_free(l);
}

static void callbacks_keep_their_order(void)
{
    int i;

    order = g_string_new(NULL);
    rcu_read_lock();
    for (i = 0; i < 8; i++) {
        Letter *l = g_new0(Letter, 1);

        l->letter = (char)('a' + i);
        call_rcu(l, append_letter, rcu);
    }
    rcu_read_unlock();
    drain_call_rcu();
    g_assert_cmpstr(order->str, ==, "abcdefgh");
    g_string_free(order, TRUE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rcu/readers never see freed memory", readers_never_see_freed_memory);
    g_test_add_func("/rcu/a grace period waits for a section that runs",
                    a_grace_period_waits_for_a_section_that_runs);
    g_test_add_func("/rcu/callbacks keep their order", callbacks_keep_their_order);
    return g_test_run();
}
