#!/bin/bash
# SPDX-License-Identifier: MIT
# Ten thousand commands on standard input take no more than a moment.
. "$(dirname "$0")/lib.sh"

make_full raw 1M
for i in $(seq 5000); do
    echo "read -q -P 102 0 1"
    echo "read -q $i 512"
done >commands
start=$(date +%s%N)
status=0
"$io" -f raw raw <commands >out 2>err || status=$?
ms=$((($(date +%s%N) - start) / 1000000))
expect_status 0
expect_err ''
[ "$(wc -c <out)" = $((10001 * 9)) ] || fail 'not 10001 prompts'
[ "$ms" -lt 20000 ] || fail "$ms ms"
