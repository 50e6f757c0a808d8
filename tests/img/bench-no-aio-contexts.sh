#!/bin/bash
# SPDX-License-Identifier: MIT
# No AIO context left: the numbers and what to do; threads still work.
. "$(dirname "$0")/lib.sh"

requires_root
requires_direct
requires_file "$build/aio-hog"
make_full a 1M
mkfifo hold
"$build/aio-hog" <hold >ready &
exec 9>hold
at_exit 'exec 9>&-; wait'
for _ in $(seq 200); do
    [ -s ready ] && break
    sleep 0.01
done
[ -s ready ] || skip 'could not take all AIO contexts'
run "$img" bench -c 10 -t none -i native -f raw a
expect_status 1
expect_err_has 'aio-max-nr'
expect_err_has "$(cat /proc/sys/fs/aio-max-nr)"
run "$img" bench -c 10 -t none -i threads -f raw a
expect_status 0
