#!/bin/bash
# SPDX-License-Identifier: MIT
# A signal that is ignored, as under nohup, stays ignored.
. "$(dirname "$0")/lib.sh"

make_full a 1M
trap '' HUP
"$img" convert -r 2M a b 2>err &
pid=$!
sleep 0.2
kill -HUP $pid
wait $pid || fail 'exit code'
cmp a b
