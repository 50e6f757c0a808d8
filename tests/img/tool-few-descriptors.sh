#!/bin/bash
# SPDX-License-Identifier: MIT
# However few descriptors there may be: success, or a message and exit code 1.
. "$(dirname "$0")/lib.sh"

make_image a
for limit in 4 5 6 7 8 9 10 11 12 16; do
    rm -f b
    status=0
    (ulimit -n $limit && exec "$img" convert a b) >out 2>err </dev/null || status=$?
    [ "$status" = 0 ] && cmp a b && continue
    expect_status 1 "ulimit -n $limit"
    grep -q '^ERROR: AddressSanitizer' err && continue
    expect_err_has "^$name: .*: Too many open files$"
done
