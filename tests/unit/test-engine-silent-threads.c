/* SPDX-License-Identifier: MIT */
/*
 * Several loops at once whose native requests are silent (qemu/aio-sleeper.h). Each is an IOThread or a
 * thread that waits by aio_poll, or now and then by GLib or the pollable descriptor. They share disks of all
 * engines, send requests to each of them, drain them, move them to each other's contexts, cancel, poll in
 * callbacks and change how long they poll busily; coroutines go from loop to loop. A further thread schedules
 * bottom halves, notifies, sets timers and sends signals. Nothing may be lost, and nothing completes in a
 * drained section. In some episodes no native request completes for a while: what is to wake a loop then
 * has to do it alone, one event after the other.
 *
 * A run is a series of short episodes, each with other loops, disks and faults, for two seconds or
 * BLKCO_STRESS_SECONDS. BLKCO_SEED=N replays the choices of the episode that has printed it. A watchdog ends
 * the program, and says what hangs, when something takes too long.
 *
 * slow-kernel.h makes the loops sleep, silent-world.h disturbs them.
 */
#include <sys/time.h>

#include "block/block-driver.h"
#include "../../block/engine/memcheck.h"
#include "qemu/defer-call.h"
#include "silent-world.h"

#define DISK_BYTES    (1 * MIB)
#define MOST_BYTES    (16 * KIB)

/* --- requests --- */

static bool stopping(void)
{
    return qatomic_read(&world.stopping);
}

typedef struct Direct {
    const IOEngine *engine;
    int fd;
    uint8_t *buf;
    int64_t offset;
    int ret;
} Direct;

static void coroutine_fn direct_entry(void *opaque)
{
    Direct *d = opaque;
    IOEngineState *state = io_engine_get_state(d->engine, NULL);
    QEMUIOVector qiov;

    if (!state) { /* io_setup has failed */
        d->engine = &io_engine_threads;
        state = io_engine_get_state(d->engine, &error_abort);
    }
    qemu_iovec_init_buf(&qiov, d->buf, 4096);
    d->ret = d->engine->submit(state, d->fd, IO_ENGINE_READ, d->offset, 4096, &qiov, 0, 0);
}

/* Past the backends: no drained section can make it wait. */
static void poll_for_read(Loop *l)
{
    const char *outer = qatomic_read(&l->doing);
    Direct d = {
        .engine = chance(50) ? &io_engine_native : &io_engine_threads,
        .fd = world.disks[roll(world.n_disks)].fd,
        .buf = qemu_memalign(4096, 4096),
        .offset = roll(DISK_BYTES / 4096) * INT64_C(4096),
        .ret = REQ_PENDING,
    };

    begin_doing(l, "polls in a callback");
    qemu_coroutine_enter(qemu_coroutine_create(direct_entry, &d));
    while (d.ret == REQ_PENDING) {
        aio_poll(l->ctx, !chance(10));
    }
    g_assert_cmpint(d.ret, ==, 0);
    check_scratch(d.buf, d.offset, 4096);
    qemu_vfree(d.buf);
    end_doing(l, outer);
}

static void request_done(void *opaque, int ret)
{
    Slot *slot = opaque;
    Loop *l = slot->loop;
    Disk *disk = slot->disk;

    qatomic_inc(&disk->ended);
    g_assert_true(in_aio_context_home_thread(l->ctx));
    if (ret < 0) {
        g_error("%s of disk %d (%s): %s", op_names[slot->op], (int)(disk - world.disks), disk->aio,
                g_strerror(-ret));
    }
    if (slot->op == OP_READ) {
        check_scratch(slot->buf, slot->offset, slot->qiov.size);
    }
    slot->acb = NULL;
    qatomic_set_i64(&slot->since, 0);
    qatomic_dec(&l->pending);
    aio_wait_kick();
    if (l->iothread && qatomic_read(&l->pending) < SLOTS / 4) {
        qemu_bh_schedule(l->step_bh);
    }
    /* Elsewhere the request is counted until this returns: two that wait so for each other would do it for ever. */
    if (l->depth < 3 && chance(3) && blk_get_aio_context(disk->blk) == l->ctx) {
        l->depth++;
        poll_for_read(l);
        l->depth--;
    }
}

static void start_request(Loop *l, Slot *slot)
{
    size_t bytes = 4096 * (1 + roll(MOST_BYTES / 4096));
    Disk *disk = &world.disks[roll(world.n_disks)];

    slot->disk = disk;
    slot->op = chance(70) ? OP_READ : chance(70) ? OP_WRITE : OP_FLUSH;
    slot->offset = roll((DISK_BYTES - MOST_BYTES) / 4096) * INT64_C(4096);
    qemu_iovec_init_buf(&slot->qiov, slot->buf, bytes);
    qatomic_inc(&l->pending);
    qatomic_set_i64(&slot->since, g_get_monotonic_time());
    switch (slot->op) {
    case OP_READ:
        memset(slot->buf, 0xee, bytes);
        slot->acb = blk_aio_preadv(disk->blk, slot->offset, &slot->qiov, 0, request_done, slot);
        break;
    case OP_WRITE:
        /* What is there already, whoever writes. */
        for (size_t i = 0; i < bytes; i++) {
            slot->buf[i] = scratch_byte(slot->offset + i);
        }
        slot->acb = blk_aio_pwritev(disk->blk, slot->offset, &slot->qiov, 0, request_done, slot);
        break;
    case OP_FLUSH:
        slot->acb = blk_aio_flush(disk->blk, request_done, slot);
        break;
    }
}

static void start_requests(Loop *l, int n)
{
    bool plug = chance(30);

    if (plug) {
        blk_io_plug();
    }
    for (int i = 0; i < SLOTS && n > 0; i++) {
        if (!l->slots[i].since) {
            start_request(l, &l->slots[i]);
            n--;
        }
    }
    if (plug) {
        blk_io_unplug();
    }
}

static void cancel(Loop *l, bool wait)
{
    Slot *slot = &l->slots[roll(SLOTS)];

    if (!slot->acb) {
        return;
    }
    if (wait) {
        begin_doing(l, "cancels");
        blk_aio_cancel(slot->acb);
        g_assert_null(slot->acb);
        end_doing(l, NULL);
    } else {
        blk_aio_cancel_async(slot->acb);
    }
}

static void coroutine_fn hop_entry(void *opaque)
{
    Disk *disk = opaque;
    uint8_t *buf = qemu_memalign(4096, 4096);

    for (int i = 0; i < 4; i++) {
        int64_t offset = roll(DISK_BYTES / 4096) * INT64_C(4096);

        g_assert_cmpint(blk_co_pread(disk->blk, offset, 4096, buf, 0), ==, 0);
        check_scratch(buf, offset, 4096);
        aio_co_reschedule_self(world.loops[roll(world.n_loops)].ctx);
    }
    qemu_vfree(buf);
    qatomic_dec(&world.hops);
    aio_wait_kick();
}

/* --- changes of the graph --- */

static bool take_disk(Disk *disk)
{
    return !qatomic_xchg(&disk->taken, true);
}

static void give_disk(Disk *disk)
{
    qatomic_store_release(&disk->taken, false);
}

static void drain(Loop *l, Disk *disk)
{
    bool node = chance(50);
    unsigned ended;

    begin_doing(l, "drains");
    if (node) {
        bdrv_drained_begin(blk_bs(disk->blk));
    } else {
        blk_drained_begin(disk->blk);
    }
    ended = qatomic_read(&disk->ended);
    for (int n = roll(4); n > 0; n--) {
        aio_poll(l->ctx, false);
    }
    if (chance(30)) {
        g_usleep(roll(500));
    }
    g_assert_cmpuint(qatomic_read(&disk->ended), ==, ended);
    begin_doing(l, "ends a drained section");
    if (node) {
        bdrv_drained_end(blk_bs(disk->blk));
    } else {
        blk_drained_end(disk->blk);
    }
    end_doing(l, NULL);
}

static void move(Loop *l, Disk *disk)
{
    begin_doing(l, "moves a disk");
    blk_set_aio_context(disk->blk, world.loops[roll(world.n_loops)].ctx, &error_abort);
    end_doing(l, NULL);
}

/* --- a loop's turn --- */

static void set_timer(Loop *l)
{
    if (!qatomic_read_i64(&l->due)) {
        int64_t due = now_ns() + roll(300 * 1000);

        qatomic_set_i64(&l->due, due);
        timer_mod_ns(l->timer, due);
    }
}

static void set_busy_polling(Loop *l)
{
    static const int64_t times[] = { 0, 0, 2000, 50 * 1000, 500 * 1000, 5 * 1000 * 1000 };

    aio_context_set_poll_params(l->ctx, times[roll(G_N_ELEMENTS(times))], roll(4), roll(3), &error_abort);
}

static void start_hop(void)
{
    qatomic_inc(&world.hops);
    qemu_coroutine_enter(qemu_coroutine_create(hop_entry, &world.disks[roll(world.n_disks)]));
}

/* What waits, and so not for bottom halves: those may run in somebody's wait for a drained section. */
static void act_and_wait(Loop *l)
{
    Disk *disk = &world.disks[roll(world.n_disks)];

    if (chance(50)) {
        cancel(l, true);
    } else if (take_disk(disk)) {
        if (chance(60)) {
            drain(l, disk);
        } else {
            move(l, disk);
        }
        give_disk(disk);
    }
}

static void step(Loop *l)
{
    qatomic_set(&l->in_step, true);
    smp_mb(); /* pairs with stop_requests() */
    if (!stopping() && !qatomic_read(&world.resting)) {
        start_requests(l, roll(chance(20) ? SLOTS : 5));
        if (chance(5)) {
            set_busy_polling(l);
        }
        if (chance(20)) {
            set_timer(l);
        }
        if (chance(5) && !world.apart) {
            start_hop();
        }
        if (chance(10)) {
            cancel(l, false);
        }
        if (!l->iothread && !world.apart && chance(10)) {
            act_and_wait(l);
        }
    }
    qatomic_store_release(&l->in_step, false);
    aio_wait_kick();
}

static void step_bh(void *opaque)
{
    Loop *l = opaque;

    if (!l->in_step) {
        step(l);
    }
}

/* --- waiting --- */

static void wait_watched(Loop *l)
{
    GPollFD pfd = { .fd = aio_context_get_pollable_fd(l->ctx), .events = G_IO_IN };

    if (pfd.fd < 0) { /* it waits by poll() */
        aio_poll(l->ctx, true);
        return;
    }
    g_poll(&pfd, 1, -1);
    while (!l->quit && aio_poll(l->ctx, false)) {
    }
}

static void wait_once(Loop *l)
{
    unsigned how, attach = world.quiet ? 60 : 31;

    /* A way to wait that misses something is not relieved by another one. */
    if (!stopping() && !qatomic_read(&world.resting)) {
        l->how = roll(100);
    }
    how = l->kind == WATCHED ? l->how : 100;
    if (how < 30 && l->source) {
        g_main_context_iteration(l->main_context, true);
    } else if (how < attach && !l->main_context) {
        l->main_context = g_main_context_new();
        l->source = aio_get_g_source(l->ctx);
        g_source_attach(l->source, l->main_context);
    } else if (how < 35 && l->main_context) {
        wait_watched(l);
    } else if (how < 36 && l->source && chance(20)) {
        /* From now on only aio_poll and the descriptor. */
        g_source_destroy(l->source);
        g_clear_pointer(&l->source, g_source_unref);
    } else {
        aio_poll(l->ctx, !chance(5));
    }
}

static void run_loop(Loop *l)
{
    while (!l->quit) {
        unsigned left = roll(4);

        step(l);
        do {
            wait_once(l);
        } while (!l->quit && (stopping() || qatomic_read(&l->pending) > left));
    }
}

/* --- the life of a loop --- */

static void enter_loop(void *opaque)
{
    Loop *l = opaque;
    sigset_t alarm;

    seed_dice(world.seed, l->index);
    l->self = pthread_self();
    this_loop = l;
    /* Threads of the library begin with all signals blocked. */
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
}

static void leave_loop(void *opaque)
{
    Loop *l = opaque;

    this_loop = NULL;
    l->quit = true;
    aio_set_event_notifier(l->ctx, &l->notifier, NULL, NULL, NULL);
    timer_free(l->timer);
    timer_free(l->far_timer);
    qemu_bh_delete(l->step_bh);
    qemu_bh_delete(l->signal_bh);
}

static void *loop_thread(void *opaque)
{
    Loop *l = opaque;

    qemu_set_current_aio_context(l->ctx);
    enter_loop(l);
    run_loop(l);
    if (l->source) {
        g_source_destroy(l->source);
        g_source_unref(l->source);
    }
    if (l->main_context) {
        g_main_context_unref(l->main_context);
    }
    qemu_set_current_aio_context(NULL);
    return NULL;
}

static void make_loop(Loop *l, int index, LoopKind kind)
{
    *l = (Loop) { .index = index, .kind = kind, .how = 100 };
    if (kind == IOTHREAD) {
        l->iothread = iothread_new();
        l->ctx = iothread_get_aio_context(l->iothread);
        aio_context_ref(l->ctx);
    } else {
        l->ctx = aio_context_new(&error_abort);
    }
    for (int i = 0; i < SLOTS; i++) {
        l->slots[i].loop = l;
        l->slots[i].buf = qemu_memalign(4096, MOST_BYTES);
    }
    l->step_bh = aio_bh_new(l->ctx, step_bh, l);
    l->signal_bh = aio_bh_new(l->ctx, signal_bh, l);
    l->timer = aio_timer_new(l->ctx, QEMU_CLOCK_REALTIME, SCALE_NS, fire, l);
    l->far_timer = aio_timer_new(l->ctx, QEMU_CLOCK_REALTIME, SCALE_NS, fire_far, l);
    g_assert_cmpint(event_notifier_init(&l->notifier, false), ==, 0);
    aio_set_event_notifier(l->ctx, &l->notifier, see_notifier, NULL, NULL);
}

static void free_loop(Loop *l)
{
    for (int i = 0; i < SLOTS; i++) {
        qemu_vfree(l->slots[i].buf);
    }
    event_notifier_cleanup(&l->notifier);
    aio_context_unref(l->ctx);
}

/* --- an episode --- */

static void choose_faults(void)
{
    kernel.hold = roll(3) * 40;
    kernel.early = chance(30) ? 20 : 0;
    kernel.no_poll = chance(20) ? 25 : 0;
    kernel.no_setup = chance(20) ? 70 : 0;
    world.quiet = kernel.keep = chance(30);
    world.apart = world.quiet && chance(60);
    world.storm = !world.quiet && chance(40);
    world.wakes = world.wake_us = world.worst_us = 0;
    g_setenv("BLKCO_FDMON", chance(15) ? "poll" : "epoll", true);
}

static void open_disk(Disk *disk)
{
    static const char *const names[] = { "native", "native", "native", "threads", "io_uring" };
    g_autofree char *path = NULL;

    *disk = (Disk) { .aio = names[roll(G_N_ELEMENTS(names))], .fd = scratch_file(DISK_BYTES, O_DIRECT) };
    path = g_strdup_printf("/proc/self/fd/%d", disk->fd);
    while (!disk->blk) {
        BlockOptions *options = blk_options_new();
        Error *err = NULL;

        blk_options_set(options, "driver", "raw");
        blk_options_set(options, "file.driver", "file");
        blk_options_set(options, "file.filename", path);
        blk_options_set(options, "file.aio", disk->aio);
        disk->blk = blk_new_open(NULL, NULL, options, BDRV_O_RDWR | BDRV_O_NOCACHE, &err);
        if (!disk->blk) {
            g_assert_cmpstr(disk->aio, ==, "io_uring"); /* not built in, or not permitted */
            disk->aio = "threads";
            error_free(err);
        }
    }
}

static void begin_episode(void)
{
    unsigned no_setup = kernel.no_setup;

    world.n_loops = 2 + roll(MOST_LOOPS - 1);
    for (int i = 0; i < world.n_loops; i++) {
        make_loop(&world.loops[i], i, i == 0 ? POLLS : chance(world.quiet ? 40 : 25) ? WATCHED : chance(50) ? POLLS : IOTHREAD);
    }
    qemu_set_current_aio_context(world.loops[0].ctx);
    enter_loop(&world.loops[0]);
    kernel.no_setup = 0; /* opening would fail */
    world.n_disks = 1 + roll(MOST_DISKS);
    for (int i = 0; i < world.n_disks; i++) {
        open_disk(&world.disks[i]);
    }
    kernel.no_setup = no_setup;
    for (int i = 1; i < world.n_loops; i++) {
        Loop *l = &world.loops[i];

        if (l->iothread) {
            aio_wait_bh_oneshot(l->ctx, enter_loop, l);
        } else {
            qemu_thread_create(&l->thread, "loop", loop_thread, l, QEMU_THREAD_JOINABLE);
            aio_wait_bh_oneshot(l->ctx, enter_loop, l); /* self is set from here on */
        }
    }
}

static void set_itimer(int us)
{
    struct itimerval it = { .it_interval.tv_usec = us, .it_value.tv_usec = us };

    g_assert_cmpint(setitimer(ITIMER_REAL, &it, NULL), ==, 0);
}

static bool sending(void)
{
    bool busy = qatomic_read(&world.hops) != 0;

    for (int i = 0; i < world.n_loops; i++) {
        busy |= qatomic_load_acquire(&world.loops[i].in_step);
    }
    return busy;
}

/* From here on nobody uses the backends but for what is under way. */
static void stop_requests(void)
{
    qatomic_set(&world.stopping, true);
    smp_mb(); /* pairs with step() */
    AIO_WAIT_WHILE(NULL, sending());
}

static bool loop_is_quiet(Loop *l)
{
    return !qatomic_read(&l->pending) && qatomic_read(&l->ran) == qatomic_read(&l->scheduled) &&
           qatomic_read(&l->seen) == qatomic_read(&l->raised) && !qatomic_read(&l->signalled) &&
           !qatomic_read_i64(&l->due) && !qatomic_read_i64(&l->far_due);
}

static bool all_quiet(void)
{
    bool quiet = true;

    for (int i = 0; i < world.n_loops; i++) {
        quiet &= loop_is_quiet(&world.loops[i]);
    }
    return quiet;
}

static void end_loops(void)
{
    for (int i = world.n_loops - 1; i >= 0; i--) {
        Loop *l = &world.loops[i];

        if (i == 0) {
            leave_loop(l);
            aio_poll(l->ctx, false); /* frees the bottom halves */
            qemu_set_current_aio_context(NULL);
        } else {
            aio_wait_bh_oneshot(l->ctx, leave_loop, l);
            if (l->iothread) {
                iothread_join(l->iothread);
            } else {
                qemu_thread_join(&l->thread);
            }
        }
        free_loop(l);
    }
}

static void run_disturbed(void)
{
    Loop *l = &world.loops[0];
    QemuThread disturber;

    world.end_us = g_get_monotonic_time() + EPISODE_US;
    qatomic_set(&world.stop, false);
    qatomic_set(&world.stopping, false);
    set_phase(NULL);
    qemu_thread_create(&disturber, "disturb", disturb, NULL, QEMU_THREAD_JOINABLE);
    if (world.storm) {
        set_itimer(700);
    }
    while (g_get_monotonic_time() < world.end_us) {
        step(l);
        wait_once(l);
    }
    set_itimer(0);
    set_phase("while the last requests begin");
    stop_requests();
    qatomic_set(&world.stop, true);
    qemu_thread_join(&disturber);
}

static void close_disks(void)
{
    bool before_end = chance(50);

    for (int pass = 0; pass < 2; pass++) {
        if (before_end == (pass == 0)) {
            set_phase("closing disks");
            for (int i = 0; i < world.n_disks; i++) {
                blk_unref(world.disks[i].blk);
            }
        } else {
            set_phase("waiting for quiet");
            AIO_WAIT_WHILE(NULL, !all_quiet());
        }
    }
}

static bool all_may_be_silent(void)
{
    bool silent = !kernel.no_poll && !kernel.no_setup && !strcmp(g_getenv("BLKCO_FDMON"), "epoll");

    for (int i = 0; i < world.n_loops; i++) {
        silent &= world.loops[i].kind != WATCHED;
    }
    return silent;
}

static void run_episode(uint32_t seed)
{
    QemuThread late;

    world.seed = seed;
    seed_dice(seed, 0);
    choose_faults();
    kernel.silent = kernel.signalled = kernel.sleeps = 0;
    qatomic_set(&kernel.stop, false);
    qatomic_set(&world.stopping, true); /* a loop waits until all are there */
    set_phase("beginning");
    begin_episode();
    g_test_message("BLKCO_SEED=%u: %d loops, %d disks, BLKCO_FDMON=%s, %u%% held, %s%s%s%s", seed, world.n_loops,
                   world.n_disks, g_getenv("BLKCO_FDMON"), kernel.hold, kernel.early ? "early, " : "",
                   kernel.no_poll ? "poll refused, " : "", kernel.no_setup ? "set-up refused, " : "",
                   world.storm ? "signals" : world.quiet ? "quiet" : "no signals");
    qemu_thread_create(&late, "late-kernel", late_kernel, NULL, QEMU_THREAD_JOINABLE);
    show_loops(world.n_loops);
    run_disturbed();
    close_disks();
    if (all_may_be_silent()) {
        g_assert_cmpuint(kernel.signalled, ==, 0);
    }
    set_phase("ending loops");
    show_loops(0);
    end_loops();
    set_phase(NULL);
    qatomic_set(&kernel.stop, true);
    qemu_thread_join(&late);
    for (int i = 0; i < world.n_disks; i++) {
        close(world.disks[i].fd);
    }
    g_test_message("%u silent, %u not, %u sleeps", kernel.silent, kernel.signalled, kernel.sleeps);
    if (world.wakes) {
        g_test_message("%" PRIu64 " woken by one event alone, in %" PRIu64 " us, %" PRId64 " at most", world.wakes,
                       world.wake_us / world.wakes, world.worst_us);
    }
}

static bool can_run(void)
{
    int fd = scratch_file(4096, O_DIRECT);

    if (fd < 0) {
        g_test_skip("no O_DIRECT here");
        return false;
    }
    close(fd);
    if (memcheck_runs()) {
        g_test_skip("under memcheck the ring is not read, and no request is silent");
        return false;
    }
    return true;
}

static void test_nothing_is_lost(void)
{
    const char *seed = g_getenv("BLKCO_SEED"), *seconds = g_getenv("BLKCO_STRESS_SECONDS");
    int64_t end = g_get_monotonic_time() + (seconds ? MAX(atoi(seconds), 1) : 2) * G_USEC_PER_SEC;
    struct sigaction alarm = { .sa_handler = on_alarm };
    unsigned silent = 0, sleeps = 0;
    QemuThread watchdog;

    if (!can_run()) {
        return;
    }
    qemu_mutex_init(&dog.lock);
    qemu_thread_create(&watchdog, "watchdog", watch, NULL, QEMU_THREAD_JOINABLE);
    sigemptyset(&alarm.sa_mask);
    sigaction(SIGALRM, &alarm, NULL);
    qemu_mutex_init(&kernel.lock);
    kernel.held = g_array_new(false, false, sizeof(Held));
    do {
        run_episode(seed ? strtoul(seed, NULL, 0) : g_random_int());
        silent += kernel.silent;
        sleeps += kernel.sleeps;
    } while (g_get_monotonic_time() < end);
    g_test_message("in all %u silent requests, %u sleeps", silent, sleeps);
    qatomic_set(&dog.end, true);
    qemu_thread_join(&watchdog);
    qemu_mutex_destroy(&dog.lock);
    g_array_free(kernel.held, true);
    qemu_mutex_destroy(&kernel.lock);
    g_unsetenv("BLKCO_FDMON");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/silent-threads/nothing-is-lost", test_nothing_is_lost);
    return g_test_run();
}
