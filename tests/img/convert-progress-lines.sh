#!/bin/bash
# SPDX-License-Identifier: MIT
# -p into a pipe: whole lines, percent first, from 0 to 100.
. "$(dirname "$0")/lib.sh"

make_full a 4M
ok convert -p -r 4M a b
[ "$(head -1 out)" = '    (0.00/100%)' ] || fail 'first line'
tail -1 out | grep -q '^    (100\.00/100%)' || fail 'last line'
grep -q "$(printf '\r')" out && fail 'carriage return'
grep -vq '^    ([0-9]*\.[0-9][0-9]/100%)' out && fail 'some line is different'
[ "$(wc -l <out)" -ge 3 ] || fail 'too few lines'
[ "$(wc -l <out)" -le 12 ] || fail 'too many lines'
ok convert -q -p a b
expect_out ''
