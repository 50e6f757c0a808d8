/* SPDX-License-Identifier: MIT */
/* Before the first input, and around each: quiet, and within a budget. */
#include "fuzz.h"

#include <malloc.h>
#include <time.h>

#include "qemu/main-loop.h"

/*
 * What an input may cost; a sanitizer, valgrind and libFuzzer's counters all take their share of the
 * time, and so the limit on requests to the disk is the sharper one.
 */
enum {
    MAX_CPU_MS = 5000,
    MAX_REQUESTS = 200000,
#ifdef HAVE_ASAN
    SLOW_MS = 15, /* more is no seed */
#else
    SLOW_MS = 3,
#endif
};

/* libFuzzer's counters of what is reached; none when inputs are only replayed. */
extern uint8_t __start___sancov_cntrs[] __attribute__((weak));
extern uint8_t __stop___sancov_cntrs[] __attribute__((weak));

static FILE *real_stderr;

void fuzz_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("fuzz: ", real_stderr);
    vfprintf(real_stderr, fmt, ap);
    fputc('\n', real_stderr);
    fflush(real_stderr);
    abort();
}

static void print_error(const char *text)
{
    fputs(text, real_stderr);
    fflush(real_stderr);
}

/* Assertions go there, and so do warnings of the library. */
static void print_unless_warning(const char *text)
{
    if (!g_str_has_prefix(text, "WARNING: ")) {
        print_error(text);
    }
}

static GLogWriterOutput write_log(GLogLevelFlags level, const GLogField *fields, gsize n,
                                  gpointer opaque)
{
    g_autofree char *line = g_log_writer_format_fields(level, fields, n, false);

    print_error(line);
    print_error("\n");
    return G_LOG_WRITER_HANDLED;
}

static ssize_t discard(void *opaque, const char *buf, size_t size)
{
    return size;
}

/* Reports of the library go to the bin without a system call each; those of assertions do not. */
static void silence(void)
{
    real_stderr = stderr;
    stderr = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = discard });
    stdout = stderr;
    g_assert(stderr);
    setvbuf(stderr, NULL, _IOFBF, 1 << 16);
    g_set_printerr_handler(print_unless_warning);
    g_log_set_writer_func(write_log, NULL, NULL);
}

/*
 * What takes long is checked like all else, but nothing is bred from it: as if it had reached nothing. A
 * corpus drifts to inputs that go round a loop a million times otherwise.
 */
static void forget_reached(void)
{
    if (__start___sancov_cntrs) {
        memset(__start___sancov_cntrs, 0, __stop___sancov_cntrs - __start___sancov_cntrs);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    silence();
    /* Memory for tables and stacks comes back from the heap, not from the kernel. */
    mallopt(M_MMAP_THRESHOLD, 32 << 20); /* the most that glibc takes */
    mallopt(M_TRIM_THRESHOLD, FUZZ_MEMORY_LIMIT);
    fuzz_memory_init();
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    fuzz_disk_init();
    return 0;
}

static int64_t cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t requests = fuzz_disk_requests;
    int64_t start = cpu_ms(), took;

    fuzz_in_input = true;
    fuzz_memory_begin();
    fuzz_one(data, size);
    fuzz_memory_end();
    fuzz_in_input = false;
    requests = fuzz_disk_requests - requests;
    if (requests > MAX_REQUESTS) {
        fuzz_fail("the input makes %" PRIu64 " requests", requests);
    }
    took = cpu_ms() - start;
    if (took > MAX_CPU_MS) {
        fuzz_fail("the input takes %" PRId64 " ms", took);
    }
    if (took > SLOW_MS) {
        forget_reached();
    }
    return 0;
}
