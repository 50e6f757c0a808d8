#!/bin/bash
# SPDX-License-Identifier: MIT
# Images that read the same: exit code 0, also when allocated otherwise.
. "$(dirname "$0")/lib.sh"

make_image a
cp --sparse=never a b
ok compare a b
expect_out 'Images are identical.'
ok compare -f raw -F raw a b
ok compare -q a b
expect_out ''
: >c
: >d
ok compare c d
expect_out 'Images are identical.'
