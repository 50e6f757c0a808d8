#!/bin/bash
# SPDX-License-Identifier: MIT
# Sizes that are no whole sectors; a source without bytes.
. "$(dirname "$0")/lib.sh"

for size in 1 511 512 513 4095 4097 1048577; do
    make_full a $size
    ok convert a b
    truncate -s %512 a
    cmp a b
done
: >a
ok convert a b
[ "$(stat -c %s b)" = 0 ] || fail 'size'
