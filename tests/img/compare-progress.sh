#!/bin/bash
# SPDX-License-Identifier: MIT
# -p shows the progress before the result.
. "$(dirname "$0")/lib.sh"

make_image a
cp a b
ok compare -p a b
[ "$(head -1 out)" = '    (0.00/100%)' ] || fail 'first line'
[ "$(tail -1 out)" = 'Images are identical.' ] || fail 'last line'
grep -q '^    (100.00/100%)' out || fail 'no end'
