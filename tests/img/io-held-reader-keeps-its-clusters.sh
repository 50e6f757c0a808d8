#!/bin/bash
# SPDX-License-Identifier: MIT
# A read of qcow2 that knows its cluster and is held up: the cluster is freed meanwhile, and is
# not used for other data before the read has ended.
. "$(dirname "$0")/lib.sh"

run "$img" create -q -f qcow2 t.qcow2 1M
run "$io" -c 'write -P 1 0 64k' t.qcow2
expect_status 0
cat >commands <<'END'
break read_aio A
aio_read -P 1 0 64k
wait_break A
discard 0 64k
flush
flush
write -P 3 512k 64k
flush
write -P 4 576k 64k
flush
resume A
aio_flush
read -P 3 512k 64k
read -P 4 576k 64k
read -P 0 0 64k
END
status=0
"$io" -f qcow2 -d unmap blkdebug::t.qcow2 <commands >out 2>err || status=$?
expect_status 0
! grep -q 'Pattern verification failed' out || fail 'a read found the data of another cluster'
# Afterwards it is used again.
run "$io" -d unmap -c flush -c 'write -P 5 640k 64k' t.qcow2
expect_status 0
run "$img" check t.qcow2
expect_status 0
[ "$(stat -c %s t.qcow2)" -le $((9 * 65536)) ] || fail 'the freed cluster is lost'
