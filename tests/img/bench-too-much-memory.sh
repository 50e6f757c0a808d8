#!/bin/bash
# SPDX-License-Identifier: MIT
# More buffers than there is memory: an error, no crash.
. "$(dirname "$0")/lib.sh"

truncate -s 4G a
export ASAN_OPTIONS=allocator_may_return_null=1 TSAN_OPTIONS=allocator_may_return_null=1
run "$img" bench -c 2000000000 -d 2000000000 -s 2147483647 a
expect_status 1
expect_err_has "^$name: Not enough memory for "
