#!/bin/bash
# SPDX-License-Identifier: MIT
# -p on a terminal: one line, redrawn, with rate and time left.
. "$(dirname "$0")/lib.sh"

requires script
make_full a 4M
script -qec "'$img' convert -p -r 4M a b" /dev/null >out 2>err </dev/null || fail 'exit code'
tr '\r' '\n' <out >lines
[ "$(grep -c '^    ([0-9.]*/100%)' lines)" -ge 5 ] || fail 'too few updates'
grep -q '^    (.*/100%)  .*B/s  0:0[01] left' lines || fail 'no rate or time left'
grep -q '(100.00/100%)' lines || fail 'no end'
[ "$(grep -c '/100%' lines)" -le 20 ] || fail 'too many updates'
