#!/bin/bash
# SPDX-License-Identifier: MIT
# Output that gets lost is an error.
. "$(dirname "$0")/lib.sh"

requires_file /dev/full
make_image a
for command in "info a" "info --output=json a" "--help" "--version" "compare a a -U"; do
    status=0
    # shellcheck disable=SC2086
    "$img" $command >/dev/full 2>err || status=$?
    expect_status 1 "$command"
    expect_err "$name: Could not write to standard output: No space left on device"
done
