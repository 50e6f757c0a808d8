#!/bin/bash
# SPDX-License-Identifier: MIT
# A target that QEMU reads and lets nobody write to: refused, not emptied.
. "$(dirname "$0")/lib.sh"

requires qemu-img
make_image a
make_full b 4M
cp b before
qemu-img convert -f raw -O raw -r 32K b c & # two minutes, if nobody kills it
at_exit "kill $!; wait"
wait_for_lock b 201
refused "b: error while converting raw: Failed to get \"write\" lock
Is another process using the image [b]?" convert a b
refused "Could not open 'b': Failed to get \"write\" lock
Is another process using the image [b]?" convert -n a b
run "$img" create -q b 1M
expect_status 1
expect_err "$name: b: Failed to get \"write\" lock
Is another process using the image [b]?"
run "$img" bench -w -c 1 -f raw b
expect_status 1
cmp b before || fail 'the target was changed'
