#!/bin/bash
# SPDX-License-Identifier: MIT
# convert -l reads a snapshot, chosen by id or name, at the size that the disk had then.
. "$(dirname "$0")/lib.sh"

requires qemu-img
make_full small 1048576
make_full large 2097152
ok convert -f raw -O qcow2 small disk
ok snapshot -c s disk
qemu-img resize -q disk 2M
ok convert -n -f raw -O qcow2 large disk
ok snapshot -c 7 disk
ok snapshot -c 1 disk
for i in s 1 snapshot.id=1 snapshot.name=s snapshot.id=1,snapshot.name=s; do
    ok convert -l $i -O raw disk out.raw
    cmp out.raw small || fail "-l $i"
done
for i in 7 2 snapshot.id=2 snapshot.name=7 snapshot.name=1; do
    ok convert -l $i -O raw disk out.raw
    cmp out.raw large || fail "-l $i"
done
cant="Failed to load snapshot: Can't find snapshot"
for i in x '' snapshot.id=7 snapshot.name=2 snapshot.id=1,snapshot.name=7; do
    refused "$cant" convert -l "$i" -O raw disk out.raw
done
run "$img" convert -l snapshot.foo=1 -O raw disk out.raw
expect_status 1
expect_err "$name: Invalid parameter 'snapshot.foo'
$name: Failed in parsing snapshot param 'snapshot.foo=1'"
refused 'No support for concatenating multiple snapshot' convert -l 1 -O raw disk disk out.raw
refused "Failed to load snapshot: Block format 'raw' used by device '' does not support temporarily \
loading internal snapshots" convert -l 1 -f raw -O raw small out.raw
