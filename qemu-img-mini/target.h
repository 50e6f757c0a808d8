/* SPDX-License-Identifier: MIT */
/*
 * Care for the target of a copy: when the copy is interrupted, no half of an image may lie
 * about that looks like a whole one.
 */
#ifndef IMG_TARGET_H
#define IMG_TARGET_H

/*
 * From here to target_guard_end(), SIGINT, SIGTERM, SIGHUP and SIGQUIT remove the file
 * @path if it did not exist when this was called, and say that it is incomplete otherwise; then they
 * end the program as they would have. @path NULL: there is no file to care for.
 * Signals that the caller of the program ignores stay ignored. Main thread.
 */
void target_guard_begin(const char *path);
void target_guard_end(void);

#endif
