#!/bin/bash
# SPDX-License-Identifier: MIT
# Messages begin with the name that the tool was called by.
. "$(dirname "$0")/lib.sh"

ln -s "$(realpath "$img")" qemu-img
run ./qemu-img info missing
expect_status 1
expect_err "qemu-img: Could not open 'missing': Could not open 'missing': No such file or directory"
run ./qemu-img
expect_err_has "^Try 'qemu-img --help'"
