# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Sourced behind lib.sh by the convert-ext4-*.sh scripts: a real file system as the source,
# and what must be true of a copy.

export PATH=$PATH:/usr/sbin:/sbin
requires mke2fs e2fsck tar

# A sparse ext4 image $1 of 96 MiB with about 24 MiB of this machine's files.
make_ext4() {
    "$here/../../scripts/make-image" "$1" 24 96 || fail 'could not make an ext4 image'
}

# The copy $2 holds what the source $1 holds, for cmp, for the system's qemu-img and for e2fsck.
expect_same_ext4() {
    cmp "$1" "$2" || fail "$2 differs from $1"
    if command -v qemu-img >/dev/null; then
        qemu-img compare -q -f raw -F raw "$1" "$2" || fail "qemu-img compare: $2 differs"
    fi
    e2fsck -fn "$2" >out 2>err || fail "e2fsck -fn is not content with $2"
}

# The copy $2 takes no more of the disk than the source $1, but for the metadata of the file
# system both are on.
expect_as_sparse() {
    sync "$2"
    [ "$(disk_kib "$2")" -le $(($(disk_kib "$1") + 64)) ] ||
        fail "$2 takes $(disk_kib "$2") KiB of disk, its source $(disk_kib "$1")"
}
