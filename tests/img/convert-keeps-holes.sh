#!/bin/bash
# SPDX-License-Identifier: MIT
# The copy is sparse where the source is, and where it has zeroes.
. "$(dirname "$0")/lib.sh"

make_image a
ok convert a b
cmp a b
# A new file has its first block.
[ "$(disk_kib b)" -le "$(($(disk_kib a) + 4))" ] || fail "$(disk_kib b) KiB"
cp --sparse=never a full
ok convert full b
cmp a b
[ "$(disk_kib b)" -le 100 ] || fail "$(disk_kib b) KiB"
