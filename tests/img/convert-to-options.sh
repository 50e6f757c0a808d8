#!/bin/bash
# SPDX-License-Identifier: MIT
# --target-image-opts needs -n, and works with it.
. "$(dirname "$0")/lib.sh"

make_image a
truncate -s 20M b
ok convert -n --target-image-opts a driver=raw,file.filename=b,offset=1M
cmp --ignore-initial=0:1048576 -n 16777216 a b
refused '--target-image-opts requires use of -n flag' convert --target-image-opts a driver=raw,file.filename=b
refused '--image-opts and --format are mutually exclusive' convert -n --target-image-opts -O raw a driver=raw,file.filename=b
