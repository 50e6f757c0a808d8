/* SPDX-License-Identifier: MIT */
/*
 * A main program for a target where there is no libFuzzer: runs it on each input of the files and
 * directories of the command line. A file whose name ends in ".pack" holds many inputs, each behind
 * its length (4 bytes, big endian); scripts/fuzz makes it.
 */
#include "fuzz.h"

#include <signal.h>
#include <unistd.h>

static char current[PATH_MAX + 32]; /* the input that runs, for the handler */
static unsigned done;
static int output; /* a copy of stdout */

static void say_which(int sig)
{
    ssize_t ignored = write(STDERR_FILENO, current, strlen(current));

    (void)ignored;
    signal(sig, SIG_DFL);
    raise(sig);
}

/* The targets' mutators name it; nothing is mutated here. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size)
{
    g_assert_not_reached();
}

static void run(const char *name, unsigned nr, const uint8_t *data, size_t size)
{
    /* A copy of its own lets ASan see what reads behind the end. */
    g_autofree uint8_t *copy = g_memdup2(data, size);

    snprintf(current, sizeof(current), "replay: it was %s, input %u\n", name, nr);
    LLVMFuzzerTestOneInput(copy, size);
    done++;
}

static bool run_pack(const char *name, const uint8_t *data, size_t size)
{
    for (unsigned nr = 0; size; nr++) {
        uint32_t n;

        if (size < 4) {
            return false;
        }
        memcpy(&n, data, 4);
        n = GUINT32_FROM_BE(n);
        if (n > size - 4) {
            return false;
        }
        run(name, nr, data + 4, n);
        data += 4 + n;
        size -= 4 + n;
    }
    return true;
}

static bool run_path(const char *path)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) err = NULL;
    const char *entry;
    bool ok = true;
    gsize size;
    GDir *dir = g_dir_open(path, 0, NULL);

    if (dir) {
        while ((entry = g_dir_read_name(dir))) {
            g_autofree char *below = g_build_filename(path, entry, NULL);

            ok = run_path(below) && ok;
        }
        g_dir_close(dir);
        return ok;
    }
    if (!g_file_get_contents(path, &text, &size, &err)) {
        dprintf(STDERR_FILENO, "replay: %s\n", err->message);
        return false;
    }
    if (!g_str_has_suffix(path, ".pack")) {
        run(path, 0, (uint8_t *)text, size);
        return true;
    }
    ok = run_pack(path, (uint8_t *)text, size);
    if (!ok) {
        dprintf(STDERR_FILENO, "replay: %s is damaged\n", path);
    }
    return ok;
}

int main(int argc, char **argv)
{
    static const int signals[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
    bool ok = true;

    if (argc < 2) {
        fprintf(stderr, "usage: %s FILE|DIRECTORY...\n", argv[0]);
        return 2;
    }
    output = dup(STDOUT_FILENO);
    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
        signal(signals[i], say_which);
    }
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        ok = (!g_file_test(argv[i], G_FILE_TEST_EXISTS) || run_path(argv[i])) && ok;
    }
    dprintf(output, "%u inputs\n", done);
    return ok && done ? 0 : 1;
}
