/* SPDX-License-Identifier: MIT */
/* Strings, numbers in strings, sizes for people, and the search for zeroes. Any thread. */
#ifndef QEMU_CUTILS_H
#define QEMU_CUTILS_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qemu/compiler.h"

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* Copy, or append, as much as fits into buf_size bytes with the 0 at the end. */
void pstrcpy(char *buf, int buf_size, const char *str);
char *pstrcat(char *buf, int buf_size, const char *s);
/* Copy up to buf_size bytes and fill the rest with pad; no 0 at the end. */
void strpadcpy(char *buf, int buf_size, const char *str, char pad);

/* Does str begin with val? If so, *ptr (unless ptr is NULL) is what follows. */
int strstart(const char *str, const char *val, const char **ptr);
/* The same, without regard to ASCII case. */
int stristart(const char *str, const char *val, const char **ptr);

/*
 * Numbers. nptr may begin with white space; base as for strtol. *endptr is what follows
 * the number; with endptr NULL nothing may follow it.
 *
 * 0; -EINVAL when there is no number, or something follows although endptr is NULL;
 * -ERANGE when the number does not fit: *result is then the nearest that does. Without
 * a number *endptr is nptr and *result 0. nptr NULL counts as no number.
 *
 * The unsigned ones take "-1" for the largest number, as strtoul does.
 */
int qemu_strtoi(const char *nptr, const char **endptr, int base, int *result);
int qemu_strtoui(const char *nptr, const char **endptr, int base, unsigned int *result);
int qemu_strtol(const char *nptr, const char **endptr, int base, long *result);
int qemu_strtoul(const char *nptr, const char **endptr, int base, unsigned long *result);
int qemu_strtoi64(const char *nptr, const char **endptr, int base, int64_t *result);
int qemu_strtou64(const char *nptr, const char **endptr, int base, uint64_t *result);
/* Independent of the locale; finite: "inf" and "nan" are no numbers. */
int qemu_strtod(const char *nptr, const char **endptr, double *result);
int qemu_strtod_finite(const char *nptr, const char **endptr, double *result);

/* The same without a minus sign: that is -EINVAL. */
int parse_uint(const char *s, const char **endptr, int base, uint64_t *value);
/* And nothing may follow; *value is then 0. */
int parse_uint_full(const char *s, int base, uint64_t *value);

/*
 * Sizes: a decimal number, with a fraction if a unit follows, or a hexadecimal one
 * (0x...), and one of B K M G T P E in either case: powers of 1024, of 1000 for
 * _metric. Without a letter: bytes, for _MiB: MiB. Rounded to the nearest byte.
 * Errors as above; a minus sign is -EINVAL.
 */
int qemu_strtosz(const char *nptr, const char **end, uint64_t *result);
int qemu_strtosz_MiB(const char *nptr, const char **end, uint64_t *result);
int qemu_strtosz_metric(const char *nptr, const char **end, uint64_t *result);

/* "64 KiB", "1.5 GiB": three digits. The caller frees it. */
char *size_to_str(uint64_t val);

/* Are all len bytes 0? Of no bytes they are. buf may have any alignment. */
bool buffer_is_zero(const void *buf, size_t len);

#pragma GCC visibility pop
G_END_DECLS

#endif
