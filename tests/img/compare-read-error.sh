#!/bin/bash
# SPDX-License-Identifier: MIT
# Exit code 4 when an image cannot be read.
. "$(dirname "$0")/lib.sh"

requires_no_sanitizer
requires_file "$build/bad-disk.so"
make_full a 4M
cp a b
run env LD_PRELOAD="$build/bad-disk.so" BAD_FILE=b BAD_OFFSET=3000000 "$img" compare a b
expect_status 4
expect_err_has "^$name: Error while reading offset [0-9]* of b: Input/output error$"
# what differs before that place counts
printf x | dd of=b bs=1 seek=100000 conv=notrunc status=none
run env LD_PRELOAD="$build/bad-disk.so" BAD_FILE=b BAD_OFFSET=3000000 "$img" compare a b
expect_status 1
expect_out 'Content mismatch at offset 99840!'
