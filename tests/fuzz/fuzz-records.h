/* SPDX-License-Identifier: MIT */
/* Inputs that are a head of fixed size and a list of records: [kind, a, b, length of the payload], payload. */
#ifndef TESTS_FUZZ_FUZZ_RECORDS_H
#define TESTS_FUZZ_FUZZ_RECORDS_H

#include "fuzz.h"

#define FUZZ_MAX_RECORDS 48

/* Kinds that a new record may have: 0 and above, below this. */
#define FUZZ_RECORD_KINDS 40

typedef struct FuzzRecord {
    uint8_t kind, a, b, len;
    const uint8_t *data; /* @len bytes of the input */
} FuzzRecord;

/* How many there are; at most FUZZ_MAX_RECORDS. */
size_t fuzz_records_read(const uint8_t *data, size_t size, FuzzRecord *records);
/* A big endian number within the payload; what is missing is 0. */
uint64_t fuzz_record_value(const FuzzRecord *r, size_t offset, size_t bytes);

/* For LLVMFuzzerCustomMutator() and LLVMFuzzerCustomCrossOver(). */
size_t fuzz_records_mutate(uint8_t *data, size_t size, size_t head, size_t max_size, unsigned seed);
size_t fuzz_records_cross(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                          size_t head, uint8_t *out, size_t max_out, unsigned seed);

#endif
