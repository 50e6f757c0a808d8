#!/bin/bash
# SPDX-License-Identifier: MIT
# rebase keeps what the image reads as: onto another base, shorter or longer, onto a layer of its own
# chain, onto nothing. -u only changes the name.
. "$(dirname "$0")/lib.sh"
requires qemu-img qemu-io

setup() {
    rm -f base mid top short.q long
    make_image base
    truncate -s 8M base
    qemu-img create -qf qcow2 -b base -F raw mid 10M
    qemu-io -f qcow2 -c 'write -P 2 64k 4k' -c 'write -z 1M 1M' -c 'write -P 9 9M 64k' mid >/dev/null
    qemu-img create -qf qcow2 "$@" -b mid -F qcow2 top 12M
    qemu-io -f qcow2 -c 'write -P 3 68k 4k' -c 'write -z 128k 64k' -c 'write -P 5 11M 64k' top >/dev/null
    qemu-img create -qf qcow2 short.q 6M
    qemu-io -f qcow2 -c 'write -P 8 1M 1M' -c 'write -z 4M 64k' short.q >/dev/null
    make_full long 14M
    qemu-img convert -O raw top model
}
same() {
    qemu-img check -q top || fail 'check finds something'
    qemu-img compare -q model top || fail 'the image reads differently'
}

for o in cluster_size=64k extended_l2=on compat=0.10; do
    for to in '-b short.q -F qcow2' '-b long -F raw' '-b base -F raw' '-b '; do
        [ $o = compat=0.10 ] && [[ $to = *base* ]] && continue
        setup -o $o
        # shellcheck disable=SC2086
        if [ "$to" = '-b ' ]; then
            ok rebase -b '' top
            qemu-img info top | grep -q backing && fail 'there is a backing file still'
        else
            ok rebase $to -t none -T none top
        fi
        same
    done
done
# What is the same in both is not copied: the new base is a copy of the old chain.
setup
qemu-img convert -O qcow2 mid copy
before=$(qemu-img check --output=json top | grep allocated-clusters)
ok rebase -b copy -F qcow2 top
same
[ "$before" = "$(qemu-img check --output=json top | grep allocated-clusters)" ] ||
    fail 'clusters were copied for nothing'
# The name alone, and all other extensions of the header are kept.
setup
qemu-img bitmap --add top b0
ok rebase -u -b nowhere -F raw top
qemu-img info -U top >info
grep -q 'backing file: nowhere' info || fail 'another name'
grep -q 'backing file format: raw' info || fail 'another format'
grep -q 'name: b0' info || fail 'the bitmap is gone'
ok rebase -u -b mid -F qcow2 top
same

refused "Could not change the backing file to 'base': backing format must be specified" \
    rebase -u -b base top
refused "Invalid format name: 'foo'" rebase -u -b base -F foo top
refused "Could not open new backing file 'none': Could not open 'none': No such file or directory" \
    rebase -b none -F raw top
run "$img" rebase -u -b "$(printf %01024d 1)" -F raw top
expect_status 1
expect_err_has 'Could not change the backing file to .*: Invalid argument'
qemu-img create -qf qcow2 -o cluster_size=512 small 1M
run "$img" rebase -u -b "$(printf %0500d 1)" -F raw small
expect_status 1
expect_err_has 'No space left in the file header'
run "$img" rebase top
expect_status 1
expect_err_has 'Must specify backing file (-b) or use unsafe mode (-u)'
# Version 2 has no zero clusters: what read as zeroes without a backing file stays so.
qemu-img create -qf qcow2 -o compat=0.10 v2 1M
ok rebase -b long -F raw v2
if qemu-io -c 'read -P 0 0 1M' v2 | grep -q failed; then
    fail 'the new backing file shines through'
fi
