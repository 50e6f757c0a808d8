#!/bin/bash
# SPDX-License-Identifier: MIT
# -q: no output.
. "$(dirname "$0")/lib.sh"

ok create -q a 1M
expect_out ''
