#!/bin/bash
# SPDX-License-Identifier: MIT
# -S: the shortest hole; 0: no holes.
. "$(dirname "$0")/lib.sh"

make_image a
ok convert -S 0 a b
cmp a b
[ "$(disk_kib b)" -ge 16384 ] || fail "-S 0: $(disk_kib b) KiB"
# 64 KiB of data, 64 KiB of zeroes, and so on
for i in $(seq 0 2 30); do
    yes data | head -c 65536 | dd of=c bs=64k seek="$i" conv=notrunc status=none
done
truncate -s 2M c
cp --sparse=never c full
ok convert -S 64k full d
cmp c d
[ "$(disk_kib d)" -le 1032 ] || fail "-S 64k: $(disk_kib d) KiB"
ok convert -S 128k full d
cmp c d
[ "$(disk_kib d)" -ge 1980 ] || fail "-S 128k: $(disk_kib d) KiB"
ok convert -S 16M full d
cmp c d
