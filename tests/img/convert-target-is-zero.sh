#!/bin/bash
# SPDX-License-Identifier: MIT
# --target-is-zero: zeroes are not written.
. "$(dirname "$0")/lib.sh"

make_image a
make_full b 16M
ok convert -n --target-is-zero a b
cmp -n 65536 --ignore-initial=1048576 a b || fail 'data'
cmp -n 65536 b <(yes 'full of data' | head -c 65536) || fail 'zeroes were written'
refused '--target-is-zero requires use of -n flag' convert --target-is-zero a c
