#!/bin/bash
# SPDX-License-Identifier: MIT
# A reader that goes away does not stop a copy.
. "$(dirname "$0")/lib.sh"

make_full a 4M
{ "$img" convert -p -r 8M a b; echo $? >status; } | true
[ "$(cat status)" = 0 ] || fail "exit code $(cat status)"
cmp a b
