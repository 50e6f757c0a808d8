/* SPDX-License-Identifier: MIT */
/*
 * qcow2 images byte by byte: the head of fuzz-image.h, whose shape means nothing here, and the file. The
 * mutator mends what would only make it bounce: magic, version and length of the header.
 */
#include "fuzz-image.h"

#include "../../block/qcow2/qcow2-format.h"

void fuzz_one(const uint8_t *data, size_t size)
{
    static const FuzzRecord actions[] = {
        { .kind = 17, .b = 1 }, { .kind = 21 }, { .kind = 24 }, { .kind = 18, .a = 1 },
        { .kind = 25, .a = 2 },
    };

    if (size < FUZZ_IMAGE_HEAD) {
        return;
    }
    fuzz_disk_set(0, data + FUZZ_IMAGE_HEAD, size - FUZZ_IMAGE_HEAD);
    fuzz_image_use(data, actions, G_N_ELEMENTS(actions), false);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint8_t *image = data + FUZZ_IMAGE_HEAD;
    uint32_t version;

    size = LLVMFuzzerMutate(data, size, max_size);
    if (size < FUZZ_IMAGE_HEAD + 112 || seed % 16 == 0) {
        return size;
    }
    qcow2_put_be32(image, QCOW2_MAGIC);
    version = qcow2_be32(image + 4);
    if (version != 2 && version != 3) {
        qcow2_put_be32(image + 4, 2 + (seed & 1));
    }
    if (qcow2_be32(image + 20) > 16 || qcow2_be32(image + 20) < 9) {
        qcow2_put_be32(image + 20, 9);
    }
    if (qcow2_be32(image + 100) % 8 || qcow2_be32(image + 100) > 512) {
        qcow2_put_be32(image + 100, 104);
    }
    return size;
}
