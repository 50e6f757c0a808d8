/* SPDX-License-Identifier: MIT */
/*
 * The options of a new image (create -o, convert -o): which there are, their help, their
 * check, and how "Formatting" prints them. Main thread.
 */
#ifndef IMG_CREATE_OPTIONS_H
#define IMG_CREATE_OPTIONS_H

#include "block/block-image.h"
#include "block/block-options.h"

/* The options of a format together with those of the protocol that will hold the file. */
typedef struct CreateTarget {
    BlockDriver *drv;
    const char *format;
    GArray *table; /* of BlockCreateOption; the format's own come first */
} CreateTarget;

/*
 * Looks up what is needed to create @filename in @format. False and @errp when it cannot
 * be created.
 */
bool create_target_init(CreateTarget *target, const char *format, const char *filename,
                        Error **errp);
/* The same for what can be changed of an existing image. */
void create_target_init_amend(CreateTarget *target, BlockDriver *drv);
/*
 * For convert: what belongs to compressing rather than to the image, for formats without it, too.
 * `-o help` does not list it: scripts know that list as qemu-img has it.
 */
void create_target_add_compression(CreateTarget *target);
void create_target_clear(CreateTarget *target);
/* The image can have an option of this name. */
bool create_target_has(const CreateTarget *target, const char *name);

/*
 * Parses the list @text (NULL: empty). Sizes come out in bytes, decimal. NULL and @errp
 * when something in it is wrong.
 */
BlockOptions *create_target_parse(const CreateTarget *target, const char *text, Error **errp);

/* " name=value" for each option that is set, in the table's order. */
void create_target_print(const CreateTarget *target, const BlockOptions *opts);

/* `-o help`, with or without a file name. An exit code; the message has been given. */
int create_options_help(const char *format, const char *filename);
/* The same for amend. */
int amend_options_help(const char *format);

#endif
