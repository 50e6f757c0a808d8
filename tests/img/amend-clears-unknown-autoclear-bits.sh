#!/bin/bash
# SPDX-License-Identifier: MIT
# amend changes the image without what an unknown autoclear bit stands for: the bit goes, as with every change.
. "$(dirname "$0")/lib.sh"

for options in refcount_bits=32 lazy_refcounts=on; do
    ok create -q -f qcow2 a.qcow2 1M
    printf '\x20' | dd of=a.qcow2 bs=1 seek=95 conv=notrunc status=none
    ok amend -q -o "$options" a.qcow2
    [ "$(od -An -tx1 -j 88 -N 8 a.qcow2)" = ' 00 00 00 00 00 00 00 00' ] || fail "amend -o $options keeps the bit"
done
