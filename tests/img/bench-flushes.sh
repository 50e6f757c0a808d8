#!/bin/bash
# SPDX-License-Identifier: MIT
# --flush-interval, with and without draining.
. "$(dirname "$0")/lib.sh"

truncate -s 4M a
for drain in '' --no-drain; do
    # shellcheck disable=SC2086
    ok bench -w -c 100 -d 4 --flush-interval=5 $drain -f raw a
    [ "$(sed -n 2p out)" = 'Sending flush every 5 requests' ] || fail 'second line'
    tail -1 out | grep -q '^Run completed' || fail 'last line'
    # shellcheck disable=SC2086
    ok bench -w -c 97 -d 5 --flush-interval=5 $drain -t none -f raw a
done
refused "Flush interval can't be smaller than depth" bench -w -d 8 --flush-interval=5 a
refused '--flush-interval is only available in write tests' bench --flush-interval=100 a
