/* SPDX-License-Identifier: MIT */
/*
 * The coroutine core: what a caller of enter, yield and create can rely on. Runs once
 * for each backend. The pool has a test of its own (test-coroutine-pool.c), and so have stacks
 * (test-coroutine-stack.c).
 */
#include <fenv.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "coroutine-entries.h"
#include "qemu/coroutine-tls.h"

/* --- life --- */

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
    g_test_add_func("/coroutine/rounding-mode", rounding_mode_stays_in_coroutine);
    g_test_add_func("/coroutine/registers-survive", registers_survive);
    g_test_add_func("/coroutine/dump", dump_lists_suspended_only);
    for (size_t i = 0; i < G_N_ELEMENTS(deaths); i++) {
        g_autofree char *path = g_strdup_printf("/coroutine/must-die/%s", deaths[i].name);

        g_test_add_data_func(path, GSIZE_TO_POINTER(i), must_die);
    }
    return g_test_run();
}
