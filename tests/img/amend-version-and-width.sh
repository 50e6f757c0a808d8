#!/bin/bash
# SPDX-License-Identifier: MIT
# amend changes version and refcount width; what reads as zeroes still does, over a backing file
# and in snapshots too.
. "$(dirname "$0")/lib.sh"
requires qemu-io qemu-img

yes below | head -c 2M >base
for backing in '' ,backing_file=base,backing_fmt=raw; do
    ok create -q -f qcow2 -o cluster_size=4k$backing x 2M
    qemu-io -c 'write -P 1 0 512k' -c 'write -z 64k 64k' -c 'write -zu 128k 64k' \
        -c 'write -z 1M 64k' x >/dev/null || fail 'qemu-io'
    ok snapshot -c one x
    qemu-io -c 'write -z 256k 64k' -c 'write -P 2 1M 8k' x >/dev/null || fail 'qemu-io'
    ok convert -f qcow2 -O raw x now
    ok convert -f qcow2 -l one -O raw x then
    for change in refcount_bits=64 refcount_bits=2 refcount_bits=16 compat=0.10 compat=1.1 \
        compat=0.10 compat=1.1,refcount_bits=32,lazy_refcounts=on compat=0.10,refcount_bits=16; do
        ok amend -f qcow2 -o $change x
        expect_out ''
        qemu-img check -q x || fail "$change: check"
        ok compare -f qcow2 -F raw x now
        ok convert -f qcow2 -l one -O raw x got
        cmp got then || fail "$change: the snapshot has changed"
    done
    ok info -f qcow2 x
    expect_out_has 'compat: 0.10'
done

ok create -q -f qcow2 x 1M
refused 'compat=0.10 requires refcount_bits=16' \
    amend --image-opts -o compat=0.10 driver=qcow2,file.filename="$(
        "$img" create -q -f qcow2 -o refcount_bits=8 y 1M >/dev/null
        echo y
    )"
refused 'Cannot downgrade an image with incompatible features 0x10 set' \
    amend -f qcow2 -o compat=0.10 "$(
        "$img" create -q -f qcow2 -o extended_l2=on z 1M >/dev/null
        echo z
    )"
ok snapshot -c a x
ok snapshot -c b x
qemu-io -c 'write 0 64k' x >/dev/null
ok snapshot -c c x
ok snapshot -c d x
run "$img" amend -f qcow2 -o refcount_bits=1 x
expect_status 1
expect_err_has 'Cannot decrease refcount entry width to 1 bits: Cluster at offset 0x[0-9a-f]* has a'
qemu-img check -q x || fail 'check'
