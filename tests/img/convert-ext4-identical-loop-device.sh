#!/bin/bash
# SPDX-License-Identifier: MIT
# From a loop device to another one that is full of other data: identical, clean for e2fsck.
. "$(dirname "$0")/lib.sh"
. "$here/ext4.sh"
requires losetup blockdev
requires_root

make_ext4 disk.img
# attach FILE: sets $device; gone at the end
attach() {
    device=$(losetup --show -f "$1" 2>err) || skip "no loop device to be had: $(cat err)"
    at_exit "losetup -d $device"
}
attach disk.img
from=$device
make_full target.img "$(stat -c %s disk.img)"
attach target.img
to=$device

ok convert -n -f raw -O raw "$from" "$to"
expect_same_ext4 disk.img "$to"

# Past the page cache, with Linux AIO.
make_full other.img "$(stat -c %s disk.img)"
attach other.img
how=driver=raw,file.driver=host_device,file.aio=native,file.cache.direct=on
ok convert -n -m 16 --image-opts --target-image-opts \
    "$how,file.filename=$from" "$how,file.filename=$device"
blockdev --flushbufs "$device"
expect_same_ext4 disk.img "$device"

# And what is a device in a plain file.
ok convert -f raw -O raw "$from" copy.img
expect_same_ext4 disk.img copy.img
