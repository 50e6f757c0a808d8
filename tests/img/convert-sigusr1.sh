#!/bin/bash
# SPDX-License-Identifier: MIT
# SIGUSR1 shows how far the copy is.
. "$(dirname "$0")/lib.sh"

make_full a 8M
run_until_written USR1 b "$img" convert -r 8M a b
expect_status 0
cmp a b
expect_err_has '^    ([0-9.]*/100%)'
