/* SPDX-License-Identifier: MIT */
/*
 * The command language of qemu-io-mini. The first byte says which image is open when the commands
 * begin, the second when its disk begins to fail, the rest is lines as they are typed. A line is
 * right or wrong, whatever it holds; all requests end; and as long as only commands work
 * on an image, and its disk does not fail, it is sound afterwards.
 *
 * Time is simulated. When all stands still until a timer that is an hour away, requests wait
 * at break points: these are taken away then.
 */
#include "fuzz.h"

#include "io.h"
#include "qemu/aio-sim.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "block/sim.h"

#define LINES_MAX   48
#define BUFFER_MAX  (64 << 10)         /* bytes; larger ones cannot be had */
#define ZEROES_MAX  (INT64_C(1) << 30) /* bytes that one request may make zeroes */
#define LENGTH_MAX  (INT64_C(1) << 40) /* bytes of an image */
#define HOUR_NS     (3600 * NANOSECONDS_PER_SECOND)
#define RESCUES_MAX 200

typedef struct Session {
    IoSession io;
    GPtrArray *tags;  /* of break points */
    QEMUTimer *timer; /* when all stands still */
    unsigned rescues;
    bool opened; /* other images, or this one by other drivers */
} Session;

void *__real_blk_try_blockalign(BlockBackend *blk, size_t size);
void *__wrap_blk_try_blockalign(BlockBackend *blk, size_t size);

/* What a request's buffer may cost is up to whoever types the command. */
void *__wrap_blk_try_blockalign(BlockBackend *blk, size_t size)
{
    return size > BUFFER_MAX ? NULL : __real_blk_try_blockalign(blk, size);
}

/* --- the images --- */

/* A qcow2 image with some data, on disk 0; a raw one on disk 1. */
static void set_disks(void)
{
    static uint8_t image[256 << 10], raw[24 << 10];
    static size_t length;

    if (!length) {
        SimPower *power = sim_power_new(1);
        SimDisk *disk = sim_disk_new(power, NULL, 0, &error_abort);
        BlockBackend *blk;

        sim_disk_create(disk, "qcow2", "size=1M,cluster_size=4k", &error_abort);
        blk = sim_disk_open(disk, "driver=qcow2", BDRV_O_RDWR, &error_abort);
        memset(raw, 7, sizeof(raw) / 2);
        g_assert_cmpint(blk_pwrite(blk, 8192, sizeof(raw), raw, 0), ==, 0);
        g_assert_cmpint(blk_pwrite_compressed(blk, 65536, 4096, raw), ==, 0);
        g_assert_cmpint(blk_pwrite_zeroes(blk, 98304, 4096, 0), ==, 0);
        blk_unref(blk);
        length = sim_disk_length(disk);
        g_assert_cmpint(length, <=, sizeof(image));
        sim_disk_peek(disk, 0, image, length);
        sim_power_unref(power);
    }
    fuzz_disk_set(0, image, length);
    fuzz_disk_set(1, raw, sizeof(raw));
}

static void open_first(Session *s, unsigned which)
{
    static const char *const options[] = {
        "driver=qcow2,file.driver=fuzz-mem",
        "driver=qcow2,file.driver=blkdebug,file.image.driver=fuzz-mem",
        "driver=raw,file.driver=fuzz-mem,file.disk=1",
        "driver=raw,file.driver=blkdebug,file.image.driver=fuzz-mem,file.image.disk=1",
    };
    const IoOpenArgs args = IO_OPEN_DEFAULTS;
    BlockOptions *opts = NULL;

    if (which < G_N_ELEMENTS(options) && io_add_options(&opts, options[which], NULL)) {
        io_open(&s->io, NULL, opts, &args);
    }
}

static void image_is_sound(void)
{
    BlockBackend *blk = fuzz_open("driver=qcow2", BDRV_O_CHECK);
    BdrvCheckResult r;
    int ret;

    if (!blk) {
        fuzz_fail("the image does not open any more");
    }
    ret = bdrv_check(blk_bs(blk), &r, 0);
    if (ret < 0 || r.corruptions || r.check_errors) {
        fuzz_fail("check returns %d: %d corruptions, %d errors", ret, r.corruptions,
                  r.check_errors);
    }
    blk_unref(blk);
}

/* --- lines --- */

static bool is_command(char **words, const char *name, const char *altname)
{
    return !g_strcmp0(words[0], name) || (altname && !g_strcmp0(words[0], altname));
}

static bool has_more_than(char **words, uint64_t most)
{
    for (; *words; words++) {
        uint64_t value;

        if (qemu_strtosz(*words, NULL, &value) == 0 && value > most) {
            return true;
        }
    }
    return false;
}

/* By these a request waits, takes memory or comes in millions of pieces, because it is told to. */
static bool is_costly_option(const char *line)
{
    static const char *const words[] = { "latency", "bps", "iops", "throttle", "\\u", "align",
                                         "max-", "garbage" };

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (strstr(line, words[i])) {
            return true;
        }
    }
    return strstr(line, "size") && (strstr(line, "null") || strstr(line, "sim"));
}

/* Signals, real time, and what takes as long as it is told to. */
static bool is_left_out(const char *line, char **words)
{
    bool writes = is_command(words, "write", "w") || is_command(words, "aio_write", NULL);

    return is_command(words, "abort", NULL) || is_command(words, "sigraise", NULL) ||
           (is_command(words, "sleep", NULL) && words[1] && strtol(words[1], NULL, 0) > 0) ||
           (writes && has_more_than(words, ZEROES_MAX)) ||
           (is_command(words, "truncate", "t") && has_more_than(words, LENGTH_MAX)) ||
           is_costly_option(line);
}

/* Words of @line, without those that are empty. */
static char **split(const char *line)
{
    char **words = g_strsplit(line, " ", -1);
    size_t n = 0;

    for (size_t i = 0; words[i]; i++) {
        if (*words[i]) {
            words[n++] = words[i];
        } else {
            g_free(words[i]);
        }
    }
    words[n] = NULL;
    return words;
}

static void run_line(Session *s, char *line)
{
    g_auto(GStrv) words = split(line);
    int ret;

    if (is_left_out(line, words)) {
        return;
    }
    if (is_command(words, "break", NULL) && words[1] && words[2]) {
        g_ptr_array_add(s->tags, g_strdup(words[2]));
    }
    s->opened |= is_command(words, "open", "o");
    ret = io_run_line(&s->io, line);
    if (ret > 0) {
        fuzz_fail("'%s' returns %d", words[0], ret);
    }
    if (s->io.in_flight) {
        aio_poll(qemu_get_aio_context(), false);
    }
}

/* --- all of it --- */

static void rescue(void *opaque)
{
    Session *s = opaque;

    if (++s->rescues > RESCUES_MAX) {
        fuzz_fail("a command waits for ever");
    }
    for (guint i = 0; i < s->tags->len && s->io.blk; i++) {
        bdrv_debug_remove_breakpoint(blk_bs(s->io.blk), s->tags->pdata[i]);
    }
    timer_mod(s->timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + HOUR_NS);
}

static void run_session(Session *s, unsigned which, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", LINES_MAX + 1);

    open_first(s, which % 8);
    s->io.misalign = which & 8;
    for (unsigned i = 0; lines[i] && i < LINES_MAX && !s->io.done; i++) {
        run_line(s, lines[i]);
    }
    io_close(&s->io);
    if (s->io.in_flight) {
        fuzz_fail("%u requests are in flight behind the end", s->io.in_flight);
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    static const uint8_t file[] = "what is written by -s";
    AioContext *ctx = qemu_get_aio_context();
    Session s = { .tags = g_ptr_array_new_with_free_func(g_free) };
    g_autofree char *text = size > 2 ? g_strndup((const char *)data + 2, size - 2) : NULL;
    bool fails = size > 2 && data[1] < 128;
    AioSim *sim;

    if (!text) {
        g_ptr_array_free(s.tags, TRUE);
        return;
    }
    /* No temporary files for "open -s". */
    g_setenv("TMPDIR", "/dev/null", TRUE);
    set_disks();
    fuzz_file_data = file;
    fuzz_file_size = sizeof(file) - 1;
    fuzz_disk_fail_after(fails ? data[1] : UINT_MAX);
    sim = aio_sim_begin(ctx, 1);
    s.timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, rescue, &s);
    timer_mod(s.timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + HOUR_NS);
    run_session(&s, data[0], text);
    fuzz_disk_fail_after(UINT_MAX);
    if (!fails && !s.opened && !strstr(text, "lazy")) {
        image_is_sound();
    }
    timer_free(s.timer);
    aio_sim_end(sim);
    fuzz_file_data = NULL;
    g_ptr_array_free(s.tags, TRUE);
}
