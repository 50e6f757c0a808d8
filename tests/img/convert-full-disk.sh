#!/bin/bash
# SPDX-License-Identifier: MIT
# The target's disk is full: the target is named, exit code 1.
. "$(dirname "$0")/lib.sh"

requires_root
requires mount
mkdir small
mount -t tmpfs -o size=1M tmpfs small 2>/dev/null || skip 'no mount here'
at_exit 'umount small'
make_full a 8M
for options in '' '-W' '-m 1'; do
    # shellcheck disable=SC2086
    run "$img" convert $options a small/b
    expect_status 1
    [ "$(wc -l <err)" = 1 ] || fail 'more than one line'
    expect_err_has "^$name: error while writing at byte [0-9]*: No space left on device$"
    rm -f small/b
done
