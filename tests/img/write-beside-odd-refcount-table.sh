#!/bin/bash
# SPDX-License-Identifier: MIT
# An entry of the refcount table that has reserved bits alone names no block: one is made there.
. "$(dirname "$0")/lib.sh"

ok create -f qcow2 -o cluster_size=512 disk 1M
table=$((0x$(dd if=disk bs=1 skip=48 count=8 status=none | od -An -v -tx1 | tr -d ' \n')))
printf '\x37' | dd of=disk bs=1 seek=$((table + 15)) conv=notrunc status=none
run "$io" -f qcow2 -c 'write -P 7 0 512k' -c 'read -P 7 0 512k' disk
expect_status 0 'write'
! grep -q failed out || fail 'not what was written'
ok check disk
