#!/bin/bash
# SPDX-License-Identifier: MIT
# An image of size 0 can be created.
. "$(dirname "$0")/lib.sh"

ok create a 0
[ "$(stat -c %s a)" = 0 ] || fail 'size'
