#!/bin/bash
# SPDX-License-Identifier: MIT
# A longer image is the same if the rest is zero.
. "$(dirname "$0")/lib.sh"

make_image a
cp a b
truncate -s 20M b
ok compare a b
expect_out 'Warning: Image size mismatch!
Images are identical.'
ok compare b a
printf x | dd of=b bs=1 seek=20000000 conv=notrunc status=none
run "$img" compare a b
expect_status 1
expect_out 'Warning: Image size mismatch!
Content mismatch at offset 19999744!'
run "$img" compare -s a b
expect_status 1
expect_out 'Strict mode: Image size mismatch!'
