#!/bin/bash
# SPDX-License-Identifier: MIT
# What was reported before sigraise is not lost; the lock on the image goes with the process.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 x 1M
status=0
(ulimit -c 0; exec "$io" -c 'write 0 64k' -c 'sigraise 9' x) >out 2>err || status=$?
expect_status 137
expect_out_has 'wrote 65536/65536 bytes'
run "$io" -c 'read -q -P 205 0 64k' x
expect_status 0
