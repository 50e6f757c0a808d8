#!/bin/bash
# SPDX-License-Identifier: MIT
# map looks through preallocated metadata at the holes of the file.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 -o preallocation=metadata a 4M
ok map a
expect_out 'Offset          Length          Mapped to       File'
ok map --output=json a
expect_out_has '"start": 0, "length": 4194304, "depth": 0, "present": true, "zero": true, "data": true'
