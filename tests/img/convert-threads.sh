#!/bin/bash
# SPDX-License-Identifier: MIT
# A copy that is large enough for several threads: the same bytes and holes in each format, the same qcow2 file as by one coroutine;
# a source that is in the page cache in part; a target that fills up; a source that fails.
. "$(dirname "$0")/lib.sh"
requires qemu-img

make_full a 96M
for at in 0 5 6 17 40 41 42 43 77 95; do
    dd if=/dev/zero of=a bs=1M count=1 seek=$at conv=notrunc status=none
done
dd if=/dev/urandom of=a bs=4k count=3 seek=12801 conv=notrunc status=none
ok convert -O raw a b
cmp a b || fail 'raw to raw'
[ "$(disk_kib b)" -lt $((89 * 1024)) ] || fail 'zeroes are no holes'
ok convert -m 1 -O qcow2 b one.qcow2
for i in 1 2 3; do
    ok convert -O qcow2 b c.qcow2
    cmp one.qcow2 c.qcow2 || fail 'the order of clusters is not that of one coroutine'
done
qemu-img compare -q a c.qcow2 || fail 'raw to qcow2'
ok convert -O qcow2 -o cluster_size=4k,extended_l2=off c.qcow2 d.qcow2
qemu-img compare -q a d.qcow2 || fail 'qcow2 to qcow2'
qemu-img check -q d.qcow2 || fail 'the copy is damaged'
ok convert -O raw d.qcow2 e
cmp a e || fail 'qcow2 to raw'
ok convert -W -m 16 -O qcow2 a f.qcow2
qemu-img compare -q a f.qcow2 || fail '-W'
ok convert -O raw a a g
cmp <(cat a a) g || fail 'two sources'

# What of the source is not in the page cache comes by way of workers.
sync a
dd of=a oflag=nocache conv=notrunc,fdatasync count=0 status=none
dd if=a of=/dev/null bs=192k skip=100 count=40 status=none
ok convert -O raw a h
cmp a h || fail 'from the disk'

run bash -c 'trap "" XFSZ; ulimit -f 60000; exec "$@"' bash "$img" convert -O qcow2 a i
expect_status 1
expect_err_has "^$name: error while writing at byte [0-9]*: File too large$"
[ "$(wc -l <err)" = 1 ] || fail 'the failure is told more than once'
