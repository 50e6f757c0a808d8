#!/bin/bash
# SPDX-License-Identifier: MIT
# remove_break forgets a break point, so that nothing stops there. A request that has stopped goes on;
# as the break point went when it did, the command then says that there is none, as in qemu-io.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 a 1M
run timeout 20 "$io" -f qcow2 -c 'break write_aio A' -c 'remove_break A' -c 'write -q -P 5 0 64k' \
    -c 'read -q -P 5 0 64k' blkdebug::a
expect_status 0
expect_out ''
run timeout 20 "$io" -f qcow2 -c 'break write_aio A' -c 'aio_write -q -P 6 64k 64k' -c 'wait_break A' \
    -c 'remove_break A' -c aio_flush -c 'read -q -P 6 64k 64k' blkdebug::a
expect_status 1
expect_out "blkdebug: Suspended request 'A'
blkdebug: Resuming request 'A'
Could not remove breakpoint A: No such file or directory"
