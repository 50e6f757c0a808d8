#!/bin/bash
# SPDX-License-Identifier: MIT
# create on an existing file makes it empty.
. "$(dirname "$0")/lib.sh"

make_full a 1M
ok create a 2M
cmp a <(head -c 2M /dev/zero) || fail 'old data'
