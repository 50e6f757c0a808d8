#!/bin/bash
# SPDX-License-Identifier: MIT
# Tables that need more contiguous clusters than one refcount block describes: with small
# clusters an L1 table and the table of a bitmap soon do.
. "$(dirname "$0")/lib.sh"

sound() {
    ok check disk
    expect_out_has '^No errors were found'
}

for bits in 1 16 64; do
    rm -f disk
    ok create -f qcow2 -o cluster_size=512,refcount_bits=$bits disk 1M
    run "$io" -f qcow2 -c 'write -P 5 0 1M' disk
    expect_status 0
    ok resize -q disk 3G
    sound
    ok resize -q disk 40G
    sound
    ok bitmap --add -g 512 disk marks
    sound
    run "$io" -f qcow2 -c 'read -P 5 0 1M' -c 'write -P 6 39G 64k' -c 'read -P 6 39G 64k' disk
    expect_status 0
    ! grep -q failed out || fail "contents with refcount_bits=$bits"
    sound
    # It is metadata of some MiB, not one block for each of its ranges up to the limit.
    [ "$(disk_kib disk)" -lt 65536 ] || fail "$(disk_kib disk) KiB with refcount_bits=$bits"
done
