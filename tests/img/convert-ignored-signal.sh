#!/bin/bash
# SPDX-License-Identifier: MIT
# A signal that is ignored, as under nohup, stays ignored.
. "$(dirname "$0")/lib.sh"

make_full a 8M
trap '' HUP
run_until_written HUP b "$img" convert -r 16M a b
expect_status 0
cmp a b
