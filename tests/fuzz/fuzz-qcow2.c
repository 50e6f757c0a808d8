/* SPDX-License-Identifier: MIT */
/* qcow2 images that are right but for what the input wants to be wrong: see fuzz-image.h. */
#include "fuzz-image.h"

void fuzz_one(const uint8_t *data, size_t size)
{
    FuzzRecord records[FUZZ_MAX_RECORDS];
    size_t n;
    bool sound;

    if (size < FUZZ_IMAGE_HEAD) {
        return;
    }
    n = fuzz_records_read(data + FUZZ_IMAGE_HEAD, size - FUZZ_IMAGE_HEAD, records);
    sound = fuzz_image_build(data, records, n);
    fuzz_image_use(data, records, n, sound);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    return fuzz_records_mutate(data, size, FUZZ_IMAGE_HEAD, max_size, seed);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t max_out, unsigned seed)
{
    return fuzz_records_cross(a, a_size, b, b_size, FUZZ_IMAGE_HEAD, out, max_out, seed);
}
