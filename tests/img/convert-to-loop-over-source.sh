#!/bin/bash
# SPDX-License-Identifier: MIT
# The target is the source, one of them as a loop device over the other.
. "$(dirname "$0")/lib.sh"

requires_root
requires losetup
make_image disk
cp disk before
loop=$(losetup -f --show disk 2>/dev/null) || skip 'no loop device'
at_exit "losetup -d $loop"
again=$(losetup -f --show disk) || skip 'no second loop device'
at_exit "losetup -d $again"
refused "disk: The target is the same file as the source '$loop'" convert "$loop" disk
refused "$loop: The target is the same file as the source 'disk'" convert disk "$loop"
refused "$again: The target is the same file as the source '$loop'" convert -n "$loop" "$again"
cmp disk before

# two parts of one disk are different
first=$(losetup -f --show --sizelimit 4M disk) || skip 'no third loop device'
at_exit "losetup -d $first"
second=$(losetup -f --show -o 4M --sizelimit 4M disk) || skip 'no fourth loop device'
at_exit "losetup -d $second"
ok convert -n "$first" "$second"
cmp "$first" "$second"
refused "disk: The target is the same file as the source '$second'" convert "$second" disk
