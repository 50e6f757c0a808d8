#!/bin/bash
# SPDX-License-Identifier: MIT
# An unknown subcommand: what could have been meant, exit code 1.
. "$(dirname "$0")/lib.sh"

run "$img" convrt a b
expect_status 1
expect_err "$name: Command not found: convrt
Did you mean 'convert'?
Try '$name --help' for more information"
run "$img" inf a
expect_err_has "Did you mean 'info'?"
run "$img" something-else
expect_err "$name: Command not found: something-else
Try '$name --help' for more information"
# No guess that is none.
for word in '' ls cp rm - n; do
    run "$img" "$word"
    expect_err "$name: Command not found: $word
Try '$name --help' for more information"
done
