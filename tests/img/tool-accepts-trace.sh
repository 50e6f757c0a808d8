#!/bin/bash
# SPDX-License-Identifier: MIT
# -T before the command is taken, for scripts that have it; there are no events.
. "$(dirname "$0")/lib.sh"

ok create -q -f raw x 1M
ok -T 'blk*' info x
expect_err ''
run "$img" --trace enable=blk_nothing info x
expect_status 0
expect_err "$name: warning: trace event 'blk_nothing' does not exist"
run "$img" -T colour=red info x
expect_status 1
expect_err "$name: Invalid parameter 'colour'"
run "$img" -T
expect_status 1
expect_err_has "missing argument for option '-T'"
