#!/bin/bash
# SPDX-License-Identifier: MIT
# preallocation=falloc and full take the space.
. "$(dirname "$0")/lib.sh"

for mode in falloc full; do
    ok create -o preallocation=$mode a 2M
    expect_out "Formatting 'a', fmt=raw size=2097152 preallocation=$mode"
    [ "$(disk_kib a)" -ge 2048 ] || fail "$mode: $(disk_kib a) KiB"
done
