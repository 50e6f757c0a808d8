#!/bin/bash
# SPDX-License-Identifier: MIT
# commit moves what an overlay holds into the layer below, or a layer further down; the overlay is
# empty afterwards unless it is to be dropped. A base that is too short grows.
. "$(dirname "$0")/lib.sh"
requires qemu-img qemu-io

chain() {
    rm -f base mid top
    make_image base
    truncate -s 8M base
    qemu-img create -qf qcow2 -b base -F raw mid 10M
    qemu-io -f qcow2 -c 'write -P 2 64k 4k' -c 'write -z 1M 1M' -c 'write -P 9 9M 64k' mid >/dev/null
    qemu-img create -qf qcow2 -b mid -F qcow2 top 12M
    qemu-io -f qcow2 -c 'write -P 3 68k 4k' -c 'write -z 128k 64k' -c 'write -P 4 5M 1M' \
        -c 'write -P 5 11M 64k' top >/dev/null
    qemu-img convert -O raw top model
}
same() {
    qemu-img compare -q model "$1" || fail "$1 reads differently"
    case $(qemu-img info "$1") in *'format: qcow2'*) qemu-img check -q "$1" || fail "check of $1" ;; esac
}

chain
ok commit top
expect_out 'Image committed.'
same mid
same top
[ "$(stat -c %s top)" -le 327680 ] || fail 'the overlay is not empty'
ok commit -q -t none mid
expect_out ''
same base
same mid
[ "$(stat -c %s base)" = $((12 * 1024 * 1024)) ] || fail 'the base has not grown'

chain
before=$(md5sum <top)
ok commit -d -p top
same mid
[ "$before" = "$(md5sum <top)" ] || fail 'the overlay was changed in spite of -d'
# Into the lowest layer; the overlay stays.
chain
before=$(md5sum <top)
ok commit -b base -r 50M top
same base
[ "$before" = "$(md5sum <top)" ] || fail 'the overlay was changed in spite of -b'
# Snapshots keep what is theirs.
chain
qemu-img snapshot -c s top
ok commit top
same mid
same top
qemu-img snapshot -a s top
same top

# A layer in between that ends before hides the rest of the base: that becomes zeroes.
rm -f base mid top
make_full base 2097152
qemu-img create -qf qcow2 -b base -F raw mid 1M
qemu-img create -qf qcow2 -b mid -F qcow2 top 2M
qemu-img convert -O raw top model
ok commit -b base top
same base
cmp -s base model || fail 'the base shows again behind the end of the layer in between'

refused 'Image does not have a backing file' commit -f raw base
refused "Did not find 'top' in the backing chain of 'top'" commit -b top top
refused "Did not find 'none' in the backing chain of 'top'" commit -b none top
refused "Invalid cache option: foo" commit -t foo top
