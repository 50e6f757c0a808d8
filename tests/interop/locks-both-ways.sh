#!/bin/bash
# SPDX-License-Identifier: MIT
# Each tool refuses to write to the source of the other one's copy.
. "$(dirname "$0")/../img/lib.sh"

requires qemu-img
make_full a 4M
make_full b 1M
"$img" convert -r 64K a mine &
at_exit "kill $! 2>/dev/null; wait"
wait_for_lock a 201
run qemu-img convert -f raw b a
expect_status 1
expect_err_has 'Failed to get "write" lock'
cp a d
qemu-img convert -f raw -O raw -r 64K d theirs &
at_exit "kill $! 2>/dev/null"
wait_for_lock d 201
refused "d: error while converting raw: Failed to get \"write\" lock
Is another process using the image [d]?" convert b d
