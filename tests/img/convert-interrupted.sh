#!/bin/bash
# SPDX-License-Identifier: MIT
# A signal in the middle: the target that was made is removed.
. "$(dirname "$0")/lib.sh"

make_full a 16M
for signal in INT TERM HUP QUIT; do
    # Whoever runs the tests may ignore it (nohup), and a shell cannot take that back.
    run_until_written $signal b env --default-signal=$signal "$img" convert -r 8M a b
    expect_status $((128 + $(kill -l $signal)))
    expect_err "$name: Interrupted: the incomplete target 'b' has been removed"
    [ ! -e b ] || fail 'there is a target'
done
