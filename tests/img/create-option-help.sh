#!/bin/bash
# SPDX-License-Identifier: MIT
# -o help lists the options, with a file name also those of the file.
. "$(dirname "$0")/lib.sh"

ok create -f raw -o help
expect_out "Supported raw options:
  size=<size>            - Virtual disk size

The protocol level may support further options.
Specify the target filename to include those options."
ok create -f raw -o help a
expect_out_has '^Supported options:$'
expect_out_has '^  preallocation=<str>    - Preallocation mode (allowed values: off, falloc, full)$'
[ ! -e a ] || fail 'there is a file'
ok create -o '?' a
