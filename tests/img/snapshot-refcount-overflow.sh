#!/bin/bash
# SPDX-License-Identifier: MIT
# Refcounts that cannot count another snapshot: refused, and nothing is left behind.
. "$(dirname "$0")/lib.sh"

make_full data 1048576
for bits in 1 2; do
    ok convert -f raw -O qcow2 -o cluster_size=4k,refcount_bits=$bits data disk
    for i in $(seq $(((1 << bits) - 2))); do
        ok snapshot -c "s$i" disk
    done
    cp disk before
    refused "Could not create snapshot 'x': -22 (Invalid argument)" snapshot -c x disk
    "$img" snapshot -l before >list
    ok snapshot -l disk
    cmp list out || fail 'the list has changed'
    ok convert -f qcow2 -O raw disk out.raw
    cmp data out.raw || fail 'the disk has changed'
    if command -v qemu-img >/dev/null; then
        qemu-img check -q disk || fail 'check is not clean'
    fi
done
