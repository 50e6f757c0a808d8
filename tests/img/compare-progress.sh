#!/bin/bash
# SPDX-License-Identifier: MIT
# -p shows the progress before the result.
. "$(dirname "$0")/lib.sh"

make_image a
cp a b
ok compare -p a b
tr '\r' '\n' <out >lines
[ "$(head -n 1 lines)" = '    (0.00/100%)' ] || fail 'first figure'
grep -q '^    (100.00/100%)' lines || fail 'no end'
[ "$(grep . lines | tail -n 1)" = 'Images are identical.' ] || fail 'last line'
