#!/bin/bash
# SPDX-License-Identifier: MIT
# Direct I/O on both sides, by threads and by native AIO.
. "$(dirname "$0")/lib.sh"

requires_direct
make_image a
ok convert -t none -T none a b
cmp a b
ok convert -t directsync -T directsync -m 16 -W a b
cmp a b
ok convert --image-opts driver=raw,file.filename=a,file.cache.direct=on,file.aio=native b
cmp a b
make_full c 1000001
ok convert -t none -T none c b
truncate -s %512 c
cmp c b
