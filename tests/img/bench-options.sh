#!/bin/bash
# SPDX-License-Identifier: MIT
# bench takes -q, which leaves nothing out, as in qemu-img, and --no-drain beside the flushes.
. "$(dirname "$0")/lib.sh"

make_full a 1M
ok bench -q -c 10 -f raw a
expect_out_has '^Sending 10 read requests, 4096 bytes each, 64 in parallel'
for drain in '' --no-drain; do
    make_full a 1M
    # shellcheck disable=SC2086
    ok bench -w -c 10 -d 2 --flush-interval=5 $drain --pattern=65 -s 4096 -f raw a
    expect_out_has '^Sending flush every 5 requests$'
    [ "$(head -c 40960 a | tr -d A | wc -c)" = 0 ] || fail "the pattern is not there: $drain"
    [ "$(tail -c +40961 a | tr -d -c A | wc -c)" = 0 ] || fail "the pattern is everywhere: $drain"
done
ok bench -w --no-drain -c 10 -d 2 --flush-interval=5 -f raw a
refused '--flush-interval is only available in write tests' bench --no-drain --flush-interval=100 -f raw a
refused "Flush interval can't be smaller than depth" bench -w --no-drain --flush-interval=5 -f raw a
