#!/bin/bash
# SPDX-License-Identifier: MIT
# The first difference is told by its sector, exit code 1.
. "$(dirname "$0")/lib.sh"

make_image a
differs() {
    run "$img" compare a b
    expect_status 1
    expect_err ''
    expect_out "Content mismatch at offset $1!"
}
for at in 0 511 512 400000 1048576 5255168 16777215; do
    cp a b
    printf x | dd of=b bs=1 seek=$at conv=notrunc status=none
    differs $((at / 512 * 512))
done
# of several, the first
cp a b
for at in 15000000 9000000 3000000; do
    printf x | dd of=b bs=1 seek=$at conv=notrunc status=none
done
differs 2999808
run "$img" compare -q a b
expect_status 1
expect_out ''
