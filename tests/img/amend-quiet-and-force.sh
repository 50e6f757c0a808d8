#!/bin/bash
# SPDX-License-Identifier: MIT
# amend -q, --force and -t: what they do not concern is done as without them; a wrong cache mode is told.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 q 1M
ok amend -q -p --force -t none -o compat=0.10 q
expect_out ''
ok info q
expect_out_has 'compat: 0.10'
ok amend -t writethrough -f qcow2 -o compat=1.1 q
ok info q
expect_out_has 'compat: 1.1'
refused 'Invalid cache option: best' amend -t best -o compat=1.1 q
refused "Expecting one image file name" amend -q -o compat=1.1
