#!/bin/bash
# SPDX-License-Identifier: MIT
# An L2 table that has just been made is known: nothing is read of it, so no error of that matters.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 -o cluster_size=512 x 1M
run "$io" -c 'write -P 3 0 400k' -c 'write -z 500k 64k' -c 'write -c 600k 512' -c 'read -P 3 0 400k' \
    --image-opts driver=qcow2,file.driver=blkdebug,file.inject-error.0.event=l2_load,file.image.filename=x
expect_status 0
run "$io" -c 'read -P 3 0 400k' -c 'read -P 0 500k 64k' x
expect_status 0
