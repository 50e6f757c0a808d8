#!/bin/bash
# SPDX-License-Identifier: MIT
# A source that cannot be read in the middle: the place and the names, exit code 1.
. "$(dirname "$0")/lib.sh"

requires_no_sanitizer
requires_file "$build/bad-disk.so"
make_full a 8M
for options in '' '-W' '-m 1'; do
    # shellcheck disable=SC2086
    run env LD_PRELOAD="$build/bad-disk.so" BAD_FILE=a BAD_OFFSET=5000000 "$img" convert $options a b
    expect_status 1
    [ "$(wc -l <err)" = 1 ] || fail 'more than one line'
    expect_err_has "^$name: error while reading at byte [0-9]*: Input/output error$"
    at=$(sed 's/.*at byte \([0-9]*\):.*/\1/' err)
    [ "$at" -le 5000000 ] && [ "$at" -gt 2900000 ] || fail "at byte $at"
done
