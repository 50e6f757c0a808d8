#!/bin/bash
# SPDX-License-Identifier: MIT
# A write that has to be durable is followed by a flush above blkdebug, which rules for flushes see.
. "$(dirname "$0")/lib.sh"

truncate -s 1M r
rule=driver=raw,file.driver=blkdebug,file.image.filename=r,file.inject-error.0.iotype=flush,file.inject-error.0.event=none
run "$io" -c "open -o $rule" -c 'write -f 0 4k'
expect_out_has 'write failed: Input/output error'
run "$io" -c "open -o $rule" -c 'write -f -z 0 4k'
expect_out_has 'write failed: Input/output error'
