/* SPDX-License-Identifier: MIT */
/*
 * The coroutine core: what a caller of enter, yield and create can rely on. Runs once
 * for each backend. Stacks have a test of their own (test-coroutine-stack.c).
 */
#include <fenv.h>
#include <glib.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qemu/coroutine.h"
#include "qemu/coroutine-tls.h"
#include "../../util/coroutine-pool.h"
#include "../../util/coroutine-sanitizer.h"

#ifdef CO_TSAN
/* It knows some 8000 fibers at most. */
#define MANY(n) MIN(n, 1000)
#elif defined(CO_ASAN)
/* Its shadow memory would fill the machine. */
#define MANY(n) MIN(n, 10000)
#else
#define MANY(n) (n)
#endif

/* --- life --- */

static void coroutine_fn set_true(void *opaque)
{
    *(bool *)opaque = true;
}

static void runs_and_ends(void)
{
    bool done = false;
    Coroutine *co = qemu_coroutine_create(set_true, &done);

    g_assert_false(done);
    qemu_coroutine_enter(co);
    g_assert_true(done);
}

static void coroutine_fn yield_five_times(void *opaque)
{
    int *i = opaque;

    for (*i = 0; *i < 5; (*i)++) {
        qemu_coroutine_yield();
    }
    *i = -1;
}

static void yields_and_goes_on(void)
{
    int i = -2, n;
    Coroutine *co = qemu_coroutine_create(yield_five_times, &i);

    for (n = 0; n < 5; n++) {
        qemu_coroutine_enter(co);
        g_assert_cmpint(i, ==, n);
    }
    qemu_coroutine_enter(co);
    g_assert_cmpint(i, ==, -1);
}

static void coroutine_fn look_at_self(void *opaque)
{
    Coroutine **me = opaque;

    g_assert_true(qemu_in_coroutine());
    g_assert_true(qemu_coroutine_self() == *me);
    g_assert_true(qemu_coroutine_entered(*me));
    qemu_coroutine_yield();
    g_assert_true(qemu_coroutine_self() == *me);
}

static void knows_itself(void)
{
    Coroutine *leader = qemu_coroutine_self();
    Coroutine *co;

    g_assert_nonnull(leader);
    g_assert_false(qemu_in_coroutine());
    co = qemu_coroutine_create(look_at_self, &co);
    g_assert_false(qemu_coroutine_entered(co));
    qemu_coroutine_enter(co);
    g_assert_false(qemu_coroutine_entered(co));
    g_assert_false(qemu_in_coroutine());
    g_assert_true(qemu_coroutine_self() == leader);
    qemu_coroutine_enter(co);
    g_assert_true(qemu_coroutine_self() == leader);
}

static void coroutine_fn enter_outer_if_inactive(void *opaque)
{
    Coroutine *outer = opaque;

    g_assert_true(qemu_coroutine_entered(outer));
    qemu_coroutine_enter_if_inactive(outer);
}

static void coroutine_fn outer_of_inactive(void *opaque)
{
    qemu_coroutine_enter(
        qemu_coroutine_create(enter_outer_if_inactive, qemu_coroutine_self()));
    qemu_coroutine_yield();
    *(bool *)opaque = true;
}

static void enter_if_inactive(void)
{
    bool done = false;
    Coroutine *co = qemu_coroutine_create(outer_of_inactive, &done);

    qemu_coroutine_enter_if_inactive(co);
    g_assert_false(done);
    qemu_coroutine_enter_if_inactive(co);
    g_assert_true(done);
}

typedef struct Nest {
    unsigned int depth, max, seen;
} Nest;

static void coroutine_fn nest(void *opaque)
{
    Nest *n = opaque;

    n->seen++;
    if (++n->depth < n->max) {
        qemu_coroutine_enter(qemu_coroutine_create(nest, n));
    }
    n->depth--;
}

static void nested_hundred_thousand(void)
{
    Nest n = { .max = MANY(100000) };

    qemu_coroutine_enter(qemu_coroutine_create(nest, &n));
    g_assert_cmpuint(n.seen, ==, n.max);
    g_assert_cmpuint(n.depth, ==, 0);
}

/* --- order --- */

/* As aio_co_enter does it in a coroutine. */
static void wake(Coroutine *co)
{
    QSIMPLEQ_INSERT_TAIL(&qemu_coroutine_self()->co_queue_wakeup, co, co_queue_next);
}

static char order_log[64];

typedef struct Step {
    char name;
    Coroutine *wakes[3];
    bool yields;
} Step;

static void coroutine_fn log_and_wake(void *opaque)
{
    Step *step = opaque;
    char s[] = { step->name, 0 };

    g_strlcat(order_log, s, sizeof(order_log));
    for (int i = 0; i < 3 && step->wakes[i]; i++) {
        wake(step->wakes[i]);
    }
    if (step->yields) {
        qemu_coroutine_yield();
        s[0] += 'a' - 'A';
        g_strlcat(order_log, s, sizeof(order_log));
    }
}

/* A wakes B and C; B wakes D: depth first, so D comes before C. */
static void woken_run_depth_first(void)
{
    bool yields;

    for (yields = false;; yields = true) {
        Step d = { 'D', .yields = yields }, c = { 'C', .yields = yields };
        Step b = { 'B', { qemu_coroutine_create(log_and_wake, &d) }, .yields = yields };
        Coroutine *co_b = qemu_coroutine_create(log_and_wake, &b);
        Coroutine *co_c = qemu_coroutine_create(log_and_wake, &c);
        Step a = { 'A', { co_b, co_c }, .yields = yields };
        Coroutine *co_a = qemu_coroutine_create(log_and_wake, &a);

        order_log[0] = 0;
        qemu_coroutine_enter(co_a);
        g_assert_cmpstr(order_log, ==, "ABDC");
        g_assert_true(QSIMPLEQ_EMPTY(&qemu_coroutine_self()->co_queue_pending));
        if (yields) {
            qemu_coroutine_enter(co_c);
            qemu_coroutine_enter(co_a);
            qemu_coroutine_enter(b.wakes[0]);
            qemu_coroutine_enter(co_b);
            g_assert_cmpstr(order_log, ==, "ABDCcadb");
            break;
        }
    }
}

static void coroutine_fn chain_link(void *opaque)
{
    unsigned int *left = opaque;

    if (--*left) {
        wake(qemu_coroutine_create(chain_link, left));
    }
}

static void long_chain_needs_no_stack(void)
{
    unsigned int left = 100000;

    qemu_coroutine_enter(qemu_coroutine_create(chain_link, &left));
    g_assert_cmpuint(left, ==, 0);
}

/*
 * Random order against a model. Each coroutine executes a random script of wake, enter
 * and yield; the model executes the same with the rule as it stands in the documents: a
 * call of enter runs a list of coroutines, and what each woke goes to the list's front.
 */
enum { ORDER_COROUTINES = 24, ORDER_OPS = 12 };
typedef enum { OP_WAKE, OP_ENTER, OP_YIELD } OrderOp;
typedef struct OrderCo {
    struct {
        OrderOp op;
        int target;
    } script[ORDER_OPS];
    int pc;
    bool active, queued, ended;
    Coroutine *co;
    GQueue woken;
} OrderCo;

static OrderCo order[ORDER_COROUTINES];
static GArray *order_trace;

static void trace(int who, int what)
{
    int v = who * 100 + what;

    g_array_append_val(order_trace, v);
}

static bool may_start(int i)
{
    return !order[i].active && !order[i].queued && !order[i].ended;
}

static void model_enter(int first)
{
    GQueue todo = G_QUEUE_INIT;

    g_queue_push_tail(&todo, GINT_TO_POINTER(first));
    while (!g_queue_is_empty(&todo)) {
        int i = GPOINTER_TO_INT(g_queue_pop_head(&todo));
        OrderCo *o = &order[i];

        o->active = true;
        o->queued = false;
        while (o->pc < ORDER_OPS) {
            int op = o->script[o->pc].op, target = o->script[o->pc].target;

            trace(i, o->pc++);
            if (op == OP_YIELD) {
                break;
            }
            if (!may_start(target)) {
                continue;
            }
            if (op == OP_WAKE) {
                order[target].queued = true;
                g_queue_push_tail(&o->woken, GINT_TO_POINTER(target));
            } else {
                model_enter(target);
            }
        }
        o->ended = o->pc == ORDER_OPS;
        o->active = false;
        while (!g_queue_is_empty(&o->woken)) {
            g_queue_push_head(&todo, g_queue_pop_tail(&o->woken));
        }
    }
}

static void coroutine_fn order_entry(void *opaque)
{
    OrderCo *o = opaque;

    o->active = true;
    o->queued = false;
    while (o->pc < ORDER_OPS) {
        int op = o->script[o->pc].op, target = o->script[o->pc].target;

        trace(o - order, o->pc++);
        if (op == OP_YIELD) {
            if (o->pc < ORDER_OPS) {
                o->active = false;
                qemu_coroutine_yield();
                o->active = true;
                o->queued = false;
            }
        } else if (may_start(target)) {
            if (op == OP_WAKE) {
                order[target].queued = true;
                wake(order[target].co);
            } else {
                qemu_coroutine_enter(order[target].co);
            }
        }
    }
    o->ended = true;
    o->active = false;
}

static GArray *run_order(bool model)
{
    order_trace = g_array_new(FALSE, FALSE, sizeof(int));
    for (int i = 0; i < ORDER_COROUTINES; i++) {
        order[i].pc = 0;
        order[i].active = order[i].queued = order[i].ended = false;
        order[i].co = model ? NULL : qemu_coroutine_create(order_entry, &order[i]);
    }
    for (int i = 0; i < ORDER_COROUTINES; i = may_start(i) ? i : i + 1) {
        if (!may_start(i)) {
            continue;
        }
        if (model) {
            model_enter(i);
        } else {
            qemu_coroutine_enter(order[i].co);
        }
    }
    return order_trace;
}

static void random_order_as_in_model(void)
{
    for (int round = 0; round < 300; round++) {
        GArray *model, *real;

        for (int i = 0; i < ORDER_COROUTINES; i++) {
            for (int j = 0; j < ORDER_OPS; j++) {
                order[i].script[j].op = g_test_rand_int_range(0, 3);
                order[i].script[j].target = g_test_rand_int_range(0, ORDER_COROUTINES);
            }
        }
        model = run_order(true);
        real = run_order(false);
        g_assert_cmpmem(real->data, real->len * sizeof(int), model->data,
                        model->len * sizeof(int));
        g_array_free(model, TRUE);
        g_array_free(real, TRUE);
    }
}

/* --- contexts and threads --- */

static void coroutine_fn just_yield(void *opaque)
{
    qemu_coroutine_yield();
}

static void coroutine_fn wake_argument(void *opaque)
{
    wake(opaque);
}

static void takes_context_of_enter(void)
{
    AioContext *a = (AioContext *)0x1000, *b = (AioContext *)0x2000;
    Coroutine *co = qemu_coroutine_create(just_yield, NULL);
    Coroutine *woken = qemu_coroutine_create(just_yield, NULL);

    g_assert_null(qemu_coroutine_get_aio_context(co));
    qemu_aio_coroutine_enter(a, co);
    g_assert_true(qemu_coroutine_get_aio_context(co) == a);
    coroutine_set_thread_aio_context(b);
    qemu_coroutine_enter(co);
    qemu_coroutine_enter(qemu_coroutine_create(wake_argument, woken));
    g_assert_true(qemu_coroutine_get_aio_context(woken) == b);
    coroutine_set_thread_aio_context(NULL);
    qemu_coroutine_enter(woken);
}

QEMU_DEFINE_STATIC_CO_TLS(int, tls_number)

typedef struct Mover {
    Coroutine *co;
    int number_seen[2];
    bool ended;
} Mover;

static void coroutine_fn move(void *opaque)
{
    Mover *m = opaque;

    m->number_seen[0] = get_tls_number();
    *get_ptr_tls_number() += 1;
    qemu_coroutine_yield();
    m->number_seen[1] = get_tls_number();
    *get_ptr_tls_number() += 1;
    m->ended = true;
}

static gpointer enter_mover(gpointer opaque)
{
    Mover *m = opaque;

    set_tls_number(20);
    qemu_coroutine_enter(m->co);
    g_assert_false(qemu_in_coroutine());
    g_assert_cmpint(get_tls_number(), ==, 21);
    return NULL;
}

static void goes_on_in_another_thread(void)
{
    Mover m = { 0 };

    m.co = qemu_coroutine_create(move, &m);
    set_tls_number(10);
    qemu_coroutine_enter(m.co);
    g_thread_join(g_thread_new("other", enter_mover, &m));
    g_assert_true(m.ended);
    g_assert_cmpint(m.number_seen[0], ==, 10);
    g_assert_cmpint(m.number_seen[1], ==, 20);
    g_assert_cmpint(get_tls_number(), ==, 11);
}

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

/* --- registers --- */

static void coroutine_fn round_upward(void *opaque)
{
    fesetround(FE_UPWARD);
    qemu_coroutine_yield();
    g_assert_cmpint(fegetround(), ==, FE_UPWARD);
    fesetround(FE_TONEAREST);
}

static void rounding_mode_stays_in_coroutine(void)
{
    Coroutine *co;

    if (strcmp(coroutine_backend_name, "asm")) {
        g_test_skip("only the assembler backend switches control words");
        return;
    }
    co = qemu_coroutine_create(round_upward, NULL);
    qemu_coroutine_enter(co);
    g_assert_cmpint(fegetround(), ==, FE_TONEAREST);
    qemu_coroutine_enter(co);
    g_assert_cmpint(fegetround(), ==, FE_TONEAREST);
}

/* Enough live values on both sides that each callee-saved register holds one. */
static uint64_t QEMU_NOINLINE mix(uint64_t seed, void (*between)(void *), void *arg)
{
    uint64_t a = seed * 3, b = seed * 5, c = seed * 7, d = seed * 11, e = seed * 13;
    uint64_t f = seed * 17, g = seed * 19;
    double x = seed * 0.5, y = seed * 0.25;

    for (int i = 0; i < 100; i++) {
        between(arg);
        a += b ^ i, b += c ^ a, c += d ^ b, d += e ^ c, e += f ^ d, f += g ^ e, g += a ^ f;
        x += 0.5, y += x;
    }
    return a ^ b ^ c ^ d ^ e ^ f ^ g ^ (uint64_t)x ^ (uint64_t)y;
}

static void nothing(void *opaque)
{
}

static void yield_between(void *opaque)
{
    qemu_coroutine_yield();
}

static void enter_between(void *opaque)
{
    qemu_coroutine_enter(opaque);
}

static void coroutine_fn mix_with_yields(void *opaque)
{
    uint64_t *seed = opaque;

    *seed = mix(*seed, yield_between, NULL);
}

static void registers_survive(void)
{
    uint64_t inner = 1234567;
    uint64_t expect_inner = mix(inner, nothing, NULL);
    uint64_t expect_outer = mix(7654321, nothing, NULL);
    Coroutine *co = qemu_coroutine_create(mix_with_yields, &inner);

    g_assert_cmpuint(mix(7654321, enter_between, co), ==, expect_outer);
    qemu_coroutine_enter(co);
    g_assert_cmpuint(inner, ==, expect_inner);
}

/* --- what may not be done --- */

static void coroutine_fn enter_argument(void *opaque)
{
    qemu_coroutine_enter(*(Coroutine **)opaque);
}

static void die_recursive(void)
{
    Coroutine *co = qemu_coroutine_create(enter_argument, &co);

    qemu_coroutine_enter(co);
}

static void coroutine_fn enter_the_caller(void *opaque)
{
    qemu_coroutine_enter(opaque);
}

static void coroutine_fn enter_one_that_enters_back(void *opaque)
{
    qemu_coroutine_enter(
        qemu_coroutine_create(enter_the_caller, qemu_coroutine_self()));
}

static void die_recursive_through_another(void)
{
    qemu_coroutine_enter(qemu_coroutine_create(enter_one_that_enters_back, NULL));
}

static void die_scheduled(void)
{
    Coroutine *co = qemu_coroutine_create(just_yield, NULL);

    co->scheduled = "the_scheduler";
    qemu_coroutine_enter(co);
}

static void die_woken_while_scheduled(void)
{
    Coroutine *co = qemu_coroutine_create(just_yield, NULL);

    co->scheduled = "the_scheduler";
    qemu_coroutine_enter(qemu_coroutine_create(wake_argument, co));
}

static void die_ended(void)
{
    bool done;
    Coroutine *co = qemu_coroutine_create(set_true, &done);

    qemu_coroutine_enter(co);
    qemu_coroutine_enter(co);
}

static void die_yield_outside(void)
{
    qemu_coroutine_yield();
}

static void die_leader(void)
{
    qemu_coroutine_enter(qemu_coroutine_self());
}

static void coroutine_fn hold_a_lock(void *opaque)
{
    qemu_coroutine_self()->locks_held++;
}

static void die_lock_held(void)
{
    qemu_coroutine_enter(qemu_coroutine_create(hold_a_lock, NULL));
}

static const struct {
    const char *name;
    void (*fn)(void);
    const char *message;
} deaths[] = {
    { "recursive", die_recursive, "*entered recursively*" },
    { "recursive-through-another", die_recursive_through_another,
      "*entered recursively*" },
    { "scheduled", die_scheduled, "*scheduled in 'the_scheduler'*" },
    { "woken-while-scheduled", die_woken_while_scheduled,
      "*scheduled in 'the_scheduler'*" },
    { "ended", die_ended, "*has ended*" },
    { "leader", die_leader, "*thread's own stack*" },
    { "yield-outside", die_yield_outside, "*outside of a coroutine*" },
    { "lock-held", die_lock_held, "*ends while it holds 1 lock*" },
};

static void must_die(gconstpointer opaque)
{
    size_t i = GPOINTER_TO_SIZE(opaque);

    if (g_test_subprocess()) {
        struct rlimit no_core = { 0, 0 };

        setrlimit(RLIMIT_CORE, &no_core);
        deaths[i].fn();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr(deaths[i].message);
}

/* --- looking at them --- */

static void dump_lists_suspended_only(void)
{
    CoroutineAttr attr = { .name = "sleeper" };
    Coroutine *co = qemu_coroutine_create_attr(just_yield, NULL, &attr);
    Coroutine *fresh = qemu_coroutine_create(just_yield, NULL);
    g_autofree char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    qemu_coroutine_enter(co);
    co->wait_reason = "better days";
    qemu_coroutine_dump_all(f);
    fclose(f);
    g_assert_null(strstr(text, ", scheduled in"));
    g_assert_nonnull(strstr(text, "'sleeper' created by"));
    g_assert_nonnull(strstr(text, ", suspended"));
    g_assert_nonnull(strstr(text, "waits for better days"));
    g_assert_nonnull(strstr(text, "waits for its first entry"));
    g_assert_null(strstr(text, "(ended)"));
    g_clear_pointer(&text, free);
    f = open_memstream(&text, &size);
    co->scheduled = "a timetable";
    qemu_coroutine_dump_all(f);
    co->scheduled = NULL;
    fclose(f);
    g_assert_nonnull(strstr(text, ", scheduled in a timetable"));
    /* A thread's own stack is not ours to measure. */
    g_assert_cmpuint(qemu_coroutine_stack_used(qemu_coroutine_self()), ==, 0);
    qemu_coroutine_enter(co);
    qemu_coroutine_enter(fresh);
    qemu_coroutine_enter(fresh);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/coroutine/runs-and-ends", runs_and_ends);
    g_test_add_func("/coroutine/yields-and-goes-on", yields_and_goes_on);
    g_test_add_func("/coroutine/knows-itself", knows_itself);
    g_test_add_func("/coroutine/enter-if-inactive", enter_if_inactive);
    g_test_add_func("/coroutine/nested-hundred-thousand", nested_hundred_thousand);
    g_test_add_func("/coroutine/order/woken-run-depth-first", woken_run_depth_first);
    g_test_add_func("/coroutine/order/long-chain", long_chain_needs_no_stack);
    g_test_add_func("/coroutine/order/random-as-in-model", random_order_as_in_model);
    g_test_add_func("/coroutine/takes-context-of-enter", takes_context_of_enter);
    g_test_add_func("/coroutine/goes-on-in-another-thread", goes_on_in_another_thread);
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
    g_test_add_func("/coroutine/rounding-mode", rounding_mode_stays_in_coroutine);
    g_test_add_func("/coroutine/registers-survive", registers_survive);
    g_test_add_func("/coroutine/dump", dump_lists_suspended_only);
    for (size_t i = 0; i < G_N_ELEMENTS(deaths); i++) {
        g_autofree char *path = g_strdup_printf("/coroutine/must-die/%s", deaths[i].name);

        g_test_add_data_func(path, GSIZE_TO_POINTER(i), must_die);
    }
    return g_test_run();
}
