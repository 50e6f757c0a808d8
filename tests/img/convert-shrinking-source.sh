#!/bin/bash
# SPDX-License-Identifier: MIT
# A source that shrinks while it is read: an error, no hang.
. "$(dirname "$0")/lib.sh"

requires_no_sanitizer
requires_file "$build/bad-disk.so"
make_full a 16M
run timeout 10 env LD_PRELOAD="$build/bad-disk.so" BAD_FILE=a SHRINK_AT=6000000 SHRINK_TO=3000000 \
    "$img" convert a b
expect_status 1
[ "$(wc -l <err)" = 1 ] || fail 'more than one line'
expect_err_has "^$name: "
