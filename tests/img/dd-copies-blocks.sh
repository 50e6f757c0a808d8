#!/bin/bash
# SPDX-License-Identifier: MIT
# dd copies from skip= to count= blocks of bs= bytes, both from the start; -f and -O name the formats.
. "$(dirname "$0")/lib.sh"

make_full a 1M
ok dd if=a of=b
cmp a b
ok dd -f raw -O raw bs=64k skip=2 count=5 if=a of=b
tail -c +131073 a | head -c 196608 | cmp - b || fail 'not the third to fifth block'
ok dd bs=1000 count=3 if=a of=b
head -c 3072 a | cmp -n 3000 - b || fail 'three blocks of 1000 bytes'
ok dd count=2 if=a of=b
[ "$(stat -c %s b)" = 1024 ] || fail 'a block is not 512 bytes'
ok dd bs=1M count=9 if=a of=b # more than there is
cmp a b
ok dd -O qcow2 if=a of=q
ok compare -f raw -F qcow2 a q
ok dd -f raw -O raw if=q of=b
cmp q b
run "$img" dd skip=9 bs=1M if=a of=b
expect_err "$name: a: cannot skip to specified offset"

refused 'Must specify both input and output files' dd if=a
refused 'unrecognized operand seek' dd seek=1 if=a of=c
refused 'unrecognized operand a' dd a
run "$img" dd bs=0 if=a of=c
expect_status 1
expect_err_has '^.*: Invalid bs specified. Must be between 1 and 2147483647.$'
[ ! -e c ] || fail 'a wrong command line left a file'
