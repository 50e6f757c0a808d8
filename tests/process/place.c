/* SPDX-License-Identifier: MIT */
/* Running tools in a directory of their own, and looking at the images; see place.h. */
#include "place.h"

#include <ftw.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "block/block-backend.h"
#include "block/qcow2.h"
#include "block/snapshot.h"
#include "qemu/cutils.h"
#include "writer.h"

#define TIMEOUT 60 /* seconds; a tool that takes longer hangs */
#define MAX_ARGS 64
#define MAP_SIZE (HOOK_PAGE + sizeof(WriterLog))

/* --- findings --- */

bool place_has_finding(const Place *p)
{
    return p->finding->len > 0;
}

void place_find(Place *p, const char *format, ...)
{
    va_list args;

    if (!place_has_finding(p)) {
        va_start(args, format);
        g_string_append_vprintf(p->finding, format, args);
        va_end(args);
    }
}

/* --- the directory --- */

static void contents_free(void *opaque)
{
    Contents *c = opaque;

    contents_clear(c);
    g_free(c);
}

static void remove_files(Place *p)
{
    g_autoptr(GDir) dir = g_dir_open(p->dir, 0, NULL);
    const char *name;

    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_assert_cmpint(g_unlink(name), ==, 0);
    }
}

void place_clear(Place *p)
{
    remove_files(p);
    g_hash_table_remove_all(p->templates);
    g_hash_table_remove_all(p->known);
    g_string_truncate(p->finding, 0);
}

static GBytes *read_file(const char *name)
{
    char *data;
    gsize length;

    return g_file_get_contents(name, &data, &length, NULL) ? g_bytes_new_take(data, length) : NULL;
}

void place_keep(Place *p)
{
    g_autoptr(GDir) dir = g_dir_open(p->dir, 0, NULL);
    const char *name;

    g_hash_table_remove_all(p->templates);
    while ((name = g_dir_read_name(dir))) {
        g_hash_table_insert(p->templates, g_strdup(name), read_file(name));
    }
}

/* Zeroes become holes. */
static void write_file(const char *name, GBytes *bytes)
{
    gsize length;
    const char *data = g_bytes_get_data(bytes, &length);
    int fd = g_open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    g_assert_cmpint(fd, >=, 0);
    for (gsize at = 0; at < length; at += 4096) {
        gsize n = MIN(4096, length - at);

        if (!buffer_is_zero(data + at, n)) {
            g_assert_cmpint(pwrite(fd, data + at, n, at), ==, n);
        }
    }
    g_assert_cmpint(ftruncate(fd, length), ==, 0);
    close(fd);
}

void place_reset(Place *p)
{
    GHashTableIter i;
    void *name, *bytes;

    remove_files(p);
    g_hash_table_iter_init(&i, p->templates);
    while (g_hash_table_iter_next(&i, &name, &bytes)) {
        write_file(name, bytes);
    }
    g_string_truncate(p->finding, 0);
}

static void *map_hook(const char *path)
{
    int fd = g_open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    void *map;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, MAP_SIZE), ==, 0);
    map = mmap(NULL, MAP_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(map != MAP_FAILED);
    close(fd);
    return map;
}

/* Where many small files cost least, unless the user says where. */
static const char *parent_dir(void)
{
    return g_getenv("TMPDIR") ? g_get_tmp_dir()
                              : g_access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

void place_init(Place *p, const char *hook_library)
{
    g_autofree char *hook_path = NULL;

    *p = (Place){ .finding = g_string_new(NULL) };
    p->templates = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                         (GDestroyNotify)g_bytes_unref);
    p->known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, contents_free);
    p->dir = g_build_filename(parent_dir(), "blkco-process.XXXXXX", NULL);
    if (!g_mkdtemp(p->dir) || g_chdir(p->dir) < 0) {
        g_error("there is no directory %s", p->dir);
    }
    hook_path = g_strconcat(p->dir, ".hook", NULL);
    p->hook = map_hook(hook_path);
    g_setenv("PROCESS_HOOK", hook_path, true);
    g_setenv("PROCESS_HOOK_LIBRARY", hook_library, true);
    p->out_fd = memfd_create("out", MFD_CLOEXEC);
    p->err_fd = memfd_create("err", MFD_CLOEXEC);
    p->noise_fd = memfd_create("noise", MFD_CLOEXEC);
    g_assert_true(p->out_fd >= 0 && p->err_fd >= 0 && p->noise_fd >= 0);
}

void place_destroy(Place *p)
{
    place_clear(p);
    g_chdir("/");
    g_rmdir(p->dir);
    g_unlink(g_getenv("PROCESS_HOOK"));
    munmap(p->hook, MAP_SIZE);
    g_hash_table_unref(p->templates);
    g_hash_table_unref(p->known);
    g_string_free(p->finding, TRUE);
    g_free(p->run.out);
    g_free(p->run.err);
    g_free(p->dir);
    close(p->out_fd);
    close(p->err_fd);
    close(p->noise_fd);
}

WriterLog *place_log(const Place *p)
{
    return (WriterLog *)((char *)p->hook + HOOK_PAGE);
}

/* --- running tools --- */

/* The text of a memory file, which is then empty. */
static char *take_text(int fd)
{
    off_t length = lseek(fd, 0, SEEK_END);
    char *text = g_malloc0(length + 1);

    g_assert_cmpint(pread(fd, text, length, 0), ==, length);
    g_assert_cmpint(ftruncate(fd, 0), ==, 0);
    lseek(fd, 0, SEEK_SET);
    return text;
}

static const char *program_of(const char *word)
{
    const char *variable = !strcmp(word, "img")  ? "QEMU_IMG_MINI"
                           : !strcmp(word, "io") ? "QEMU_IO_MINI"
                                                 : "PROCESS_WRITER";

    if (!g_getenv(variable)) {
        g_error("the environment does not say where %s is", variable);
    }
    return g_getenv(variable);
}

/* The environment of a tool: with the hook, and behind a sanitizer that the tool may have. */
static char **tool_environment(void)
{
    char **env = g_get_environ();
    const char *library = g_getenv("PROCESS_HOOK_LIBRARY");
    const char *asan = g_environ_getenv(env, "ASAN_OPTIONS");
    g_autofree char *options = g_strconcat(asan ? asan : "", ":verify_asan_link_order=0:"
                                           "allocator_may_return_null=1", NULL);

    env = g_environ_setenv(env, "LD_PRELOAD", library, true);
    env = g_environ_setenv(env, "ASAN_OPTIONS", options, true);
    return g_environ_setenv(env, "G_SLICE", "always-malloc", true);
}

static pid_t spawn(Place *p, char **argv)
{
    posix_spawn_file_actions_t actions;
    g_auto(GStrv) env = tool_environment();
    pid_t pid;
    int ret;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, p->out_fd, 1);
    posix_spawn_file_actions_adddup2(&actions, p->err_fd, 2);
    ret = posix_spawn(&pid, argv[0], &actions, NULL, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    if (ret) {
        g_error("%s: %s", argv[0], g_strerror(ret));
    }
    return pid;
}

/* True when it did not end in time and had to be killed; @after: microseconds, or 0. */
static bool wait_for(pid_t pid, int64_t after, int *status)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    struct timespec soon = { .tv_nsec = after * 1000 };
    bool late;

    g_assert_cmpint(fd, >=, 0);
    if (after && ppoll(&poll_fd, 1, &soon, NULL) == 0) {
        kill(pid, SIGKILL);
    }
    late = poll(&poll_fd, 1, TIMEOUT * 1000) == 0;
    if (late) {
        kill(pid, SIGKILL);
    }
    g_assert_cmpint(waitpid(pid, status, 0), ==, pid);
    close(fd);
    return late;
}

void place_run(Place *p, const char *command)
{
    g_auto(GStrv) argv = g_strsplit(command, " ", MAX_ARGS);
    Run *run = &p->run;
    const char *program;
    int status;
    pid_t pid;

    for (char **arg = argv; *arg; arg++) {
        char *plain = g_uri_unescape_string(*arg, NULL);

        g_free(*arg);
        *arg = plain;
    }
    program = program_of(argv[0]);
    g_free(argv[0]);
    argv[0] = g_strdup(program);
    p->hook->count = p->hook->hits = 0;
    memset(p->hook->what, 0, sizeof(p->hook->what));
    memset(place_log(p), 0, sizeof(WriterLog));
    pid = spawn(p, argv);
    run->timed_out = wait_for(pid, p->kill_after, &status);
    run->killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !run->timed_out;
    run->signal = WIFSIGNALED(status) && !run->killed ? WTERMSIG(status) : 0;
    run->code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    g_free(run->out);
    g_free(run->err);
    run->out = take_text(p->out_fd);
    run->err = take_text(p->err_fd);
}

void place_must_run(Place *p, const char *command)
{
    Hook saved = *p->hook;
    int64_t kill_after = p->kill_after;

    *p->hook = (Hook){ 0 };
    p->kill_after = 0;
    place_run(p, command);
    *p->hook = saved;
    p->kill_after = kill_after;
    if (p->run.code != 0) {
        place_find(p, "'%s' should succeed: exit code %d, signal %d%s: %s", command, p->run.code,
                   p->run.signal, p->run.timed_out ? " (hangs)" : "", p->run.err);
    }
}

/* --- what stderr gets from the library here is kept apart --- */

static int quiet_begin(const Place *p)
{
    int saved = fcntl(2, F_DUPFD_CLOEXEC, 3);

    fflush(stderr);
    dup2(p->noise_fd, 2);
    return saved;
}

/* What check says of damage, without all the leaks. To be freed. */
static char *first_lines(const char *noise)
{
    g_auto(GStrv) lines = g_strsplit(noise, "\n", -1);
    GString *kept = g_string_new(NULL);

    for (int i = 0, n = 0; lines[i] && n < 10; i++) {
        if (*lines[i] && !g_str_has_prefix(lines[i], "Leaked")) {
            g_string_append_printf(kept, "  %s\n", lines[i]);
            n++;
        }
    }
    return g_string_free(kept, FALSE);
}

/* The noise; to be freed. */
static char *quiet_end(const Place *p, int saved)
{
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    return take_text(p->noise_fd);
}

/* --- images --- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Half of each sector repeats, so that clusters can be compressed. */
void fill_pattern(uint8_t *data, int64_t offset, int64_t bytes, uint32_t tag)
{
    for (int64_t at = 0; at < bytes; at += 8) {
        uint64_t sector = (offset + at) / SECTOR;
        uint64_t word = (offset + at) % SECTOR / 8;
        uint64_t value = mix((uint64_t)tag << 40 ^ sector << 8 ^ (word < 32 ? word : 32));

        memcpy(data + at, &value, 8);
    }
}

static BlockOptions *format_options(const char *format)
{
    BlockOptions *options = blk_options_new();

    if (format) {
        blk_options_set(options, "driver", format);
    }
    return options;
}

void image_write(const char *name, const char *format, int64_t offset, int64_t bytes, uint32_t tag)
{
    g_autofree uint8_t *data = g_malloc(bytes);
    BlockBackend *blk = blk_new_open(name, NULL, format_options(format), BDRV_O_RDWR,
                                     &error_abort);

    fill_pattern(data, offset, bytes, tag);
    g_assert_cmpint(blk_pwrite(blk, offset, bytes, data, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    blk_unref(blk);
}

void contents_clear(Contents *c)
{
    g_free(c->data);
    g_free(c->error);
    *c = (Contents){ 0 };
}

Contents image_read(const char *name, const char *format, const char *snapshot)
{
    Contents c = { .length = -1 };
    Error *err = NULL;
    BlockBackend *blk = blk_new_open(name, NULL, format_options(format), 0, &err);

    if (blk && snapshot && bdrv_snapshot_load_tmp(blk_bs(blk), NULL, snapshot, &err) < 0) {
        blk_unref(blk);
        blk = NULL;
    }
    if (blk) {
        int ret;

        c.length = blk_getlength(blk);
        c.data = g_malloc(MAX(c.length, 1));
        ret = c.length > 0 ? blk_pread(blk, 0, c.length, c.data, 0) : 0;
        if (ret < 0) {
            error_setg_errno(&err, -ret, "reading '%s'", name);
            c.length = -1;
        }
        blk_unref(blk);
    }
    if (err) {
        c.error = g_strdup(error_get_pretty(err));
        error_free(err);
    }
    return c;
}

void place_remember(Place *p, const char *as, const char *name, const char *snapshot)
{
    Contents *c = g_new0(Contents, 1);

    *c = image_read(name, NULL, snapshot);
    if (c->length < 0) {
        g_error("%s: %s", name, c->error);
    }
    g_hash_table_insert(p->known, g_strdup(as), c);
}

const Contents *place_known(const Place *p, const char *as)
{
    const Contents *c = g_hash_table_lookup(p->known, as);

    g_assert_nonnull(c);
    return c;
}

void expect_untouched(Place *p, const char *file)
{
    GBytes *before = g_hash_table_lookup(p->templates, file);
    g_autoptr(GBytes) now = read_file(file);

    g_assert_nonnull(before);
    if (!now || !g_bytes_equal(before, now)) {
        place_find(p, "the file %s, which is only read, is not what it was", file);
    }
}

static void expect_same_contents(Place *p, const char *what, const Contents *got,
                                 const Contents *want)
{
    if (got->length < 0) {
        place_find(p, "%s cannot be read: %s", what, got->error);
        return;
    }
    if (got->length != want->length) {
        place_find(p, "%s has %" PRId64 " bytes instead of %" PRId64, what, got->length,
                   want->length);
        return;
    }
    if (!memcmp(got->data, want->data, got->length)) {
        return;
    }
    for (int64_t at = 0; at < got->length; at++) {
        if (got->data[at] != want->data[at]) {
            place_find(p, "%s: wrong data at byte %" PRId64 " (sector %" PRId64 "): 0x%02x, not "
                       "0x%02x", what, at, at / SECTOR, got->data[at], want->data[at]);
            return;
        }
    }
}

void expect_same(Place *p, const char *name, const char *format, const char *as)
{
    Contents got = image_read(name, format, NULL);

    expect_same_contents(p, name, &got, place_known(p, as));
    contents_clear(&got);
}

static bool is_sector_of(const uint8_t *sector, size_t n, int64_t at, const Contents *c)
{
    if (!c) {
        return buffer_is_zero(sector, n);
    }
    return at + (int64_t)n <= c->length ? !memcmp(sector, c->data + at, n)
                                        : buffer_is_zero(sector, n);
}

void expect_either(Place *p, const char *name, const char *format, const char *a, const char *b)
{
    const Contents *ca = place_known(p, a), *cb = strcmp(b, "zero") ? place_known(p, b) : NULL;
    Contents got = image_read(name, format, NULL);

    if (got.length < 0) {
        place_find(p, "%s cannot be read: %s", name, got.error);
    } else if (got.length != ca->length && (!cb || got.length != cb->length)) {
        place_find(p, "%s has %" PRId64 " bytes", name, got.length);
    }
    for (int64_t at = 0; at < got.length; at += SECTOR) {
        size_t n = MIN(SECTOR, got.length - at);

        if (!is_sector_of(got.data + at, n, at, ca) && !is_sector_of(got.data + at, n, at, cb)) {
            place_find(p, "%s: sector %" PRId64 " is neither that of %s nor of %s", name,
                       at / SECTOR, a, b);
            break;
        }
    }
    contents_clear(&got);
}

/* @repaired: damage may be found as long as repairing is all that is wanted. */
static BdrvCheckResult check(Place *p, const char *name, BdrvCheckMode fix, bool *dirty)
{
    int saved = quiet_begin(p);
    BdrvCheckResult result = { 0 };
    BlockQcow2Info info = { 0 };
    Error *err = NULL;
    g_autofree char *all = NULL, *noise = NULL;
    int ret = -1;
    BlockBackend *blk = blk_new_open(name, NULL, format_options("qcow2"),
                                     BDRV_O_CHECK | (fix ? BDRV_O_RDWR : 0), &err);

    if (blk) {
        bdrv_qcow2_get_info(blk_bs(blk), &info);
        ret = bdrv_check(blk_bs(blk), &result, fix);
        blk_unref(blk);
    }
    all = quiet_end(p, saved);
    noise = first_lines(all);
    if (!blk || ret < 0 || result.check_errors) {
        place_find(p, "%s cannot be checked: %s%s", name, err ? error_get_pretty(err) : "", noise);
    }
    error_free(err);
    *dirty = info.dirty;
    if (result.corruptions && !info.dirty) {
        place_find(p, "%s: %d corruptions\n%s", name, result.corruptions, noise);
    }
    return result;
}

void expect_sound(Place *p, const char *name)
{
    bool dirty;
    BdrvCheckResult result = check(p, name, 0, &dirty);

    if (result.corruptions && dirty && !place_has_finding(p)) {
        image_repair(p, name);
        expect_clean(p, name);
    }
}

void expect_clean(Place *p, const char *name)
{
    bool dirty;
    BdrvCheckResult result = check(p, name, 0, &dirty);

    if (dirty && !place_has_finding(p)) {
        image_repair(p, name);
        result = check(p, name, 0, &dirty);
    }
    if (result.leaks || result.corruptions) {
        place_find(p, "%s has %d leaked clusters and %d corruptions", name, result.leaks,
                   result.corruptions);
    }
}

void image_repair(Place *p, const char *name)
{
    bool dirty;

    check(p, name, BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, &dirty);
}

int image_has_snapshot(Place *p, const char *name, const char *snapshot)
{
    Error *err = NULL;
    BlockBackend *blk = blk_new_open(name, NULL, format_options("qcow2"), 0, &err);
    QEMUSnapshotInfo info;
    int found = -1;

    if (blk) {
        found = bdrv_snapshot_find(blk_bs(blk), &info, snapshot) == 0;
        blk_unref(blk);
    } else {
        place_find(p, "%s cannot be opened: %s", name, error_get_pretty(err));
        error_free(err);
    }
    return found;
}

void expect_snapshot(Place *p, const char *name, const char *snapshot, const char *as)
{
    g_autofree char *what = g_strdup_printf("snapshot %s of %s", snapshot, name);
    Contents got = image_read(name, "qcow2", snapshot);

    expect_same_contents(p, what, &got, place_known(p, as));
    contents_clear(&got);
}
