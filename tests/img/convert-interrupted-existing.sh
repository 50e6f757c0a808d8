#!/bin/bash
# SPDX-License-Identifier: MIT
# A signal in the middle: a target that was there is named and stays.
. "$(dirname "$0")/lib.sh"

make_full a 16M
truncate -s 16M b
run_until_written INT b "$img" convert -n -r 8M a b
expect_status 130
expect_err "$name: Interrupted: the target 'b' is incomplete"
[ -e b ] || fail 'the target is gone'
truncate -s 0 b
run_until_written INT b "$img" convert -r 8M a b
expect_status 130
[ -e b ] || fail 'the target is gone'
