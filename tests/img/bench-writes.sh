#!/bin/bash
# SPDX-License-Identifier: MIT
# -w writes the pattern where it should, and only there.
. "$(dirname "$0")/lib.sh"

truncate -s 1M a
ok bench -w -c 16 -d 4 -s 4k -S 8k -o 4k --pattern=0x61 -f raw a
for i in $(seq 16); do
    head -c 4096 /dev/zero
    head -c 4096 /dev/zero | tr '\0' a
done >b
truncate -s 1M b
cmp a b
