#!/bin/bash
# SPDX-License-Identifier: MIT
# A snapshot whose L1 table cannot be where the image says, or cannot be so long: what needs the
# table says so. A guest's writes go on, unless they have to be kept off such tables.
. "$(dirname "$0")/lib.sh"

requires xxd

# The bytes of $2 (hexadecimal) at $1 of the entry of the snapshot.
damage() {
    local table

    "$img" create -q -f qcow2 t.q 64M
    "$io" -f qcow2 -c 'write 0 512' t.q >/dev/null
    "$img" snapshot -c sn t.q
    table=$((0x$(xxd -s 64 -l 8 -p t.q)))
    printf '%s' "$2" | xxd -r -p | dd of=t.q bs=1 seek=$((table + $1)) conv=notrunc status=none
}

# Field, what is said of it, the error that comes of it.
expect_damage() {
    local said=$3 error=$4

    damage "$1" "$2"
    run "$img" amend -o compat=0.10 t.q
    expect_status 1 'the zero clusters of the snapshot cannot be found'
    expect_err "$name: $said
$name: Failed to turn zero into data clusters: $error"
    run "$io" -c 'open -o overlap-check.inactive-l2=on t.q' -c 'write 0 4M'
    expect_status 1 'there is no telling what a write would hit'
    expect_out "write failed: $error"
    expect_err "${io##*/}: Failed to flush the refcount block cache: $error"
    run "$io" -f qcow2 -c 'write 0 4M' t.q
    expect_status 0 'the active disk is in order'
}

expect_damage 0 0000000000400200 'Snapshot L1 table offset invalid' 'Invalid argument'
expect_damage 8 10000000 'Snapshot L1 table too large' 'File too large'
