/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share. A target is one file with fuzz_one(); it is linked with libFuzzer,
 * or with replay.c, which gives it the inputs of files. Nothing here touches a file system,
 * a thread or the clock that an input could wait for: images lie in memory (fuzz-disk.c), work for
 * the thread pool is done at once, and opening a file fails (fuzz-stubs.c).
 *
 * Each input has a budget of memory, CPU time and disk requests; going beyond it is a finding, just
 * as a crash is (fuzz-main.c).
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "qemu/osdep.h"
#include "block/block-backend.h"
#include "block/block-driver.h"
#include "block/block-image.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define HAVE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#elif __has_feature(thread_sanitizer)
#define HAVE_TSAN 1
#endif
#endif

/* One input: whatever it does to the library, it must come back. */
void fuzz_one(const uint8_t *data, size_t size);

/* Bytes that an input may hold at a time, beyond what was there before it. */
#define FUZZ_MEMORY_LIMIT (64 << 20)

/* libFuzzer's entry points. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t max_out, unsigned seed);

/* Ends the program with a message on the real stderr: a finding. */
void fuzz_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;

/* --- fuzz-memory.c --- */

void fuzz_memory_init(void);
/* What is allocated from now on counts for the input. */
void fuzz_memory_begin(void);
void fuzz_memory_end(void);

/* --- fuzz-stubs.c --- */

/* From the beginning of an input to its end there are no files. */
extern bool fuzz_in_input;
/* The file that fopen() finds under any name; NULL: there is none. */
extern const uint8_t *fuzz_file_data;
extern size_t fuzz_file_size;

/* --- fuzz-disk.c: the driver "fuzz-mem" --- */

#define FUZZ_DISK_BYTES (4 << 20)

/* The disk that nodes of "fuzz-mem" show: option "disk" 0 or 1. Contents stay until fuzz_disk_set(). */
void fuzz_disk_init(void);
/* Makes the disk what is at @data; @bytes at most FUZZ_DISK_BYTES. */
void fuzz_disk_set(unsigned i, const uint8_t *data, size_t bytes);
/* The target has written to the data itself, up to @touched: now the disk is so long. */
void fuzz_disk_set_length(unsigned i, size_t bytes, size_t touched);
uint8_t *fuzz_disk_data(unsigned i);
/* A write to the disk from now on fails, where @writes more have worked; UINT_MAX: none does. */
void fuzz_disk_fail_after(unsigned writes);
/* Requests to all disks since the program began. */
extern uint64_t fuzz_disk_requests;

/* @options: "key=value,..."; the image's bytes are disk 0. NULL: it does not open. */
BlockBackend *fuzz_open(const char *options, int flags);

#endif
