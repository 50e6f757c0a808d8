#!/bin/bash
# SPDX-License-Identifier: MIT
# Messages begin with the name that the program was called by.
. "$(dirname "$0")/lib.sh"

ln -s "$io" qemu-io
run ./qemu-io none
expect_status 1
expect_err "qemu-io: can't open device none: Could not open 'none': No such file or directory"
run ./qemu-io --version
expect_out_has '^qemu-io version '
run ./qemu-io --help
expect_status 0
expect_out_has '^Usage: qemu-io '
run ./qemu-io -c 'open -r none'
expect_status 1
expect_err "qemu-io: can't open device none: Could not open 'none': No such file or directory"
