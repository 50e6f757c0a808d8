#!/bin/bash
# SPDX-License-Identifier: MIT
# Every cache mode of source and target; unknown ones are named.
. "$(dirname "$0")/lib.sh"

make_full a 100000
truncate -s %512 a
for mode in writeback writethrough unsafe; do
    ok convert -t $mode -T $mode a b
    cmp a b
done
refused 'Invalid cache option: foo' convert -t foo a b
refused 'Invalid source cache option: foo' convert -T foo a c
[ ! -e c ] || fail 'there is a target'
