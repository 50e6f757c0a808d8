#!/bin/bash
# SPDX-License-Identifier: MIT
# A header that claims 2^31 snapshots: the repair counts what it drops without overflow.
. "$(dirname "$0")/lib.sh"

ok create -f qcow2 -o cluster_size=4k disk 1M
ok snapshot -c first disk
printf '\x80\x00\x00\x00' | dd of=disk bs=1 seek=60 conv=notrunc status=none
run "$img" check -r all disk
expect_err_has '^Discarding 2147418112 overhanging snapshots'
! grep -q '^ *-' out || fail 'a negative number'
ok check disk
