#!/bin/bash
# SPDX-License-Identifier: MIT
# The null driver as source and as target.
. "$(dirname "$0")/lib.sh"

ok convert --image-opts driver=null-co,size=1M,read-zeroes=on a
[ "$(stat -c %s a)" = 1048576 ] || fail 'size'
ok convert -n --target-image-opts a driver=null-co,size=1M
refused 'output file is smaller than input file' convert -n --target-image-opts a driver=null-co,size=1k
