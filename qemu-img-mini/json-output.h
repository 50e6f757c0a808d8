/* SPDX-License-Identifier: MIT */
/* JSON on stdout in the layout that qemu-img gives it, for those who compare texts. */
#ifndef IMG_JSON_OUTPUT_H
#define IMG_JSON_OUTPUT_H

#include <jansson.h>

/* Prints @value over several lines, four spaces a level, and a newline. Main thread. */
void json_output_print(const json_t *value);

#endif
