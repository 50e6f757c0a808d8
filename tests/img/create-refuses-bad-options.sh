#!/bin/bash
# SPDX-License-Identifier: MIT
# Unknown options and bad values: named, no file made.
. "$(dirname "$0")/lib.sh"

refused "a: Invalid parameter 'foo'" create -o foo=1 a 1M
refused 'a: The image size must be specified only once' create -o size=1M a 1M
refused "a: Parameter 'nocow' expects 'on' or 'off'" create -o nocow=maybe a 1M
refused 'Invalid option list: ' create -o '' a 1M
refused 'Invalid option list: foo,' create -o foo, a 1M
run "$img" create -q -o preallocation=foo a 1M
expect_status 1
expect_err "$name: a: invalid parameter value: foo"
[ ! -e a ] || fail 'there is a file'
