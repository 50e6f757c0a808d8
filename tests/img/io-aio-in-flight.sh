#!/bin/bash
# SPDX-License-Identifier: MIT
# Requests of aio_write run beside each other; aio_flush and the end wait for all of them.
. "$(dirname "$0")/lib.sh"

make_full raw 1M
for i in $(seq 0 63); do echo "aio_write -P 7 $((i * 16))k 16k"; done >commands
echo 'aio_read -P 7 512k 4k' >>commands
echo aio_flush >>commands
echo 'read -P 7 0 1M' >>commands
status=0
"$io" -t writeback -f raw raw <commands >out 2>err || status=$?
expect_status 0
expect_err ''
[ "$(grep -c 'wrote 16384/16384' out)" = 64 ] || fail 'not 64 reports'
if sed '1,/read 1048576/d' out | grep -q wrote; then
    fail 'a write completed after aio_flush'
fi
for i in $(seq 0 63); do echo "aio_write -q -P 8 $((i * 16))k 16k"; done | "$io" -f raw raw >out
run "$io" -f raw -c 'read -P 8 0 1M' raw
expect_status 0 'written at the end'
