#!/bin/bash
# SPDX-License-Identifier: MIT
# A snapshot keeps the disk as it was: read by itself, applied, and until it is deleted.
. "$(dirname "$0")/lib.sh"

make_full one 3145728
yes 'something else' | head -c 3145728 >two
ok convert -f raw -O qcow2 one disk
ok snapshot -c first disk
expect_out ''
ok convert -n -f raw -O qcow2 two disk
ok snapshot -q -c second disk
expect_out ''
ok snapshot -l disk
expect_out_has '^Snapshot list:$'
expect_out_has '^ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT$'
expect_out_has '^1         first                 0 B 20..-..-.. ..:..:.. 00:00:00\.000          0$'
expect_out_has '^2         second                0 B 20..-..-.. ..:..:.. 00:00:00\.000          0$'

for i in first:one second:two; do
    ok convert -l "${i%:*}" -f qcow2 -O raw disk out.raw
    cmp out.raw "${i#*:}" || fail "snapshot ${i%:*} reads wrong"
done
ok convert -f qcow2 -O raw disk out.raw
cmp out.raw two || fail 'reading a snapshot has changed the disk'

ok snapshot -a first disk
ok convert -f qcow2 -O raw disk out.raw
cmp out.raw one || fail 'the first snapshot was not applied'
ok snapshot -d first disk
ok convert -f qcow2 -O raw disk out.raw
cmp out.raw one || fail 'deleting the snapshot has changed the disk'
ok snapshot -a 2 disk
ok convert -f qcow2 -O raw disk out.raw
cmp out.raw two || fail 'the second snapshot was not applied by its id'
ok snapshot -d second disk
ok snapshot -l disk
expect_out ''
