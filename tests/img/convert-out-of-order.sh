#!/bin/bash
# SPDX-License-Identifier: MIT
# -W writes in any order.
. "$(dirname "$0")/lib.sh"

make_full a 20M
make_image b
ok convert -W a c
cmp a c
ok convert -W -m 16 b c
cmp b c
