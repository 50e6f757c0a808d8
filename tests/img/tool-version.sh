#!/bin/bash
# SPDX-License-Identifier: MIT
# --version names the program and exits with 0.
. "$(dirname "$0")/lib.sh"

ok --version
expect_out_has "^$name version [0-9]"
ok -V
