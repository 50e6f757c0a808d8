#!/bin/bash
# SPDX-License-Identifier: MIT
# An existing larger file becomes the copy and nothing else.
. "$(dirname "$0")/lib.sh"

make_full b 20M
make_image a
ok convert a b
cmp a b
