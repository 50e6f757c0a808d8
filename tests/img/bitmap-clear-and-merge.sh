#!/bin/bash
# SPDX-License-Identifier: MIT
# bitmap --merge adds the bits of another bitmap, with -b and -F of one in another image; --clear takes
# all bits away and leaves the bitmap.
. "$(dirname "$0")/lib.sh"
requires qemu-nbd nbdinfo
at_exit '[ ! -e pid ] || kill "$(cat pid)" 2>/dev/null'

# The 64 KiB pieces that are dirty in bitmap $2 of the image $1.
dirty() {
    rm -f socket
    qemu-nbd -r -f qcow2 -B "$2" -k "$PWD/socket" --fork --pid-file=pid "$1" || fail 'qemu-nbd'
    nbdinfo --map=qemu:dirty-bitmap:"$2" "nbd+unix:///?socket=$PWD/socket" |
        awk '$3 { printf "%s%d+%d", sep, $1 / 65536, $2 / 65536; sep = " " }'
    kill "$(cat pid)"
    while kill -0 "$(cat pid)" 2>/dev/null; do sleep 0.01; done
}

expect_dirty() {
    local is
    is=$(dirty "$1" "$2") || fail "bitmap $2 of $1"
    [ "$is" = "$3" ] || fail "dirty in $2 of $1: '$is' instead of '$3'"
}

ok create -q -f qcow2 a 4M
ok create -q -f qcow2 b 4M
ok bitmap --add -f qcow2 a one
ok bitmap --add b two
"$io" -c 'write 0 64k' -c 'write 1M 128k' a >/dev/null || fail 'write'
"$io" -c 'write 2M 64k' b >/dev/null || fail 'write'
expect_dirty a one '0+1 16+2'

ok bitmap --add --disable a all
ok bitmap --merge one a all
expect_dirty a all '0+1 16+2'
ok bitmap --merge two -b b -F qcow2 -f qcow2 a all
expect_dirty a all '0+1 16+2 32+1'
expect_dirty b two '32+1'
ok bitmap --clear a all
expect_dirty a all ''
expect_dirty a one '0+1 16+2'
# One after the other: cleared, then filled.
ok bitmap --clear --merge two -b b a one
expect_dirty a one '32+1'

refused '-F only supported with -b' bitmap --merge two -F qcow2 a one
refused 'Merge bitmap source file only supported with --merge' bitmap --clear -b b -F qcow2 a one
refused "Operation merge on bitmap one failed: Dirty bitmap 'three' not found" bitmap --merge three -b b a one
refused "Could not open 'none': Could not open 'none': No such file or directory" bitmap --merge two -b none -F qcow2 a one
