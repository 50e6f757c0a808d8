#!/bin/bash
# SPDX-License-Identifier: MIT
# aio=native without cache.direct is refused.
. "$(dirname "$0")/lib.sh"

truncate -s 1M a
o=driver=raw,file.filename=a,file.aio=native
refused "Could not open '$o': aio=native was specified, but it requires cache.direct=on, which was not specified." info --image-opts $o
