#!/bin/bash
# SPDX-License-Identifier: MIT
# create with a backing file: its format is asked for, its size taken, its name seen from the
# overlay's directory.
. "$(dirname "$0")/lib.sh"

mkdir dir
ok create -q -f qcow2 dir/base 3M
ok create -f qcow2 -b base -F qcow2 dir/ov
expect_out "Formatting 'dir/ov', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=3145728 backing_file=base backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16"
ok info dir/ov
expect_out_has 'actual path: dir/base'
run "$img" create -f qcow2 -b dir/base x
expect_status 1
expect_out ''
expect_err "$name: x: Backing file specified without backing format
Detected format of qcow2."
run "$img" create -f qcow2 -b base -F qcow2 x
expect_status 1
expect_err "$name: x: Could not open 'base': No such file or directory
Could not open backing image."
refused "x: Error: Trying to create an image with the same filename as the backing file" \
    create -f qcow2 -b x -F qcow2 x 1M
refused "x: Image creation needs a size parameter" create -f qcow2 -u -b base -F qcow2 x
ok create -q -f qcow2 -u -b base -F qcow2 x 1M
