#!/bin/bash
# SPDX-License-Identifier: MIT
# create makes a file of the size with no space taken.
. "$(dirname "$0")/lib.sh"

ok create -f raw a.img 1G
expect_out "Formatting 'a.img', fmt=raw size=1073741824"
[ "$(stat -c %s a.img)" = 1073741824 ] || fail 'size'
[ "$(disk_kib a.img)" -le 4 ] || fail 'not sparse'
# As QEMU does: one block of data tells readers how direct I/O must be aligned.
[ "$(disk_kib a.img)" -gt 0 ] || fail "the first block is not allocated"
ok create b.img 1.5k
[ "$(stat -c %s b.img)" = 1536 ] || fail 'size'
ok create -o size=3M c.img
[ "$(stat -c %s c.img)" = 3145728 ] || fail 'size'

# The first block is there, so that alignment can be probed with O_DIRECT; a short file's first sector.
ok map --output=json -f raw a.img
expect_out_has '^\[{ "start": 0, "length": 4096, .*"data": true, "offset": 0},$'
