#!/bin/bash
# SPDX-License-Identifier: MIT
# From a file to a block device and back.
. "$(dirname "$0")/lib.sh"

requires_root
requires losetup
make_image a
make_full disk 16M
loop=$(losetup -f --show disk 2>/dev/null) || skip 'no loop device'
at_exit "losetup -d $loop"
ok convert -n -O raw a "$loop"
cmp a "$loop" || fail 'device contents'
ok convert -f raw "$loop" b
cmp a b
ok info "$loop"
expect_out_has '^virtual size: 16 MiB'
make_full a 16M
ok convert -O raw a "$loop"
cmp a "$loop" || fail 'device contents without -n'
