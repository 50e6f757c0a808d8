#!/bin/bash
# SPDX-License-Identifier: MIT
# The null driver, through options.
. "$(dirname "$0")/lib.sh"

ok info --image-opts driver=null-co,size=1G
expect_out_has '^file format: null-co$'
expect_out_has '^virtual size: 1 GiB (1073741824 bytes)$'
expect_out_has '^disk size: 0 B$'
ok info --image-opts driver=null-aio,size=1M
ok info 'json:{"driver": "null-co", "size": 1048576}'
expect_out_has '^virtual size: 1 MiB (1048576 bytes)$'
