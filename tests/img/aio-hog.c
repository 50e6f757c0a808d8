/* SPDX-License-Identifier: MIT */
/*
 * Takes all the AIO contexts that the system has (fs.aio-max-nr), says "ready" and holds
 * them until its standard input ends.
 */
#include <libaio.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    char c;

    for (int n = 65536; n > 0;) {
        io_context_t ctx = NULL;
        /* The kernel gives more events than asked for, so the last ones go in small steps. */
        if (io_setup(n, &ctx) < 0) {
            n /= 2;
        }
    }
    puts("ready");
    fflush(stdout);
    return read(STDIN_FILENO, &c, 1) < 0;
}
