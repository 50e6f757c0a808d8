#!/bin/bash
# SPDX-License-Identifier: MIT
# No room for bitmaps: the exit code says so, and those that the image has stay as they are.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 a.qcow2 10M
ok bitmap --add a.qcow2 b0
size=$(($(stat -c %s a.qcow2) / 512 * 512 + 512))
truncate -s $size a.qcow2
o=driver=qcow2,file.driver=raw,file.size=$size,file.file.filename=a.qcow2
run "$img" bitmap --image-opts --add $o b1
expect_status 1
expect_err_has "^$name: Lost persistent bitmaps during inactivation of node '#block[0-9]*': Failed to .*: No space left on device$"
expect_err_has "^$name: Error while closing the image: Invalid argument$"
ok info a.qcow2
expect_out_has 'name: b0'
grep -q -e 'in-use' -e 'b1' out && fail 'b0 was touched, or b1 is there'
ok bitmap --disable a.qcow2 b0
