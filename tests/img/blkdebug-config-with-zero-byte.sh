#!/bin/bash
# SPDX-License-Identifier: MIT
# Rules behind a byte 0 would not be in force: the file is refused.
. "$(dirname "$0")/lib.sh"

ok create -q -f raw x 1M
printf '[inject-error]\nevent = "write_aio"\nerrno = "5"\n' >good.conf
{ cat good.conf; printf '\0'; cat good.conf; } >zero.conf
run "$io" -c 'write 0 4k' blkdebug:good.conf:x
expect_status 1
expect_out_has 'write failed: Input/output error'
run "$io" -c 'write 0 4k' blkdebug:zero.conf:x
expect_status 1
expect_err_has 'there is a byte 0 at offset 47'
