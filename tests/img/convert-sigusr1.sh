#!/bin/bash
# SPDX-License-Identifier: MIT
# SIGUSR1 shows how far the copy is.
. "$(dirname "$0")/lib.sh"

make_full a 2M
"$img" convert -r 2M -m 2 a b >out 2>err &
pid=$!
sleep 0.4
kill -USR1 $pid
wait $pid || fail 'exit code'
cmp a b
expect_err_has '^    ([0-9.]*/100%)'
