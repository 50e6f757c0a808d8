#!/bin/bash
# SPDX-License-Identifier: MIT
# With -C what is read from the backing file is in the image afterwards.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 base 1M
run "$io" -c 'write -q -P 3 64k 64k' base
ok create -q -f qcow2 -b base -F qcow2 over
run "$io" -C -c 'read -q -P 3 64k 64k' over
expect_status 0
expect_err ''
run "$io" -r -c 'alloc 64k 64k' over
expect_out '65536/65536 bytes allocated at offset 64 KiB'
run "$io" -c 'alloc 0 64k' over
expect_out '0/65536 bytes allocated at offset 0 bytes'
run "$io" -r -C over
expect_status 1
expect_err_has "Can't use copy-on-read on read-only device"
