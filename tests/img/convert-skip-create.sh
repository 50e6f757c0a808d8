#!/bin/bash
# SPDX-License-Identifier: MIT
# -n writes into what is there; it must be large enough.
. "$(dirname "$0")/lib.sh"

make_image a
make_full b 20M
cp b old
ok convert -n a b
cmp -n 16777216 a b || fail 'contents'
[ "$(stat -c %s b)" = 20971520 ] || fail 'size'
make_full c 1M
cp c old
refused 'output file is smaller than input file' convert -n a c
cmp c old || fail 'the target was changed'
refused "Could not open 'd': Could not open 'd': No such file or directory" convert -n a d
refused '-o has no effect when skipping image creation' convert -n -o size=1 a b
