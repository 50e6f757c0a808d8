#!/bin/bash
# SPDX-License-Identifier: MIT
# -s: what is allocated must be the same too.
. "$(dirname "$0")/lib.sh"

make_image a
cp --sparse=never a b
run "$img" compare -s a b
expect_status 1
expect_out 'Strict mode: Offset 0 block status mismatch!'
cp --sparse=always a c
ok compare -s a c
