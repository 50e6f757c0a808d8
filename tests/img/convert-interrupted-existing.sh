#!/bin/bash
# SPDX-License-Identifier: MIT
# A signal in the middle: a target that was there is named and stays.
. "$(dirname "$0")/lib.sh"

make_full a 16M
make_full b 16M
run timeout --preserve-status -s INT 0.4 "$img" convert -n -r 4M a b
expect_status 130
expect_err "$name: Interrupted: the target 'b' is incomplete"
[ -e b ] || fail 'the target is gone'
run timeout --preserve-status -s INT 0.4 "$img" convert -r 4M a b
expect_status 130
[ -e b ] || fail 'the target is gone'
