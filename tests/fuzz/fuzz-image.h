/* SPDX-License-Identifier: MIT */
/* A small qcow2 image from a description (fuzz-image.c), and what is then done to it (fuzz-image-use.c). */
#ifndef TESTS_FUZZ_FUZZ_IMAGE_H
#define TESTS_FUZZ_FUZZ_IMAGE_H

#include "fuzz-records.h"

/* The head of an input: shape of the image, how it is opened, its length. */
#define FUZZ_IMAGE_HEAD 8

enum { /* of head[7] */
    FUZZ_OPEN_RDWR = 1,
    FUZZ_OPEN_CHECK = 2,
    FUZZ_OPEN_BACKING = 4,
    FUZZ_OPEN_ALIGNED = 8,
    FUZZ_OPEN_WRITES_FAIL = 16, /* from a write on that head[6] says */
};

/* Kinds of records: what makes the image, then what is done to it. */
typedef enum FuzzImageKind {
    FUZZ_L2,        /* [guest cluster, how] an entry that is right, or hostile */
    FUZZ_L1,        /* [index] raw */
    FUZZ_REFCOUNT,  /* [cluster] value */
    FUZZ_REFTABLE,  /* [index] raw */
    FUZZ_HEADER,    /* [offset, width] value */
    FUZZ_EXTENSION, /* [type] data */
    FUZZ_SNAPSHOT,  /* [id, how] name and extra data */
    FUZZ_BITMAP,    /* [granularity, flags] name */
    FUZZ_POKE,      /* [offset] bytes */
    FUZZ_LENGTH,    /* [of the file] */
    FUZZ_BACKING,   /* name */
    FUZZ_ACTIONS = 16,
} FuzzImageKind;

/* Puts the image on disk 0. False: it is hostile, so that checks may find anything. */
bool fuzz_image_build(const uint8_t *head, const FuzzRecord *records, size_t n);
/*
 * Opens it, reads all of it, does what the records say, checks and repairs it. A @sound image has to
 * be found sound, and one that has been repaired as well.
 */
void fuzz_image_use(const uint8_t *head, const FuzzRecord *records, size_t n, bool sound);

#endif
