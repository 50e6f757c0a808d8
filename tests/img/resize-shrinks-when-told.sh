#!/bin/bash
# SPDX-License-Identifier: MIT
# An image becomes smaller only with --shrink; then a qcow2 file does so too, and what was cut
# off does not come back when the image grows again.
. "$(dirname "$0")/lib.sh"

make_full pattern 4194304
for opts in cluster_size=64k cluster_size=4k,compat=0.10 cluster_size=16k,extended_l2=on; do
    ok convert -f raw -O qcow2 -o $opts pattern x
    before=$(stat -c %s x)
    run "$img" resize -f qcow2 x 1000448
    expect_status 1
    expect_out ''
    expect_err "$name: Use the --shrink option to perform a shrink operation.
$name: warning: Shrinking an image will delete all data beyond the shrunken image's end. \
Before performing such an operation, make sure there is no important data there."
    [ "$(stat -c %s x)" = "$before" ] || fail 'the file has changed'
    refused "Preallocation can only be used for growing images" \
        resize --shrink --preallocation=metadata -f qcow2 x 1M

    ok resize --shrink -f qcow2 x 1000448
    [ "$(stat -c %s x)" -lt $((before / 3)) ] || fail "the file has still $(stat -c %s x) bytes"
    head -c 1000448 pattern >expected
    ok compare -f qcow2 -F raw x expected

    ok resize -f qcow2 x 4M
    truncate -s 4M expected
    ok compare -f qcow2 -F raw x expected
done
