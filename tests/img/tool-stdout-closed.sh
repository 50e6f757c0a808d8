#!/bin/bash
# SPDX-License-Identifier: MIT
# With closed standard descriptors nothing is written into an image.
. "$(dirname "$0")/lib.sh"

make_image a
cp a before
status=0
"$img" info a >&- 2>err || status=$?
expect_status 1
expect_err_has 'Could not write to standard output'
"$img" bench -c 10 -w -f raw -o 4k --pattern=0 a >&- 2>/dev/null
"$img" convert -p a b <&- >&- 2>&-
cmp b a || fail 'the copy is wrong'
"$img" create c 1M >&- 2>/dev/null
[ "$(tr -d '\0' <c | wc -c)" = 0 ] || fail 'output in the image'
