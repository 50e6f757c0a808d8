#!/bin/bash
# SPDX-License-Identifier: MIT
# reopen changes how an image is open; what cannot change is refused and the image stays open.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 x 1M
run "$io" -f qcow2 -c 'write -q -P 5 0 64k' -c 'reopen -r' -c 'read -q -P 5 0 64k' -c 'write 0 1' \
    -c 'reopen -w -c writeback' -c 'write -q -P 6 0 64k' -c 'reopen -o driver=raw' \
    -c 'reopen -o l2-cache-size=64k' -c 'read -q -P 6 0 64k' x
expect_status 1
expect_out ''
expect_err "${io##*/}: Block node is read-only
${io##*/}: Cannot change the option 'driver'"
# A request in flight completes first.
run "$io" -f qcow2 -c 'aio_write -P 7 0 64k' -c 'reopen -r' -c 'read -q -P 7 0 64k' x
expect_status 0
# The new way does not work: as before.
run "$io" -f qcow2 -c 'reopen -o overlap-check=foo' -c 'write -q -P 8 0 64k' -c 'read -q -P 8 0 64k' x
expect_status 1
[ "$(wc -l <err)" = 1 ] || fail 'more than the one error'
run "$io" -s -f qcow2 -c 'reopen -r' x
expect_status 1
expect_err_has 'cannot be reopened'
