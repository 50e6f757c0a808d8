#!/bin/bash
# SPDX-License-Identifier: MIT
# A copy has the contents of the source.
. "$(dirname "$0")/lib.sh"

make_image a
ok convert -f raw -O raw a b
expect_out ''
cmp a b
make_full c 5M
ok convert c d
cmp c d
ok convert -m 1 a b
cmp a b
ok convert -m 16 a b
cmp a b
