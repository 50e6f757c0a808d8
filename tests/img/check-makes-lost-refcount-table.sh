#!/bin/bash
# SPDX-License-Identifier: MIT
# An image whose header names no refcount table cannot be opened, but check makes a new one.
. "$(dirname "$0")/lib.sh"

io=${QEMU_IO_MINI:-$(dirname "$img")/../qemu-io-mini/qemu-io-mini}
requires_file "$io"

ok create -q -f qcow2 a 16M
run "$io" -c 'write -P 7 1M 64k' a
expect_status 0
head -c 12 /dev/zero | dd of=a bs=1 seek=48 conv=notrunc status=none
run "$io" -c 'read -P 7 1M 64k' a
expect_status 1
expect_err_has 'Image does not contain a reference count table$'
run "$img" check a
expect_status 2
expect_err_has '^ERROR cluster 0 refcount=0 reference=1$'
run "$img" check -r all a
expect_status 0
expect_err_has '^Rebuilding refcount structure$'
ok check a
run "$io" -c 'read -P 7 1M 64k' a
expect_status 0
