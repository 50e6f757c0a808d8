#!/bin/bash
# SPDX-License-Identifier: MIT
# An ext4 image converted through the page cache, by the threads engine: identical, as
# sparse as the source, clean for e2fsck. The same with direct I/O by threads.
. "$(dirname "$0")/lib.sh"
. "$here/ext4.sh"

make_ext4 disk.img
ok convert -f raw -O raw disk.img copy.img
expect_same_ext4 disk.img copy.img
expect_as_sparse disk.img copy.img

requires_direct
ok convert -f raw -O raw -T none -t none disk.img direct.img
expect_same_ext4 disk.img direct.img
expect_as_sparse disk.img direct.img
