#!/bin/bash
# SPDX-License-Identifier: MIT
# bench says what it does and how long it took.
. "$(dirname "$0")/lib.sh"

make_image a
ok bench -c 100 -d 4 -f raw a
[ "$(head -1 out)" = 'Sending 100 read requests, 4096 bytes each, 4 in parallel (starting at offset 0, step size 4096)' ] || fail 'first line'
tail -1 out | grep -qx 'Run completed in [0-9]*\.[0-9][0-9][0-9] seconds\.' || fail 'last line'
ok bench -c 100 -d 4 -s 64k -S 1M -o 512 a
[ "$(head -1 out)" = 'Sending 100 read requests, 65536 bytes each, 4 in parallel (starting at offset 512, step size 1048576)' ] || fail 'first line'
ok bench -c 0 a
ok bench -c 10 -d 100 -U a
