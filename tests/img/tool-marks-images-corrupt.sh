#!/bin/bash
# SPDX-License-Identifier: MIT
# Damage that is met while an image is in use: what is said, what the image remembers, and what
# still works after that.
. "$(dirname "$0")/lib.sh"

io=${QEMU_IO_MINI:-$(dirname "$img")/../qemu-io-mini/qemu-io-mini}
requires_file "$io"
poke() { printf "$2" | dd of="$3" bs=1 seek=$(($1)) conv=notrunc status=none; }
corrupt() { [ "$(od -An -tu1 -j79 -N1 a | tr -d ' ')" = "$1" ] || fail "corrupt bit is not $1"; }
fresh() {
    rm -f a
    ok create -q -f qcow2 a 64M
    run "$io" -c 'write 0 64k' a
    expect_status 0
}
marked() {
    expect_err "qcow2: Marking image as corrupt: $1; further corruption events will be suppressed"
    corrupt 2
}

# An L2 entry that leads into the refcount block.
fresh
poke 0x40000 '\x80\0\0\0\0\x02\0\0' a
run "$io" -c 'write 0 512' a
expect_out 'write failed: Input/output error'
marked 'Preventing invalid write on metadata (overlaps with refcount block)'
run "$io" -c 'write 0 512' a
expect_status 1
expect_err_has 'qcow2: Image is corrupt; cannot be opened read/write$'
run "$io" -r -c 'read 0 512' a
expect_status 0

# Unaligned tables and clusters; reading alone marks nothing.
fresh
poke 0x30000 '\x80\0\0\0\0\x04\x2a\0' a
run "$io" -r -c 'read 0 512' a
expect_err 'qcow2: Image is corrupt: L2 table offset 0x42a00 unaligned (L1 index: 0); further non-fatal corruption events will be suppressed'
corrupt 0
run "$io" -c 'read 0 512' -c 'read 0 512' a
expect_out 'read failed: Input/output error
read failed: No medium found'
marked 'L2 table offset 0x42a00 unaligned (L1 index: 0)'

fresh
poke 0x40000 '\x80\0\0\0\0\x05\x2a\0' a
run "$io" -c 'write 0 64k' a
marked 'Data cluster offset 0x52a00 unaligned (guest offset: 0)'

# The kinds of metadata to be kept off can be chosen.
fresh
poke 0x40000 '\x80\0\0\0\0\x02\0\0' a
run "$io" -c 'open -o overlap-check=constant a' -c 'write 0 512'
expect_status 0
corrupt 0
run "$io" -c 'open -o overlap-check=none,overlap-check.template=all a'
expect_err_has "Conflicting values for qcow2 options 'overlap-check' ('none') and 'overlap-check.template' ('all')"
