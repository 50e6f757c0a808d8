#!/bin/bash
# SPDX-License-Identifier: MIT
# -r limits the rate; the first write does not wait.
. "$(dirname "$0")/lib.sh"

make_full a 3M
start=$(date +%s%N)
ok convert -r 4M -m 2 a b
took=$((($(date +%s%N) - start) / 1000000))
cmp a b
[ $took -ge 400 ] || fail "took $took ms"
[ $took -le 3000 ] || fail "took $took ms"
