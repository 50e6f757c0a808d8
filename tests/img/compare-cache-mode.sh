#!/bin/bash
# SPDX-License-Identifier: MIT
# compare -T takes a cache mode, for both images; a wrong one is an error of opening.
. "$(dirname "$0")/lib.sh"

make_image a
cp a b
for mode in none writeback unsafe directsync writethrough; do
    [ $mode != none ] && [ $mode != directsync ] || (requires_direct) >/dev/null || continue
    ok compare -T $mode -f raw -F raw a b
    expect_out 'Images are identical.'
done
run "$img" compare -T fast a b
expect_status 2
expect_err "$name: Invalid source cache option: fast"
