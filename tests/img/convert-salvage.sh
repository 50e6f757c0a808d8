#!/bin/bash
# SPDX-License-Identifier: MIT
# --salvage: what cannot be read is zero in the copy, and told.
. "$(dirname "$0")/lib.sh"

requires_no_sanitizer
requires_file "$build/bad-disk.so"
make_full a 4M
export BAD_FILE=a BAD_OFFSET=2000000
run env LD_PRELOAD="$build/bad-disk.so" "$img" convert --salvage a b
expect_status 0
expect_err "$name: warning: error while reading offset 1999872: Input/output error"
dd if=/dev/zero of=a bs=512 seek=3906 count=1 conv=notrunc status=none
cmp a b
run env LD_PRELOAD="$build/bad-disk.so" "$img" convert -q --salvage a b
expect_status 0
expect_err ''
cmp a b
