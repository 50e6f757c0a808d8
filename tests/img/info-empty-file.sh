#!/bin/bash
# SPDX-License-Identifier: MIT
# An empty file is an image of no bytes; odd sizes round up to sectors.
. "$(dirname "$0")/lib.sh"

: >a
ok info a
expect_out_has '^virtual size: 0 B (0 bytes)$'
echo hello >b
ok info b
expect_out_has '^virtual size: 512 B (512 bytes)$'
