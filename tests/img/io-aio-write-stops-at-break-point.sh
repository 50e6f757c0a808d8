#!/bin/bash
# SPDX-License-Identifier: MIT
# A request that stops at a break point lets others pass, and goes on when it is told.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 x 1M
cat >commands <<'END'
break write_aio A
aio_write -P 1 0 64k
wait_break A
aio_write -P 2 64k 64k
sleep 50
resume A
aio_flush
read -P 1 0 64k
read -P 2 64k 64k
END
status=0
timeout 20 "$io" blkdebug::x <commands >out 2>err || status=$?
expect_status 0
expect_err ''
[ "$(grep -n 'offset 65536' out | head -n 1 | cut -d: -f1)" -lt \
  "$(grep -n "Resuming request 'A'" out | cut -d: -f1)" ] || fail 'the other write did not pass'
# Nothing is in flight: the wait would never end.
run timeout 20 "$io" -f raw -c 'wait_break A' x
expect_status 1
expect_out "No request is in flight that could stop at 'A'"
