#!/bin/bash
# SPDX-License-Identifier: MIT
# What one tool writes, the other finds identical; byte for byte.
. "$(dirname "$0")/../img/lib.sh"

requires qemu-img
make_image a
make_full b 5000000
truncate -s %512 b
for source in a b; do
    for options in '' '-m 16 -W' '-S 0' '-S 64k' '-t none -T none'; do
        # shellcheck disable=SC2086
        ok convert $options -f raw -O raw $source mine
        # shellcheck disable=SC2086
        qemu-img convert $options -f raw -O raw $source theirs || fail 'qemu-img convert'
        cmp mine theirs
        [ "$(disk_kib mine)" -le $(($(disk_kib theirs) + 64)) ] ||
            fail "$options: $(disk_kib mine) KiB, theirs $(disk_kib theirs)"
        qemu-img compare -f raw -F raw $source mine >out || fail 'qemu-img compare'
        ok compare -f raw -F raw $source theirs
        rm -f mine theirs
    done
done
