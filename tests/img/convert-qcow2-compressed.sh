#!/bin/bash
# SPDX-License-Identifier: MIT
# -c: the same file whatever the number of coroutines; the last cluster may be short; what cannot be
# compressed is refused, or written as it is.
. "$(dirname "$0")/lib.sh"
requires qemu-img

make_image a
head -c 300000 /dev/urandom | dd of=a bs=1M seek=8 conv=notrunc status=none
truncate -s 16784384 a # 7 KiB behind the last whole cluster
yes 'the very end' | head -c 3000 | dd of=a bs=512 seek=32775 conv=notrunc status=none
for type in zlib zstd; do
    ok convert -c -O qcow2 -m 1 -o compression_type=$type a first
    for m in 2 8 16; do
        ok convert -c -O qcow2 -m $m -o compression_type=$type a other
        cmp first other || fail "another file with $m coroutines"
    done
    qemu-img check -q first || fail "check finds something"
    ok compare -q a first
    ok convert -c -W -m 8 -O qcow2 -o compression_type=$type a other
    ok compare -q a other
    ok convert -O raw first back
    cmp a back || fail 'read back differently'
done
# Parts of two sources in one cluster.
make_full b 99840
cat b a >both
ok convert -c -O qcow2 b a c
ok compare -q c both
refused 'Compression not supported for this file format' convert -c -O raw a t
refused 'Compression and preallocation not supported at the same time' \
    convert -c -O qcow2 -o preallocation=metadata a t
[ ! -e t ] || fail 'there is a target'
