#!/bin/bash
# SPDX-License-Identifier: MIT
# resize takes sizes as such and relative ones, and says what is wrong with others.
. "$(dirname "$0")/lib.sh"

for fmt in raw qcow2; do
    ok create -q -f $fmt x 1M
    ok resize -f $fmt x 2M
    expect_out 'Image resized.'
    ok resize -f $fmt x +512k
    ok resize -q -f $fmt x +0
    expect_out ''
    ok info --output=json -f $fmt x
    expect_out_has '"virtual-size": 2621440,'
    ok resize --shrink -f $fmt x -1M
    ok info --output=json -f $fmt x
    expect_out_has '"virtual-size": 1572864,'
    ok resize --image-opts driver=$fmt,file.filename=x 3M
    ok info --output=json -f $fmt x
    expect_out_has '"virtual-size": 3145728,'

    refused 'New image size must be positive' resize -f $fmt x 0
    refused 'New image size must be positive' resize -f $fmt x -3M
    refused 'New image size must be positive' resize --shrink -f $fmt x -4M
    run "$img" resize -f $fmt x foo
    expect_status 1
    expect_err_has "^$name: Parameter 'size' expects a non-negative number below 2^64$"
    ok info --output=json -f $fmt x
    expect_out_has '"virtual-size": 3145728,'
done

refused 'The new size must be a multiple of 512' resize -f qcow2 x +1
refused 'Failed to grow the L1 table: File too large' resize -f qcow2 x 3P
run "$img" resize x
expect_status 1
expect_err_has "^$name: Not enough arguments$"
run "$img" resize -f qcow2 x 1M 2M
expect_status 1
expect_err_has "^$name: Expecting image file name and size$"
ok resize --help
expect_out_has '--shrink'
