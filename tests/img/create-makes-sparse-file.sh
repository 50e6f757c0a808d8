#!/bin/bash
# SPDX-License-Identifier: MIT
# create makes a file of the size with no space taken.
. "$(dirname "$0")/lib.sh"

ok create -f raw a.img 1G
expect_out "Formatting 'a.img', fmt=raw size=1073741824"
[ "$(stat -c %s a.img)" = 1073741824 ] || fail 'size'
[ "$(disk_kib a.img)" -le 4 ] || fail 'not sparse'
ok create b.img 1.5k
[ "$(stat -c %s b.img)" = 1536 ] || fail 'size'
ok create -o size=3M c.img
[ "$(stat -c %s c.img)" = 3145728 ] || fail 'size'
