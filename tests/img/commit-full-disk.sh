#!/bin/bash
# SPDX-License-Identifier: MIT
# A base that cannot take it: an error, and both images read as before.
. "$(dirname "$0")/lib.sh"
requires qemu-img qemu-io

qemu-img create -qf qcow2 base 8M
qemu-img create -qf qcow2 -b base -F qcow2 top
qemu-io -f qcow2 -c 'write -P 3 0 4M' top >/dev/null
cp top top.old
run bash -c 'trap "" XFSZ; ulimit -f 1500; exec "$@"' bash "$img" commit top
expect_status 1
expect_err "$name: Block job failed: File too large"
expect_out ''
cmp top top.old || fail 'the overlay was changed'
qemu-img check -q base || [ $? = 3 ] || fail 'the base is damaged'
qemu-io -f qcow2 -c 'read -P 3 0 4M' top | grep -q failed && fail 'top reads differently'
ok commit top
qemu-io -f qcow2 -c 'read -P 3 0 4M' base | grep -q failed && fail 'base lacks data'
qemu-img check -q base || fail 'check of base'
