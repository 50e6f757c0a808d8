#!/bin/bash
# SPDX-License-Identifier: MIT
# The target is the source, as the same block device by another name.
. "$(dirname "$0")/lib.sh"

requires_root
requires losetup
truncate -s 1M disk
loop=$(losetup -f --show disk 2>/dev/null) || skip 'no loop device'
at_exit "losetup -d $loop"
mknod other b $((0x$(stat -c %t "$loop"))) $((0x$(stat -c %T "$loop"))) || skip 'no mknod'
[ -b other ] && head -c 1 other >/dev/null 2>&1 || skip 'device nodes do not work here'
refused "other: The target is the same file as the source '$loop'" convert -n "$loop" other
refused "other: The target is the same file as the source '$loop'" convert -U "$loop" other
