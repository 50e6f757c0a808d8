#!/bin/bash
# SPDX-License-Identifier: MIT
# -i native and -n without direct I/O are refused.
. "$(dirname "$0")/lib.sh"

truncate -s 1M a
message="Could not open 'a': aio=native was specified, but it requires cache.direct=on, which was not specified."
refused "$message" bench -i native a
refused "$message" bench -n -t writeback a
