#!/bin/bash
# SPDX-License-Identifier: MIT
# SIGUSR1 shows how far the copy is.
. "$(dirname "$0")/lib.sh"

make_full a 8M
run_until_written USR1 b "$img" convert -r 8M a b
expect_status 0
cmp a b
expect_err_has '^    ([0-9.]*/100%)'

# Without -p too, what there is to do is the data: of 40 MiB in 400, half is there after a second at 20 MiB/s.
rm -f a b
head -c 40M /dev/urandom >a
truncate -s 400M a
"$img" convert -f raw -O raw -r 20M a b 2>err &
pid=$!
sleep 1
kill -USR1 $pid
wait $pid || fail 'the copy'
percent=$(sed -n 's/^    (\([0-9]*\)\..*/\1/p' err | head -n 1)
[ "${percent:-0}" -ge 25 ] || fail "$percent percent of the data after a second of two"
