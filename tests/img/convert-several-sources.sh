#!/bin/bash
# SPDX-License-Identifier: MIT
# Several sources stand one behind the other.
. "$(dirname "$0")/lib.sh"

make_full a 3072
make_image b
make_full c 1000
ok convert a b c d
cat a b c >e
truncate -s %512 e
cmp d e
