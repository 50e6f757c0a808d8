/* SPDX-License-Identifier: MIT */
#include "convert-runs.h"

#include "qemu/cutils.h"

/*
 * The length of the run of holes or data that @buf starts with; @offset is its place in the
 * target. Zeroes between data are a hole if there are min_sparse of them, those at either end of the
 * buffer in any case.
 */
static int64_t run_length(const CopyJob *job, int64_t granularity, const uint8_t *buf,
                          int64_t offset, int64_t bytes, bool *zero)
{
    int64_t zeroes = 0; /* bytes at the end of what has been looked at */
    int64_t seen = 0;

    *zero = false;
    while (seen < bytes) {
        int64_t block = MIN(granularity - (offset + seen) % granularity, bytes - seen);

        if (buffer_is_zero(buf + seen, block)) {
            zeroes += block;
            *zero = zeroes == seen + block;
            if (!*zero && zeroes >= job->min_sparse) {
                return seen + block - zeroes;
            }
        } else if (*zero) {
            return seen;
        } else {
            zeroes = 0;
        }
        seen += block;
    }
    return *zero ? seen : seen - zeroes;
}

/* The same in clusters of @cluster bytes: they are all zeroes, or compressed as a whole. */
static int64_t compressed_run_length(int64_t cluster, const uint8_t *buf, int64_t bytes,
                                     bool *zero)
{
    int64_t seen = MIN(cluster, bytes);

    *zero = buffer_is_zero(buf, seen);
    while (seen < bytes &&
           buffer_is_zero(buf + seen, MIN(cluster, bytes - seen)) == *zero) {
        seen += MIN(cluster, bytes - seen);
    }
    return seen;
}

void copy_find_runs(const CopyJob *job, int64_t granularity, const uint8_t *buf, int64_t offset,
                    int64_t bytes, GArray *runs)
{
    g_array_set_size(runs, 0);
    for (int64_t done = 0; done < bytes;) {
        CopyRun run = { .bytes = bytes };

        if (job->min_sparse && job->compressed) {
            run.bytes = compressed_run_length(job->compressed, buf + done, bytes - done,
                                              &run.zero);
        } else if (job->min_sparse) {
            run.bytes = run_length(job, granularity, buf + done, offset + done, bytes - done,
                                   &run.zero);
        }
        g_array_append_val(runs, run);
        done += run.bytes;
    }
}
